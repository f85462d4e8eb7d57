//! The table: the columns are paths, the cases are denials.

use std::collections::BTreeSet;

use reqwest::Method;

/// A path, and by what one sees that it shows something of the author.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) trace: &'static str,
    /// Whether the path is only for the viewer.
    pub(super) own: bool,
    /// Of a stream or a page: the column that is empty at the same time.
    pub(super) with: Option<&'static str>,
}

pub(super) const fn column(name: &'static str, path: &'static str, trace: &'static str) -> Column {
    Column {
        name,
        path,
        trace,
        own: false,
        with: None,
    }
}

pub(super) const fn own(name: &'static str, path: &'static str, trace: &'static str) -> Column {
    Column {
        own: true,
        ..column(name, path, trace)
    }
}

/// A stream or a web page, which shows as much as a path of the API.
pub(super) const fn same(of: Column, name: &'static str, with: &'static str) -> Column {
    Column {
        name,
        with: Some(with),
        ..of
    }
}

pub(super) const HOME: &str = "/v1/streams/home?after={before}";
pub(super) const NOTIFICATIONS: &str = "/v1/streams/notifications?after={before}";
pub(super) const AUTHOR: &str = "/@author{number}";
pub(super) const THREAD: &str = "/v1/streams/posts/{shared}?after={before}";

/// `{before}` is a cursor from before everything.
/// `{direct}` and `{reposted}` are posts of the author, the second one reposted by the friend. `{shared}` is a post of the friend, which the
/// author likes, reposts, answers and quotes. `{quoting}` is a post of the friend that quotes one of the author. `{tag}` is the tag of
/// `{direct}`. The viewer follows the author, and the tag of another post.
/// `{own}` is a post of the viewer, which the author likes, reposts and answers. Another post of the author mentions the viewer.
/// The viewer has three lists: `{list}` has the author as its member, the others have the friend and the tag.
pub(super) const COLUMNS: [Column; 60] = [
    own("home", "/v1/timelines/home?limit=100", "text of direct"),
    own("home by a repost", "/v1/timelines/home?limit=100", "text of reposted"),
    own(
        "home by a followed tag",
        "/v1/timelines/home?limit=100",
        "text of tagged",
    ),
    own("home by a quote", "/v1/timelines/home?limit=100", "text of quoted"),
    column("public", "/v1/timelines/public?limit=100", "text of direct"),
    column("tag", "/v1/timelines/tags/{tag}?limit=100", "text of direct"),
    column("posts", "/v1/users/{author}/posts", "text of direct"),
    column("posts of the reposter", "/v1/users/{friend}/posts", "text of reposted"),
    column("post", "/v1/posts/{direct}", "text of direct"),
    column("thread", "/v1/posts/{direct}/thread", "text of direct"),
    column("history", "/v1/posts/{direct}/history", "text of direct"),
    own("bookmarks", "/v1/bookmarks", "text of direct"),
    column("an answer in a thread", "/v1/posts/{shared}/thread", "text of answer"),
    column("a quote of a post", "/v1/posts/{shared}/quotes", "text of quote"),
    column("quoted in a post", "/v1/posts/{quoting}", "text of quoted"),
    column("likers of a post", "/v1/posts/{direct}/likes", "{friend}"),
    column("likes", "/v1/posts/{shared}/likes", "{author}"),
    column("reposts", "/v1/posts/{shared}/reposts", "{author}"),
    column("followers", "/v1/users/{friend}/followers", "{author}"),
    column("following", "/v1/users/{friend}/following", "{author}"),
    column("followers of the author", "/v1/users/{author}/followers", "{friend}"),
    column("whom the author follows", "/v1/users/{author}/following", "{friend}"),
    column("profile", "/v1/users/{author}", "text of bio"),
    own("list", "/v1/timelines/lists/{list}?limit=100", "text of direct"),
    own(
        "list by a repost",
        "/v1/timelines/lists/{list of the friend}?limit=100",
        "text of reposted",
    ),
    own(
        "list by a tag",
        "/v1/timelines/lists/{list of the tag}?limit=100",
        "text of direct",
    ),
    own("list members", "/v1/lists/{list}/members", "{author}"),
    own("notified of a like", "/v1/notifications?kinds=like", "{author}"),
    own("notified of a repost", "/v1/notifications?kinds=repost", "{author}"),
    own(
        "notified of a mention",
        "/v1/notifications?kinds=mention",
        "text of mention",
    ),
    own("notified of an answer", "/v1/notifications?kinds=reply", "text of said"),
    own("groups", "/v1/notifications/groups?limit=100", "{author}"),
    own("unread", "/v1/notifications/unread", UNREAD),
    same(own("", HOME, "text of direct"), "stream of home", "home"),
    same(
        own("", HOME, "text of reposted"),
        "stream of home by a repost",
        "home by a repost",
    ),
    same(
        own("", HOME, "text of tagged"),
        "stream of home by a followed tag",
        "home by a followed tag",
    ),
    same(
        own("", HOME, "text of quoted"),
        "stream of home by a quote",
        "home by a quote",
    ),
    same(
        column("", "/v1/streams/public?after={before}", "text of direct"),
        "stream of public",
        "public",
    ),
    same(
        column("", "/v1/streams/tags/{tag}?after={before}", "text of direct"),
        "stream of a tag",
        "tag",
    ),
    same(
        own("", "/v1/streams/lists/{list}?after={before}", "text of direct"),
        "stream of a list",
        "list",
    ),
    same(
        own(
            "",
            "/v1/streams/lists/{list of the friend}?after={before}",
            "text of reposted",
        ),
        "stream of a list by a repost",
        "list by a repost",
    ),
    same(
        own(
            "",
            "/v1/streams/lists/{list of the tag}?after={before}",
            "text of direct",
        ),
        "stream of a list by a tag",
        "list by a tag",
    ),
    same(
        column("", "/v1/streams/posts/{direct}", OPEN),
        "stream of a post",
        "post",
    ),
    same(
        column("", THREAD, "text of answer"),
        "stream of a thread",
        "an answer in a thread",
    ),
    same(
        own("", NOTIFICATIONS, "\"kind\":\"like\""),
        "told of a like",
        "notified of a like",
    ),
    same(
        own("", NOTIFICATIONS, "\"kind\":\"repost\""),
        "told of a repost",
        "notified of a repost",
    ),
    same(
        own("", NOTIFICATIONS, "text of mention"),
        "told of a mention",
        "notified of a mention",
    ),
    same(
        own("", NOTIFICATIONS, "text of said"),
        "told of an answer",
        "notified of an answer",
    ),
    same(own("", "/", "text of direct"), "page of home", "home"),
    same(
        own("", "/", "text of reposted"),
        "page of home by a repost",
        "home by a repost",
    ),
    same(
        own("", "/", "text of quoted"),
        "page of home by a quote",
        "home by a quote",
    ),
    same(column("", "/public", "text of direct"), "page of public", "public"),
    same(column("", "/tags/{tag}", "text of direct"), "page of a tag", "tag"),
    same(column("", AUTHOR, "text of direct"), "page of the author", "posts"),
    same(column("", AUTHOR, "text of bio"), "page of the profile", "profile"),
    same(
        column("", "/posts/{direct}", "text of direct"),
        "page of a post",
        "thread",
    ),
    same(
        column("", "/posts/{shared}", "text of answer"),
        "page of a thread",
        "an answer in a thread",
    ),
    same(
        own("", "/bookmarks", "text of direct"),
        "page of bookmarks",
        "bookmarks",
    ),
    same(
        column("", "/@friend{number}/followers", "\"/@author{number}\""),
        "page of followers",
        "followers",
    ),
    same(
        column("", "/@author{number}/following", "\"/@friend{number}\""),
        "page of whom the author follows",
        "whom the author follows",
    ),
];

/// That it can be opened shows something.
pub(super) const OPEN: &str = "an answer";

/// Nobody but the author does anything that concerns the viewer. So any count shows something.
pub(super) const UNREAD: &str = "a count";

/// Paths that show nothing but what the viewer did, or asks for by an id.
pub(super) const OWN_DOING: [&str; 12] = [
    "/v1/blocks",
    "/v1/mutes",
    "/v1/follow-requests",
    "/v1/follow-requests/sent",
    "/v1/relationships",
    "/v1/tags/followed",
    "/v1/tags/{tag}",
    "/v1/lists",
    "/v1/lists/{id}",
    "/v1/lists/{id}/tags",
    "/v1/filters",
    "/v1/filters/{id}",
];

/// Paths that say in a message, and not in a query, what they are to show. What they show is what the other streams show.
pub(super) const BY_MESSAGE: [&str; 1] = ["/v1/streams"];

/// Paths that show what hides things from others, but only to moderators; and what everybody may know of the place.
pub(super) const OF_THE_PLACE: [&str; 3] = ["/v1/reports", "/v1/reports/{id}", "/v1/instance"];

#[derive(Clone, Copy)]
pub(super) enum Who {
    Author,
    Viewer,
    Moderator,
}

pub(super) type Act = (Who, Method, &'static str, &'static str);

pub(super) struct Case {
    pub(super) name: &'static str,
    /// Of `{direct}`, the answer, and the post with the followed tag.
    pub(super) visibility: &'static str,
    pub(super) denial: &'static [Act],
    pub(super) hides: &'static [&'static [&'static str]],
    /// A visitor without an account sees as little.
    pub(super) visitors_too: bool,
    /// A process does a part of it, soon.
    pub(super) soon: bool,
}

impl Case {
    /// What the viewer sees before the denial.
    pub(super) fn before(&self) -> BTreeSet<&'static str> {
        let hidden: &[&str] = if self.visibility == "public" { &[] } else { PUBLIC };
        without(names(COLUMNS.iter()), &hidden.iter().copied().collect())
    }

    /// What the viewer sees after it.
    pub(super) fn after(&self) -> BTreeSet<&'static str> {
        let hidden: BTreeSet<&str> = self.hides.iter().copied().flatten().copied().collect();
        let unknown: Vec<_> = hidden.difference(&names(COLUMNS.iter())).copied().collect();
        assert!(unknown.is_empty(), "{}: no columns: {unknown:?}", self.name);
        without(self.before(), &hidden)
    }
}

/// Removes columns, and the streams and pages that show as much.
pub(super) fn without(columns: BTreeSet<&'static str>, hidden: &BTreeSet<&str>) -> BTreeSet<&'static str> {
    let shown = |column: &&Column| {
        columns.contains(column.name)
            && !hidden.contains(column.name)
            && column.with.is_none_or(|with| !hidden.contains(with))
    };
    names(COLUMNS.iter().filter(shown))
}

/// By the posts that are `{direct}`.
pub(super) const DIRECT: &[&str] = &[
    "home",
    "posts",
    "post",
    "thread",
    "history",
    "bookmarks",
    "likers of a post",
    "list",
];
pub(super) const ANSWER: &[&str] = &["an answer in a thread", "a quote of a post"];
/// Lists of public posts.
pub(super) const PUBLIC: &[&str] = &["public", "tag", "list by a tag"];
pub(super) const TAGGED: &[&str] = &["home by a followed tag"];
pub(super) const QUOTED: &[&str] = &["home by a quote", "quoted in a post"];
pub(super) const REPOSTED: &[&str] = &["home by a repost", "posts of the reposter", "list by a repost"];
pub(super) const PEOPLE: &[&str] = &["likes", "reposts", "followers", "following", "list members"];
pub(super) const OF_AUTHOR: &[&str] = &["followers of the author", "whom the author follows"];
pub(super) const PROFILE: &[&str] = &["profile"];
pub(super) const NOTIFIED: &[&str] = &[
    "notified of a like",
    "notified of a repost",
    "notified of a mention",
    "notified of an answer",
    "groups",
    "unread",
];
pub(super) const NOTIFIED_OF_ANSWER: &[&str] = &["notified of an answer"];

pub(super) const BLOCK: &str = "/v1/users/{author}/block";
pub(super) const FOLLOW: &str = "/v1/users/{author}/follow";
pub(super) const MUTE: &str = "/v1/users/{author}/mute";
pub(super) const ME: &str = "/v1/users/me";
pub(super) const PROTECT: Act = (Who::Author, Method::PATCH, ME, r#"{ "protected": true }"#);
pub(super) const UNFOLLOW: Act = (Who::Viewer, Method::DELETE, FOLLOW, "");
pub(super) const HIDDEN: &str = "/v1/posts/{direct}/hide";
pub(super) const SUSPENSION: &str = "/v1/users/{author}/suspension";
pub(super) const HIDE: Act = (Who::Moderator, Method::PUT, HIDDEN, "");
pub(super) const SUSPEND: Act = (Who::Moderator, Method::PUT, SUSPENSION, "");
pub(super) const REMOVE: Act = (Who::Author, Method::DELETE, "/v1/followers/{viewer}", "");

pub(super) const LIST: &str = "/v1/lists/{list}";
pub(super) const EXCLUDE: Act = (Who::Viewer, Method::PATCH, LIST, r#"{ "exclusive": true }"#);

pub(super) const CASES: [Case; 27] = [
    Case {
        name: "the viewer blocks",
        visibility: "public",
        denial: &[(Who::Viewer, Method::PUT, BLOCK, "")],
        hides: &[
            DIRECT, ANSWER, PUBLIC, TAGGED, REPOSTED, QUOTED, PEOPLE, OF_AUTHOR, NOTIFIED,
        ],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "the author blocks",
        visibility: "public",
        denial: &[(Who::Author, Method::PUT, "/v1/users/{viewer}/block", "")],
        hides: &[
            DIRECT, ANSWER, PUBLIC, TAGGED, REPOSTED, QUOTED, PEOPLE, OF_AUTHOR, PROFILE, NOTIFIED,
        ],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a block that is over",
        visibility: "public",
        denial: &[
            (Who::Viewer, Method::PUT, BLOCK, ""),
            (Who::Viewer, Method::DELETE, BLOCK, ""),
        ],
        hides: &[&["home"]],
        visitors_too: false,
        soon: true,
    },
    Case {
        name: "the viewer mutes",
        visibility: "public",
        denial: &[(Who::Viewer, Method::PUT, MUTE, "{}")],
        hides: &[
            PUBLIC,
            TAGGED,
            &[
                "home",
                "home by a repost",
                "home by a quote",
                "list",
                "list by a repost",
            ],
            NOTIFIED,
        ],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a mute that is over",
        visibility: "public",
        denial: &[
            (Who::Viewer, Method::PUT, MUTE, "{}"),
            (Who::Viewer, Method::DELETE, MUTE, ""),
        ],
        hides: &[],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "unfollow",
        visibility: "public",
        denial: &[UNFOLLOW],
        hides: &[&["home"]],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "removed from the followers",
        visibility: "public",
        denial: &[REMOVE],
        hides: &[&["home"]],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "unfollow of posts for followers",
        visibility: "followers",
        denial: &[UNFOLLOW],
        hides: &[DIRECT, ANSWER, TAGGED, NOTIFIED_OF_ANSWER],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "removed from the followers, of posts for followers",
        visibility: "followers",
        denial: &[REMOVE],
        hides: &[DIRECT, ANSWER, TAGGED, NOTIFIED_OF_ANSWER],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "unlisted",
        visibility: "unlisted",
        denial: &[],
        hides: &[],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "unfollow of unlisted posts",
        visibility: "unlisted",
        denial: &[UNFOLLOW],
        hides: &[&["home"], TAGGED],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "not mentioned any more",
        visibility: "mentioned",
        denial: &[(
            Who::Author,
            Method::PATCH,
            "/v1/posts/{direct}",
            r#"{ "text": "text of direct {number}. @friend{number}" }"#,
        )],
        hides: &[DIRECT],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "protected, and followed",
        visibility: "public",
        denial: &[PROTECT],
        hides: &[PUBLIC],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "protected, and not followed any more",
        visibility: "public",
        denial: &[PROTECT, UNFOLLOW],
        hides: &[
            DIRECT,
            ANSWER,
            PUBLIC,
            TAGGED,
            REPOSTED,
            QUOTED,
            &["reposts", "notified of a repost"],
            NOTIFIED_OF_ANSWER,
        ],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "protected, and a request that waits",
        visibility: "public",
        denial: &[PROTECT, UNFOLLOW, (Who::Viewer, Method::PUT, FOLLOW, "")],
        hides: &[
            DIRECT,
            ANSWER,
            PUBLIC,
            TAGGED,
            REPOSTED,
            QUOTED,
            &["reposts", "notified of a repost"],
            NOTIFIED_OF_ANSWER,
        ],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "an exclusive list",
        visibility: "public",
        denial: &[EXCLUDE],
        hides: &[TAGGED, &["home", "home by a repost"]],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a list that is not exclusive any more",
        visibility: "public",
        denial: &[EXCLUDE, (Who::Viewer, Method::PATCH, LIST, r#"{ "exclusive": false }"#)],
        hides: &[],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "an exclusive list without the author",
        visibility: "public",
        denial: &[
            EXCLUDE,
            (Who::Viewer, Method::DELETE, "/v1/lists/{list}/members/{author}", ""),
        ],
        hides: &[&["list", "list members"]],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "an exclusive list that is deleted",
        visibility: "public",
        denial: &[EXCLUDE, (Who::Viewer, Method::DELETE, LIST, "")],
        hides: &[&["list", "list members"]],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a deleted post",
        visibility: "public",
        denial: &[(Who::Author, Method::DELETE, "/v1/posts/{direct}", "")],
        hides: &[DIRECT, PUBLIC],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "a deleted author",
        visibility: "public",
        denial: &[(
            Who::Author,
            Method::DELETE,
            ME,
            r#"{ "current_password": "{password}" }"#,
        )],
        hides: &[
            DIRECT, ANSWER, PUBLIC, TAGGED, REPOSTED, QUOTED, PEOPLE, OF_AUTHOR, PROFILE, NOTIFIED,
        ],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "a filter that hides",
        visibility: "public",
        denial: &[(
            Who::Viewer,
            Method::POST,
            "/v1/filters",
            r#"{ "phrases": ["TEXT of"], "action": "hide", "contexts": [
                "home", "lists", "tags", "public", "thread", "profile", "notifications", "search"
            ] }"#,
        )],
        // What the viewer goes to by its address stays, and so does what the viewer keeps.
        hides: &[
            ANSWER,
            PUBLIC,
            TAGGED,
            REPOSTED,
            &["home", "posts", "list", "home by a quote"],
            &["notified of a mention", "notified of an answer"],
        ],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a filter that warns",
        visibility: "public",
        denial: &[(
            Who::Viewer,
            Method::POST,
            "/v1/filters",
            r#"{ "phrases": ["text of"], "action": "warn", "contexts": [
                "home", "lists", "tags", "public", "thread", "profile", "notifications", "search"
            ] }"#,
        )],
        hides: &[],
        visitors_too: false,
        soon: false,
    },
    Case {
        name: "a filter that ran out",
        visibility: "public",
        denial: &[(
            Who::Viewer,
            Method::POST,
            "/v1/filters",
            r#"{ "phrases": ["text of"], "action": "hide", "expires_at": "{in two seconds}", "contexts": [
                "home", "lists", "tags", "public", "thread", "profile", "notifications", "search"
            ] }"#,
        )],
        hides: &[],
        visitors_too: false,
        soon: true,
    },
    Case {
        name: "a hidden post",
        visibility: "public",
        denial: &[HIDE],
        hides: &[DIRECT, PUBLIC],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "a suspended author",
        visibility: "public",
        denial: &[SUSPEND],
        hides: &[
            DIRECT, ANSWER, PUBLIC, TAGGED, REPOSTED, QUOTED, PEOPLE, OF_AUTHOR, PROFILE, NOTIFIED,
        ],
        visitors_too: true,
        soon: false,
    },
    Case {
        name: "neither hidden nor suspended any more",
        visibility: "public",
        denial: &[
            HIDE,
            SUSPEND,
            (Who::Moderator, Method::DELETE, SUSPENSION, ""),
            (Who::Moderator, Method::DELETE, HIDDEN, ""),
        ],
        hides: &[],
        visitors_too: true,
        soon: false,
    },
];

pub(super) fn names(columns: impl Iterator<Item = &'static Column>) -> BTreeSet<&'static str> {
    columns.map(|column| column.name).collect()
}

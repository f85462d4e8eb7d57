//! The matrix of denials and paths: nothing is seen that may not be, and everything else still is.
//!
//! Each case is one denial, with an author, a viewer and a friend of both. Each column is one path by which the viewer could see something
//! of the author. Before the denial the viewer sees every column. Afterwards the columns of the case are empty, and the others are not: at
//! once with the token of the command, and without a token when the views have passed it. A path of the API that is in no column fails the
//! test.
//!
//! The streams of the viewer are columns in two ways. Whoever comes back after the denial is shown as much as by the pages. Whoever was
//! there all the time is shown nothing that the author does after the denial, as soon as the views have passed it.

mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use futures_util::StreamExt as _;
use model::api::{List, Post};
use model::ids::{ListId, PostId};
use model::values::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

/// A path, and by what one sees that it shows something of the author.
struct Column {
    name: &'static str,
    path: &'static str,
    trace: &'static str,
    /// Whether the path is only for the viewer.
    own: bool,
    /// Of a stream: the column that is empty at the same time.
    with: Option<&'static str>,
}

const fn column(name: &'static str, path: &'static str, trace: &'static str) -> Column {
    Column {
        name,
        path,
        trace,
        own: false,
        with: None,
    }
}

const fn own(name: &'static str, path: &'static str, trace: &'static str) -> Column {
    Column {
        own: true,
        ..column(name, path, trace)
    }
}

/// A stream, which shows as much as a list.
const fn stream(of: Column, name: &'static str, with: &'static str) -> Column {
    Column {
        name,
        with: Some(with),
        ..of
    }
}

const HOME: &str = "/v1/streams/home?after={before}";
const NOTIFICATIONS: &str = "/v1/streams/notifications?after={before}";
const THREAD: &str = "/v1/streams/posts/{shared}?after={before}";

/// `{before}` is a cursor from before everything.
/// `{direct}` and `{reposted}` are posts of the author, the second one reposted by the friend. `{shared}` is a post of the friend, which the
/// author likes, reposts, answers and quotes. `{quoting}` is a post of the friend that quotes one of the author. `{tag}` is the tag of
/// `{direct}`. The viewer follows the author, and the tag of another post.
/// `{own}` is a post of the viewer, which the author likes, reposts and answers. Another post of the author mentions the viewer.
/// The viewer has three lists: `{list}` has the author as its member, the others have the friend and the tag.
const COLUMNS: [Column; 48] = [
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
    stream(own("", HOME, "text of direct"), "stream of home", "home"),
    stream(
        own("", HOME, "text of reposted"),
        "stream of home by a repost",
        "home by a repost",
    ),
    stream(
        own("", HOME, "text of tagged"),
        "stream of home by a followed tag",
        "home by a followed tag",
    ),
    stream(
        own("", HOME, "text of quoted"),
        "stream of home by a quote",
        "home by a quote",
    ),
    stream(
        column("", "/v1/streams/public?after={before}", "text of direct"),
        "stream of public",
        "public",
    ),
    stream(
        column("", "/v1/streams/tags/{tag}?after={before}", "text of direct"),
        "stream of a tag",
        "tag",
    ),
    stream(
        own("", "/v1/streams/lists/{list}?after={before}", "text of direct"),
        "stream of a list",
        "list",
    ),
    stream(
        own(
            "",
            "/v1/streams/lists/{list of the friend}?after={before}",
            "text of reposted",
        ),
        "stream of a list by a repost",
        "list by a repost",
    ),
    stream(
        own(
            "",
            "/v1/streams/lists/{list of the tag}?after={before}",
            "text of direct",
        ),
        "stream of a list by a tag",
        "list by a tag",
    ),
    stream(
        column("", "/v1/streams/posts/{direct}", OPEN),
        "stream of a post",
        "post",
    ),
    stream(
        column("", THREAD, "text of answer"),
        "stream of a thread",
        "an answer in a thread",
    ),
    stream(
        own("", NOTIFICATIONS, "\"kind\":\"like\""),
        "told of a like",
        "notified of a like",
    ),
    stream(
        own("", NOTIFICATIONS, "\"kind\":\"repost\""),
        "told of a repost",
        "notified of a repost",
    ),
    stream(
        own("", NOTIFICATIONS, "text of mention"),
        "told of a mention",
        "notified of a mention",
    ),
    stream(
        own("", NOTIFICATIONS, "text of said"),
        "told of an answer",
        "notified of an answer",
    ),
];

/// That it can be opened shows something.
const OPEN: &str = "an answer";

/// Nobody but the author does anything that concerns the viewer. So any count shows something.
const UNREAD: &str = "a count";

/// Paths that show nothing but what the viewer did, or asks for by an id.
const OWN_DOING: [&str; 12] = [
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
const BY_MESSAGE: [&str; 1] = ["/v1/streams"];

/// Paths that show what hides things from others, but only to moderators; and what everybody may know of the place.
const OF_THE_PLACE: [&str; 3] = ["/v1/reports", "/v1/reports/{id}", "/v1/instance"];

#[derive(Clone, Copy)]
enum Who {
    Author,
    Viewer,
    Moderator,
}

type Act = (Who, Method, &'static str, &'static str);

struct Case {
    name: &'static str,
    /// Of `{direct}`, the answer, and the post with the followed tag.
    visibility: &'static str,
    denial: &'static [Act],
    hides: &'static [&'static [&'static str]],
    /// A visitor without an account sees as little.
    visitors_too: bool,
    /// A process does a part of it, soon.
    soon: bool,
}

impl Case {
    /// What the viewer sees before the denial.
    fn before(&self) -> BTreeSet<&'static str> {
        let hidden: &[&str] = if self.visibility == "public" { &[] } else { PUBLIC };
        without(names(COLUMNS.iter()), &hidden.iter().copied().collect())
    }

    /// What the viewer sees after it.
    fn after(&self) -> BTreeSet<&'static str> {
        let hidden: BTreeSet<&str> = self.hides.iter().copied().flatten().copied().collect();
        let unknown: Vec<_> = hidden.difference(&names(COLUMNS.iter())).copied().collect();
        assert!(unknown.is_empty(), "{}: no columns: {unknown:?}", self.name);
        without(self.before(), &hidden)
    }
}

/// Removes columns, and the streams that show as much.
fn without(columns: BTreeSet<&'static str>, hidden: &BTreeSet<&str>) -> BTreeSet<&'static str> {
    let shown = |column: &&Column| {
        columns.contains(column.name)
            && !hidden.contains(column.name)
            && column.with.is_none_or(|with| !hidden.contains(with))
    };
    names(COLUMNS.iter().filter(shown))
}

/// By the posts that are `{direct}`.
const DIRECT: &[&str] = &[
    "home",
    "posts",
    "post",
    "thread",
    "history",
    "bookmarks",
    "likers of a post",
    "list",
];
const ANSWER: &[&str] = &["an answer in a thread", "a quote of a post"];
/// Lists of public posts.
const PUBLIC: &[&str] = &["public", "tag", "list by a tag"];
const TAGGED: &[&str] = &["home by a followed tag"];
const QUOTED: &[&str] = &["home by a quote", "quoted in a post"];
const REPOSTED: &[&str] = &["home by a repost", "posts of the reposter", "list by a repost"];
const PEOPLE: &[&str] = &["likes", "reposts", "followers", "following", "list members"];
const OF_AUTHOR: &[&str] = &["followers of the author", "whom the author follows"];
const PROFILE: &[&str] = &["profile"];
const NOTIFIED: &[&str] = &[
    "notified of a like",
    "notified of a repost",
    "notified of a mention",
    "notified of an answer",
    "groups",
    "unread",
];
const NOTIFIED_OF_ANSWER: &[&str] = &["notified of an answer"];

const BLOCK: &str = "/v1/users/{author}/block";
const FOLLOW: &str = "/v1/users/{author}/follow";
const MUTE: &str = "/v1/users/{author}/mute";
const ME: &str = "/v1/users/me";
const PROTECT: Act = (Who::Author, Method::PATCH, ME, r#"{ "protected": true }"#);
const UNFOLLOW: Act = (Who::Viewer, Method::DELETE, FOLLOW, "");
const HIDDEN: &str = "/v1/posts/{direct}/hide";
const SUSPENSION: &str = "/v1/users/{author}/suspension";
const HIDE: Act = (Who::Moderator, Method::PUT, HIDDEN, "");
const SUSPEND: Act = (Who::Moderator, Method::PUT, SUSPENSION, "");
const REMOVE: Act = (Who::Author, Method::DELETE, "/v1/followers/{viewer}", "");

const LIST: &str = "/v1/lists/{list}";
const EXCLUDE: Act = (Who::Viewer, Method::PATCH, LIST, r#"{ "exclusive": true }"#);

const CASES: [Case; 27] = [
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

/// The people and the posts of one case.
struct Scene<'s> {
    stack: &'s Stack,
    moderator: &'s Person,
    author: Person,
    viewer: Person,
    friend: Person,
    direct: PostId,
    shared: PostId,
    quoting: PostId,
    /// Another post of the viewer.
    other: PostId,
    visibility: &'static str,
    /// With the author, the friend, the tag.
    lists: [ListId; 3],
    number: usize,
}

impl<'s> Scene<'s> {
    async fn set(stack: &'s Stack, moderator: &'s Person, number: usize, visibility: &'static str) -> Self {
        let handles = ["author", "viewer", "friend"].map(|role| format!("{role}{number}"));
        let [author, viewer, friend] = stack.people(handles.each_ref().map(String::as_str)).await;
        for (follower, followee) in [
            (&viewer, &author),
            (&viewer, &friend),
            (&friend, &author),
            (&author, &friend),
        ] {
            stack.follow(follower, followee).await;
        }
        let text = |what: &str| format!("text of {what} {number}. #{what}{number}");
        let bio = json!({ "bio": text("bio") });
        let _: Value = stack.command(Method::PATCH, ME, Some(&author), Some(bio)).await;
        let shared = stack.post(&friend, "shared").await.id;
        let write = async |what: &str, visibility: &str, in_reply_to: Option<PostId>| -> PostId {
            let text = match visibility {
                _ if what == "mention" => format!("{} @viewer{number}", text(what)),
                "mentioned" => format!("{} @viewer{number} @friend{number}", text(what)),
                _ => text(what),
            };
            let quote_of = (what == "quote").then_some(shared);
            let body = json!({
                "text": text, "visibility": visibility, "in_reply_to": in_reply_to, "quote_of": quote_of,
            });
            let post: Post = stack
                .command(Method::POST, "/v1/posts", Some(&author), Some(body))
                .await;
            post.id
        };
        let direct = write("direct", visibility, None).await;
        write("answer", visibility, Some(shared)).await;
        write("quote", visibility, None).await;
        write("tagged", visibility, None).await;
        let quoted = write("quoted", "public", None).await;
        let body = json!({ "text": "Look at that.", "quote_of": quoted });
        let quoting: Post = stack
            .command(Method::POST, "/v1/posts", Some(&friend), Some(body))
            .await;
        let followed = format!("/v1/tags/tagged{number}/follow");
        let _: Value = stack.command(Method::PUT, &followed, Some(&viewer), None).await;
        let reposted = write("reposted", "public", None).await;
        stack.repost(&friend, reposted).await;
        stack.like(&friend, direct).await;
        stack.like(&author, shared).await;
        stack.repost(&author, shared).await;
        let new_list = async |inside: String| -> ListId {
            let body = Some(json!({ "title": "A list" }));
            let list: List = stack.command(Method::POST, "/v1/lists", Some(&viewer), body).await;
            let inside = format!("/v1/lists/{}/{inside}", list.id);
            let _: Value = stack.command(Method::PUT, &inside, Some(&viewer), None).await;
            list.id
        };
        let lists = [
            new_list(format!("members/{}", author.id)).await,
            new_list(format!("members/{}", friend.id)).await,
            new_list(format!("tags/direct{number}")).await,
        ];
        let list_of_author = format!("/v1/lists/{}/tags/marker{number}", lists[0]);
        let _: Value = stack.command(Method::PUT, &list_of_author, Some(&viewer), None).await;
        let own = stack.post(&viewer, "own").await.id;
        let other = stack.post(&viewer, "other").await.id;
        stack.like(&author, own).await;
        stack.repost(&author, own).await;
        write("said", visibility, Some(own)).await;
        write("mention", visibility, None).await;
        let bookmark = format!("/v1/posts/{direct}/bookmark");
        let _: Value = stack.command(Method::PUT, &bookmark, Some(&viewer), None).await;
        Self {
            stack,
            moderator,
            author,
            viewer,
            friend,
            direct,
            shared,
            quoting: quoting.id,
            other,
            visibility,
            lists,
            number,
        }
    }

    fn fill(&self, template: &str) -> String {
        [
            ("{author}", self.author.id.to_string()),
            ("{viewer}", self.viewer.id.to_string()),
            ("{friend}", self.friend.id.to_string()),
            ("{direct}", self.direct.to_string()),
            ("{shared}", self.shared.to_string()),
            ("{quoting}", self.quoting.to_string()),
            ("{list}", self.lists[0].to_string()),
            ("{list of the friend}", self.lists[1].to_string()),
            ("{list of the tag}", self.lists[2].to_string()),
            ("{number}", self.number.to_string()),
            // Whatever is in the scene is newer than its first user.
            ("{before}", URL_SAFE_NO_PAD.encode(self.author.id.as_bytes())),
            ("{tag}", format!("direct{}", self.number)),
            ("{password}", Stack::password_of(&self.author)),
            ("{in two seconds}", (Utc::now() + TimeDelta::seconds(2)).to_rfc3339()),
        ]
        .iter()
        .fold(template.to_owned(), |filled, (name, value)| filled.replace(name, value))
    }

    async fn act(&self, (who, method, path, body): &Act) {
        let actor = match who {
            Who::Author => &self.author,
            Who::Viewer => &self.viewer,
            Who::Moderator => self.moderator,
        };
        let body = (!body.is_empty()).then(|| serde_json::from_str(&self.fill(body)).expect("JSON"));
        let answer = self
            .stack
            .send_command(method.clone(), &self.fill(path), Some(actor), body)
            .await;
        let status = answer.status();
        assert!(status.is_success(), "{method} {path} was answered {status}");
    }

    /// The columns that show something of the author, to the viewer or to a visitor.
    async fn seen(&self, viewer: Option<&Person>, with_token: bool) -> BTreeSet<&'static str> {
        let columns = COLUMNS.iter().filter(|column| viewer.is_some() || !column.own);
        let mut by_path: BTreeMap<&str, Vec<&Column>> = BTreeMap::new();
        columns.for_each(|column| by_path.entry(column.path).or_default().push(column));
        let reads = by_path.into_iter().map(async |(path, columns)| {
            let path = self.fill(path);
            let (status, body) = match with_token {
                _ if path.starts_with("/v1/streams/") => self.stack.read_stream(&path, viewer, with_token).await,
                true => self.stack.try_read(&path, viewer).await,
                false => self.stack.read_without_token(&path, viewer).await,
            };
            assert!(
                matches!(status, StatusCode::OK | StatusCode::NOT_FOUND),
                "{path} was answered {status}: {body}"
            );
            let shows = |column: &&Column| match column.trace {
                UNREAD => !body.contains("\"count\":0"),
                OPEN => status == StatusCode::OK,
                trace if trace.starts_with('{') => body.contains(&format!("\"id\":\"{}\"", self.fill(trace))),
                trace if trace.starts_with('"') => body.contains(trace),
                trace => body.contains(&format!("{trace} {}.", self.number)),
            };
            names(columns.into_iter().filter(shows))
        });
        // A service lets one caller wait with a limited number of requests.
        let reads = futures_util::stream::iter(reads.collect::<Vec<_>>());
        let seen: Vec<_> = reads.buffer_unordered(16).collect().await;
        seen.into_iter().flatten().collect()
    }
}

fn names(columns: impl Iterator<Item = &'static Column>) -> BTreeSet<&'static str> {
    columns.map(|column| column.name).collect()
}

e2e! {
    async fn nothing_is_seen_that_may_not_be_by_any_path() {
        let described: Value = serde_json::to_value(query_svc::openapi()).expect("JSON");
        let described = described["paths"].as_object().expect("paths").keys();
        let columns: BTreeSet<String> = COLUMNS.iter().map(|column| without_names(column.path)).collect();
        let missing: Vec<_> = described
            .filter(|path| !OWN_DOING.contains(&path.as_str()) && !OF_THE_PLACE.contains(&path.as_str()) && !BY_MESSAGE.contains(&path.as_str()) && !columns.contains(&without_names(path)))
            .collect();
        assert!(missing.is_empty(), "no column has these paths: {missing:?}");

        // A stream that its reader has left is counted until it says something again.
        let stack = Stack::start_with(&[("live.max_connections_per_caller", "1000")]).await;
        let moderator = stack.person("moderator").await;
        stack.give(&moderator, Some(Role::Moderator)).await;
        let mut delays = Vec::new();
        for (number, case) in CASES.iter().enumerate() {
            let scene = Scene::set(&stack, &moderator, number, case.visibility).await;
            let seen = scene.seen(Some(&scene.viewer), true).await;
            assert_eq!(seen, case.before(), "{}: before the denial", case.name);
            let streams = scene.watch().await;
            for act in case.denial {
                scene.act(act).await;
            }
            let answered = Instant::now();
            let expected = case.after();
            if case.soon {
                eventually(case.name, || async {
                    (scene.seen(Some(&scene.viewer), true).await == expected).then_some(())
                })
                .await;
            } else {
                // The views have passed the denial.
                scene.stack.read::<Value>("/v1/timelines/public?limit=1", None).await;
                delays.push(answered.elapsed());
            }
            scene.act_again().await;
            assert_eq!(scene.seen(Some(&scene.viewer), true).await, expected, "{}: with the token", case.name);
            let seen = scene.seen(Some(&scene.viewer), false).await;
            assert_eq!(seen, expected, "{}: without a token", case.name);
            if case.visitors_too {
                let expected = &expected - &names(COLUMNS.iter().filter(|column| column.own));
                assert_eq!(scene.seen(None, true).await, expected, "{}: a visitor", case.name);
            }
            assert_eq!(scene.seen_live(streams).await, live::expected(case), "{}: live", case.name);
        }
        delays.sort();
        let usual = delays[delays.len() / 2];
        assert!(usual < Duration::from_secs(1), "a denial takes effect on live streams after {usual:?}");
        eventually("the deletion is swept up", || async {
            let reports = stack.verify().await;
            reports.iter().all(|report| report.in_motion == 0).then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}

/// The path without its query, and with all names in it the same.
fn without_names(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

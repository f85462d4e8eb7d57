use chrono::TimeDelta;
use model::entities::Entities;
use model::ids::{FilterId, uuid_v7};
use model::values::{FilterAction, FilterContext, PostText, ProfileField};
use rstest::rstest;

use super::*;
use views::{PostCounts, ProfileCounts};

fn user() -> UserId {
    UserId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH))
}

fn profile(id: UserId) -> Arc<Profile> {
    Arc::new(Profile {
        id,
        version: 1,
        handle: "ada".to_owned(),
        display_name: "Ada \"the first\"".to_owned(),
        bio: "Line\nbreak".to_owned(),
        fields: vec![ProfileField {
            name: "Web".to_owned(),
            value: "https://example.org".to_owned(),
        }],
        created_at: DateTime::UNIX_EPOCH,
        protected: false,
        suspended: false,
        counts: ProfileCounts {
            posts: 2,
            followers: -1,
            following: 3,
        },
        audience: None,
    })
}

fn post(author: UserId, visibility: Visibility) -> Post {
    let text = PostText::parse("hello #world @bob https://example.org").unwrap();
    Post {
        id: PostId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH)),
        version: 2,
        author,
        tags: Entities::of(&text).tags().into_iter().collect(),
        entities: Entities::of(&text),
        text: text.into_string(),
        warning: Some("A \"quoted\" warning".to_owned()),
        language: Some("en".to_owned()),
        in_reply_to: None,
        quote_of: None,
        quoting: None,
        repost_of: None,
        visibility,
        created_at: DateTime::UNIX_EPOCH,
        edited_at: Some(DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_234)),
        hidden: false,
        position: None,
        counts: PostCounts {
            likes: 5,
            reposts: -2,
            replies: 1,
            quotes: -1,
        },
    }
}

fn loaded(viewer: Option<UserId>, authors: AuthorFilter<'_>) -> Loaded<'_> {
    Loaded {
        posts: Found::default(),
        profiles: Found::default(),
        relations: Found::default(),
        viewer,
        authors,
        kept_out: HashSet::new(),
        filters: None,
        now: DateTime::UNIX_EPOCH,
    }
}

fn following_tag(tag: &str) -> HomeRules {
    HomeRules {
        tags: vec![TagKey::of(tag)],
        ..HomeRules::default()
    }
}

impl Loaded<'_> {
    fn with(mut self, post: &Post) -> Self {
        self.posts.insert(post.id, Some(Arc::new(post.clone())));
        self.profiles.insert(post.author, Some(profile(post.author)));
        self
    }
}

fn repost(author: UserId, original: &Post) -> Post {
    let repost_of = Some(PostReference {
        post: original.id,
        author: original.author,
    });
    Post {
        repost_of,
        text: String::new(),
        tags: Vec::new(),
        ..post(author, Visibility::Public)
    }
}

fn quoting(author: UserId, quoted: &Post) -> Post {
    let quote_of = Some(PostReference {
        post: quoted.id,
        author: quoted.author,
    });
    Post {
        quote_of,
        quoting: Some(quoted.id),
        ..post(author, Visibility::Public)
    }
}

/// What the JSON says of the quote: its state, and the quoted post.
fn quote_in(shown: &ShownPost) -> api::Quote {
    let json = serde_json::to_string(shown).unwrap();
    let parsed: api::Post = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
    let shows = parsed.repost_of.map_or(parsed.quote, |original| original.quote);
    shows.unwrap()
}

#[test]
fn a_quote_is_shown_to_those_who_see_the_quoted_post_and_its_post_to_everybody() {
    use api::QuoteState::{Detached, Nested, Shown, Unavailable};
    let (viewer, author, friend) = (user(), user(), user());
    let (open, closed) = (post(author, Visibility::Public), post(author, Visibility::Followers));
    let state = |quoted: &Post, authors: AuthorFilter<'_>, relations: &[RelationId]| {
        let quote = quoting(friend, quoted);
        let mut loaded = loaded(Some(viewer), authors).with(quoted).with(&quote);
        loaded.relations.extend(relations.iter().map(|&id| (id, Held::Yes)));
        let shown = loaded.shown(&Candidate::from(&quote)).unwrap();
        let quote = quote_in(&shown);
        assert_eq!(
            quote.post.as_ref().map(|post| post.id),
            (quote.state == Shown).then_some(quoted.id)
        );
        quote.state
    };
    let (follow, mute) = (RelationId::follow(viewer, author), RelationId::mute(viewer, author));
    let (follow_friend, block) = (RelationId::follow(viewer, friend), RelationId::block(author, viewer));
    assert_eq!(state(&open, AuthorFilter::Anybody, &[]), Shown);
    assert_eq!(state(&open, AuthorFilter::Anybody, &[mute]), Shown);
    assert_eq!(state(&open, AuthorFilter::Anybody, &[block]), Unavailable);
    assert_eq!(state(&open, AuthorFilter::Public, &[mute]), Unavailable);
    assert_eq!(
        state(&open, AuthorFilter::Followed(&HomeRules::default()), &[follow_friend]),
        Shown
    );
    assert_eq!(state(&closed, AuthorFilter::Anybody, &[]), Unavailable);
    assert_eq!(state(&closed, AuthorFilter::Public, &[follow]), Shown);

    // A quote in a quote is named only, and one in a repost belongs to the original.
    let (inner, reposter) = (quoting(author, &open), user());
    let outer = quoting(friend, &inner);
    let repost = repost(reposter, &outer);
    let loaded = loaded(None, AuthorFilter::Anybody)
        .with(&open)
        .with(&inner)
        .with(&outer)
        .with(&repost);
    let quote = quote_in(&loaded.shown(&Candidate::from(&repost)).unwrap());
    let nested = quote.post.unwrap().quote.unwrap();
    assert_eq!((quote.state, nested.state, nested.post), (Shown, Nested, None));

    let detached = Post {
        quoting: None,
        ..quoting(friend, &open)
    };
    let loaded = loaded.with(&detached);
    assert_eq!(
        quote_in(&loaded.shown(&Candidate::from(&detached)).unwrap()).state,
        Detached
    );
}

#[test]
fn borrowed_json_is_that_of_the_api_types() {
    let (viewer, author, reposter) = (user(), user(), user());
    let original = post(author, Visibility::Public);
    let repost = repost(reposter, &original);
    let mut loaded = loaded(Some(viewer), AuthorFilter::Anybody)
        .with(&original)
        .with(&repost);
    loaded
        .relations
        .insert(RelationId::like(viewer, original.id), Held::Yes);
    let filter = api::Filter {
        id: FilterId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH)),
        phrases: vec!["#World".to_owned()],
        whole_word: true,
        contexts: [FilterContext::Home].into(),
        action: FilterAction::Warn,
        expires_at: None,
    };
    let filters = Filters::compile(vec![filter.clone()]).unwrap();
    loaded.filters = Arc::new(filters).applied(Filtering::In(FilterContext::Home), DateTime::UNIX_EPOCH);
    let shown = loaded.shown(&Candidate::from(&repost)).unwrap();
    let json = serde_json::to_string(&shown).unwrap();
    let parsed: api::Post = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
    let found = api::Filtered {
        id: filter.id,
        action: filter.action,
        phrases: filter.phrases,
    };
    assert_eq!(parsed.filtered, [found]);
    let inner = parsed.repost_of.unwrap();
    assert_eq!(
        (inner.id, inner.author.id, parsed.author.id),
        (original.id, author, reposter)
    );
    assert_eq!(
        inner.counts,
        Some(api::PostCounts {
            likes: 5,
            reposts: 0,
            replies: 1,
            quotes: 0,
        })
    );
    assert_eq!((parsed.counts, parsed.viewer), (inner.counts, inner.viewer));
    assert_eq!(
        inner.viewer,
        Some(api::PostViewer {
            liked: true,
            reposted: false
        })
    );

    let json = serde_json::to_string(&ShownUser::to(Some(viewer), profile(author), &Blocks::default())).unwrap();
    let parsed: api::User = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
    assert_eq!(
        parsed.counts,
        Some(api::UserCounts {
            posts: 2,
            followers: 0,
            following: 3
        })
    );
}

/// Who looks at a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Viewer {
    Anonymous,
    Stranger,
    Follower,
    /// Follows nobody.
    Mentioned,
    MentionedFollower,
    Author,
}

const VIEWERS: [Viewer; 6] = [
    Viewer::Anonymous,
    Viewer::Stranger,
    Viewer::Follower,
    Viewer::Mentioned,
    Viewer::MentionedFollower,
    Viewer::Author,
];

impl Viewer {
    /// Whether a post of this visibility is shown to the viewer. It mentions @bob.
    fn is_shown(self, visibility: Visibility, authors: AuthorFilter<'_>, protected: bool) -> bool {
        let author = user();
        let mut post = post(author, visibility);
        let viewer = match self {
            Viewer::Anonymous => None,
            Viewer::Author => Some(author),
            _ => Some(user()),
        };
        // Somebody is always mentioned.
        let mentions = matches!(self, Viewer::Mentioned | Viewer::MentionedFollower);
        post.entities.mentions[0].user = viewer.filter(|_| mentions).or(Some(user()));
        let mut loaded = loaded(viewer, authors).with(&post);
        if let Some(viewer) = viewer {
            let follows = matches!(self, Viewer::Follower | Viewer::MentionedFollower);
            let held = if follows { Held::Yes } else { Held::No };
            loaded.relations.insert(RelationId::follow(viewer, author), held);
        }
        if let Some(Some(profile)) = loaded.profiles.get_mut(&author) {
            Arc::make_mut(profile).protected = protected;
        }
        loaded.shown(&Candidate::from(&post)).is_some()
    }
}

#[rstest]
// A visitor without an account, a stranger, a follower, somebody mentioned, a follower mentioned, the author.
#[case::public(Visibility::Public, [true, true, true, true, true, true])]
#[case::unlisted(Visibility::Unlisted, [true, true, true, true, true, true])]
#[case::followers(Visibility::Followers, [false, false, true, true, true, true])]
#[case::mentioned(Visibility::Mentioned, [false, false, false, true, true, true])]
fn who_sees_what(#[case] visibility: Visibility, #[case] expected: [bool; 6]) {
    let shown = VIEWERS.map(|viewer| viewer.is_shown(visibility, AuthorFilter::Anybody, false));
    assert_eq!(shown, expected);
    // While the author is protected, at most followers see it.
    let at_most = match visibility.is_open() {
        true => [false, false, true, true, true, true],
        false => expected,
    };
    let shown = VIEWERS.map(|viewer| viewer.is_shown(visibility, AuthorFilter::Anybody, true));
    assert_eq!(shown, at_most);
    // Lists that show public posts show no others, and none of a protected author.
    for (protected, expected) in [(false, visibility == Visibility::Public), (true, false)] {
        let shown = VIEWERS.map(|viewer| viewer.is_shown(visibility, AuthorFilter::Public, protected));
        assert_eq!(shown, [expected; 6]);
    }
}

#[rstest]
#[case::public(Visibility::Public, [false, false, true, false, true, true])]
#[case::unlisted(Visibility::Unlisted, [false, false, true, false, true, true])]
#[case::followers(Visibility::Followers, [false, false, true, false, true, true])]
#[case::mentioned(Visibility::Mentioned, [false, false, false, false, true, true])]
fn home_has_what_one_sees_by_oneself_and_by_whom_one_follows(
    #[case] visibility: Visibility,
    #[case] expected: [bool; 6],
) {
    let [world, other] = ["World", "other"].map(following_tag);
    for rules in [&HomeRules::default(), &other] {
        let shown = VIEWERS.map(|viewer| viewer.is_shown(visibility, AuthorFilter::Followed(rules), false));
        assert_eq!(shown, expected, "{rules:?}");
    }
    // A followed tag adds public posts by anybody, and none of a protected author.
    let with_tag = match visibility {
        Visibility::Public => [false, true, true, true, true, true],
        _ => expected,
    };
    for (protected, expected) in [(false, with_tag), (true, expected)] {
        let shown = VIEWERS[1..]
            .iter()
            .map(|viewer| viewer.is_shown(visibility, AuthorFilter::Followed(&world), protected));
        assert_eq!(shown.collect::<Vec<_>>(), expected[1..], "{protected}");
    }
}

#[rstest]
#[case::a_mute(RelationId::mute, [false, false, false, true])]
#[case::a_block(RelationId::block, [false; 4])]
#[case::a_block_by_the_author(|viewer, author| RelationId::block(author, viewer), [false; 4])]
fn a_tag_brings_nothing_of_whom_one_mutes_or_a_block_hides(
    #[case] denial: fn(UserId, UserId) -> RelationId,
    #[case] expected: [bool; 4],
) {
    let (viewer, author) = (user(), user());
    let post = post(author, Visibility::Public);
    let world = following_tag("World");
    let of_tag = ListSources {
        members: Vec::new(),
        tags: world.tags.clone(),
    };
    let lists = [
        AuthorFilter::Followed(&world),
        AuthorFilter::List(&of_tag),
        AuthorFilter::Public,
        AuthorFilter::Anybody,
    ];
    let shown = |held| {
        lists.map(|authors| {
            let mut loaded = loaded(Some(viewer), authors).with(&post);
            loaded.relations.insert(denial(viewer, author), held);
            loaded.shown(&Candidate::from(&post)).is_some()
        })
    };
    assert_eq!(shown(Held::No), [true; 4]);
    assert_eq!(shown(Held::Yes), expected);
}

#[rstest]
#[case::a_hidden_post(true, false)]
#[case::a_suspended_author(false, true)]
fn only_its_author_sees_what_a_moderator_hides(#[case] hidden: bool, #[case] suspended: bool) {
    let (author, reposter, other) = (user(), user(), user());
    let original = Post {
        hidden,
        ..post(author, Visibility::Public)
    };
    let repost = repost(reposter, &original);
    for viewer in [None, Some(author), Some(reposter), Some(other)] {
        for authors in [AuthorFilter::Public, AuthorFilter::Anybody] {
            let mut loaded = loaded(viewer, authors).with(&original).with(&repost);
            if let Some(viewer) = viewer {
                loaded.relations.insert(RelationId::follow(viewer, author), Held::Yes);
            }
            if let Some(Some(profile)) = loaded.profiles.get_mut(&author) {
                Arc::make_mut(profile).suspended = suspended;
            }
            for shown in [&original, &repost].map(|post| loaded.shown(&Candidate::from(post))) {
                assert_eq!(shown.is_some(), viewer == Some(author), "{viewer:?} {authors:?}");
                let json = serde_json::to_string(&shown).unwrap();
                assert_eq!(json.contains(r#""hidden":true"#), shown.is_some() && hidden);
            }
            // Nobody sees that a suspended account has reposted.
            if let Some(Some(profile)) = loaded.profiles.get_mut(&reposter) {
                Arc::make_mut(profile).suspended = true;
            }
            let shown = loaded.shown(&Candidate::from(&repost));
            assert!(shown.is_none() || viewer == Some(reposter));
        }
    }
}

#[test]
fn of_a_suspended_user_others_see_the_name_only() {
    let mut suspended = profile(user());
    Arc::make_mut(&mut suspended).suspended = true;
    for (viewer, whole) in [(Some(suspended.id), true), (Some(user()), false), (None, false)] {
        let shown = ShownUser::to(viewer, suspended.clone(), &Blocks::default());
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["suspended"], true);
        assert_eq!(json["handle"], "ada");
        assert_eq!((json["bio"] != "", json.get("counts").is_some()), (whole, whole));
        assert_eq!(json["fields"].as_array().unwrap().is_empty(), !whole);
    }
}

/// Even if the viewer may see the original itself.
#[rstest]
#[case::public(Visibility::Public, true)]
#[case::unlisted(Visibility::Unlisted, true)]
#[case::followers(Visibility::Followers, false)]
#[case::mentioned(Visibility::Mentioned, false)]
fn a_repost_reveals_only_what_everybody_sees(#[case] visibility: Visibility, #[case] expected: bool) {
    let (author, reposter) = (user(), user());
    let original = post(author, visibility);
    let repost = repost(reposter, &original);
    for viewer in [None, Some(author), Some(reposter), Some(user())] {
        let loaded = loaded(viewer, AuthorFilter::Anybody).with(&original).with(&repost);
        let shown = loaded.shown(&Candidate::from(&repost));
        assert_eq!(shown.is_some(), expected, "{viewer:?}");
    }
}

#[test]
fn what_is_not_live_is_not_shown() {
    let (author, reposter) = (user(), user());
    let original = post(author, Visibility::Public);
    let repost = repost(reposter, &original);
    let whole = || loaded(None, AuthorFilter::Anybody).with(&original).with(&repost);
    let candidate = Candidate::from(&repost);
    assert!(whole().shown(&candidate).is_some());
    for gone in [original.id, repost.id] {
        let mut loaded = whole();
        loaded.posts.insert(gone, None);
        assert!(loaded.shown(&candidate).is_none());
    }
    for gone in [author, reposter] {
        let mut loaded = whole();
        loaded.profiles.insert(gone, None);
        assert!(loaded.shown(&candidate).is_none());
    }
}

#[test]
fn without_a_token_there_are_no_flags() {
    let post = post(user(), Visibility::Public);
    let shown = loaded(None, AuthorFilter::Anybody)
        .with(&post)
        .shown(&Candidate::from(&post))
        .unwrap();
    let json = serde_json::to_value(&shown).unwrap();
    assert!(json.get("viewer").is_none(), "{json}");
}

/// The viewer follows the reposter, and the tag of all posts.
#[test]
fn an_exclusive_list_keeps_its_members_out_of_home_but_never_the_owner() {
    let [viewer, member, reposter] = [user(), user(), user()];
    let by_member = post(member, Visibility::Public);
    let by_reposter = post(reposter, Visibility::Public);
    let own = post(viewer, Visibility::Public);
    let reposts = [
        repost(reposter, &by_member),
        repost(member, &by_reposter),
        repost(member, &own),
        repost(reposter, &own),
        repost(viewer, &by_member),
        repost(viewer, &own),
    ];
    let posts: Vec<&Post> = [&by_member, &by_reposter, &own].into_iter().chain(&reposts).collect();
    let shown = |kept_out: &[UserId], authors| {
        let mut loaded = posts
            .iter()
            .fold(loaded(Some(viewer), authors), |all, post| all.with(post));
        for followed in [member, reposter] {
            loaded.relations.insert(RelationId::follow(viewer, followed), Held::Yes);
        }
        loaded.kept_out = kept_out.iter().copied().collect();
        let shown = posts.iter().map(|post| loaded.shown(&Candidate::from(*post)).is_some());
        shown.collect::<Vec<_>>()
    };
    let rules = following_tag("world");
    let home = AuthorFilter::Followed(&rules);
    assert_eq!(shown(&[], home), [true; 9]);
    let expected = [false, true, true, false, false, false, true, true, true];
    assert_eq!(shown(&[member], home), expected);
    // Other places show them.
    assert_eq!(shown(&[member], AuthorFilter::Anybody), [true; 9]);
}

/// Whom the author answers.
#[rstest]
#[case::nobody(|_, _, _| None, false, true)]
#[case::a_stranger(|_, _, other| Some(other), false, false)]
#[case::somebody_whom_the_viewer_follows(|_, _, other| Some(other), true, true)]
#[case::the_viewer(|viewer, _, _| Some(viewer), false, true)]
#[case::the_author(|_, author, _| Some(author), false, true)]
fn home_may_leave_out_replies_to_whom_one_does_not_follow(
    #[case] answered: fn(UserId, UserId, UserId) -> Option<UserId>,
    #[case] follows_answered: bool,
    #[case] expected: bool,
) {
    let [viewer, author, other] = [user(), user(), user()];
    let in_reply_to = answered(viewer, author, other).map(|author| PostReference {
        post: PostId::from_uuid(uuid_v7(DateTime::UNIX_EPOCH)),
        author,
    });
    let reply = Post {
        in_reply_to,
        ..post(author, Visibility::Public)
    };
    let own = Post {
        in_reply_to,
        ..post(viewer, Visibility::Public)
    };
    let repost = repost(author, &reply);
    for (replies, expected) in [(Replies::All, true), (Replies::Followed, expected)] {
        let rules = HomeRules {
            replies,
            ..HomeRules::default()
        };
        let mut loaded = loaded(Some(viewer), AuthorFilter::Followed(&rules))
            .with(&reply)
            .with(&own)
            .with(&repost);
        for (followed, held) in [(author, true), (other, follows_answered)] {
            let held = if held { Held::Yes } else { Held::No };
            loaded.relations.insert(RelationId::follow(viewer, followed), held);
        }
        let shown = [&reply, &own, &repost].map(|post| loaded.shown(&Candidate::from(post)).is_some());
        assert_eq!(shown, [expected, true, true], "{replies:?}");
    }
}

#[test]
fn a_list_has_what_its_members_post_and_public_posts_with_its_tags() {
    let [viewer, member, other] = [user(), user(), user()];
    let by = |author, visibility| post(author, visibility);
    let without_tag = Post {
        tags: Vec::new(),
        ..by(other, Visibility::Public)
    };
    let original = by(other, Visibility::Unlisted);
    let [by_member, by_other] = [member, other].map(|reposter| repost(reposter, &original));
    let posts = [
        (by(member, Visibility::Unlisted), true),
        // Admission is another question: the viewer does not follow the member.
        (by(member, Visibility::Followers), false),
        (by(other, Visibility::Public), true),
        (by(other, Visibility::Unlisted), false),
        (without_tag, false),
        (by_member, true),
        (by_other, false),
        (by(viewer, Visibility::Unlisted), false),
    ];
    let sources = ListSources {
        members: vec![member],
        tags: vec![TagKey::of("World")],
    };
    for (post, expected) in &posts {
        let loaded = loaded(Some(viewer), AuthorFilter::List(&sources))
            .with(&original)
            .with(post);
        let shown = loaded.shown(&Candidate::from(post));
        assert_eq!(shown.is_some(), *expected, "{post:?}");
    }
}

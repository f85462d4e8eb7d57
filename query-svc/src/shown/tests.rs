use chrono::TimeDelta;
use model::ids::uuid_v7;
use model::values::PostText;
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
        now: DateTime::UNIX_EPOCH,
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
    let shown = loaded.shown(&Candidate::from(&repost)).unwrap();
    let json = serde_json::to_string(&shown).unwrap();
    let parsed: api::Post = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), json);
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
            replies: 1
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
    let [world, other] = ["World", "other"].map(|tag| [TagKey::of(tag)]);
    for tags in [&[], &other[..]] {
        let shown = VIEWERS.map(|viewer| viewer.is_shown(visibility, AuthorFilter::Followed(tags), false));
        assert_eq!(shown, expected, "{tags:?}");
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
#[case::a_mute(RelationId::mute, [false, false, true])]
#[case::a_block(RelationId::block, [false, false, false])]
#[case::a_block_by_the_author(|viewer, author| RelationId::block(author, viewer), [false, false, false])]
fn a_tag_brings_nothing_of_whom_one_mutes_or_a_block_hides(
    #[case] denial: fn(UserId, UserId) -> RelationId,
    #[case] expected: [bool; 3],
) {
    let (viewer, author) = (user(), user());
    let post = post(author, Visibility::Public);
    let world = [TagKey::of("World")];
    let lists = [
        AuthorFilter::Followed(&world),
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
    assert_eq!(shown(Held::No), [true; 3]);
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

//! Tests home timelines after random histories, in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::ids::{PostId, UserId};
use model::values::Visibility;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::definition;
use crate::fixture::timelines;
use crate::home::expected;
use crate::service::{Caller, Service};

/// Generates what happens in a random history.
struct Happening {
    random: StdRng,
    follows: BTreeSet<(UserId, UserId)>,
    reposts: BTreeSet<(UserId, PostId)>,
    tags: BTreeSet<(UserId, &'static str)>,
}

/// What people write about.
const TAGS: [&str; 4] = ["rust", "東京", "İstanbul", "go"];

impl Happening {
    fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.random_range(0..of.len())])
    }

    fn text(&mut self) -> String {
        let tags = [self.one_of(&TAGS), self.one_of(&TAGS)];
        let tags = tags.into_iter().flatten().filter(|_| self.random.random_bool(0.4));
        tags.fold("text".to_owned(), |text, tag| format!("{text} #{tag}"))
    }

    async fn next(&mut self, service: &mut Service) {
        let users: Vec<UserId> = service
            .store
            .users
            .values()
            .filter(|user| !user.deleted)
            .map(|user| user.id)
            .collect();
        let mut users = users;
        users.sort();
        let mut posts: Vec<PostId> = service
            .store
            .posts
            .values()
            .filter(|post| !post.deleted)
            .map(|post| post.id)
            .collect();
        posts.sort();
        let (Some(user), Some(other)) = (self.one_of(&users), self.one_of(&users)) else {
            return;
        };
        let post = self.one_of(&posts);
        match self.random.random_range(0..100) {
            0..40 => {
                let visibility = if self.random.random_bool(0.3) {
                    Visibility::Followers
                } else {
                    Visibility::Public
                };
                let (text, parent) = (self.text(), post.filter(|_| self.random.random_bool(0.2)));
                service.store.write(user, &text, parent, visibility);
            }
            40..48 => {
                if let Some(tag) = self.one_of(&TAGS) {
                    let follows = self.tags.insert((user, tag));
                    if !follows {
                        self.tags.remove(&(user, tag));
                    }
                    service.store.follow_tag(user, tag, follows);
                }
            }
            48..52 => {
                if let Some(post) = post {
                    let text = self.text();
                    service.store.edit(post, &text);
                }
            }
            52..68 if user != other && self.follows.insert((user, other)) => {
                service.store.follow(user, other);
            }
            68..73 => {
                let follows: Vec<_> = self.follows.iter().copied().collect();
                if let Some((follower, followee)) = self.one_of(&follows) {
                    self.follows.remove(&(follower, followee));
                    service.store.unfollow(follower, followee);
                }
            }
            73..82 => {
                let public = post.filter(|post| service.store.posts[post].visibility == Visibility::Public);
                if let Some(post) = public.filter(|&post| self.reposts.insert((user, post))) {
                    service.store.repost(user, post);
                }
            }
            82..85 => {
                let reposts: Vec<_> = self.reposts.iter().copied().collect();
                if let Some((user, post)) = self.one_of(&reposts) {
                    self.reposts.remove(&(user, post));
                    service.store.unrepost(user, post);
                }
            }
            85..93 => {
                if let Some(post) = post {
                    service.store.delete_post(post);
                }
            }
            93..96 => {
                service.settle().await;
                service.clock.advance(timelines().idle_after + Duration::from_secs(1));
                service.projected.projection.mark_idle_owners().await.unwrap();
            }
            96 if users.len() > 4 => {
                service.store.delete_user(user);
            }
            _ => {
                service.settle().await;
                let home = service.home(user, 3).await;
                assert_eq!(home, expected(service, user));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_history_every_timeline_is_what_the_definition_says() {
    let mut met = BTreeMap::<&str, f64>::new();
    // Without timelines in memory, and with them.
    for (seed, memory) in [(0, "0"), (1, "1"), (2, "0"), (3, "1")] {
        let mut service = Service::start_with(&[("cache.heads_max_mib", memory)]).await;
        for n in 0..7 {
            service.store.register(&format!("user{n}"));
        }
        let random = StdRng::seed_from_u64(seed);
        let mut happening = Happening {
            random,
            follows: BTreeSet::new(),
            reposts: BTreeSet::new(),
            tags: BTreeSet::new(),
        };
        for _ in 0..90 {
            happening.next(&mut service).await;
        }
        service.pass(Duration::from_secs(60)).await;
        for owner in definition::live_users(&service.store.log) {
            let expected = expected(&service, owner);
            for caller in [Caller::Verifier(owner), Caller::User(owner)] {
                for limit in [2, 7] {
                    let context = format!("seed {seed}, {caller:?}, limit {limit}");
                    assert_eq!(
                        service.walk("/v1/timelines/home", caller, limit).await,
                        expected,
                        "{context}"
                    );
                    assert_eq!(
                        service.climb("/v1/timelines/home", caller, limit).await,
                        expected,
                        "{context}, upwards"
                    );
                }
            }
        }
        for kind in ["head", "stored", "below_floor", "large", "tags", "idle"] {
            let name = format!("home_page_steps_total{{kind=\"{kind}\"}}");
            *met.entry(kind).or_default() += service.metric(&name).await;
        }
        service.stop().await;
    }
    assert!(
        met.values().all(|&steps| steps > 0.0),
        "a branch was never entered: {met:?}"
    );
}

//! Posts that are read ahead of the change stream, while memory holds what was allowed before.

use std::sync::Arc;
use std::time::Duration;

use event_log::position::Position;
use event_log::subscription::Delivery;
use model::ids::{Partition, PostId, UserId};
use model::tags::TagKey;
use model::values::{NotificationKind, Visibility};
use mongodb::Database;
use service::telemetry::MetricsRegistry;
use tokio_util::task::TaskTracker;

use crate::documents::Documents;
use crate::filters::Filtering;
use crate::fixture::{Projected, Store, clock, database};
use crate::history::Versions;
use crate::metrics::Metrics;
use crate::notifications::{Notifications, Which};
use crate::paging::{self, Arrival, PageRequest, Start};
use crate::positions::Positions;
use crate::read_model::{Gate, ReadModel};
use crate::shown::{AuthorFilter, Candidate, HomeRules};

/// Up to here the stream has shown everything.
const SHOWN: u64 = 100;

/// A store, its views, and a read model whose stream has come to a halt.
struct Halted {
    store: Store,
    projected: Projected,
    read_model: ReadModel,
    handled: usize,
}

impl Halted {
    async fn on(database: &Database) -> Self {
        let clock = clock();
        let projected = Projected::new(database, 1, clock.clone()).await;
        let positions = Arc::new(Positions::new());
        Partition::all().for_each(|partition| positions.advance(partition, Position::from_u64(SHOWN)));
        let read_model = ReadModel {
            views: projected.views.clone(),
            shape: views::SHAPE,
            documents: Some(Arc::new(Documents::new(1_000_000, 0))),
            positions,
            uses: TaskTracker::new(),
            gate: Arc::new(Gate::new(8, Duration::from_secs(20))),
            metrics: Arc::new(Metrics::register(&MetricsRegistry::default())),
            clock: clock.clone(),
        };
        Self {
            store: Store::new(clock),
            projected,
            read_model,
            handled: 0,
        }
    }

    async fn project(&mut self, at: u64) {
        let new: Vec<Delivery> = self.store.log[self.handled..]
            .iter()
            .map(|delivery| Delivery {
                position: Some(Position::from_u64(at)),
                ..delivery.clone()
            })
            .collect();
        self.handled = self.store.log.len();
        self.projected.deliver(&new).await;
    }

    async fn shows(&self, post: PostId, viewer: UserId) -> bool {
        self.lists(post, viewer, AuthorFilter::Anybody).await
    }

    async fn lists(&self, post: PostId, viewer: UserId, authors: AuthorFilter<'_>) -> bool {
        let row = self.read_model.posts(vec![post]).await.unwrap()[&post].clone().unwrap();
        let candidates = [Candidate::from(row.as_ref())];
        let shown = self.read_model.show(&candidates, Some(viewer), authors, Filtering::Off);
        shown.await.unwrap()[0].is_some()
    }
}

/// Who reposts is told as long as the owner may see the reposts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repost_ahead_of_the_stream_is_told_by_nobody_who_is_closed_by_then() {
    let (_database, views) = database().await;
    let mut halted = Halted::on(&views).await;
    let names = ["ada", "bob", "eve", "kim", "zoe"];
    let [ada, bob, eve, kim, zoe] = names.map(|handle| halted.store.register(handle));
    halted.store.protect(eve, true);
    halted.store.follow(ada, eve);
    let [before, after] = ["before", "after"].map(|text| halted.store.post(ada, text));
    for user in [bob, eve, kim, zoe] {
        halted.store.repost(user, before);
    }
    halted.project(SHOWN).await;
    let told = async |halted: &Halted| -> Vec<String> {
        let mut list = Notifications {
            read_model: &halted.read_model,
            owner: ada,
            which: Which::Kinds(vec![NotificationKind::Repost]),
            above: None,
            read_up_to: None,
            decided: 0,
        };
        let request = PageRequest {
            limit: 20,
            start: Start::Newest,
        };
        let page = paging::page(&mut list, request, &Arrival::InOrder).await.unwrap();
        let json = serde_json::to_value(&page.items).unwrap();
        let handle = |it: &serde_json::Value| it["user"]["handle"].as_str().unwrap().to_owned();
        json.as_array().unwrap().iter().map(handle).collect()
    };
    assert_eq!(told(&halted).await, ["zoe", "kim", "eve", "bob"]);

    halted.store.protect(bob, true);
    halted.store.unfollow(ada, eve);
    halted.store.suspend(zoe, true);
    for user in [bob, eve, kim, zoe] {
        halted.store.repost(user, after);
    }
    halted.project(SHOWN + 1).await;
    assert_eq!(told(&halted).await, ["kim", "kim"]);
}

/// The post that was judged is in memory. The edit came after what may deny it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_has_no_version_after_the_one_that_was_judged() {
    let (_database, views) = database().await;
    let mut halted = Halted::on(&views).await;
    let [ada, bob] = ["ada", "bob"].map(|handle| halted.store.register(handle));
    let post = halted.store.post(ada, "before");
    halted.project(SHOWN).await;
    assert!(halted.shows(post, bob).await);
    halted.store.block(ada, bob, true);
    halted.store.edit(post, "after the block");
    halted.project(SHOWN + 1).await;
    let judged = halted.read_model.posts(vec![post]).await.unwrap()[&post]
        .clone()
        .unwrap();
    let mut versions = Versions {
        read_model: &halted.read_model,
        post,
        newest: judged.version,
    };
    let request = PageRequest {
        limit: 20,
        start: Start::Newest,
    };
    let page = paging::page(&mut versions, request, &Arrival::InOrder).await.unwrap();
    let json = serde_json::to_string(&page.items).unwrap();
    assert!(json.contains("before") && !json.contains("after the block"), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_ahead_of_the_stream_never_meets_what_was_allowed_before() {
    let (_database, views) = database().await;
    let mut halted = Halted::on(&views).await;
    let [ada, bob, eve, zoe] = ["ada", "bob", "eve", "zoe"].map(|handle| halted.store.register(handle));
    halted.store.follow(bob, ada);
    halted.store.follow(eve, ada);
    let before = halted.store.write(ada, "before", None, Visibility::Followers);
    let tagged = halted.store.post(ada, "before #rust");
    halted.project(SHOWN).await;
    // Zoe follows nobody, and the tag. So memory holds an author who is not protected.
    let rust = HomeRules {
        tags: vec![TagKey::of("rust")],
        ..HomeRules::default()
    };
    let of_tags = [AuthorFilter::Followed(&rust), AuthorFilter::Public];
    for authors in of_tags {
        assert!(halted.lists(tagged, zoe, authors).await, "{authors:?}");
    }
    for viewer in [bob, eve] {
        assert!(halted.shows(before, viewer).await);
    }

    halted.store.block(ada, bob, true);
    let blocked = halted.store.post(ada, "after the block #rust");
    halted.store.unfollow(eve, ada);
    let closed = halted
        .store
        .write(ada, "after the end of the follow", None, Visibility::Followers);
    halted.store.protect(ada, true);
    let protected = halted.store.post(ada, "after the protection #rust");
    let repost = halted.store.repost(eve, blocked);
    halted.project(SHOWN + 1).await;
    for (post, viewer, shown) in [
        (blocked, bob, false),
        (repost, bob, false),
        (closed, eve, false),
        (protected, eve, false),
        (protected, ada, true),
        // Memory may still show what it showed.
        (before, bob, true),
    ] {
        assert_eq!(halted.shows(post, viewer).await, shown, "{post} to {viewer}");
    }
    halted.store.protect(ada, false);
    halted.store.suspend(ada, true);
    let suspended = halted.store.post(ada, "after the suspension");
    halted.project(SHOWN + 2).await;
    assert!(!halted.shows(suspended, zoe).await);
    assert!(halted.shows(suspended, ada).await);
    for authors in of_tags {
        for (post, viewer) in [(blocked, bob), (protected, zoe)] {
            assert!(
                !halted.lists(post, viewer, authors).await,
                "{post} to {viewer} by {authors:?}"
            );
        }
    }
}

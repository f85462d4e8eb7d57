//! The views: the collections that queries read. They are made from events.
//!
//! Each file holds one collection: its document, its reads and its guarded writes. Nothing else writes to that collection. The projector
//! writes by [`ViewProjection`]. query-svc only makes the two writes of a header ([`home_timelines::HomeTimelines::wake`],
//! [`home_timelines::HomeTimelines::note_visit`]).
//!
//! The name of a collection ends with its generation, because a rebuild fills new collections while the old ones are read.
//!
//! Invariant: a row holds the content of the highest version of its stream, in whatever order events arrive. A row that is only counted on
//! so far is a stub: it has version 0 and is not live. A removed row stays as a tombstone: it is not live, and contains nothing that people
//! wrote.

pub mod bookmarks;
pub mod filters;
pub mod followed_tags;
pub mod generation;
pub mod home_timelines;
pub mod list_members;
pub mod list_tags;
pub mod lists;
pub mod notifications;
pub mod pins;
pub mod post_history;
pub mod posts;
pub mod profiles;
pub mod range;
pub mod relations;
pub mod reports;
pub mod roles;
pub mod tagged;

mod bulk;
mod combiner;
mod distribution;
mod edits;
mod entry_writer;
mod fan_out;
mod filling;
mod guarded;
mod metrics;
mod projection;
mod row_writer;
mod rows;
mod settings;

use bson::{Binary, Document};
use event_log::mongo::majority;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    ClusteredIndex, CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria,
};
use mongodb::{Collection, Database, IndexModel};

pub use self::bookmarks::{Bookmark, Bookmarks};
pub use self::filling::{Filled, Filling};
pub use self::filters::{Filter, Filters};
pub use self::followed_tags::{FollowedTag, FollowedTags};
pub use self::home_timelines::{Entry, Header, HomeTimelines};
pub use self::list_members::{ListMember, ListMembers, Membership};
pub use self::list_tags::{ListTag, ListTags};
pub use self::lists::{List, Lists};
pub use self::metrics::ViewMetrics;
pub use self::notifications::{Notification, NotificationGroup, Notifications};
pub use self::pins::Pins;
pub use self::post_history::{PostHistory, PostVersion};
pub use self::posts::{Post, PostCounts, PostHead, PostReference, Posts};
pub use self::profiles::{Audience, Profile, ProfileCounts, Profiles};
pub use self::projection::ViewProjection;
pub use self::range::{End, Range};
pub use self::relations::{Relation, RelationId, RelationKind, Relations, Standing};
pub use self::reports::{Report, Reports};
pub use self::roles::Roles;
pub use self::settings::Timelines;
pub use self::tagged::{Tagged, TaggedPost};

/// The collections of one generation.
#[derive(Debug, Clone)]
pub struct Views {
    database: Database,
    generation: i64,
    pub profiles: Profiles,
    pub posts: Posts,
    pub relations: Relations,
    pub home_timelines: HomeTimelines,
    pub post_history: PostHistory,
    pub bookmarks: Bookmarks,
    pub tagged: Tagged,
    pub followed_tags: FollowedTags,
    pub pins: Pins,
    pub lists: Lists,
    pub list_members: ListMembers,
    pub list_tags: ListTags,
    pub filters: Filters,
    pub reports: Reports,
    pub roles: Roles,
    pub notifications: Notifications,
}

impl Views {
    /// Sends no request to the server.
    pub fn new(database: &Database, generation: i64) -> Self {
        let named = |name: &str| collection_name(name, generation);
        Self {
            profiles: Profiles::new(database, &named(profiles::NAME)),
            posts: Posts::new(database, &named(posts::NAME)),
            relations: Relations::new(database, &named(relations::NAME)),
            home_timelines: HomeTimelines::new(database, &named(home_timelines::NAME)),
            post_history: PostHistory::new(database, &named(post_history::NAME)),
            bookmarks: Bookmarks::new(database, &named(bookmarks::NAME)),
            tagged: Tagged::new(database, &named(tagged::NAME)),
            followed_tags: FollowedTags::new(database, &named(followed_tags::NAME)),
            pins: Pins::new(database, &named(pins::NAME)),
            lists: Lists::new(database, &named(lists::NAME)),
            list_members: ListMembers::new(database, &named(list_members::NAME)),
            list_tags: ListTags::new(database, &named(list_tags::NAME)),
            filters: Filters::new(database, &named(filters::NAME)),
            reports: Reports::new(database, &named(reports::NAME)),
            roles: Roles::new(database, &named(roles::NAME)),
            notifications: Notifications::new(database, named),
            database: database.clone(),
            generation,
        }
    }

    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The database that holds the views.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Creates the collections and indexes that are missing. Several programs may call it, repeatedly and at the same time.
    pub async fn ensure(&self) -> Result<(), Error> {
        self.profiles.ensure().await?;
        self.posts.ensure().await?;
        self.relations.ensure().await?;
        self.home_timelines.ensure().await?;
        self.post_history.ensure().await?;
        self.bookmarks.ensure().await?;
        self.tagged.ensure().await?;
        self.followed_tags.ensure().await?;
        self.filters.ensure().await?;
        self.lists.ensure().await?;
        self.list_members.ensure().await?;
        self.list_tags.ensure().await?;
        self.pins.ensure().await?;
        self.reports.ensure().await?;
        self.roles.ensure().await?;
        self.notifications.ensure().await
    }
}

/// The name of a view's collection in a generation.
pub fn collection_name(view: &str, generation: i64) -> String {
    format!("{view}_g{generation}")
}

/// The name of the subscription that updates a generation. Its checkpoints say how far the views are.
pub fn subscription_name(generation: i64) -> String {
    format!("{SUBSCRIPTION}{generation}")
}

/// The generation that a subscription updates, if it updates one.
pub fn subscribed_generation(subscription: &str) -> Option<i64> {
    subscription.strip_prefix(SUBSCRIPTION)?.parse().ok()
}

const SUBSCRIPTION: &str = "views-g";

/// What the views contain in this version of the program: see [`Handler::shape`](event_log::subscription::Handler::shape). It is raised with
/// each change after which a generation that an earlier version wrote lacks something. Then a rebuild starts by itself.
///
/// | shape | adds |
/// |---|---|
/// | 0 | what the first version writes |
/// | 1 | `protected` in `profiles`; blocks, mutes and requests in `relations`; `tagged` and `followed_tags` |
/// | 2 | quotes in `posts`; `notifications` and `notification_groups`; `notifications` of mutes in `relations` |
pub const SHAPE: i32 = 2;

/// The [`SHAPE`] that brought tags.
pub const SHAPE_WITH_TAGS: i32 = 1;

/// The [`SHAPE`] that brought notifications.
pub const SHAPE_WITH_NOTIFICATIONS: i32 = 2;

/// The [`SHAPE`] that brought quotes.
pub const SHAPE_WITH_QUOTES: i32 = 2;

/// A collection that reads majority-committed data from the primary, and writes to a majority, whatever the client's defaults are.
fn collection<T: Send + Sync>(database: &Database, name: &str) -> Collection<T> {
    let options = CollectionOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    database.collection_with_options(name, options)
}

/// Creates a clustered collection. Its documents are stored in the `_id` index, so that one scan reads a range of ids. It does not suit
/// lookups by a list of ids: MongoDB scans everything between the lowest and the highest id of the list.
async fn create_clustered(database: &Database, name: &str) -> Result<(), Error> {
    tolerate_existing(
        database
            .create_collection(name)
            .clustered_index(ClusteredIndex::default())
            .await,
    )
}

/// The id of a row that is the id of something.
fn id_of(bytes: [u8; 16]) -> Binary {
    bson::Uuid::from_bytes(bytes).into()
}

/// A batch size with which this many documents come in one reply. By default, the first batch ends at 101 documents.
fn one_batch(documents: usize) -> u32 {
    u32::try_from(documents).unwrap_or(u32::MAX).saturating_add(1)
}

async fn create_plain(database: &Database, name: &str) -> Result<(), Error> {
    tolerate_existing(database.create_collection(name).await)
}

/// Ignores "NamespaceExists": another program has created the collection first.
fn tolerate_existing(created: Result<(), Error>) -> Result<(), Error> {
    match created {
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == 48) => Ok(()),
        other => other,
    }
}

fn index(name: &str, keys: Document, partial: Option<Document>) -> IndexModel {
    let options = IndexOptions::builder()
        .name(name.to_owned())
        .partial_filter_expression(partial)
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}

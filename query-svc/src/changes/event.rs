//! What one change event means.

use bson::{Bson, Document};
use event_log::position::Position;
use event_log::subscription::leases::LEASES;
use model::ids::{ListId, Partition, PostId, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Broken;
use crate::bus::{Change, PostChange};
use crate::cache::Counts;
use views::RelationId;

pub(super) const CONTROL: &str = "control";

/// The collections of one generation that are followed.
#[derive(Debug)]
pub(super) struct Collections {
    pub(super) posts: String,
    pub(super) profiles: String,
    pub(super) relations: String,
    pub(super) list_members: String,
    pub(super) list_tags: String,
    pub(super) filters: String,
    pub(super) lists: String,
    pub(super) followed_tags: String,
    pub(super) notifications: String,
    pub(super) tagged: String,
    /// Only headers that tell of exclusive lists are followed. All entries of all timelines would be too much.
    pub(super) home_timelines: String,
}

impl Collections {
    pub(super) fn of(generation: i64) -> Self {
        let named = |view: &str| views::collection_name(view, generation);
        Self {
            posts: named(views::posts::NAME),
            profiles: named(views::profiles::NAME),
            relations: named(views::relations::NAME),
            list_members: named(views::list_members::NAME),
            list_tags: named(views::list_tags::NAME),
            filters: named(views::filters::NAME),
            lists: named(views::lists::NAME),
            followed_tags: named(views::followed_tags::NAME),
            notifications: named(views::notifications::NAME),
            tagged: named(views::tagged::NAME),
            home_timelines: named(views::home_timelines::NAME),
        }
    }

    /// The change that an event reports.
    pub(super) fn read(&self, event: &ChangeEvent) -> Result<Change, Broken> {
        if !matches!(event.operation.as_str(), "insert" | "update" | "replace" | "delete") {
            // The stream does not show `create` and `createIndexes` by default. The cache can't follow any other operation.
            return Err(Broken::Collection(event.operation.clone()));
        }
        let collection = event
            .namespace
            .as_ref()
            .and_then(|namespace| namespace.collection.as_deref());
        let key = event.key.as_ref().map(|key| &key.id);
        match (collection, key) {
            (Some(CONTROL), _) => Ok(Change::Control),
            (Some(LEASES), Some(Bson::String(id))) => {
                let Some(position) = event.position()? else {
                    return Ok(Change::Other);
                };
                let number = id.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
                let partition = number.and_then(Partition::new);
                Ok(Change::Checkpoint(
                    partition.ok_or(Broken::Malformed("the id of a lease"))?,
                    position,
                ))
            }
            (Some(name), Some(Bson::Binary(id))) if name == self.relations => RelationId::from_binary(id)
                .map(Change::Relation)
                .ok_or(Broken::Malformed("the id of a relation")),
            (Some(name), Some(Bson::Binary(id))) if name == self.list_members || name == self.list_tags => {
                views::list_members::list_in_id(id)
                    .map(Change::ListSources)
                    .ok_or(Broken::Malformed("the id of a part of a list"))
            }
            (Some(name), Some(Bson::Binary(id))) if name == self.filters => views::filters::owner_of(id)
                .map(Change::Filter)
                .ok_or(Broken::Malformed("the id of a filter")),
            (Some(name), Some(Bson::Binary(id)))
                if [&self.followed_tags, &self.notifications, &self.home_timelines]
                    .into_iter()
                    .any(|it| it == name) =>
            {
                let user = id.bytes.first_chunk().map(|&user| UserId::from_bytes(user));
                let user = user.ok_or(Broken::Malformed("an id that begins with a user"))?;
                Ok(match name {
                    name if name == self.notifications => Change::Notification(user),
                    name if name == self.followed_tags => Change::FollowedTag(user),
                    _ => Change::ExclusiveLists(user),
                })
            }
            (Some(name), Some(Bson::Binary(id))) if name == self.tagged => {
                let (tag, post) = views::tagged::in_id(id).ok_or(Broken::Malformed("the id of a post with a tag"))?;
                let author = event.document.as_ref().and_then(|row| row.get("author"));
                Ok(match author.and_then(uuid) {
                    Some(author) => Change::Tagged(tag, post, UserId::from_uuid(author)),
                    None => Change::Untagged(tag, post),
                })
            }
            (Some(name), Some(Bson::Binary(id))) => {
                let id = id
                    .to_uuid()
                    .map_err(|_| Broken::Malformed("the id of a document"))?
                    .into();
                Ok(if name == self.posts {
                    Change::Post(PostId::from_uuid(id), event.post_change()?)
                } else if name == self.lists {
                    Change::List(ListId::from_uuid(id))
                } else if name == self.profiles {
                    Change::Profile(UserId::from_uuid(id), event.counts(["posts", "followers", "following"]))
                } else {
                    Change::Other
                })
            }
            _ => Err(Broken::Malformed("it names no document")),
        }
    }
}

/// The parts of a change event that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct ChangeEvent {
    #[serde(rename = "operationType")]
    operation: String,
    #[serde(rename = "ns", default)]
    namespace: Option<Namespace>,
    #[serde(rename = "documentKey", default)]
    key: Option<Key>,
    #[serde(rename = "updateDescription", default)]
    update: Option<Update>,
    #[serde(rename = "fullDocument", default)]
    document: Option<Document>,
}

impl ChangeEvent {
    /// The checkpoint that was written, if one was.
    fn position(&self) -> Result<Option<Position>, Broken> {
        let updated = self.update.as_ref().and_then(|update| update.fields.get("position"));
        match updated {
            Some(&Bson::Timestamp(position)) => Ok(Some(position.into())),
            Some(_) => Err(Broken::Malformed("a checkpoint")),
            None => match self.document.as_ref().and_then(|lease| lease.get("position")) {
                Some(&Bson::Timestamp(position)) => Ok(Some(position.into())),
                _ => Ok(None),
            },
        }
    }

    /// What changed in the row of a post. A live row was inserted, or a stub has become one, or the row has become a tombstone.
    fn post_change(&self) -> Result<PostChange, Broken> {
        let fields = match (&self.document, &self.update) {
            // A replaced row says nothing of what was there before. We never replace one.
            (Some(row), _) if self.operation == "insert" => row,
            (_, Some(update)) => &update.fields,
            _ => return Ok(PostChange::Other),
        };
        match fields.get("live") {
            Some(Bson::Boolean(true)) => {
                let appeared = read(fields).map(|appeared| PostChange::Appeared(Box::new(appeared)));
                appeared.ok_or(Broken::Malformed("the row of a post"))
            }
            Some(Bson::Boolean(false)) => {
                let gone = fields.get_document(views::posts::WAS).ok();
                Ok(PostChange::Gone(gone.and_then(read)))
            }
            _ => Ok(self
                .counts(["likes", "reposts", "replies", "quotes"])
                .map_or(PostChange::Other, PostChange::Counts)),
        }
    }

    /// The new values of the counts with these names, if nothing else changed.
    fn counts<const N: usize>(&self, names: [&str; N]) -> Option<Counts> {
        let update = self
            .update
            .as_ref()
            .filter(|update| !update.fields.is_empty() && update.removed.is_empty() && update.truncated.is_empty())?;
        let mut counts = Counts::default();
        for (field, value) in &update.fields {
            match field.strip_prefix("counts")?.strip_prefix('.') {
                Some(name) => {
                    let index = names.iter().position(|known| *known == name)?;
                    counts.0[index] = Some(integer(value)?);
                }
                // The first count of a document writes all of them.
                None => {
                    let all = value.as_document().filter(|_| field == "counts")?;
                    for (count, name) in counts.0.iter_mut().zip(names) {
                        *count = Some(all.get(name).map_or(Some(0), integer)?);
                    }
                }
            }
        }
        Some(counts)
    }
}

/// Ids are binary in BSON only. A `Document` counts as text for humans, where they are text.
fn read<T: DeserializeOwned>(fields: &Document) -> Option<T> {
    let bytes = bson::serialize_to_vec(fields).ok()?;
    bson::deserialize_from_slice(&bytes).ok()
}

fn uuid(value: &Bson) -> Option<uuid::Uuid> {
    match value {
        Bson::Binary(id) => id.to_uuid().ok().map(Into::into),
        _ => None,
    }
}

fn integer(value: &Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "coll", default)]
    collection: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Key {
    #[serde(rename = "_id")]
    id: Bson,
}

#[derive(Debug, Deserialize)]
struct Update {
    #[serde(rename = "updatedFields", default)]
    fields: Document,
    #[serde(rename = "removedFields", default)]
    removed: Vec<String>,
    #[serde(rename = "truncatedArrays", default)]
    truncated: Vec<Bson>,
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Binary, Timestamp, doc};
    use model::ids::uuid_v7;
    use model::tags::TagKey;
    use views::posts::Gone;

    use super::*;
    use crate::bus::Appeared;

    fn event(document: Document) -> ChangeEvent {
        bson::deserialize_from_document(document).unwrap()
    }

    fn change(document: Document) -> Result<Change, Broken> {
        Collections::of(3).read(&event(document))
    }

    fn at(seconds: u32) -> Position {
        Position::from(Timestamp {
            time: seconds,
            increment: 2,
        })
    }

    #[test]
    fn a_checkpoint_names_its_partition() {
        let updated = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/07" },
            "updateDescription": { "updatedFields": { "position": at(9) } },
        };
        let seventh = Change::Checkpoint(Partition::new(7).unwrap(), at(9));
        assert_eq!(change(updated).unwrap(), seventh);
        let inserted = doc! {
            "operationType": "insert",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/63" },
            "fullDocument": { "position": at(4) },
        };
        let last = Change::Checkpoint(Partition::new(63).unwrap(), at(4));
        assert_eq!(change(inserted).unwrap(), last);
    }

    #[test]
    fn a_post_appears_changes_and_goes() {
        let now = chrono::Utc::now();
        let (author, id) = (UserId::from_uuid(uuid_v7(now)), PostId::from_uuid(uuid_v7(now)));
        let of_post = |operation: &str, more: Document| {
            let mut event = doc! {
                "operationType": operation,
                "ns": { "db": "views", "coll": "posts_g3" },
                "documentKey": { "_id": id },
            };
            event.extend(more);
            match change(event).unwrap() {
                Change::Post(_, change) => change,
                other => panic!("{other:?}"),
            }
        };
        let updated = |fields: Document| of_post("update", doc! { "updateDescription": { "updatedFields": fields } });
        let row = doc! { "live": true, "author": author, "public": true, "tags": ["rust"], "position": at(9) };
        let appeared = PostChange::Appeared(Box::new(Appeared {
            author,
            repost_of: None,
            in_reply_to: None,
            tags: vec![TagKey::of("rust")],
            public: true,
            position: Some(at(9)),
        }));
        assert_eq!(of_post("insert", doc! { "fullDocument": row.clone() }), appeared);
        assert_eq!(updated(row), appeared, "a stub becomes a post");
        assert_eq!(updated(doc! { "text": "edited" }), PostChange::Other);
        assert_eq!(
            updated(doc! { "live": false, "was": { "author": author, "in_reply_to": id } }),
            PostChange::Gone(Some(Gone {
                author,
                in_reply_to: Some(id),
                public: false
            }))
        );
        let stub = doc! { "live": false, "version": 0_i64 };
        assert_eq!(of_post("insert", doc! { "fullDocument": stub }), PostChange::Gone(None));
        let counted = updated(doc! { "counts.likes": 2_i64 });
        assert_eq!(counted, PostChange::Counts(Counts([Some(2), None, None, None])));
    }

    #[test]
    fn a_heartbeat_of_a_lease_tells_nothing() {
        let beat = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "leases" },
            "documentKey": { "_id": "views-g3/07" },
            "updateDescription": { "updatedFields": {} },
        };
        assert_eq!(change(beat).unwrap(), Change::Other);
    }

    #[test]
    fn documents_of_each_kind_are_understood() {
        let now = chrono::Utc::now();
        let (user, post) = (UserId::from_uuid(uuid_v7(now)), PostId::from_uuid(uuid_v7(now)));
        let like = RelationId::like(user, post);
        let filter = Binary {
            subtype: BinarySubtype::Generic,
            bytes: [*user.as_bytes(), *post.as_bytes()].concat(),
        };
        let binary = |bytes: Vec<u8>| {
            Bson::Binary(Binary {
                subtype: BinarySubtype::Generic,
                bytes,
            })
        };
        let list = ListId::from_uuid(uuid_v7(now));
        let of_user = binary([&user.as_bytes()[..], b"F", &post.as_bytes()[..]].concat());
        let tagged = binary([&[7; 8][..], &post.as_bytes()[..]].concat());
        let told: [(&str, Bson, Change); 9] = [
            ("lists_g3", list.into(), Change::List(list)),
            ("followed_tags_g3", of_user.clone(), Change::FollowedTag(user)),
            ("home_timelines_g3", of_user.clone(), Change::ExclusiveLists(user)),
            ("notifications_g3", of_user, Change::Notification(user)),
            ("tagged_g3", tagged, Change::Untagged([7; 8], post)),
            ("filters_g3", Bson::Binary(filter), Change::Filter(user)),
            ("posts_g3", post.into(), Change::Post(post, PostChange::Other)),
            ("profiles_g3", user.into(), Change::Profile(user, None)),
            ("relations_g3", like.into(), Change::Relation(like)),
        ];
        for (collection, key, expected) in told {
            for operation in ["insert", "update", "replace", "delete"] {
                let change = change(doc! {
                    "operationType": operation,
                    "ns": { "db": "views", "coll": collection },
                    "documentKey": { "_id": key.clone() },
                });
                assert_eq!(change.unwrap(), expected, "{operation}");
            }
        }
    }

    #[test]
    fn counts_are_told_apart_from_other_changes() {
        let names = ["likes", "reposts", "replies"];
        let counts = |update: Document| {
            let changed = doc! { "operationType": "update", "updateDescription": update };
            event(changed).counts(names)
        };
        let only =
            |fields: Document| counts(doc! { "updatedFields": fields, "removedFields": [], "truncatedArrays": [] });
        assert_eq!(
            only(doc! { "counts.likes": 5_i64, "counts.replies": 2_i32 }),
            Some(Counts([Some(5), None, Some(2), None]))
        );
        assert_eq!(
            only(doc! { "counts": { "reposts": -1_i64 } }),
            Some(Counts([Some(0), Some(-1), Some(0), None])),
            "a document's first count writes all of them"
        );
        for other in [
            doc! {},
            doc! { "counts.likes": 5_i64, "text": "new" },
            doc! { "counts.views": 5_i64 },
            doc! { "counts.likes": "many" },
            doc! { "counts": 5_i64 },
            doc! { "countsoflikes": { "likes": 5_i64 } },
            doc! { "live": false },
        ] {
            assert_eq!(only(other.clone()), None, "{other}");
        }
        let removed = doc! { "updatedFields": { "counts.likes": 5_i64 }, "removedFields": ["text"] };
        assert_eq!(counts(removed), None);
        for operation in ["insert", "replace", "delete"] {
            let whole = doc! { "operationType": operation, "fullDocument": { "counts": { "likes": 5_i64 } } };
            assert_eq!(event(whole).counts(names), None, "{operation}");
        }
    }

    #[test]
    fn what_can_not_be_followed_breaks_the_stream() {
        for operation in ["drop", "rename", "dropDatabase", "invalidate"] {
            let change = change(doc! { "operationType": operation, "ns": { "db": "views", "coll": "posts_g3" } });
            assert!(matches!(change, Err(Broken::Collection(_))), "{operation}");
        }
        let without_key = doc! { "operationType": "update", "ns": { "db": "views", "coll": "posts_g3" } };
        assert!(matches!(change(without_key), Err(Broken::Malformed(_))));
    }

    #[test]
    fn the_state_of_generations_is_pointed_out() {
        let switched = doc! {
            "operationType": "update",
            "ns": { "db": "views", "coll": "control" },
            "documentKey": { "_id": "views" },
        };
        assert_eq!(change(switched).unwrap(), Change::Control);
    }
}

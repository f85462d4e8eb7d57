//! A few lines that stand in for the database: its rows, one transaction, and the part of the update language that rows need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{Bson, Document, doc};
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use uuid::Uuid;

use super::super::{Changes, Keys, Known, Recorded, RowState, Writes, history_id, late_history};
use crate::bulk::Update;
use crate::posts::QUOTING;
use crate::tagged;

/// The rows, as a database would hold them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Database {
    profiles: BTreeMap<String, Document>,
    posts: BTreeMap<String, Document>,
    relations: BTreeMap<String, Document>,
    history: BTreeMap<String, Document>,
    tagged: BTreeMap<String, Document>,
    notifications: BTreeMap<String, Document>,
    groups: BTreeMap<String, Document>,
}

type Table = BTreeMap<String, Document>;

fn name(id: impl Into<Bson>) -> String {
    id.into().to_string()
}

fn stored_tags(row: &Document) -> BTreeSet<TagKey> {
    let tags = row.get_array("tags").map(Vec::as_slice).unwrap_or_default();
    tags.iter().map(|tag| TagKey::of(tag.as_str().unwrap())).collect()
}

fn quoting(row: &Document) -> Option<PostId> {
    match row.get(QUOTING)? {
        Bson::Binary(id) => Some(PostId::from_uuid(id.to_uuid().unwrap().into())),
        other => panic!("{other} is no id of a post"),
    }
}

/// The rows of tags that there should be, by the texts of the live public posts.
fn rows_of_tags(posts: &Table) -> Table {
    let id = |row: &Document, field: &str| match row.get(field) {
        Some(Bson::Binary(id)) => Uuid::from(id.to_uuid().unwrap()),
        _ => panic!("no {field} in {row}"),
    };
    let mut writes = Writes::default();
    for row in posts.values().filter(|row| row.get_bool("public").unwrap_or(false)) {
        // From its bytes, as the driver reads it: ids in a document are not what they are in JSON.
        let entities = bson::serialize_to_vec(row.get_document("entities").unwrap()).unwrap();
        let entities: Entities = bson::deserialize_from_slice(&entities).unwrap();
        let (post, author) = (PostId::from_uuid(id(row, "_id")), UserId::from_uuid(id(row, "author")));
        let tags = [&BTreeSet::new(), &entities.tags()];
        tagged::change(post, author, tags, TagKey::prefix, &mut writes);
    }
    let rows = writes.inserts.into_iter();
    rows.map(|row| (name(row.get("_id").unwrap().clone()), row)).collect()
}

fn bytes(id: &Bson) -> Vec<u8> {
    match id {
        Bson::Binary(id) => id.bytes.clone(),
        other => panic!("{other} is no id"),
    }
}

/// The users whom a post's row names.
fn stored_told(row: &Document) -> BTreeSet<UserId> {
    let told = row.get_array("told").map(Vec::as_slice).unwrap_or_default();
    let told = told.iter().map(|user| bytes(user).try_into().unwrap());
    told.map(UserId::from_bytes).collect()
}

fn state(table: &Table, id: impl Into<Bson>) -> RowState {
    table.get(&name(id)).map_or_else(RowState::default, |row| RowState {
        exists: true,
        version: row.get_i64("version").unwrap(),
        live: row.get_bool("live").unwrap(),
    })
}

fn remove(table: &mut Table, ids: Vec<Bson>) {
    for id in ids {
        assert!(table.remove(&name(id)).is_some(), "a row is removed that is not there");
    }
}

fn insert(table: &mut Table, documents: Vec<Document>) {
    for document in documents {
        let id = name(document.get("_id").unwrap().clone());
        assert!(table.insert(id, document).is_none(), "a row is inserted that is there");
    }
}

/// The part of MongoDB's update language that rows need.
fn update(table: &mut Table, updates: Vec<Update>) {
    for update in updates {
        let (filter, change) = update.parts();
        let id = filter.get("_id").unwrap().clone();
        let is_new = !table.contains_key(&name(id.clone()));
        if is_new && !update.makes_it() {
            continue;
        }
        let row = table.entry(name(id.clone())).or_insert_with(|| doc! { "_id": id });
        for (operator, fields) in change {
            for (field, value) in fields.as_document().unwrap() {
                match operator.as_str() {
                    "$set" => drop(row.insert(field, value.clone())),
                    "$setOnInsert" if is_new => drop(row.insert(field, value.clone())),
                    "$setOnInsert" => {}
                    "$unset" => drop(row.remove(field)),
                    "$min" | "$max" => {
                        let stored = row.get(field).map(bytes);
                        let lower = stored.as_ref().is_none_or(|stored| bytes(value) < *stored);
                        let higher = stored.as_ref().is_none_or(|stored| bytes(value) > *stored);
                        if (operator == "$min" && lower) || (operator == "$max" && higher) {
                            row.insert(field, value.clone());
                        }
                    }
                    "$inc" => {
                        let (outer, inner) = field.split_once('.').unwrap_or((field, ""));
                        let place = if inner.is_empty() {
                            &mut *row
                        } else {
                            let nested = row.entry(outer).or_insert_with(|| Document::new().into());
                            nested.as_document_mut().unwrap()
                        };
                        let count = if inner.is_empty() { outer } else { inner };
                        let before = place.get_i64(count).unwrap_or(0);
                        place.insert(count, before + value.as_i64().unwrap());
                    }
                    other => panic!("{other} is not among what rows are written with"),
                }
            }
        }
    }
}

impl Database {
    /// One transaction, as the row writer makes it.
    pub(super) fn commit(&mut self, batch: &[Recorded]) {
        let keys = Keys::of(batch.iter());
        let known = Known {
            quoting: keys
                .posts
                .iter()
                .filter_map(|&id| Some((id, quoting(self.posts.get(&name(id))?)?)))
                .collect(),
            reaches: HashMap::new(),
            tags: keys
                .posts
                .iter()
                .filter_map(|&id| Some((id, stored_tags(self.posts.get(&name(id))?))))
                .collect(),
            told: keys
                .posts
                .iter()
                .filter_map(|&id| Some((id, stored_told(self.posts.get(&name(id))?))))
                .collect(),
            profiles: keys
                .profiles
                .iter()
                .map(|&id| (id, state(&self.profiles, id)))
                .collect(),
            posts: keys.posts.iter().map(|&id| (id, state(&self.posts, id))).collect(),
            relations: keys
                .relations
                .iter()
                .map(|&id| (id, state(&self.relations, id)))
                .collect(),
        };
        let mut changes = Changes::decide(known, batch.iter()).unwrap();
        for (post, version) in late_history(&changes) {
            if self.history.contains_key(&name(history_id(post, version))) {
                changes.history.remove(&(post, version));
            } else {
                changes.touch(post);
            }
        }
        let writes = changes.into_writes();
        for (table, writes) in [
            (&mut self.profiles, writes.profiles),
            (&mut self.posts, writes.posts),
            (&mut self.relations, writes.relations),
            (&mut self.history, writes.history),
            (&mut self.tagged, writes.tagged),
            (&mut self.notifications, writes.notifications),
            (&mut self.groups, writes.groups),
        ] {
            remove(table, writes.removals);
            insert(table, writes.inserts);
            update(table, writes.updates);
        }
        self.history.retain(|_, row| {
            !writes
                .forgotten
                .iter()
                .any(|post| row.get("post") == Some(&Bson::from(*post)))
        });
    }

    /// Every live public post has the rows of its tags, and there are no others.
    pub(super) fn assert_tagged(&self) {
        assert_eq!(self.tagged, rows_of_tags(&self.posts));
    }

    /// The owner, the kind, the actor, the post and the place of each notification.
    pub(super) fn told(&self) -> BTreeSet<[String; 5]> {
        let field = |row: &Document, name: &str| row.get(name).map(ToString::to_string).unwrap_or_default();
        let rows = self.notifications.values().filter(|row| row.contains_key("owner"));
        rows.map(|row| ["owner", "kind", "user", "post", "place"].map(|name| field(row, name)))
            .collect()
    }

    /// What readers see: without the fields for writers only, and with a count of zero removed.
    pub(super) fn seen(mut self) -> Self {
        // A text that is redacted tells nobody. So a place may be missing where nothing is told any more, and so may a group of nothing.
        self.notifications.retain(|_, row| row.contains_key("owner"));
        let groups: BTreeSet<String> = self
            .notifications
            .values()
            .filter_map(|row| row.get("group").cloned().map(name))
            .collect();
        self.groups.retain(|id, _| groups.contains(id));
        for table in [&mut self.notifications, &mut self.groups] {
            for row in table.values_mut() {
                let fields: BTreeMap<_, _> = std::mem::take(row).into_iter().collect();
                row.extend(fields);
            }
        }
        for table in [&mut self.profiles, &mut self.posts, &mut self.relations] {
            for row in table.values_mut() {
                row.remove("touches");
                row.remove("posted");
                if let Some(Bson::Document(counts)) = row.get_mut("counts") {
                    let counted: Document = std::mem::take(counts)
                        .into_iter()
                        .filter(|(_, count)| count.as_i64() != Some(0))
                        .collect();
                    *counts = counted;
                }
                if row.get_document("counts").is_ok_and(Document::is_empty) {
                    row.remove("counts");
                }
                *row = std::mem::take(row)
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
                    .into_iter()
                    .collect();
            }
            // A stub that counts nothing is the same as no row.
            table.retain(|_, row| row.get_i64("version").unwrap() != 0 || row.contains_key("counts"));
        }
        self
    }
}

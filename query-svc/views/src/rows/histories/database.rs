//! A few lines that stand in for the database.

use std::collections::{BTreeMap, HashMap};

use bson::{Bson, Document, doc};

use crate::bulk::Update;
use crate::rows::{Changes, Keys, Known, Recorded, RowState, history_id, late_history};

/// The rows, as a database would hold them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Database {
    profiles: BTreeMap<String, Document>,
    posts: BTreeMap<String, Document>,
    relations: BTreeMap<String, Document>,
    history: BTreeMap<String, Document>,
}

type Table = BTreeMap<String, Document>;

fn name(id: impl Into<Bson>) -> String {
    id.into().to_string()
}

fn state(table: &Table, id: impl Into<Bson>) -> RowState {
    table.get(&name(id)).map_or_else(RowState::default, |row| RowState {
        exists: true,
        version: row.get_i64("version").unwrap(),
        live: row.get_bool("live").unwrap(),
    })
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
        let row = table.entry(name(id.clone())).or_insert_with(|| doc! { "_id": id });
        for (operator, fields) in change {
            for (field, value) in fields.as_document().unwrap() {
                match operator.as_str() {
                    "$set" => drop(row.insert(field, value.clone())),
                    "$setOnInsert" if is_new => drop(row.insert(field, value.clone())),
                    "$setOnInsert" => {}
                    "$unset" => drop(row.remove(field)),
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
            reaches: HashMap::new(),
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
        ] {
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

    /// What readers see: without the fields for writers only, and with a count of zero removed.
    pub(super) fn seen(mut self) -> Self {
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

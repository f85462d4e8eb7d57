//! The writes of handlers: entries, floors, the names of large accounts, idleness, and the removal of old entries.

use std::collections::{HashMap, HashSet};

use mongodb::ClientSession;

use super::*;

/// What a check of one timeline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trimmed {
    /// Nothing, because the timeline is short enough or waits for its delay.
    Nothing,
    /// It has raised the floor to the end of the window. The entries below are removed later.
    Marked,
    /// It has removed this many entries.
    Removed(u64),
}

impl HomeTimelines {
    /// Inserts entries, some of which may exist already. Returns how many were new.
    pub(crate) async fn insert(&self, entries: &[(UserId, Entry)]) -> Result<usize, Error> {
        let mut inserted = 0;
        for chunk in entries.chunks(BATCH) {
            let documents: Vec<Stored> = chunk
                .iter()
                .map(|(owner, entry)| Stored::entry(*owner, entry))
                .collect();
            inserted += match self.documents.insert_many(&documents).ordered(false).await {
                Ok(result) => result.inserted_ids.len(),
                Err(error) if is_duplicate_key(&error) => documents.len() - duplicates(&error),
                Err(error) => return Err(error),
            };
        }
        Ok(inserted)
    }

    /// The headers of these owners, as the session sees them. An owner without a header is not in the result.
    pub(crate) async fn headers(
        &self,
        session: &mut ClientSession,
        owners: &[UserId],
    ) -> Result<HashMap<UserId, Header>, Error> {
        let mut headers = HashMap::with_capacity(owners.len());
        for chunk in owners.chunks(BATCH) {
            let owners: Vec<Bson> = chunk.iter().map(|&owner| owner.into()).collect();
            let mut found = self
                .documents
                .find(doc! { "owner": { "$in": owners } })
                .session(&mut *session)
                .await?;
            let found: Vec<Stored> = found.stream(session).try_collect().await?;
            headers.extend(
                found
                    .into_iter()
                    .filter_map(|stored| Some((stored.owner()?, stored.into_header()))),
            );
        }
        Ok(headers)
    }

    /// Which of these owners are idle, as the session sees it.
    pub(crate) async fn idle_among(
        &self,
        session: &mut ClientSession,
        owners: &[UserId],
    ) -> Result<HashSet<UserId>, Error> {
        let mut idle = HashSet::new();
        for chunk in owners.chunks(BATCH) {
            let owners: Vec<Bson> = chunk.iter().map(|&owner| owner.into()).collect();
            // The partial index has only idle owners, so the usual answer costs nothing.
            let filter = doc! { "owner": { "$in": owners }, "idle": true };
            let mut found = self
                .documents
                .find(filter)
                .projection(doc! { "_id": 1 })
                .session(&mut *session)
                .await?;
            let found: Vec<Stored> = found.stream(session).try_collect().await?;
            idle.extend(found.iter().filter_map(Stored::owner));
        }
        Ok(idle)
    }

    /// Raises floors. `$max` makes sure that they only rise.
    pub(crate) async fn raise_floors(&self, floors: &[(UserId, PostId)]) -> Result<(), Error> {
        self.update_headers(
            floors
                .iter()
                .map(|&(owner, floor)| (owner, doc! { "$max": { "floor": floor } })),
        )
        .await
    }

    /// From now on, the owners' pages merge in the account's posts when they are read.
    pub(crate) async fn tell_large(&self, owners: &[UserId], account: UserId) -> Result<(), Error> {
        self.update_headers(
            owners
                .iter()
                .map(|&owner| (owner, doc! { "$addToSet": { "large": account } })),
        )
        .await
    }

    /// From now on, the owners' pages look up which tags the owners follow.
    pub(crate) async fn tell_of_tags(&self, owners: &[UserId]) -> Result<(), Error> {
        self.update_headers(
            owners
                .iter()
                .map(|&owner| (owner, doc! { "$set": { "follows_tags": true } })),
        )
        .await
    }

    /// From now on, the owners' pages look up who is in the owners' exclusive lists.
    pub(crate) async fn tell_of_exclusive_lists(&self, owners: &[UserId]) -> Result<(), Error> {
        self.update_headers(
            owners
                .iter()
                .map(|&owner| (owner, doc! { "$set": { "exclusive_lists": true } })),
        )
        .await
    }

    /// Stores a registration as the first visit, so that an owner who never reads becomes idle too.
    pub(crate) async fn note_registrations(&self, users: &[(UserId, DateTime<Utc>)]) -> Result<(), Error> {
        self.update_headers(
            users
                .iter()
                .map(|&(user, at)| (user, doc! { "$max": { "last_read": bson::DateTime::from_chrono(at) } })),
        )
        .await
    }

    async fn update_headers(&self, updates: impl Iterator<Item = (UserId, Document)>) -> Result<(), Error> {
        let updates = updates
            .map(|(owner, mut update)| {
                update.insert("$setOnInsert", doc! { "owner": owner });
                Update::upsert(doc! { "_id": header_key(owner) }, update)
            })
            .collect();
        bulk::write(&self.database, self.documents.name(), updates).await?;
        Ok(())
    }

    /// Writes the header of an owner whose timeline is filled, in a generation that nobody reads yet.
    pub(crate) async fn fill_header(&self, owner: UserId, header: &Header) -> Result<(), Error> {
        let mut set = doc! { "idle": header.idle, "owner": owner };
        if header.follows_tags {
            set.insert("follows_tags", true);
        }
        if header.exclusive_lists {
            set.insert("exclusive_lists", true);
        }
        let mut max = Document::new();
        if let Some(floor) = header.floor {
            max.insert("floor", floor);
        }
        if let Some(last_read) = header.last_read {
            max.insert("last_read", bson::DateTime::from_chrono(last_read));
        }
        let mut update = doc! { "$set": set };
        if !max.is_empty() {
            update.insert("$max", max);
        }
        if !header.large.is_empty() {
            let large: Vec<Bson> = header.large.iter().map(|&account| account.into()).collect();
            update.insert("$addToSet", doc! { "large": { "$each": large } });
        }
        self.documents
            .update_one(doc! { "_id": header_key(owner) }, update)
            .upsert(true)
            .await?;
        Ok(())
    }

    /// Marks owners as idle whose last visit was before `cutoff`. Returns how many it marked, and whether there may be more.
    pub(crate) async fn mark_idle(&self, cutoff: DateTime<Utc>, limit: u32) -> Result<(u64, bool), Error> {
        let cutoff = bson::DateTime::from_chrono(cutoff);
        let late = doc! { "last_read": { "$exists": true, "$lt": cutoff }, "idle": { "$ne": true } };
        let found: Vec<Stored> = self
            .documents
            .find(late)
            .sort(doc! { "last_read": 1 })
            .limit(i64::from(limit))
            .await?
            .try_collect()
            .await?;
        let updates: Vec<Update> = found
            .iter()
            .filter_map(|stored| {
                let owner = stored.owner()?;
                // Without the guard, an owner who has come back meanwhile would be marked as idle.
                let unchanged =
                    doc! { "_id": header_key(owner), "last_read": stored.last_read?, "idle": { "$ne": true } };
                Some(Update::existing(unchanged, doc! { "$set": { "idle": true } }))
            })
            .collect();
        let marked = bulk::write(&self.database, self.documents.name(), updates).await?;
        Ok((marked, found.len() == limit as usize))
    }

    /// Checks whether a timeline is longer than twice the window, and whether some of its entries can be removed now.
    ///
    /// First the floor rises to the end of the window. The entries below are removed only `delay` later, when no page that began before can
    /// still need them.
    pub(crate) async fn trim(
        &self,
        owner: UserId,
        window: u32,
        now: DateTime<Utc>,
        delay: chrono::TimeDelta,
    ) -> Result<Trimmed, Error> {
        let header = self.header(owner).await?;
        if let (Some(below), Some(after)) = (header.trim_below, header.trim_after) {
            return if now < after {
                Ok(Trimmed::Nothing)
            } else {
                self.remove_below(owner, below).await
            };
        }
        let Some(end) = self.end_of_window(owner, window).await? else {
            return Ok(Trimmed::Nothing);
        };
        let below = header.floor.map_or(end, |floor| floor.max(end));
        // Without the guard, a mark that somebody else made in between would be postponed.
        let unmarked = doc! { "_id": header_key(owner), "trim_below": { "$exists": false } };
        let mark = doc! {
            "$max": { "floor": below },
            "$set": { "trim_below": below, "trim_after": bson::DateTime::from_chrono(now + delay) },
            "$setOnInsert": { "owner": owner },
        };
        match self.documents.update_one(unmarked, mark).upsert(true).await {
            Ok(_) => Ok(Trimmed::Marked),
            Err(error) if is_duplicate_key(&error) => Ok(Trimmed::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The newest entry outside the window, if the timeline has more than twice as many entries as the window.
    async fn end_of_window(&self, owner: UserId, window: u32) -> Result<Option<PostId>, Error> {
        let all = doc! { "_id": { "$gt": key(owner, &LOWEST), "$lt": header_key(owner) } };
        let longest = u64::from(window) * 2;
        // Counting reads no documents. The newest documents are read only if the timeline is too long.
        if self.documents.count_documents(all.clone()).limit(longest + 1).await? <= longest {
            return Ok(None);
        }
        let newest = self
            .documents
            .find(all)
            .sort(doc! { "_id": -1 })
            .projection(doc! { "_id": 1, "a": 1 });
        let found: Vec<Stored> = newest.limit(i64::from(window) + 1).await?.try_collect().await?;
        Ok(found
            .into_iter()
            .nth(window as usize)
            .and_then(Stored::into_entry)
            .map(|entry| entry.id))
    }

    /// Removes the entries at `below` or lower. `below` is never above the floor, because one write has set the mark and the floor.
    async fn remove_below(&self, owner: UserId, below: PostId) -> Result<Trimmed, Error> {
        let old = doc! { "_id": { "$gt": key(owner, &LOWEST), "$lte": key(owner, below.as_bytes()) } };
        let removed = self.documents.delete_many(old).await?.deleted_count;
        // The mark is removed last. If a process dies before that, a later call finds the mark and removes the rest.
        let mark = doc! { "_id": header_key(owner), "trim_below": below };
        self.documents
            .update_one(mark, doc! { "$unset": { "trim_below": "", "trim_after": "" } })
            .await?;
        Ok(Trimmed::Removed(removed))
    }
}

fn duplicates(error: &Error) -> usize {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::InsertMany(insert) => insert.write_errors.as_ref().map_or(0, Vec::len),
        _ => 0,
    }
}

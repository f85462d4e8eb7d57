//! One process at a time: the rebuild, the deletion sweep, the consequences and the upkeep have a seat each. The process that holds the seat does the work.
//!
//! A seat is a document with an owner, a fencing number that every new owner raises, and a beat that the owner raises while it lives. No
//! clocks are compared: a candidate that sees the same beat for the duration of the lease takes the seat. An owner that could not raise the
//! beat for so long stops by itself. If it sleeps through that time, its fencing number makes its writes fail wherever order matters (see
//! `views::generation`). Its other writes are harmless to repeat.

use std::future::{Future, IntoFuture};
use std::time::Duration;

use bson::{Document, doc};
use event_log::mongo::{ConnectionMonitor, Databases, is_duplicate_key};
use event_log::subscription::SubscriptionSettings;
use mongodb::Collection;
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use views::generation::Term;

const SEATS: &str = "seats";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seat {
    #[serde(rename = "_id")]
    name: String,
    owner: Option<String>,
    fence: i64,
    beat: i64,
}

/// How long a seat outlives its owner.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub lease_duration: Duration,
    pub renew_every: Duration,
}

impl Pace {
    /// Seats have the same timing as leases.
    pub fn of(settings: &SubscriptionSettings) -> Self {
        Self {
            lease_duration: settings.lease_duration,
            renew_every: settings.renew_every,
        }
    }
}

/// A candidate for one seat.
#[derive(Debug, Clone)]
pub struct Leadership {
    seats: Collection<Seat>,
    connections: ConnectionMonitor,
    name: &'static str,
    owner: String,
    pace: Pace,
}

impl Leadership {
    pub fn new(databases: &Databases, name: &'static str, owner: String, pace: Pace) -> Self {
        Self {
            seats: databases.views.collection(SEATS),
            connections: databases.connections.clone(),
            name,
            owner,
            pace,
        }
    }

    /// Does `work` whenever this process holds the seat, until `shutdown`. The token that the work gets tells it to stop. The seat is given
    /// back only after the work has ended.
    pub async fn lead<F>(&self, shutdown: &CancellationToken, mut work: impl FnMut(Term, CancellationToken) -> F)
    where
        F: Future<Output = ()>,
    {
        while let Some((term, since)) = self.campaign(shutdown).await {
            tracing::info!(seat = self.name, fence = term.fence, "took the seat");
            let stop = shutdown.child_token();
            let working = work(term.clone(), stop.clone());
            tokio::pin!(working);
            tokio::select! {
                () = &mut working => {}
                () = self.renew_until_lost(&term, since) => {
                    tracing::warn!(seat = self.name, fence = term.fence, "lost the seat");
                    stop.cancel();
                    working.await;
                }
            }
            self.resign(&term).await;
        }
    }

    /// Waits for the seat. Returns `None` once `shutdown` is cancelled.
    async fn campaign(&self, shutdown: &CancellationToken) -> Option<(Term, Instant)> {
        let mut seen: Option<(Seat, Instant)> = None;
        while !shutdown.is_cancelled() {
            let before = Instant::now();
            match self.connections.until_lost(self.attempt(&mut seen)).await {
                Ok(Some(term)) => return Some((term, before)),
                Ok(None) => {}
                Err(error) => tracing::warn!(seat = self.name, %error, "could not read the seat"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(self.pace.renew_every) => {}
            }
        }
        None
    }

    async fn attempt(&self, seen: &mut Option<(Seat, Instant)>) -> Result<Option<Term>, Error> {
        let Some(seat) = self.seats.find_one(doc! { "_id": self.name }).await? else {
            let seat = Seat {
                name: self.name.to_owned(),
                owner: Some(self.owner.clone()),
                fence: 1,
                beat: 0,
            };
            return match self.seats.insert_one(&seat).await {
                Ok(_) => Ok(Some(self.term(&seat))),
                Err(error) if is_duplicate_key(&error) => Ok(None),
                Err(error) => Err(error),
            };
        };
        let unchanged_since = match seen {
            Some((earlier, since)) if *earlier == seat => *since,
            _ => {
                *seen = Some((seat.clone(), Instant::now()));
                Instant::now()
            }
        };
        if seat.owner.is_some() && unchanged_since.elapsed() < self.pace.lease_duration {
            return Ok(None);
        }
        // Of several candidates, only one finds the seat unchanged. If the owner has come back to life and raised the beat, it keeps the
        // seat.
        let unchanged =
            doc! { "_id": self.name, "owner": seat.owner.as_deref(), "fence": seat.fence, "beat": seat.beat };
        let take = doc! { "$set": { "owner": &self.owner }, "$inc": { "fence": 1, "beat": 1 } };
        let taken = self
            .seats
            .find_one_and_update(unchanged, take)
            .return_document(ReturnDocument::After)
            .await?;
        Ok(taken.map(|seat| self.term(&seat)))
    }

    /// Ends when another process has the seat, or could have it.
    async fn renew_until_lost(&self, term: &Term, since: Instant) {
        let mut renewed = since;
        loop {
            tokio::time::sleep(self.pace.renew_every).await;
            let before = Instant::now();
            let left = self.pace.lease_duration.saturating_sub(renewed.elapsed());
            let beat = self.seats.update_one(self.mine(term), doc! { "$inc": { "beat": 1 } });
            match tokio::time::timeout(left, async { beat.await }).await {
                Ok(Ok(updated)) if updated.matched_count == 1 => renewed = before,
                Ok(Ok(_)) => return,
                Ok(Err(error)) => tracing::warn!(seat = self.name, %error, "could not renew the seat"),
                Err(_) => {}
            }
            if renewed.elapsed() >= self.pace.lease_duration {
                return;
            }
        }
    }

    /// Gives the seat back, so that the next owner need not wait until it expires.
    async fn resign(&self, term: &Term) {
        let resign = self
            .seats
            .update_one(self.mine(term), doc! { "$set": { "owner": null } });
        if let Err(error) = self.connections.until_lost(resign.into_future()).await {
            tracing::warn!(seat = self.name, %error, "could not give the seat back; it will expire");
        }
    }

    fn mine(&self, term: &Term) -> Document {
        doc! { "_id": self.name, "owner": &term.owner, "fence": term.fence }
    }

    fn term(&self, seat: &Seat) -> Term {
        Term {
            owner: self.owner.clone(),
            fence: seat.fence,
        }
    }
}

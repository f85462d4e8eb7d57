//! Tickets: each opens one live stream in place of an access token, because a browser can't send a header there.
//!
//! `stream_tickets` has one document for each unused ticket: its SHA-256 (a ticket has 256 random bits), the claims of the access token
//! that it was made with, and its expiry. command-svc issues tickets and query-svc redeems them, in any replica. Redeeming removes the
//! document, so a ticket works once, even if many use it at the same time. A ticket itself is stored and logged nowhere.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::spec::BinarySubtype;
use bson::{Binary, doc};
use chrono::{DateTime, TimeDelta, Utc};
use event_log::crypto::sha256;
use event_log::mongo::{is_duplicate_key, retried};
use model::clock::SharedClock;
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use crate::config::Secret;

const TICKETS: &str = "stream_tickets";

const GOOD_FOR: TimeDelta = TimeDelta::seconds(30);

const BYTES: usize = 32;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ticket {
    #[serde(rename = "_id")]
    hash: Binary,
    claims: Claims,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    expires_at: DateTime<Utc>,
}

/// A new ticket. Only its holder knows it.
#[derive(Debug)]
pub struct IssuedTicket {
    pub ticket: Secret,
    pub expires_at: DateTime<Utc>,
}

/// The only writer of the tickets.
#[derive(Debug, Clone)]
pub struct Tickets {
    collection: Collection<Ticket>,
    clock: SharedClock,
}

impl Tickets {
    /// `database`: that of the event store.
    pub fn new(database: &Database, clock: SharedClock) -> Self {
        Self {
            collection: database.collection(TICKETS),
            clock,
        }
    }

    /// The same for the program that issues tickets: creates the collection and its index if they are missing.
    pub async fn open(database: &Database, clock: SharedClock) -> Result<Self, Error> {
        let tickets = Self::new(database, clock);
        let expiry = IndexOptions::builder()
            .name("expiry".to_owned())
            .expire_after(Duration::ZERO)
            .build();
        let expiry = IndexModel::builder().keys(doc! { "expires_at": 1 }).options(expiry);
        tickets.collection.create_index(expiry.build()).await?;
        Ok(tickets)
    }

    /// Makes a ticket that stands for an access token with these claims.
    ///
    /// # Panics
    /// If the system can't provide randomness.
    pub async fn issue(&self, claims: &Claims) -> Result<IssuedTicket, Error> {
        let mut bytes = [0; BYTES];
        rand::fill(&mut bytes).expect("the system has randomness");
        let ticket = Ticket {
            hash: hash(&bytes),
            claims: claims.clone(),
            expires_at: self.clock.now() + GOOD_FOR,
        };
        retried(|| async {
            match self.collection.insert_one(&ticket).await {
                Ok(_) => Ok(()),
                // The bytes are new, so a duplicate is this ticket, written by an attempt that got no answer.
                Err(error) if is_duplicate_key(&error) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await?;
        Ok(IssuedTicket {
            ticket: Secret::new(URL_SAFE_NO_PAD.encode(bytes)),
            expires_at: ticket.expires_at,
        })
    }

    /// Uses up a ticket. Returns the claims of the access token that it was made with, which may expire sooner than the ticket. Whatever
    /// is wrong with a ticket, the answer is `None`. So it is for a ticket whose use the database did not answer.
    pub async fn redeem(&self, ticket: &str) -> Result<Option<Claims>, Error> {
        let Some(bytes) = parse(ticket) else { return Ok(None) };
        retried(|| async {
            // The database removes what has expired up to a minute later.
            let now = bson::DateTime::from_chrono(self.clock.now());
            let good = doc! { "_id": hash(&bytes), "expires_at": { "$gt": now } };
            let used = self.collection.find_one_and_delete(good).await?;
            Ok(used.map(|ticket| ticket.claims))
        })
        .await
    }
}

fn parse(ticket: &str) -> Option<[u8; BYTES]> {
    URL_SAFE_NO_PAD.decode(ticket).ok()?.try_into().ok()
}

fn hash(bytes: &[u8; BYTES]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: sha256(bytes).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_one_spelling() {
        let bytes = [0xfb; BYTES];
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(ticket.len(), 43);
        assert_eq!(parse(&ticket), Some(bytes));
        let other_last_bits = format!("{}t", &ticket[..42]);
        for other in [
            "",
            "ÿ",
            &ticket[1..],
            &format!("{ticket}="),
            &format!("{ticket}A"),
            &other_last_bits,
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}

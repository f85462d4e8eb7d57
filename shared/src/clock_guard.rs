//! Whether our clock agrees with the database's. Ids and floors of timelines are made from it: a service whose
//! clock is off writes neither.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::doc;
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::Database;
use tokio::time::{Instant, timeout};

use crate::clock::SharedClock;
use crate::config::ClockSkew;

/// The last look that found the clocks together, and what the latest look found.
#[derive(Debug, Clone)]
pub struct ClockGuard {
    config: ClockSkew,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    agreed: Option<Instant>,
    latest: String,
}

/// The clock was not found to agree with the database's for too long.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the clock was not found within {max_skew:?} of the database's in the last {max_age:?}: {latest}")]
pub struct ClockUnsure {
    max_skew: Duration,
    max_age: Duration,
    latest: String,
}

impl ClockGuard {
    pub fn new(config: ClockSkew) -> Self {
        let state = State {
            agreed: None,
            latest: "it was not compared yet".to_owned(),
        };
        Self {
            config,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub fn check(&self) -> Result<(), ClockUnsure> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), ClockUnsure> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.agreed.is_some_and(|agreed| now - agreed <= self.config.max_age) {
            return Ok(());
        }
        let ClockSkew { max_skew, max_age, .. } = self.config;
        Err(ClockUnsure {
            max_skew,
            max_age,
            latest: state.latest.clone(),
        })
    }

    /// Looks again and again, for ever.
    pub async fn watch(self, database: Database, clock: SharedClock) -> Infallible {
        loop {
            self.look(&database, &clock).await;
            tokio::time::sleep(self.config.check_every).await;
        }
    }

    pub async fn look(&self, database: &Database, clock: &SharedClock) {
        let before = clock.now();
        let hello = database.run_command(doc! { "hello": 1 });
        // No answer that takes longer could prove anything.
        let answer = timeout(2 * self.config.max_skew, async { hello.await }).await;
        let after = clock.now();
        let found = match answer {
            Ok(Ok(hello)) => match hello.get_datetime("localTime") {
                Ok(theirs) if agree(before, theirs.to_chrono(), after, self.config.max_skew) => Ok(()),
                Ok(theirs) => Err(format!(
                    "theirs was {} when ours went from {before} to {after}",
                    theirs.to_chrono()
                )),
                Err(error) => Err(format!("the database told no time: {error}")),
            },
            Ok(Err(error)) => Err(format!("the database was not reached: {error}")),
            Err(_) => Err("the database did not answer in time".to_owned()),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(()) => state.agreed = Some(Instant::now()),
            Err(why) => {
                tracing::warn!(reason = why, "the clock was not found to agree with the database's");
                state.latest = why;
            }
        }
    }
}

/// Whether the clocks were close, at whichever moment between `before` and `after` the other one was read.
fn agree(before: DateTime<Utc>, theirs: DateTime<Utc>, after: DateTime<Utc>, max_skew: Duration) -> bool {
    let max_skew = TimeDelta::from_std(max_skew).unwrap_or(TimeDelta::MAX);
    after - theirs <= max_skew && theirs - before <= max_skew
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
    }

    #[test]
    fn the_way_there_and_back_counts_against_the_agreement() {
        let second = Duration::from_secs(1);
        assert!(agree(at(0), at(5), at(10), second));
        assert!(agree(at(0), at(1_000), at(10), second));
        assert!(agree(at(0), at(-990), at(10), second));
        assert!(!agree(at(0), at(1_001), at(10), second));
        assert!(!agree(at(0), at(-991), at(10), second));
        assert!(
            !agree(at(0), at(600), at(1_700), second),
            "read at the beginning, it would be 600 ms off; at the end, 1,100"
        );
    }

    #[test]
    fn an_agreement_counts_for_a_while() {
        let guard = ClockGuard::new(ClockSkew::default());
        assert!(guard.check().unwrap_err().to_string().contains("not compared yet"));
        let agreed = Instant::now();
        guard.state.lock().unwrap().agreed = Some(agreed);
        assert!(guard.check_at(agreed + Duration::from_secs(10)).is_ok());
        assert!(guard.check_at(agreed + Duration::from_millis(10_001)).is_err());
    }
}

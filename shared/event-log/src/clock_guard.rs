//! Whether our clock agrees with the database's. Ids and the floors of timelines are made from our clock, so that a service whose clock
//! is wrong must write neither.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use model::clock::SharedClock;

/// The pause after a check that found no agreement. It is short, because commands wait for it when the database is back.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The section `clock` of the configuration: how well the clock has to agree with the database's: ids order timelines.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockSkew {
    #[serde(with = "humantime_serde")]
    pub max_skew: Duration,
    /// How long an agreement counts.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    #[serde(with = "humantime_serde")]
    pub check_every: Duration,
}

impl Default for ClockSkew {
    fn default() -> Self {
        Self {
            max_skew: Duration::from_secs(1),
            max_age: Duration::from_secs(10),
            check_every: Duration::from_secs(2),
        }
    }
}

/// When the clocks agreed last, and the result of the latest check.
#[derive(Debug, Clone)]
pub struct ClockGuard {
    config: ClockSkew,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug)]
struct State {
    agreed: Option<Instant>,
    /// Why the latest check found no agreement.
    latest: Result<(), String>,
}

impl State {
    fn is_sure(&self, now: Instant, max_age: Duration) -> bool {
        self.agreed.is_some_and(|agreed| now - agreed <= max_age)
    }
}

/// The clock has not agreed with the database's for too long.
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
            latest: Err("it was not compared yet".to_owned()),
        };
        Self {
            config,
            state: Arc::new(watch::Sender::new(state)),
        }
    }

    /// How far the clocks may differ.
    pub fn max_skew(&self) -> Duration {
        self.config.max_skew
    }

    pub fn check(&self) -> Result<(), ClockUnsure> {
        self.check_at(Instant::now())
    }

    /// The same, but waits for the next checks if the last agreement is too old, as after an outage of the database.
    pub async fn wait_until_sure(&self, at_most: Duration) -> Result<(), ClockUnsure> {
        let mut looks = self.state.subscribe();
        let sure = looks.wait_for(|state| state.is_sure(Instant::now(), self.config.max_age));
        match timeout(at_most, sure).await {
            Ok(Ok(_)) => Ok(()),
            // The channel stays open, because this guard has its sender.
            Ok(Err(_)) | Err(_) => self.check(),
        }
    }

    fn check_at(&self, now: Instant) -> Result<(), ClockUnsure> {
        let state = self.state.borrow();
        let ClockSkew { max_skew, max_age, .. } = self.config;
        if state.is_sure(now, max_age) {
            return Ok(());
        }
        let latest = state.latest.as_ref().err().cloned();
        Err(ClockUnsure {
            max_skew,
            max_age,
            latest: latest.unwrap_or_else(|| "there was no check since".to_owned()),
        })
    }

    /// Checks again and again, without end.
    pub async fn watch(self, database: Database, clock: SharedClock) -> Infallible {
        loop {
            let pause = match self.look(&database, &clock).await {
                true => self.config.check_every,
                false => LOOK_AGAIN_AFTER.min(self.config.check_every),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Compares the clocks. Returns whether they agree.
    pub async fn look(&self, database: &Database, clock: &SharedClock) -> bool {
        let before = clock.now();
        let hello = database.run_command(doc! { "hello": 1 });
        // An answer that takes longer can prove nothing.
        let answer = timeout(2 * self.config.max_skew, async { hello.await }).await;
        let after = clock.now();
        let found = match answer {
            Ok(Ok(hello)) => match hello.get_datetime("localTime") {
                Ok(theirs) if agree(before, theirs.to_chrono(), after, self.config.max_skew) => Ok(()),
                Ok(theirs) => Err(format!(
                    "the database's was {} while ours went from {before} to {after}",
                    theirs.to_chrono()
                )),
                Err(error) => Err(format!("the database told no time: {error}")),
            },
            Ok(Err(error)) => Err(format!("the database was not reached: {error}")),
            Err(_) => Err("the database did not answer in time".to_owned()),
        };
        let agree = found.is_ok();
        self.state.send_modify(|state| {
            match &found {
                Ok(()) => state.agreed = Some(Instant::now()),
                // Only once when they begin to differ, and not at each check.
                Err(why) if state.latest.is_ok() || state.agreed.is_none() => {
                    tracing::warn!(reason = why, "the clock was not found to agree with the database's");
                }
                Err(why) => tracing::debug!(reason = why, "the clock was not found to agree with the database's"),
            }
            state.latest = found;
        });
        agree
    }
}

/// Whether the clocks were close, no matter when between `before` and `after` the other one was read.
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
    fn the_round_trip_counts_against_the_agreement() {
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
    fn an_agreement_is_valid_for_a_while() {
        let guard = ClockGuard::new(ClockSkew::default());
        assert!(guard.check().unwrap_err().to_string().contains("not compared yet"));
        let agreed = Instant::now();
        guard.state.send_modify(|state| state.agreed = Some(agreed));
        assert!(guard.check_at(agreed + Duration::from_secs(10)).is_ok());
        assert!(guard.check_at(agreed + Duration::from_millis(10_001)).is_err());
    }

    #[tokio::test]
    async fn a_caller_after_an_outage_waits_for_the_next_check() {
        let guard = ClockGuard::new(ClockSkew::default());
        assert!(guard.wait_until_sure(Duration::ZERO).await.is_err());
        let waiting = tokio::spawn({
            let guard = guard.clone();
            async move { guard.wait_until_sure(Duration::from_secs(60)).await }
        });
        while guard.state.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        guard.state.send_modify(|state| state.agreed = Some(Instant::now()));
        assert!(waiting.await.unwrap().is_ok());
    }
}

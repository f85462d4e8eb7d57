//! The section `timelines` of the configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of home timelines. query-svc and the projector must have the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timelines {
    /// How many entries of an account are copied for a new follower. A timeline is trimmed when it has more than twice as many entries.
    pub window: NonZeroU32,
    /// The posts of an author with this many followers are not fanned out.
    pub fan_out_limit: NonZeroU32,
    /// An owner who has not read for this long gets no entries until the next visit.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
    /// A visit is stored at most once in this time.
    #[serde(with = "humantime_serde")]
    pub note_visit_every: Duration,
    /// When an idle owner comes back, the floor is set this far into the future. One half is for the time that the write takes to the
    /// database. The other half is for the difference between clocks. So it should be at least four times `clock.max_skew`.
    #[serde(with = "humantime_serde")]
    pub wake_margin: Duration,
    /// On average, one in this many inserted entries causes a check whether to trim the timeline.
    pub trim_one_in: NonZeroU32,
    /// The delay between raising the floor and removing the entries below it. No page may take longer.
    #[serde(with = "humantime_serde")]
    pub trim_delay: Duration,
    /// How far back a `prev` cursor goes, because ids come from several clocks.
    #[serde(with = "humantime_serde")]
    pub prev_overlap: Duration,
}

impl Timelines {
    /// Checks what concerns more than one key.
    ///
    /// # Errors
    /// If `timelines.idle_after` is too short.
    pub fn check(&self) -> Result<(), String> {
        if self.idle_after > self.note_visit_every {
            return Ok(());
        }
        Err(format!(
            "must be longer than timelines.note_visit_every, {:?}: otherwise an owner who reads all the time becomes idle",
            self.note_visit_every
        ))
    }
}

impl Default for Timelines {
    fn default() -> Self {
        Self {
            window: const { NonZeroU32::new(800).expect("not zero") },
            fan_out_limit: const { NonZeroU32::new(10_000).expect("not zero") },
            idle_after: 30 * DAY,
            note_visit_every: DAY,
            wake_margin: Duration::from_secs(5),
            trim_one_in: const { NonZeroU32::new(100).expect("not zero") },
            trim_delay: Duration::from_secs(60),
            prev_overlap: Duration::from_secs(10),
        }
    }
}

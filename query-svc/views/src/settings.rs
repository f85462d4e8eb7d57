//! The section `timelines` of the configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Home timelines. query-svc and the projector must agree on these.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timelines {
    /// Entries of an account that a new follower gets copied; a timeline is trimmed at twice as many.
    pub window: NonZeroU32,
    /// An author with so many followers is not fanned out.
    pub fan_out_limit: NonZeroU32,
    /// An owner who has not read for so long gets no entries until the next visit.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
    /// How often at most a visit is written down.
    #[serde(with = "humantime_serde")]
    pub note_visit_every: Duration,
    /// How far above the present the floor of an owner who comes back is put: half of it for the way to the database, the other half
    /// for what clocks differ by, so that it is to be at least four times `clock.max_skew`.
    #[serde(with = "humantime_serde")]
    pub wake_margin: Duration,
    /// Every so manieth inserted entry looks whether the timeline has to be trimmed.
    pub trim_one_in: NonZeroU32,
    /// Between raising the floor and removing what lies below: as long as any page takes.
    #[serde(with = "humantime_serde")]
    pub trim_delay: Duration,
    /// How far back a `prev` cursor lies, because ids come from several clocks.
    #[serde(with = "humantime_serde")]
    pub prev_overlap: Duration,
}

impl Timelines {
    /// What no single key can say.
    ///
    /// # Errors
    /// Says what is wrong with `timelines.idle_after`.
    pub fn check(&self) -> Result<(), String> {
        if self.idle_after > self.note_visit_every {
            return Ok(());
        }
        Err(format!(
            "must be longer than timelines.note_visit_every, {:?}: else who reads all the time is taken for idle",
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

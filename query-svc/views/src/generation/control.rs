//! The control document: which generations exist, and how far each of them is.

use chrono::{DateTime, Utc};
use event_log::position::Position;
use serde::{Deserialize, Serialize};

/// The state of all generations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The generation that is read.
    pub active: i64,
    /// The generation that is requested and that no projector has begun.
    #[serde(default)]
    pub requested: Option<i64>,
    #[serde(default)]
    pub building: Option<Building>,
    #[serde(default)]
    pub retiring: Option<Retiring>,
    /// Projectors follow nothing. The views stay as they are, while new events are still recorded.
    #[serde(default)]
    pub paused: bool,
}

impl Control {
    /// The generations that projectors follow, each by a subscription. A generation that is only scanned so far has no subscription.
    pub fn followed(&self) -> Vec<i64> {
        if self.paused {
            return Vec::new();
        }
        let building = self
            .building
            .as_ref()
            .filter(|building| building.phase == Phase::CatchingUp);
        let retiring = self.retiring.as_ref().filter(|retiring| !retiring.stopping);
        let mut followed = vec![self.active];
        followed.extend(building.map(|building| building.generation));
        followed.extend(retiring.map(|retiring| retiring.generation));
        followed
    }

    /// Nothing is requested, built, or retired, and projectors follow the generation that is read.
    pub(super) fn is_at_rest(&self) -> bool {
        self.requested.is_none() && self.building.is_none() && self.retiring.is_none() && !self.paused
    }

    /// The lowest generation whose collections somebody may still need.
    pub fn lowest_needed(&self) -> i64 {
        self.retiring
            .as_ref()
            .map_or(self.active, |retiring| retiring.generation.min(self.active))
    }

    /// The highest number that is in use or requested.
    pub fn highest_known(&self) -> i64 {
        let building = self.building.as_ref().map_or(0, |building| building.generation);
        self.active.max(building).max(self.requested.unwrap_or(0))
    }
}

/// How far the next generation is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Building {
    pub generation: i64,
    pub phase: Phase,
    /// The scan finds every event up to here, and the subscription follows from here
    /// ([`EventStore::horizon`](event_log::event_store::EventStore::horizon)).
    pub horizon: Position,
    /// In this phase: the number of events that were scanned, or of owners whose home timelines were filled.
    pub scanned: i64,
    /// Approximately how many there were when the phase began.
    pub total: i64,
    /// The last id that the phase has finished.
    pub cursor: Option<bson::Uuid>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub started_at: DateTime<Utc>,
    /// The process that builds it.
    pub owner: String,
    /// The fencing number of its lease.
    pub fence: i64,
    #[serde(default)]
    pub stamp: Option<Stamp>,
}

/// What every builder of the generation has written so far. A program that does not know stamps takes the work over without renewing the
/// stamp, and then the fences differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub shape: i32,
    /// The fencing number of the builder that wrote this.
    pub fence: i64,
}

impl Building {
    /// The [`SHAPE`](crate::SHAPE) that all builders of this generation have written, 0 if one of them does not know shapes.
    pub fn shape(&self) -> i32 {
        let stamp = self.stamp.filter(|stamp| stamp.fence == self.fence);
        stamp.map_or(0, |stamp| stamp.shape)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Events become rows.
    Scanning,
    /// Rows become home timelines.
    Filling,
    /// A subscription follows from the horizon.
    CatchingUp,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Scanning => "scanning",
            Phase::Filling => "filling",
            Phase::CatchingUp => "catching_up",
        }
    }
}

/// The previous generation, until it has no reader left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retiring {
    pub generation: i64,
    /// No reader is left, so projectors stop following it.
    pub stopping: bool,
}

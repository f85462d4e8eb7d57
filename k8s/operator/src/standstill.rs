//! How long a rebuild has made no progress. Only the leader measures it. A new leader starts to count from zero.

use std::time::Duration;

use event_log::position::Position;
use tokio::time::Instant;
use views::generation::Control;

/// The last observed state of a rebuild, and since when it has not changed.
#[derive(Debug, Default)]
pub(crate) struct Standstill(Option<(Reached, Instant)>);

#[derive(Debug, Clone, PartialEq)]
struct Reached {
    wanted: i64,
    control: Control,
    /// The position of the generation that catches up.
    position: Option<Position>,
}

impl Standstill {
    /// `wanted` is the generation that there is work for, if any. `position` is how far the generation that catches up is.
    pub(crate) fn look(
        &mut self,
        wanted: Option<i64>,
        control: &Control,
        position: Option<Position>,
        now: Instant,
    ) -> Option<Duration> {
        let Some(wanted) = wanted else {
            self.0 = None;
            return None;
        };
        let mut control = control.clone();
        // The builder does not count: a builder that takes over from another one has made no progress by that.
        if let Some(building) = &mut control.building {
            building.owner.clear();
            building.fence = 0;
        }
        let reached = Reached {
            wanted,
            control,
            position,
        };
        match &self.0 {
            Some((before, since)) if *before == reached => Some(now.duration_since(*since)),
            _ => {
                self.0 = Some((reached, now));
                Some(Duration::ZERO)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_does_not_move_stands_still() {
        let mut control = Control {
            active: 1,
            requested: None,
            building: None,
            retiring: None,
            paused: false,
        };
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut standstill = Standstill::default();
        assert_eq!(standstill.look(None, &control, None, at(0)), None);
        assert_eq!(standstill.look(Some(2), &control, None, at(10)), Some(Duration::ZERO));
        assert_eq!(
            standstill.look(Some(2), &control, None, at(70)),
            Some(Duration::from_secs(60))
        );
        control.requested = Some(2);
        assert_eq!(standstill.look(Some(2), &control, None, at(80)), Some(Duration::ZERO));
        let caught_up = Some(Position::from_u64(7));
        assert_eq!(
            standstill.look(Some(2), &control, caught_up, at(90)),
            Some(Duration::ZERO)
        );
        // The rebuild is done. The next one starts from zero.
        assert_eq!(standstill.look(None, &control, caught_up, at(100)), None);
        assert_eq!(
            standstill.look(Some(2), &control, caught_up, at(110)),
            Some(Duration::ZERO)
        );
    }
}

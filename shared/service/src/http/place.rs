//! The place of a request among those in flight, and the rooms where requests wait without a place.
//!
//! Work takes a place. Waiting takes none: a request gives its place back while its body arrives, or while the views catch up with its
//! `Consistency-Token`. Waiting requests are in a [`Room`], where each caller has a limited share. A caller who fills the room, or their
//! share of it, does not keep others from being answered.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Semaphore>,
    taken: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Place {
    /// # Errors
    /// 503 if every place is taken.
    pub(super) fn take(places: &Arc<Semaphore>) -> Result<Self, Problem> {
        let place = Self {
            places: places.clone(),
            taken: Mutex::default(),
        };
        place.take_again()?;
        Ok(place)
    }

    /// Gives the place back. `take_again` takes it again.
    pub(super) fn leave(&self) {
        self.taken().take();
    }

    /// # Errors
    /// 503 if every place is taken.
    pub(super) fn take_again(&self) -> Result<(), Problem> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = "Too many requests are being answered. Please try again in a moment.";
            Problem::unavailable(detail, RETRY_AFTER)
        })?;
        *self.taken() = Some(permit);
        Ok(())
    }

    fn taken(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a request that a service answers which counts it too. Otherwise bodies that don't arrive would take all places here.
pub fn give_place_back(request: &HttpRequest) {
    if let Some(place) = request.extensions().get::<Arc<Place>>() {
        place.leave();
    }
}

/// The gauges of a room. A request that waits there is not in flight.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauges {
    pub(super) waiting: Gauge,
    pub(super) in_flight: Gauge,
}

/// A room for a limited number of waiting requests, with a limit for each key.
#[derive(Debug)]
pub(super) struct Room<K> {
    all: usize,
    each: usize,
    gauges: Gauges,
    waiting: Mutex<Waiting<K>>,
}

#[derive(Debug)]
struct Waiting<K> {
    all: usize,
    /// No entry is zero, so there are never more entries than waiting requests.
    each: HashMap<K, usize>,
}

impl<K: Eq + Hash + Clone> Room<K> {
    pub(super) fn new(all: NonZeroU32, each: NonZeroU32, gauges: Gauges) -> Self {
        let size = |number: NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        Self {
            all: size(all),
            each: size(each),
            gauges,
            waiting: Mutex::new(Waiting {
                all: 0,
                each: HashMap::new(),
            }),
        }
    }

    /// Waits here until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// 429 if this key has too many waiting requests already. 503 if there are too many in total.
    pub(super) fn enter(self: &Arc<Self>, key: K) -> Result<Stay<K>, Problem> {
        let mut waiting = self.waiting();
        let own = waiting.each.get(&key).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Problem::too_many_requests(RETRY_AFTER).with_detail(format!(
                "{own} of your requests are waiting already. Please try again when they have ended."
            )));
        }
        if waiting.all >= self.all {
            let detail = "Too many requests are waiting. Please try again in a moment.";
            return Err(Problem::unavailable(detail, RETRY_AFTER));
        }
        waiting.all += 1;
        waiting.each.insert(key.clone(), own + 1);
        self.gauges.waiting.inc();
        self.gauges.in_flight.dec();
        drop(waiting);
        Ok(Stay {
            room: self.clone(),
            key,
        })
    }
}

impl<K> Room<K> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<K>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiting request.
#[derive(Debug)]
pub(super) struct Stay<K: Eq + Hash> {
    room: Arc<Room<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Stay<K> {
    fn drop(&mut self) {
        let mut waiting = self.room.waiting();
        waiting.all -= 1;
        self.room.gauges.in_flight.inc();
        self.room.gauges.waiting.dec();
        match waiting.each.get_mut(&self.key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                waiting.each.remove(&self.key);
            }
        }
    }
}

/// What a request needs to wait: its place, which it gives back, and a room.
#[derive(Debug, Clone)]
pub(super) struct Waiter<K> {
    /// `None` in a test of a bare handler.
    place: Option<Arc<Place>>,
    room: Arc<Room<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Waiter<K> {
    pub(super) fn new(request: &HttpRequest, room: &Arc<Room<K>>, key: K) -> Self {
        Self {
            place: request.extensions().get::<Arc<Place>>().cloned(),
            room: room.clone(),
            key,
        }
    }

    /// Waits without a place.
    ///
    /// # Errors
    ///
    /// 429 or 503 if the room has no space, or if there is no place afterwards.
    pub(super) async fn wait<T>(&self, wait: impl Future<Output = T>) -> Result<T, Problem> {
        let stay = self.room.enter(self.key.clone())?;
        if let Some(place) = &self.place {
            place.leave();
        }
        let outcome = wait.await;
        drop(stay);
        if let Some(place) = &self.place {
            place.take_again()?;
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_can_be_lent() {
        let places = Arc::new(Semaphore::new(1));
        let first = Place::take(&places).unwrap();
        assert_eq!(Place::take(&places).unwrap_err().status, 503);
        first.leave();
        let second = Place::take(&places).unwrap();
        assert_eq!(first.take_again().unwrap_err().status, 503);
        drop(second);
        first.take_again().unwrap();
        assert_eq!(places.available_permits(), 0);
        drop(first);
        assert_eq!(places.available_permits(), 1);
    }

    #[test]
    fn one_has_no_more_than_a_share_and_all_no_more_than_the_room() {
        let [all, each] = [3, 2].map(|size| NonZeroU32::new(size).unwrap());
        let room = Arc::new(Room::new(all, each, Gauges::default()));
        let status = |entered: Result<Stay<&str>, Problem>| entered.unwrap_err().status;
        let mut stays = vec![room.enter("ada").unwrap(), room.enter("ada").unwrap()];
        assert_eq!(status(room.enter("ada")), 429);
        stays.push(room.enter("bob").unwrap());
        assert_eq!(status(room.enter("bob")), 503);
        stays.remove(0);
        stays.push(room.enter("ada").unwrap());
        assert_eq!(status(room.enter("ada")), 429);
        stays.clear();
        let left = room.waiting();
        assert_eq!((left.all, left.each.len(), room.gauges.waiting.get()), (0, 0, 0));
    }
}

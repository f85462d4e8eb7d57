//! Answers that go on until the client leaves or the server ends.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::client;
use super::edge::EdgeState;
use super::observe::HeadOnly;
use super::place::{Place, Room, Stay};
use super::problem::Problem;
use super::rate_limit::Key;

/// What a request needs for an answer that goes on: it gives its place back, and is counted with the other open streams.
#[derive(Debug, Clone)]
pub struct Streaming {
    /// `None` in a test of a bare handler.
    room: Option<(Arc<Room<Key>>, Key)>,
    place: Option<Arc<Place>>,
    /// The request is a HEAD: its answer must not go on.
    pub head_only: bool,
}

/// One open stream. Dropping it ends its count.
#[derive(Debug)]
pub struct OpenStream {
    _stay: Option<Stay<Key>>,
}

impl Streaming {
    /// Counts the stream, for this caller and for all. A caller is a user, or an address if nobody is logged in.
    ///
    /// # Errors
    ///
    /// 429 if this caller has too many open streams already. 503 if there are too many in total.
    pub fn open(&self, user: Option<model::ids::UserId>) -> Result<OpenStream, Problem> {
        let stay = self.room.as_ref().map(|(room, key)| {
            // A ticket says who it is, and no header does.
            room.enter(user.map_or_else(|| key.clone(), Key::User))
        });
        let stay = stay.transpose()?;
        if let Some(place) = &self.place {
            place.leave();
        }
        Ok(OpenStream { _stay: stay })
    }
}

impl FromRequest for Streaming {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let room = EdgeState::of(request).map(|edge| (edge.streams.clone(), client::waiting_key(edge, request)));
        ready(Ok(Self {
            room,
            place: request.extensions().get::<Arc<Place>>().cloned(),
            head_only: request.extensions().get::<HeadOnly>().is_some(),
        }))
    }
}

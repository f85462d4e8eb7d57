//! The variable segments of a path.

use std::fmt;
use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use super::problem::Problem;

/// A variable segment of the route, parsed: `Path<PostId>` for `/v1/posts/{id}`. `SEGMENT` counts from 0: `Path<UserId, 1>` is the user of
/// `/v1/lists/{id}/members/{user}`. A value that can't be parsed is 400 with the name of the
/// segment, and not 404: it can't exist.
#[derive(Debug, Clone)]
pub struct Path<T, const SEGMENT: usize = 0>(pub T);

impl<T, const SEGMENT: usize> FromRequest for Path<T, SEGMENT>
where
    T: FromStr + 'static,
    T::Err: fmt::Display,
{
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The router has already percent-decoded the segment, except for the slash and the percent sign.
        let segment = request
            .match_info()
            .iter()
            .nth(SEGMENT)
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        ready(match segment {
            Some((name, value)) => value
                .parse()
                .map(Self)
                .map_err(|error: T::Err| Problem::malformed_field(name, error)),
            None => Err(Problem::not_found("There is nothing at this address.")),
        })
    }
}

//! The variable segments of a path.

use std::fmt;
use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use super::problem::Problem;

/// The variable segment of the route, parsed: `Path<PostId>` for `/v1/posts/{id}`. A value that can't be parsed is 400 with the name of the
/// segment, and not 404: it can't exist.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T> FromRequest for Path<T>
where
    T: FromStr + 'static,
    T::Err: fmt::Display,
{
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(segment(request, 0).map(Self))
    }
}

/// Both variable segments of the route, parsed: `PathPair<ListId, UserId>` for `/v1/lists/{id}/members/{user}`.
#[derive(Debug, Clone)]
pub struct PathPair<A, B>(pub A, pub B);

impl<A, B> FromRequest for PathPair<A, B>
where
    A: FromStr + 'static,
    A::Err: fmt::Display,
    B: FromStr + 'static,
    B::Err: fmt::Display,
{
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pair = segment(request, 0).and_then(|first| Ok(Self(first, segment(request, 1)?)));
        ready(pair)
    }
}

fn segment<T>(request: &HttpRequest, index: usize) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    // The router has already percent-decoded the segment, except for the slash and the percent sign.
    match request.match_info().iter().nth(index) {
        Some((name, value)) => value
            .parse()
            .map_err(|error: T::Err| Problem::malformed_field(name, error)),
        None => Err(Problem::not_found("There is nothing at this address.")),
    }
}

//! What every HTTP service of the product has: problem details, strict extractors, limits, probes, and the server itself. A service adds
//! only its routes.
//!
//! Bad input has the same statuses everywhere. Status 400: a path, a query parameter or a header that can't be read, or a body that is not
//! JSON. Status 422: a body with fields that are unknown, missing, of a wrong type or of a wrong value. Each problem names the field.

mod admission;
mod authenticated;
mod client;
mod docs;
mod drain;
mod edge;
mod fields;
mod headers;
mod in_process;
mod json;
mod limits;
mod observe;
mod paging;
mod path;
mod place;
mod probes;
mod problem;
mod query;
mod rate_limit;
mod server;
mod streaming;

pub use authenticated::{Access, Authenticated, MaybeAuthenticated};
pub use docs::RequestHeaders;
pub use drain::EndOfStreams;
pub use edge::Edge;
pub use fields::Fields;
pub use headers::{CorrelationId, IfMatch, KeyHeader, TokenHeader, etag};
pub use in_process::{InProcess, Opened};
pub use json::{Body, Json, MAX_BODY_BYTES, OptionalJson, parse_json};
pub use limits::Limits;
pub use observe::received_head;
pub use paging::{Limit, PageQuery, links};
pub use path::Path;
pub use place::give_place_back;
pub use probes::Readiness;
pub use problem::{FieldError, Problem};
pub use query::Query;
pub use rate_limit::{Allowance, Class, Decision, Key, Limiter};
pub use server::Server;
pub use streaming::{OpenStream, Streaming};

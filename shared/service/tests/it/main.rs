//! The HTTP layer of a service, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that fails by a panic has done its work")]
#![cfg(feature = "http")]

mod http;

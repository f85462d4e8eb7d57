//! Models of the four protocols that correctness depends on. A checker visits every state that they can reach within given bounds, and
//! checks in each what `docs/CORRECTNESS.md` promises.
//!
//! A model repeats the code's protocol in small, step by step. Each action names the function that it stands for. If you change one, change
//! the other. The tests also show that the checker can fail: each mutation breaks a protocol on purpose, and the checker must find it.
#![expect(clippy::unwrap_used, reason = "a check that can't continue should panic")]

mod check;
mod follow;
mod leases;
mod live;
mod timeline;

//! Models of the two protocols that correctness depends on. A checker visits every state that they can reach within stated bounds, and
//! checks in each what `docs/CORRECTNESS.md` promises.
//!
//! A model repeats the protocol of the code in small, step by step. Each action names the function that it stands for. If one changes,
//! change the other. The tests also show that the checker can fail: each mutation breaks a protocol on purpose, and must be found.
#![expect(
    clippy::unwrap_used,
    reason = "a check that can't go on has nothing better to do than to panic"
)]

mod check;
mod leases;
mod timeline;

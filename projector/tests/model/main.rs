//! The two protocols that correctness hangs on, as models: a checker visits every state that they can reach within
//! stated bounds, and looks whether what `docs/CORRECTNESS.md` promises holds in each.
//!
//! A model repeats the protocol of the code in small, step by step; each of its actions names the function that it
//! stands for. Whoever changes the one changes the other. That the checker can fail is tested as well: each mutation of
//! a protocol breaks it on purpose, and must be found out.
#![expect(
    clippy::unwrap_used,
    reason = "a check that can't go on has nothing better to do than to panic"
)]

mod check;
mod leases;
mod timeline;

//! Everything in one process, and the tools around it: `up`, `demo`, `import`, `verify`, `dead-letters`, `rebuild`,
//! `reset-password`, `invite`, `smoke`.
//!
//! Without the feature `up` it is the tools alone, and half as big: in a container each service has an image of its own.

#[cfg(feature = "up")]
mod alone;
pub mod api_client;
pub mod cli;
mod cli_values;
mod codes;
mod connection;
mod dead_letters;
mod demo;
pub mod import;
#[cfg_attr(
    not(feature = "up"),
    expect(dead_code, reason = "the tools only look for what `up` has made")
)]
mod installation;
mod progress;
mod rebuild;
mod smoke;
#[cfg(feature = "up")]
pub mod stack;
mod terminal;
#[cfg(feature = "up")]
mod up;
pub mod verify;

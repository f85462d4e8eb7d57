//! Everything in one process, and the tools around it: `up`, `demo`, `import`, `verify`, `dead-letters`, `rebuild`,
//! `reset-password`, `invite`, `role`, `smoke`, `tail`.
//!
//! Without the feature `up`, only the tools are built, and the program is half as big. In containers each service has its own image.

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
    expect(dead_code, reason = "the tools only read what `up` has made")
)]
mod installation;
mod progress;
mod rebuild;
mod role;
mod smoke;
#[cfg(feature = "up")]
pub mod stack;
mod tail;
mod terminal;
#[cfg(feature = "up")]
mod up;
pub mod verify;

//! Everything in one process, and the tools around it: `up`, `demo`, `import`, `verify`, `dead-letters`, `rebuild`.

mod alone;
pub mod api_client;
pub mod cli;
mod cli_values;
mod connection;
mod dead_letters;
mod demo;
pub mod import;
mod installation;
mod progress;
mod rebuild;
mod smoke;
pub mod stack;
mod terminal;
mod up;
pub mod verify;

//! Everything in one process, and the tools around it: `up`, `demo`, `import`, `verify`, `dead-letters`, `rebuild`.

pub mod api_client;
pub mod cli;
mod demo;
// mod installation;
// pub mod stack;
// mod up;
mod cli_values;
pub mod import;
mod progress;

//! The projector against a database: from events to views, by programs that share the work and die.

mod dead_letters;
mod generations;
mod leadership;
mod oracle;
mod projection;
mod rebuild;
mod sweep;
mod world;

//! The servers that this crate starts, for real.

mod installation;
mod lifecycle;
mod test_databases;
mod with_mongodb;

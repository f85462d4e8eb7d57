//! The servers that this crate starts, for real.

mod lifecycle;
mod test_databases;
mod with_mongodb;

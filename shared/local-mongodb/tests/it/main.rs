//! Tests with the real servers that this crate starts.

mod installation;
mod lifecycle;
mod test_databases;
mod with_mongodb;

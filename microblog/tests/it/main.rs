//! The whole of Microblog: command-svc, query-svc and the projector against one database.
//!
//! Every read sends the `Consistency-Token` of what was written before it: no test waits for a fixed time.

mod bookmarks;
mod crates;
mod deletions;
mod descriptions;
mod ec2;
mod filters;
mod gateway;
mod home;
mod import;
mod large_authors;
mod leaks;
mod lists;
mod mentions;
mod minikube;
mod moderation;
mod notifications;
mod people;
mod postman;
mod processes;
mod quotes;
mod rebuild;
mod stack;
mod starting;
mod tags;
mod tools;
mod traces;
mod up;
mod upgrades;
mod web;

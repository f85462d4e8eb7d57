//! The read side of Microblog: the views that the projector keeps, and the HTTP service that answers from them.

pub mod views;

//! The story of a message, in reading order: received or submitted, queued, delivered or sent, reported. Glue
//! only: what is decided is decided in `proto/`, what is touched is touched in `host/`.

pub mod receive;

//! The outside world, one thing a file: files, sockets, users, clocks. Thin, and without policy: what is to be
//! done is decided in `proto/` and told in `flow/`.

pub mod durable;
pub mod mailbox;
pub mod maildir;
pub mod mbox;

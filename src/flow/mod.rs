//! The story of a message, in reading order: submitted, queued, delivered or sent, reported. Glue only: what is
//! decided is decided in `proto/`, what is touched is touched in `host/`.

use crate::config::Config;
use crate::host::spool::Spool;

pub mod admin;
pub mod bounce;
pub mod check;
pub mod deliver;
pub mod queue;
pub mod send;
pub mod submit;

/// What every part of the story needs.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The queue.
    pub spool: Spool,
    /// What this program was called as; it stands before every line to standard error.
    pub program: String,
    /// `-v`: say on standard error what is done.
    pub verbose: bool,
}

//! minimta, a small and complete mail transfer agent.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
mod error;
mod flow;
mod host;
mod proto;

fn main() {}

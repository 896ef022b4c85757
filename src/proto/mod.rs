//! The mail protocols: bytes and values in, bytes and values out.
//!
//! Nothing in this folder touches a file, a socket, the environment, a thread, the clock, randomness or the
//! log; time and random bytes come in as arguments. So every rule can be tested as a table, without a wait.
//! `tests/architecture.rs` keeps it so.

pub mod address;
pub mod addrlist;
pub mod alias;
pub mod arc;
pub mod authenticate;
pub mod client;
pub mod collapse;
pub mod command;
pub mod dane;
pub mod data;
pub mod date;
pub mod day;
pub mod dkim;
pub mod dmarc;
pub mod dsn;
pub mod end;
pub mod envelope;
pub mod expand;
pub mod fields;
pub mod handover;
pub mod header;
pub mod header_reader;
pub mod header_sieve;
pub mod header_watch;
pub mod http;
pub mod idna;
pub mod journal;
pub mod letter;
pub mod milter;
pub mod mime;
pub mod mx;
pub mod names;
pub mod network;
pub mod order;
pub mod outcome;
pub mod parameters;
pub mod pem;
pub mod proxy;
pub mod replies;
pub mod reply;
pub mod results;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod sasl;
pub mod scram;
pub mod screen;
pub mod session;
pub mod spf;
pub mod srs;
pub mod sts;
pub mod tags;
pub mod tally;
pub mod tlsrpt;
pub mod transaction;
pub mod x509;
pub mod xtext;

/// How often a test repeats what Miri, a thousand times as slow as the processor, need not see as often: there as often as
/// the square root of it.
#[cfg(test)]
pub(crate) fn few(count: usize) -> usize {
    if cfg!(miri) { count.isqrt() } else { count }
}

/// The numbers below an end; in Miri a few of them.
#[cfg(test)]
pub(crate) fn below(end: usize) -> impl Iterator<Item = usize> {
    (0..end).step_by((end / few(end).max(1)).max(1))
}

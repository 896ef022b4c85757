//! The real program in systems of its own: one binary, a file a theme. `harness/` is what they stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod access;
mod administrator;
mod alias;
mod alias_file;
mod apart;
mod architecture;
mod bounce;
mod bounds;
mod callers;
mod check;
mod cli;
mod collapse;
mod connections;
mod crash;
mod dane;
mod defence;
mod deliver;
mod direct;
mod dkim;
mod docs;
mod ended;
mod faults;
mod flood;
mod forward;
mod harness;
mod home;
mod install;
mod inward;
mod jailed;
mod killed;
mod known;
mod listen;
mod login;
mod midway;
mod milter;
mod mishaps;
mod mx;
mod neighbours;
mod notices;
mod offered;
mod options;
mod outward;
mod planted;
mod powercut;
mod powerless;
mod queue;
mod readme;
mod refused;
mod resident;
mod root;
mod ruins;
mod send;
#[cfg(not(any(feature = "mx", feature = "server")))]
mod small;
mod soak;
mod srs;
mod status;
mod stopped;
mod stored;
mod strangers;
mod sts;
mod submit;
mod surroundings;
mod tlsrpt;
mod way;
mod wishes;

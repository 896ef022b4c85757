//! What a small build leaves out, and what is said to who asks for it.
//!
//! `--no-default-features` builds for a router with little flash: a submission, the spool, local delivery and
//! smarthosts over TLS. Whatever it has not it refuses by name, and nothing is accepted and ignored. The parts are
//! left out at their fences: `host/dns/`, `host/listen.rs` and `host/hash.rs` have a stand-in each that does nothing.

/// Whether there is a daemon: listening, passwords of its own users, a certificate of its own.
pub const SERVER: bool = cfg!(feature = "server");
/// Whether mail can go straight to the servers of its domain: DNS, DANE, MTA-STS.
pub const MX: bool = cfg!(feature = "mx");

/// What is said of the daemon and its options where there is none.
pub const NO_SERVER: &str = "this small build of minimta has no daemon and no users of its own; run minimta -q from cron, or install the \
     full one (its feature \"server\")";
/// What is said where mail would have to go straight to a domain.
pub const NO_MX: &str = "this small build of minimta does not look up where a domain takes its mail; set [smarthost], or install the \
     full one (its feature \"mx\")";

/// Why a key has no meaning in this build; `None`: it has one.
pub fn without(section: &str, key: &str) -> Option<&'static str> {
    match (section, key) {
        ("listen" | "access" | "tls" | "milter", _) if !SERVER => Some(NO_SERVER),
        ("dns", _) if !MX => Some(NO_MX),
        ("remote", key) if !MX && key != "bind" => Some(NO_MX),
        _ => None,
    }
}

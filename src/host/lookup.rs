//! What is asked of the domain name system, and what an answer is: the same values for the build that asks (dns/mod.rs)
//! and the one that does not (dns/absent.rs).

use std::path::PathBuf;

use crate::proto::mx::NoAnswer;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Whose key signatures are checked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// Nobody's: nothing is secure.
    Nobody,
    /// The root's, as it is known to the world.
    Root,
    /// The keys in this file, DNSKEY records as `dig` prints them.
    File(PathBuf),
}

/// What was found, and whether DNSSEC vouches for it: that it is there, or that it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records, or why there are none.
    pub found: Result<T, NoAnswer>,
    /// Whether each step to it was signed.
    pub secure: bool,
}

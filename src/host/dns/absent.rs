//! The domain name system in a build that does not ask it: every question stays open, and mail waits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use super::lookup::{Anchor, Answer, Family};
use crate::parts::NO_MX;
use crate::proto::dane::Tlsa;
use crate::proto::mx::{Addresses, Exchanger, NoAnswer};

/// Asks nobody.
#[derive(Debug)]
pub struct Dns;

fn nothing<T>() -> Result<T, NoAnswer> {
    Err(NoAnswer::Temporary(NO_MX.to_owned()))
}

impl Dns {
    /// As in the full build.
    pub fn new(_: Vec<SocketAddr>, _: Duration, _: Anchor) -> Self {
        Self
    }

    /// The mail exchangers of a domain.
    pub fn mx(&self, _: &str) -> Answer<Vec<Exchanger>> {
        Answer {
            found: nothing(),
            secure: false,
        }
    }

    /// The addresses of some names.
    pub fn addresses(&self, names: &[&str], _: Family) -> Vec<Result<Vec<IpAddr>, NoAnswer>> {
        names.iter().map(|_| nothing()).collect()
    }

    /// The same, for a connection.
    pub fn find_addresses(
        &self,
        names: &[&str],
        _: Family,
        _: bool,
    ) -> Vec<Result<Addresses, NoAnswer>> {
        names.iter().map(|_| nothing()).collect()
    }

    /// The TLSA records of a service.
    ///
    /// # Errors
    /// Always.
    pub fn tlsa(&self, _: &str, _: u16) -> Result<Vec<Tlsa>, NoAnswer> {
        nothing()
    }

    /// The text records of a name.
    ///
    /// # Errors
    /// Always.
    pub fn txt(&self, _: &str) -> Result<Vec<String>, NoAnswer> {
        nothing()
    }

    /// The names of an address.
    ///
    /// # Errors
    /// Always.
    pub fn pointer(&self, _: IpAddr) -> Result<Vec<String>, NoAnswer> {
        nothing()
    }

    /// Whether there is DNS.
    ///
    /// # Errors
    /// Always.
    pub fn check(&self) -> Result<String, String> {
        Err(NO_MX.to_owned())
    }
}

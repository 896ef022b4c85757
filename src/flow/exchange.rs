//! From a domain to the hosts that take its mail: what is asked of DNS, and what this machine is known as.

use std::net::IpAddr;

use crate::config::{Config, Endpoint, Ip};
use crate::host::dns::{Anchor, Dns, Family};
use crate::host::{clock, interfaces};
use crate::proto::address::Domain;
use crate::proto::mx::{self, Exchanger, Host, Own};
use crate::proto::outcome::Outcome;

/// The port at which the world takes mail, and this system too.
const SMTP: u16 = 25;
/// For how many servers of a domain addresses are asked at once; for the others only when none of these has one.
const AT_ONCE: usize = 8;

/// The resolver of the configuration; it asks nothing yet.
pub fn resolver(config: &Config) -> Dns {
    let anchor = match &config.dns.trust_anchor {
        _ if !config.remote.dane => Anchor::Nobody,
        Some(path) => Anchor::File(path.clone()),
        None => Anchor::Root,
    };
    Dns::new(config.dns.servers.clone(), config.dns.timeout, anchor)
}

/// The hosts to connect to for a domain, in their order.
///
/// # Errors
/// What becomes of mail to the domain when there are none, or none can be found now.
pub fn hosts(dns: &Dns, config: &Config, domain: &Domain) -> Result<Vec<Host>, Outcome> {
    let (names, addresses) = (own_domains(config), own_addresses(config));
    let own = Own {
        names: &names,
        addresses: &addresses,
        loopback: config.remote.port == SMTP,
    };
    if let Some(ip) = mx::literal(domain) {
        let name = domain.as_str().to_owned();
        let itself = [Exchanger {
            preference: 0,
            name,
        }];
        return mx::hosts(domain, &itself, vec![Ok(vec![ip].into())], &own);
    }
    let records = dns.mx(domain.as_str());
    let secure = records.secure;
    let exchangers = mx::exchangers(domain, records.found, &own, clock::random())?;
    let family = match config.remote.ip {
        Ip::Any => Family::Any,
        Ip::V4 => Family::V4,
        Ip::V6 => Family::V6,
    };
    let mut answers = Vec::new();
    for some in exchangers.chunks(AT_ONCE) {
        let names: Vec<&str> = some.iter().map(|e| e.name.as_str()).collect();
        answers.extend(dns.find_addresses(&names, family, secure));
        if let Ok(hosts) = mx::hosts(domain, &exchangers, answers.clone(), &own) {
            return Ok(hosts);
        }
    }
    mx::hosts(domain, &exchangers, answers, &own)
}

/// Where this system takes mail itself, at the port at which others do.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut own = Vec::new();
    for place in &config.listen.smtp {
        match place {
            Endpoint::Tcp(at) if at.port() != config.remote.port => {}
            // All of this machine's.
            Endpoint::Tcp(at) if at.ip().is_unspecified() => own.extend(interfaces()),
            Endpoint::Tcp(at) => own.push(at.ip().to_canonical()),
            Endpoint::Unix(_) => {}
        }
    }
    own
}

/// The names and mail domains of this system.
pub fn own_domains(config: &Config) -> Vec<&Domain> {
    let mut own = vec![&config.hostname];
    own.extend(config.domains.iter().filter(|d| **d != config.hostname));
    own
}

/// The hosts in words: `mx.example.net (192.0.2.1), then ...`.
pub fn in_words(hosts: &[Host]) -> String {
    let show = |host: &Host| {
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        format!("{} ({})", host.name, addresses.join(", "))
    };
    hosts.iter().map(show).collect::<Vec<_>>().join(", then ")
}

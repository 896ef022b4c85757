//! From what DNS says of a domain to the hosts that take its mail (RFC 5321 5.1, RFC 7505).
//!
//! 1. [`exchangers`]: whom to ask the addresses of, best first; the domain itself where it has no MX record
//! 2. [`hosts`]: whom to connect to, when the addresses are there
//!
//! This machine is never among them, nor is anybody who is worse than it: mail would go in a circle. A domain that
//! has MX records is not reached by its own address, whatever is wrong with them.

use std::net::IpAddr;

use super::address::Domain;
use super::order;
use super::outcome::{Outcome, Verdict};
use super::reply::Enhanced;

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// The lower, the better.
    pub preference: u16,
    /// The host's name in lower case, without a final dot; empty in a null record (RFC 7505).
    pub name: String,
}

/// Why a question has no answer. The last one matters most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoAnswer {
    /// The name has no record of this kind.
    NoData,
    /// There is no such name.
    NoSuchDomain,
    /// It cannot be told now; a sentence's end that says why.
    Temporary(String),
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    /// All of both families, those of IPv6 first.
    pub all: Vec<IpAddr>,
    /// What DNSSEC vouches for as the host's name: what the name is an alias of, and then the name itself. Empty when
    /// it vouches for nothing.
    pub names: Vec<String>,
}

impl From<Vec<IpAddr>> for Addresses {
    fn from(all: Vec<IpAddr>) -> Self {
        Self {
            all,
            names: Vec::new(),
        }
    }
}

/// A host that takes mail, with addresses to try in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, or an address literal.
    pub name: String,
    /// Never empty.
    pub addresses: Vec<IpAddr>,
    /// Where its TLSA records may stand (RFC 7672 2.2.2), when DNSSEC vouches for each step to it.
    pub secure_names: Vec<String>,
}

/// What this machine is known as.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its names.
    pub names: &'a [&'a Domain],
    /// Addresses at which it takes mail.
    pub addresses: &'a [IpAddr],
    /// Whether whatever answers at a loopback address is this system.
    pub loopback: bool,
}

/// The most names whose addresses are asked for.
const MAX_NAMES: usize = 24;
/// The most hosts that are tried.
const MAX_HOSTS: usize = 5;
/// The most addresses of one host that are tried (K40; RFC 5321 5.1 asks for two at least).
const MAX_ADDRESSES: usize = 5;
/// The most addresses that are tried in all; each may cost the time of a connection that nobody answers.
const MAX_TRIES: usize = 10;

/// The address that an address literal such as `[192.0.2.1]` is (RFC 5321 4.1.3).
pub fn literal(domain: &Domain) -> Option<IpAddr> {
    let inner = domain.as_str().strip_prefix('[')?.strip_suffix(']')?;
    inner.strip_prefix("ipv6:").unwrap_or(inner).parse().ok()
}

/// Whom to ask the addresses of: best first, at random among equals.
///
/// # Errors
/// What becomes of mail to the domain when there is nobody.
pub fn exchangers(
    domain: &Domain,
    answer: Result<Vec<Exchanger>, NoAnswer>,
    own: &Own<'_>,
    random: u64,
) -> Result<Vec<Exchanger>, Outcome> {
    let found = match answer {
        Ok(found) => found,
        Err(NoAnswer::NoData) => vec![Exchanger {
            preference: 0,
            // In the form that certificates and policies have.
            name: domain.ascii().to_owned(),
        }],
        Err(NoAnswer::NoSuchDomain) => {
            let text = format!("there is no domain {domain}");
            return Err(failed(Enhanced(5, 1, 2), &text));
        }
        Err(NoAnswer::Temporary(why)) => return Err(deferred(domain, &why)),
    };
    if !found.is_empty() && found.iter().all(|e| e.name.is_empty()) {
        let text = format!("{domain} takes no mail: its MX record says so");
        return Err(failed(Enhanced(5, 1, 10), &text));
    }
    let mut usable: Vec<Exchanger> = found.into_iter().filter(|e| is_name(&e.name)).collect();
    if usable.is_empty() {
        let text = format!("the MX records of {domain} name no host");
        return Err(failed(Enhanced(5, 4, 4), &text));
    }
    order::sort(&mut usable, &|a, b| {
        a.name.cmp(&b.name).then(a.preference.cmp(&b.preference))
    });
    usable.dedup_by(|a, b| a.name == b.name);
    let ours = |e: &Exchanger| own.names.iter().any(|name| name.ascii() == e.name);
    if let Some(limit) = usable
        .iter()
        .filter(|e| ours(e))
        .map(|e| e.preference)
        .min()
    {
        usable.retain(|e| e.preference < limit);
    }
    if usable.is_empty() {
        return Err(circle(domain));
    }
    let mut drawn: Vec<(u16, u64, Exchanger)> = (0u64..)
        .zip(usable)
        .map(|(number, e)| (e.preference, mixed(random, number), e))
        .collect();
    order::sort(&mut drawn, &|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    Ok(drawn
        .into_iter()
        .map(|(_, _, e)| e)
        .take(MAX_NAMES)
        .collect())
}

/// Whom to connect to, in this order. `answers` are the addresses of the exchangers, one answer each, as far as these were
/// asked for.
///
/// # Errors
/// What becomes of mail to the domain when there is nobody.
pub fn hosts(
    domain: &Domain,
    exchangers: &[Exchanger],
    answers: Vec<Result<Addresses, NoAnswer>>,
    own: &Own<'_>,
) -> Result<Vec<Host>, Outcome> {
    let is_own = |ip: &IpAddr| {
        let ip = ip.to_canonical();
        own.addresses.contains(&ip) || own.loopback && (ip.is_loopback() || ip.is_unspecified())
    };
    let reaches_us = |answer: &Result<Addresses, NoAnswer>| {
        answer
            .as_ref()
            .is_ok_and(|found| found.all.iter().any(is_own))
    };
    let limit = exchangers
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| reaches_us(answer))
        .map(|(e, _)| e.preference)
        .min();
    let better = |e: &Exchanger| limit.is_none_or(|limit| e.preference < limit);
    let (mut hosts, mut unknown) = (Vec::new(), None);
    for (exchanger, answer) in exchangers.iter().zip(answers) {
        match answer {
            _ if !better(exchanger) => {}
            Ok(addresses) => hosts.push(Host {
                name: exchanger.name.clone(),
                addresses: in_turns(addresses.all.into_iter().filter(is_reachable).collect()),
                secure_names: addresses.names,
            }),
            Err(NoAnswer::Temporary(why)) => unknown = Some(why),
            Err(NoAnswer::NoData | NoAnswer::NoSuchDomain) => {}
        }
    }
    hosts.retain(|host| !host.addresses.is_empty());
    hosts.truncate(MAX_HOSTS);
    let each = (MAX_TRIES / hosts.len().max(1)).min(MAX_ADDRESSES);
    for host in &mut hosts {
        host.addresses.truncate(each);
    }
    match (hosts.is_empty(), unknown, limit) {
        (false, ..) => Ok(hosts),
        (true, Some(why), _) => Err(deferred(domain, &why)),
        (true, None, Some(_)) => Err(circle(domain)),
        (true, None, None) => {
            let text = format!("{domain} has no mail server that has an address");
            Err(failed(Enhanced(5, 4, 4), &text))
        }
    }
}

/// Whether an MX record names a host; some name an address, or nothing that could be looked up (K39).
fn is_name(name: &str) -> bool {
    !name.starts_with('[') && name.parse::<IpAddr>().is_err() && Domain::parse(name).is_ok()
}

/// Whether a host on another network can have this address.
fn is_reachable(ip: &IpAddr) -> bool {
    !match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

/// Both families by turns, the first one's first: a network without IPv6 must not cost more than one try (K44).
fn in_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// A lot for each number, from one random value (the finalizer of MurmurHash3).
fn mixed(random: u64, number: u64) -> u64 {
    let mut x = random ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ (x >> 33)
}

fn failed(enhanced: Enhanced, text: &str) -> Outcome {
    Outcome::new(Verdict::Failed, None, enhanced, "", text)
}

/// Status of a directory that does not answer (RFC 3463 3.5).
fn deferred(domain: &Domain, why: &str) -> Outcome {
    let text = format!("cannot find the mail servers of {domain}: {why}");
    Outcome::new(Verdict::Deferred, None, Enhanced(4, 4, 3), "", &text)
}

fn circle(domain: &Domain) -> Outcome {
    let text = format!(
        "the mail server of {domain} is this machine, which does not know the domain: if its mail is for here, it \
         must stand in domains"
    );
    failed(Enhanced(5, 4, 6), &text)
}

#[cfg(test)]
mod tests;

//! From a host's name to a server that takes mail.
//!
//! 1. the host's addresses, those that are given or those of the system's resolver; each in turn, until all that follows
//!    succeeds at one
//! 2. EHLO, or HELO for a server too old for it, when nothing is needed that only EHLO offers
//! 3. STARTTLS, and EHLO again: what was offered in the clear is forgotten (RFC 3207 4.2)
//! 4. AUTH, with the password read now
//!
//! Each step has its time, and all of them together have one: whoever uses up each to its end holds a worker no longer.
//!
//! Nothing that goes wrong here is the mail's fault: each failure is an outcome that defers, with a text for the
//! person who has to act.

mod login;
mod target;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Instant;

use self::login::log_in;
pub use self::target::{Proof, Target, UNVERIFIED};
use super::dialogue::{BROKEN, Dialogue, Outgoing, left_until};
use crate::config::Tls;
use crate::host::tls::{self, Remedy, Trust};
use crate::host::wire::Wire;
use crate::host::{clock, words};
use crate::proto::address::Domain;
use crate::proto::letter::Capabilities;
use crate::proto::outcome::Outcome;
use crate::proto::reply::{Enhanced, Reply};

/// Status of a host that cannot be reached, or does not greet us.
const NO_ANSWER: Enhanced = Enhanced(4, 4, 1);
/// Status of a certificate that does not prove what it has to (RFC 3463 3.8: cryptographic failure).
pub const UNPROVEN: Enhanced = Enhanced(4, 7, 5);
/// Status of trouble with TLS or login that is not the server's (RFC 3463 3.8).
const SECURITY: Enhanced = Enhanced(4, 7, 0);
/// Status of a password that cannot be read: this system is not set up right (RFC 3463 3.4).
const NO_PASSWORD: Enhanced = Enhanced(4, 3, 5);

/// A server that was reached.
pub struct Reached<'a> {
    /// What is said to it.
    pub dialogue: Dialogue<'a>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Where it is, unless on a socket of this system.
    pub address: Option<SocketAddr>,
    /// Addresses of the same host that come after it.
    pub others: Vec<SocketAddr>,
    /// What kept it from TLS, as reports call it (RFC 8460 4.3).
    pub tls_fault: Option<&'static str>,
    /// The same of addresses that were tried before it.
    pub earlier_faults: Vec<&'static str>,
}

/// Connects, and does all that comes before MAIL, at the first address of the host where all of it succeeds (RFC 5321
/// 5.1). `until` is when it must be over.
pub fn connect<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    until: Instant,
) -> Result<Reached<'a>, Outcome> {
    let (mut why, mut earlier_faults) = (None, Vec::new());
    let mut addresses = addresses(target)?;
    begin_with(&mut addresses, target.turn);
    let mut addresses = addresses.into_iter();
    while let Some(address) = addresses.next() {
        if why.is_some() && left_until(until).is_zero() {
            break;
        }
        let outcome = match open(target, outgoing, address, until) {
            Ok(reached) => {
                let others = addresses.flatten().collect();
                return Ok(Reached {
                    others,
                    earlier_faults,
                    ..reached
                });
            }
            Err(Failure::Login(outcome)) => return Err(outcome),
            Err(Failure::Handshake(outcome) | Failure::Other(outcome)) => outcome,
        };
        earlier_faults.extend(outcome.tls_fault);
        why = Some(match why {
            Some(earlier) => Outcome::or(earlier, outcome),
            None => outcome,
        });
    }
    Err(why.unwrap_or_else(|| {
        let host = &target.host;
        let text = format!("{host} has no address; check the name and /etc/resolv.conf");
        target.deferred(Enhanced(4, 4, 3), &text)
    }))
}

/// What reports call a server without STARTTLS, or one that refuses it.
const NOT_SUPPORTED: &str = "starttls-not-supported";
/// And one whose connection breaks over it.
const UNCLEAR: &str = "validation-failure";

enum Failure {
    /// TLS failed, or may have, and the connection with it.
    Handshake(Outcome),
    /// The login does not work, at whatever address of the host.
    Login(Outcome),
    Other(Outcome),
}

/// The same at one address.
fn open<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    address: Option<SocketAddr>,
    until: Instant,
) -> Result<Reached<'a>, Failure> {
    let mut fault = None;
    let done = match establish(target, outgoing, address, target.tls, until) {
        // A server that offers STARTTLS and cannot do it is still one that takes mail (RFC 7435); but this
        // connection cannot be used any more.
        Err(Failure::Handshake(why)) if target.tls == Tls::Opportunistic => {
            outgoing.trace(&format!("= {}; once more without TLS", why.text));
            fault = why.tls_fault;
            establish(target, outgoing, address, Tls::None, until)
        }
        done => done,
    };
    let (dialogue, capabilities) = done?;
    let tls_fault = match dialogue.wire.is_tls() {
        true => None,
        false => fault.or(Some(NOT_SUPPORTED)),
    };
    Ok(Reached {
        dialogue,
        capabilities,
        address,
        others: Vec::new(),
        tls_fault,
        earlier_faults: Vec::new(),
    })
}

fn establish<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    address: Option<SocketAddr>,
    tls: Tls,
    until: Instant,
) -> Result<(Dialogue<'a>, Capabilities), Failure> {
    let greeted = greet(target, outgoing, address.as_ref(), until);
    let mut dialogue = greeted.map_err(Failure::Other)?;
    match prepare(&mut dialogue, target, tls) {
        Ok(capabilities) => {
            dialogue.opening = None;
            Ok((dialogue, capabilities))
        }
        Err(failure) => {
            dialogue.quit();
            Err(failure)
        }
    }
}

/// The most addresses of one host that are tried (K40; RFC 5321 5.1 asks for two).
const MAX_ADDRESSES: usize = 5;

/// The addresses that are given, or those the system knows; a socket of this system is one without.
fn addresses(target: &Target<'_>) -> Result<Vec<Option<SocketAddr>>, Outcome> {
    if target.lmtp && target.host.starts_with('/') {
        return Ok(vec![None]);
    }
    if let Some(given) = &target.addresses {
        return Ok(given.iter().copied().map(Some).collect());
    }
    let (host, port) = (without_brackets(&target.host), target.port);
    let found = (host, port).to_socket_addrs().map_err(|e| {
        let why = words(&e);
        let why = why.trim_start_matches("failed to lookup address information: ");
        let text = format!(
            "cannot find the address of {host}: {why}; check the name and /etc/resolv.conf"
        );
        target.deferred(Enhanced(4, 4, 3), &text)
    })?;
    Ok(found.take(MAX_ADDRESSES).map(Some).collect())
}

/// Puts those first whose turn it is. After a round with all of them the next one begins one further: name servers that
/// turn the list, too, would otherwise bring the same one to the front each time.
fn begin_with<T>(addresses: &mut [T], turn: usize) {
    let round = turn.checked_div(addresses.len()).unwrap_or_default();
    let first = turn.wrapping_add(round).checked_rem(addresses.len());
    addresses.rotate_left(first.unwrap_or_default());
}

/// Connects to one address, or the socket of this system, and waits for its greeting.
fn greet<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    address: Option<&SocketAddr>,
    until: Instant,
) -> Result<Dialogue<'a>, Outcome> {
    let wire = match address {
        Some(address) => dial(target, outgoing, address)?,
        None => {
            outgoing.trace(&format!("= connecting to {}", target.host));
            Wire::connect_local(Path::new(&*target.host), outgoing.timeouts.connect).map_err(
                |e| {
                    let text = format!("cannot connect: {}", words(&e));
                    target.deferred(NO_ANSWER, &text)
                },
            )?
        }
    };
    let mut dialogue = Dialogue::new(wire, outgoing, until);
    if target.tls == Tls::Implicit {
        encrypt(&mut dialogue, target)?;
    }
    let heard = dialogue.hear(outgoing.timeouts.greeting);
    let outcome = match heard {
        Err(trouble) => {
            let hint = match (target.remedy, target.tls, target.port) {
                (Remedy::Theirs, ..) | (_, Tls::Implicit, _) | (_, _, 25 | 587) => "",
                _ => "; does the port want tls = \"implicit\"?",
            };
            let text = format!("waiting for the greeting: {}{hint}", trouble.text);
            let enhanced = if trouble.enhanced == BROKEN {
                NO_ANSWER
            } else {
                trouble.enhanced
            };
            target.deferred(enhanced, &text)
        }
        Ok(greeting) if greeting.class() != 2 => target.refused("greeting", &greeting),
        // Who delivers for this machine may well have its name.
        Ok(greeting) if is_named(&greeting, outgoing.hostname) && !target.lmtp => {
            let name = outgoing.hostname;
            let text = format!(
                "the server greets as {name}, which is this machine: the mail would go in a circle; set hostname or \
                 host to another name"
            );
            target.deferred(Enhanced(4, 4, 6), &text)
        }
        Ok(_) => return Ok(dialogue),
    };
    dialogue.quit();
    Err(outcome)
}

fn dial(
    target: &Target<'_>,
    outgoing: &Outgoing<'_>,
    address: &SocketAddr,
) -> Result<Wire, Outcome> {
    if let Some(why) = outgoing.dead.why(address) {
        return Err(target.deferred(NO_ANSWER, &why));
    }
    outgoing.trace(&format!("= connecting to {} ({address})", target.host));
    let same_family = |ip: &&IpAddr| ip.is_ipv6() == address.is_ipv6();
    let from = target.bind.iter().find(same_family).copied();
    Wire::connect(address, from, outgoing.timeouts.connect).map_err(|e| {
        let (ip, port) = (address.ip(), address.port());
        let text = format!("cannot connect to {ip} port {port}: {}", words(&e));
        outgoing.dead.bury(*address, &text);
        target.deferred(NO_ANSWER, &text)
    })
}

/// Whether a reply's first word is a name of ours (RFC 5321 4.2: greeting and EHLO reply begin with a name). What
/// machines are called that nobody has named yet is the name of many.
fn is_named(reply: &Reply, name: &Domain) -> bool {
    if matches!(name.as_str(), "localhost" | "localhost.localdomain") {
        return false;
    }
    let text = reply.text();
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case(name.as_str())
}

/// EHLO, STARTTLS, EHLO, AUTH.
fn prepare(
    dialogue: &mut Dialogue<'_>,
    target: &Target<'_>,
    tls: Tls,
) -> Result<Capabilities, Failure> {
    let mut capabilities = hello(dialogue, target, tls).map_err(Failure::Other)?;
    if matches!(tls, Tls::Starttls | Tls::Opportunistic)
        && start_tls(dialogue, target, &capabilities)?
    {
        // What it has against the handshake it may tell only now, as one that wants a certificate of ours (RFC 8446 2).
        capabilities = hello(dialogue, target, tls).map_err(|outcome| match outcome.code {
            None => not_encrypted(UNCLEAR, outcome),
            Some(_) => Failure::Other(outcome),
        })?;
    }
    if let Some(login) = target.login {
        log_in(dialogue, target, login, &capabilities).map_err(login_failed)?;
    }
    Ok(capabilities)
}

/// A password that is refused at one address is refused at the next, and each try counts against the account; one that
/// cannot be read stays so, too.
fn login_failed(outcome: Outcome) -> Failure {
    let refused = outcome.code.is_some_and(|code| code >= 500);
    let unreadable = outcome.code.is_none() && outcome.enhanced == NO_PASSWORD;
    match refused || unreadable {
        true => Failure::Login(outcome),
        false => Failure::Other(outcome),
    }
}

fn hello(
    dialogue: &mut Dialogue<'_>,
    target: &Target<'_>,
    tls: Tls,
) -> Result<Capabilities, Outcome> {
    let name = own_name(dialogue);
    let mut word = if target.lmtp { "LHLO" } else { "EHLO" };
    let mut reply = ask(dialogue, target, word, &format!("{word} {name}"))?;
    let needs_ehlo = target.login.is_some() || tls == Tls::Starttls || target.lmtp;
    if matches!(reply.code, 500 | 502) && !needs_ehlo {
        word = "HELO";
        reply = ask(dialogue, target, word, &format!("{word} {name}"))?;
    }
    match (reply.class(), word) {
        (2, "EHLO" | "LHLO") => Ok(Capabilities {
            lmtp: target.lmtp,
            authentic: dialogue.wire.is_tls() && target.trust() != Trust::Anything,
            ..Capabilities::parse(&reply)
        }),
        (2, _) => Ok(Capabilities::default()),
        _ => Err(target.refused(word, &reply)),
    }
}

/// What EHLO says: our name, or our address where no server would understand the name (RFC 5321 4.1.1.1).
fn own_name(dialogue: &Dialogue<'_>) -> String {
    let name = dialogue.outgoing.hostname.as_str();
    if name.is_ascii() {
        return name.to_owned();
    }
    match dialogue.wire.local_address() {
        Some(SocketAddr::V6(address)) => format!("[IPv6:{}]", address.ip()),
        Some(SocketAddr::V4(address)) => format!("[{}]", address.ip()),
        None => "localhost".to_owned(),
    }
}

/// Whether the connection is encrypted now. Opportunistic TLS goes on without, when the server says that it
/// cannot.
fn start_tls(
    dialogue: &mut Dialogue<'_>,
    target: &Target<'_>,
    capabilities: &Capabilities,
) -> Result<bool, Failure> {
    let required = target.tls == Tls::Starttls;
    if !capabilities.starttls {
        let what = match target.remedy {
            Remedy::Keys => "if it has a port for TLS (465), set tls = \"implicit\"",
            Remedy::Theirs => "who runs the server has to offer it",
        };
        let text =
            format!("the server does not offer STARTTLS, and without it nothing is sent; {what}");
        let mut outcome = target.deferred(Enhanced(4, 7, 4), &text);
        outcome.tls_fault = Some(NOT_SUPPORTED);
        return if required {
            Err(Failure::Other(outcome))
        } else {
            Ok(false)
        };
    }
    let reply = ask(dialogue, target, "STARTTLS", "STARTTLS");
    let reply = reply.map_err(|outcome| not_encrypted(UNCLEAR, outcome))?;
    if reply.class() != 2 {
        // Behind 421 the server closes the connection (RFC 5321 3.8).
        return match required || reply.code == 421 {
            true => Err(not_encrypted(
                NOT_SUPPORTED,
                target.refused("STARTTLS", &reply),
            )),
            false => Ok(false),
        };
    }
    encrypt(dialogue, target).map_err(Failure::Handshake)?;
    Ok(true)
}

/// A connection is lost, and TLS may be what it was lost by.
fn not_encrypted(fault: &'static str, mut outcome: Outcome) -> Failure {
    outcome.tls_fault = Some(fault);
    Failure::Handshake(outcome)
}

fn encrypt(dialogue: &mut Dialogue<'_>, target: &Target<'_>) -> Result<(), Outcome> {
    let status = match target.proof {
        Proof::Nothing => SECURITY,
        _ => UNPROVEN,
    };
    let failed = |why: &str| target.deferred(status, &format!("TLS failed: {why}"));
    let session = dialogue
        .outgoing
        .tls
        .session(&target.trust(), target.tls_name());
    let session = session.map_err(|sentence| failed(&sentence))?;
    let done = dialogue.start_tls(session);
    done.map_err(|e| Outcome {
        tls_fault: Some(tls::fault(&e)),
        ..failed(&tls::explain(&e, clock::now(), target.remedy))
    })
}

fn ask(
    dialogue: &mut Dialogue<'_>,
    target: &Target<'_>,
    word: &str,
    command: &str,
) -> Result<Reply, Outcome> {
    dialogue
        .ask(command)
        .map_err(|trouble| target.deferred(trouble.enhanced, &format!("{word}: {}", trouble.text)))
}

fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::begin_with;

    /// Wherever the list itself is turned to meanwhile, each address has its turn, and at first each in its order.
    #[test]
    fn each_address_has_its_turn() {
        for count in 0..=super::MAX_ADDRESSES {
            let list: Vec<usize> = (0..count).collect();
            for step in 0..=count {
                let firsts = (0..count * count).filter_map(|turn| {
                    let mut turned = list.clone();
                    turned.rotate_left((turn * step).checked_rem(count)?);
                    begin_with(&mut turned, turn);
                    turned.first().copied()
                });
                let firsts: Vec<usize> = firsts.collect();
                if step == 0 {
                    assert_eq!(firsts.get(..count), Some(&list[..]));
                }
                let missed = list.iter().find(|address| !firsts.contains(address));
                assert_eq!(
                    missed, None,
                    "{count} addresses, turned by {step}: {firsts:?}"
                );
            }
        }
    }
}

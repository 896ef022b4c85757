//! From a host's name to a server that takes mail.
//!
//! 1. the host's addresses, those that are given or those of the system's resolver; each in turn, until one greets us
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
use crate::host::tls::{self, Trust};
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
/// A server that was reached.
pub struct Reached<'a> {
    /// What is said to it.
    pub dialogue: Dialogue<'a>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What kept it from TLS, as reports call it (RFC 8460 4.3).
    pub tls_fault: Option<&'static str>,
}

/// Connects, and does all that comes before MAIL.
pub fn connect<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
) -> Result<Reached<'a>, Outcome> {
    let mut fault = None;
    let until = Instant::now() + outgoing.timeouts.opening;
    let done = match establish(target, outgoing, target.tls, until) {
        // A server that offers STARTTLS and cannot do it is still one that takes mail (RFC 7435); but this
        // connection cannot be used any more.
        Err(Failure::Handshake(why)) if target.tls == Tls::Opportunistic => {
            outgoing.trace(&format!("= {}; once more without TLS", why.text));
            fault = why.tls_fault;
            establish(target, outgoing, Tls::None, until)
        }
        done => done,
    };
    match done {
        Ok((dialogue, capabilities)) => {
            let tls_fault = match dialogue.wire.is_tls() {
                true => None,
                false => fault.or(Some(NOT_SUPPORTED)),
            };
            Ok(Reached {
                dialogue,
                capabilities,
                tls_fault,
            })
        }
        Err(Failure::Handshake(outcome) | Failure::Other(outcome)) => Err(outcome),
    }
}

/// What reports call a server without STARTTLS, or one that refuses it.
const NOT_SUPPORTED: &str = "starttls-not-supported";

enum Failure {
    Handshake(Outcome),
    Other(Outcome),
}

fn establish<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    tls: Tls,
    until: Instant,
) -> Result<(Dialogue<'a>, Capabilities), Failure> {
    let mut dialogue = reach(target, outgoing, until).map_err(Failure::Other)?;
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

/// Connects to the first address of the host that greets us.
fn reach<'a>(
    target: &Target<'_>,
    outgoing: &'a Outgoing<'a>,
    until: Instant,
) -> Result<Dialogue<'a>, Outcome> {
    if target.lmtp && target.host.starts_with('/') {
        return greet(target, outgoing, None, until);
    }
    let mut worst: Option<Outcome> = None;
    for address in addresses(target)? {
        if worst.is_some() && left_until(until).is_zero() {
            break;
        }
        match greet(target, outgoing, Some(&address), until) {
            Ok(dialogue) => return Ok(dialogue),
            // What a server said tells more than that another address is dead.
            Err(outcome) if outcome.code.is_some() => worst = Some(outcome),
            Err(outcome) => worst = worst.filter(|w| w.code.is_some()).or(Some(outcome)),
        }
    }
    Err(worst.unwrap_or_else(|| {
        let host = &target.host;
        let text = format!("{host} has no address; check the name and /etc/resolv.conf");
        target.deferred(Enhanced(4, 4, 3), &text)
    }))
}

/// The addresses that are given, or those the system knows.
fn addresses(target: &Target<'_>) -> Result<Vec<SocketAddr>, Outcome> {
    let (host, port) = (without_brackets(&target.host), target.port);
    if let Some(given) = &target.addresses {
        return Ok(given.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
    }
    let found = (host, port).to_socket_addrs().map_err(|e| {
        let why = words(&e);
        let why = why.trim_start_matches("failed to lookup address information: ");
        let text = format!(
            "cannot find the address of {host}: {why}; check the name and /etc/resolv.conf"
        );
        target.deferred(Enhanced(4, 4, 3), &text)
    })?;
    Ok(found.take(MAX_ADDRESSES).collect())
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
            let hint = match (target.tls, target.port) {
                (Tls::Implicit, _) | (_, 25 | 587) => "",
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

/// Whether a reply's first word is a name of ours (RFC 5321 4.2: greeting and EHLO reply begin with a name).
fn is_named(reply: &Reply, name: &Domain) -> bool {
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
        capabilities = hello(dialogue, target, tls).map_err(Failure::Other)?;
    }
    if let Some(login) = target.login {
        log_in(dialogue, target, login, &capabilities).map_err(Failure::Other)?;
    }
    Ok(capabilities)
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
        let text = "the server does not offer STARTTLS, and without it nothing is sent; if it has a port for TLS \
                    (465), set tls = \"implicit\"";
        let mut outcome = target.deferred(Enhanced(4, 7, 4), text);
        outcome.tls_fault = Some(NOT_SUPPORTED);
        return if required {
            Err(Failure::Other(outcome))
        } else {
            Ok(false)
        };
    }
    let reply = ask(dialogue, target, "STARTTLS", "STARTTLS").map_err(Failure::Other)?;
    if reply.class() != 2 {
        let mut outcome = target.refused("STARTTLS", &reply);
        outcome.tls_fault = Some(NOT_SUPPORTED);
        return if required {
            Err(Failure::Other(outcome))
        } else {
            Ok(false)
        };
    }
    encrypt(dialogue, target).map_err(Failure::Handshake)?;
    Ok(true)
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
        ..failed(&tls::explain(&e, clock::now()))
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

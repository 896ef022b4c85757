//! What `--check` looks at for others to trust what leaves here: the keys for signatures, and what DNS says of them.

use std::net::IpAddr;

use super::sts::is_public;
use super::{Finding, Grade, add, keeps_all};
use crate::config::Dkim;
use crate::flow::judge::Asker;
use crate::flow::probe::leaving;
use crate::flow::{Context, exchange, signing};
use crate::host::accounts;
use crate::host::clock;
use crate::host::dns::Dns;
use crate::parts;
use crate::proto::address::{Domain, Mailbox};
use crate::proto::dkim::sign::{Signer, Signing, nearest};
use crate::proto::dkim::verify::{Found, Verifier};
use crate::proto::dmarc::{self, Policy, Proofs};
use crate::proto::header_reader::HeaderReader;
use crate::proto::mx::NoAnswer;
use crate::proto::names::{Names, confirmed};
use crate::proto::results::Word;
use crate::proto::spf;

/// Adds what it finds.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    let dns = exchange::resolver(&context.config);
    for dkim in &context.config.dkim {
        let thing = format!("dkim key {}", dkim.key.display());
        let (grade, text) = key(&dns, dkim);
        add(findings, grade, thing, text);
    }
    // In whose name nothing leaves, nobody asks about.
    if !parts::MX || keeps_all(&context.config) {
        return;
    }
    // Through a smarthost, its address is what counts, and its owner's business; and without a key of ours, its signature.
    let direct = context.config.smarthosts.is_empty();
    let author = author(context).filter(is_public);
    let author = author.filter(|_| direct || !context.config.dkim.is_empty());
    let keys = || context.config.dkim.iter().map(|d| &d.domain);
    let mut domains: Vec<&Domain> = Vec::new();
    for domain in keys().chain(&author) {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    for domain in domains {
        let has_key = keys().any(|other| other == domain);
        let sent = direct && addresses(&dns, &context.config.hostname, domain, has_key, findings);
        let signed = nearest(keys(), domain);
        let (grade, text) = policy(&dns, domain, signed, sent);
        add(findings, grade, format!("DMARC of {domain}"), text);
    }
}

/// In whose name programs of this host write.
fn author(context: &Context) -> Option<Domain> {
    let own = Mailbox::new(accounts::caller().name, context.config.hostname.clone()).ok();
    let from = context.config.smarthosts.first();
    let from = from.and_then(|smarthost| smarthost.from.as_ref());
    leaving(context, from, own.as_ref()).map(|sender| sender.domain().clone())
}

/// Whether mail of a domain would be known as its own by the signature of `signed`, or because SPF lets this host send
/// (`sent`), as others judge it.
fn policy(dns: &Dns, domain: &Domain, signed: Option<&Domain>, sent: bool) -> (Grade, String) {
    let judge = |signed: Option<&Domain>, sent: bool| {
        let proofs = Proofs {
            signed: signed.into_iter().collect(),
            sent: sent.then(|| domain.ascii()),
            unsure: false,
        };
        dmarc::check(domain, &proofs, &mut Asker::new(dns), 0)
    };
    let answer = judge(signed, false);
    let asked = answer.policy.word();
    match (answer.word, signed) {
        (Word::Pass, _) => (
            Grade::Ok,
            format!("our signatures answer for its mail (p={asked})"),
        ),
        (Word::None, _) => (
            Grade::Warning,
            format!(
                "it has no record, and large providers want one; publish the TXT record _dmarc.{domain} \"v=DMARC1; p=none\""
            ),
        ),
        (Word::Temperror, _) => (
            Grade::Warning,
            format!("its record cannot be looked up: {}", answer.why),
        ),
        (_, signed) => {
            let remedy = match signed {
                None => format!("minimta --dkim-key {domain} makes a key for it"),
                Some(other) => format!(
                    "the signatures of {other} do not count for it; minimta --dkim-key {domain} makes a key of its own"
                ),
            };
            match judge(None, sent).word {
                Word::Pass => (
                    Grade::Warning,
                    format!(
                        "only SPF answers for its mail (p={asked}), and not once it is passed on; {remedy}"
                    ),
                ),
                _ => (
                    match answer.policy {
                        Policy::None => Grade::Warning,
                        _ => Grade::Error,
                    },
                    format!(
                        "nothing answers for its mail (p={asked}): neither a signature nor SPF; {remedy}"
                    ),
                ),
            }
        }
    }
}

/// Whether others believe the addresses of this host, as far as DNS tells them. Returned is whether SPF lets it send in the
/// name of the domain; of one that has no key here causes.rs tells the rest.
fn addresses(
    dns: &Dns,
    host: &Domain,
    domain: &Domain,
    told: bool,
    findings: &mut Vec<Finding>,
) -> bool {
    let mut names = Asker::new(dns);
    let name = host.as_str();
    let of = [true, false].map(|v6| names.addresses(name, v6).unwrap_or_default());
    let of: Vec<IpAddr> = of.into_iter().flatten().take(MAX_ADDRESSES).collect();
    let mut passes = !of.is_empty();
    for address in of {
        let client = spf::Client {
            address,
            helo: name,
            local: "postmaster",
            domain: domain.as_str(),
        };
        let answer = spf::check(client, &mut names);
        passes = passes && answer.word == Word::Pass;
        if told {
            let (grade, text) = reverse(name, confirmed(&mut names, address));
            add(findings, grade, format!("reverse name of {address}"), text);
            let (grade, text) = sends(&answer, name, domain, address);
            add(findings, grade, format!("SPF of {domain}"), text);
        }
    }
    passes
}

fn reverse(name: &str, found: Result<Vec<String>, NoAnswer>) -> (Grade, String) {
    match found {
        Ok(found) if found.iter().any(|n| n == name) => (Grade::Ok, name.to_owned()),
        Err(NoAnswer::Temporary(why)) => (
            Grade::Warning,
            format!("its name cannot be looked up: {why}"),
        ),
        _ => (
            Grade::Warning,
            format!(
                "it is not {name}, and others may refuse mail from there; who gives the address can set it"
            ),
        ),
    }
}

fn sends(answer: &spf::Answer, name: &str, domain: &Domain, address: IpAddr) -> (Grade, String) {
    match answer.word {
        Word::Pass => (Grade::Ok, format!("lets {address} send ({})", answer.why)),
        Word::None => (
            Grade::Warning,
            format!(
                "it has no record; publish the TXT record {domain} \"v=spf1 a:{name} mx -all\""
            ),
        ),
        Word::Temperror => (
            Grade::Warning,
            format!("its record cannot be looked up: {}", answer.why),
        ),
        Word::Fail | Word::Permerror => (
            Grade::Error,
            format!(
                "does not let {address} send: {}; add a:{name} to its TXT record",
                answer.why
            ),
        ),
        _ => (
            Grade::Warning,
            format!(
                "does not clearly let {address} send: {}; add a:{name} to its TXT record",
                answer.why
            ),
        ),
    }
}

/// Addresses of this host that are looked at.
const MAX_ADDRESSES: usize = 4;

/// Signs a sample and checks it as its receiver would.
fn key(dns: &Dns, dkim: &Dkim) -> (Grade, String) {
    let key = match signing::read(&dkim.key) {
        Ok(key) => key,
        Err(sentence) => return (Grade::Error, sentence),
    };
    let (selector, domain) = (&dkim.selector, &dkim.domain);
    let remedy = format!(
        "publish the record that minimta --dkim-key {domain} prints as the TXT record of {selector}._domainkey.{domain}"
    );
    let algorithm = key.algorithm().name();
    let signer = Signer {
        domain: domain.clone(),
        selector: selector.clone(),
        key,
    };
    match sample(dns, signer) {
        Some(found) => match found.word {
            Word::Pass if found.why.is_empty() => (
                Grade::Ok,
                format!("signs for {domain} with {algorithm}, and DNS has its public half"),
            ),
            Word::Pass => (
                Grade::Warning,
                format!(
                    "DNS says that {domain} only tries signatures; remove t=y from the record of {selector}"
                ),
            ),
            Word::Temperror => (
                Grade::Warning,
                format!("whether others know it cannot be told: {}", found.why),
            ),
            Word::Fail => (
                Grade::Error,
                format!("DNS has another key at {selector}._domainkey.{domain}; {remedy}"),
            ),
            _ => (
                Grade::Error,
                format!(
                    "others cannot check its signatures: {}; {remedy}",
                    found.why
                ),
            ),
        },
        None => (Grade::Error, "it does not sign".to_owned()),
    }
}

fn sample(dns: &Dns, signer: Signer) -> Option<Found> {
    const BODY: &[u8] = b"a sample\r\n";
    let header = format!("From: postmaster@{}\r\n\r\n", signer.domain);
    let mut signing = Signing::new(header.len());
    signing.feed(header.as_bytes()).ok()?;
    signing.feed(BODY).ok()?;
    let mut signed = signing.finish().signatures(&[signer], clock::now())?;
    signed.extend_from_slice(header.as_bytes());
    let mut reader = HeaderReader::new(signed.len());
    reader.push(&signed).ok()?;
    let mut verifier = Verifier::new(&reader.finish().0, clock::now());
    verifier.feed(BODY);
    let found = verifier.finish(&mut |name| dns.txt(name));
    found.into_iter().next()
}

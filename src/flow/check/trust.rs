//! What `--check` looks at for others to trust what leaves here: the keys for signatures, and what DNS says of them.

use super::{Finding, Grade, add};
use crate::config::Dkim;
use crate::flow::judge::Asker;
use crate::flow::{Context, exchange, signing};
use crate::host::clock;
use crate::host::dns::Dns;
use crate::proto::address::Domain;
use crate::proto::dkim::sign::{Signer, Signing};
use crate::proto::dkim::verify::{Found, Verifier};
use crate::proto::dmarc::{self, Proofs};
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
    let mut domains: Vec<&Domain> = context.config.dkim.iter().map(|d| &d.domain).collect();
    domains.dedup();
    for domain in domains {
        let (grade, text) = policy(&dns, domain);
        add(findings, grade, format!("DMARC of {domain}"), text);
        // Through a smarthost, its address is what counts, and its owner's business.
        if context.config.smarthosts.is_empty() {
            addresses(&dns, &context.config.hostname, domain, findings);
        }
    }
}

/// Whether mail of a domain would be known as its own by our signature, as others judge it.
fn policy(dns: &Dns, domain: &Domain) -> (Grade, String) {
    let proofs = Proofs {
        signed: vec![domain],
        ..Proofs::default()
    };
    let answer = dmarc::check(domain, &proofs, &mut Asker::new(dns), 0);
    match answer.word {
        Word::Pass => (
            Grade::Ok,
            format!(
                "our signatures answer for its mail (p={})",
                answer.policy.word()
            ),
        ),
        Word::None => (
            Grade::Warning,
            format!(
                "it has no record, and large providers want one; publish the TXT record _dmarc.{domain} \"v=DMARC1; p=none\""
            ),
        ),
        Word::Temperror => (
            Grade::Warning,
            format!("its record cannot be looked up: {}", answer.why),
        ),
        _ => (
            Grade::Error,
            format!("our signatures do not answer for its mail: {}", answer.why),
        ),
    }
}

/// Whether others believe the addresses of this host, as far as DNS tells them.
fn addresses(dns: &Dns, host: &Domain, domain: &Domain, findings: &mut Vec<Finding>) {
    let mut names = Asker::new(dns);
    let name = host.as_str();
    let of = [true, false].map(|v6| names.addresses(name, v6).unwrap_or_default());
    for address in of.into_iter().flatten().take(MAX_ADDRESSES) {
        let (grade, text) = match confirmed(&mut names, address) {
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
        };
        add(findings, grade, format!("reverse name of {address}"), text);
        let client = spf::Client {
            address,
            helo: name,
            local: "postmaster",
            domain: domain.as_str(),
        };
        let answer = spf::check(client, &mut names);
        let (grade, text) = match answer.word {
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
                format!("does not let {address} send: {}", answer.why),
            ),
            _ => (
                Grade::Warning,
                format!("does not clearly let {address} send: {}", answer.why),
            ),
        };
        add(findings, grade, format!("SPF of {domain}"), text);
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

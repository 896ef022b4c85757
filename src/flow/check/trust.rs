//! What `--check` looks at for others to trust what leaves here: the keys for signatures, and what DNS says of them.

use super::{Finding, Grade, add};
use crate::config::Dkim;
use crate::flow::{Context, exchange, signing};
use crate::host::clock;
use crate::host::dns::Dns;
use crate::proto::dkim::sign::{Signer, Signing};
use crate::proto::dkim::verify::{Found, Verifier};
use crate::proto::header_reader::HeaderReader;
use crate::proto::results::Word;

/// Adds what it finds.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    let dns = exchange::resolver(&context.config);
    for dkim in &context.config.dkim {
        let thing = format!("dkim key {}", dkim.key.display());
        let (grade, text) = key(&dns, dkim);
        add(findings, grade, thing, text);
    }
}

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

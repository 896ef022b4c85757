//! ARC (RFC 8617): what others have found out about a message before they passed it on, sealed, so that it can be
//! checked who says so.
//!
//! A set of three fields for each who has passed it on: what he found, his signature of the message, and his seal of
//! the sets so far. A chain is right when the last signature is, and every seal.

use super::dkim::canonical::Form;
use super::dkim::sign::{Signable, Signer, fold, names, sign};
use super::dkim::verify::{Bodies, Text, check, signed};
use super::dkim::{Signature, signer, unsigned};
use super::header::{Field, Header};
use super::results::{self, Checked, Word};
use super::sasl::{decode_base64, encode_base64};
use super::tags::Tags;

const SEAL: &str = "ARC-Seal";
const MESSAGE: &str = "ARC-Message-Signature";
const RESULTS: &str = "ARC-Authentication-Results";

/// The longest chain that is checked, and that is made longer; each link is a question to DNS.
const MAX_SETS: usize = 10;
/// The most octets of all its fields.
const MAX_OCTETS: usize = 128 * 1024;

/// The fields of one who has passed a message on.
struct Set {
    results: Field,
    message: Field,
    seal: Field,
}

/// The sets of a header, the first first.
fn sets(header: &Header) -> Result<Vec<Set>, &'static str> {
    let of = |name: &str| -> Result<Vec<Field>, &'static str> {
        let fields: Vec<&Field> = header.fields().iter().filter(|f| f.is(name)).collect();
        let number = |field: &&Field| instance(field, name == RESULTS);
        let mut found = Vec::new();
        for wanted in 1..=fields.len() {
            let mut here = fields.iter().filter(|f| number(f) == Some(wanted));
            match (here.next(), here.next()) {
                (Some(field), None) => found.push((*field).clone()),
                _ => return Err("its sets are not whole"),
            }
        }
        Ok(found)
    };
    let count = |name: &'static str| header.fields().iter().filter(move |f| f.is(name));
    let octets: usize = [RESULTS, MESSAGE, SEAL]
        .iter()
        .flat_map(|name| count(name))
        .map(|f| f.raw().len())
        .sum();
    // Before any of them is numbered: each number is looked for among all.
    let most = [RESULTS, MESSAGE, SEAL].map(|name| count(name).count());
    if most.iter().any(|count| *count > MAX_SETS) || octets > MAX_OCTETS {
        return Err("it is too long");
    }
    let (results, messages, seals) = (of(RESULTS)?, of(MESSAGE)?, of(SEAL)?);
    if results.len() != messages.len() || messages.len() != seals.len() {
        return Err("its sets are not whole");
    }
    let sets = results.into_iter().zip(messages).zip(seals);
    let set = |((results, message), seal)| Set {
        results,
        message,
        seal,
    };
    Ok(sets.map(set).collect())
}

/// i= of a field. In that of the results it stands first.
fn instance(field: &Field, first: bool) -> Option<usize> {
    let number = if first {
        let text = String::from_utf8_lossy(field.body()).into_owned();
        let (name, value) = text.split(';').next()?.split_once('=')?;
        (name.trim() == "i").then(|| value.trim().to_owned())?
    } else {
        Tags::parse(field.body())?.packed("i")?
    };
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

/// What the seal of the last of these sets seals.
fn sealed(sets: &[Set]) -> Vec<u8> {
    let mut text = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        Form::Relaxed.field(&set.results, &mut text);
        Form::Relaxed.field(&set.message, &mut text);
        if number + 1 < sets.len() {
            Form::Relaxed.field(&set.seal, &mut text);
        } else {
            unsigned(&set.seal, Form::Relaxed, &mut text);
        }
    }
    text
}

/// A chain, while the message passes by.
pub struct Verifier {
    chain: Result<Option<Chain>, &'static str>,
    bodies: Bodies,
}

struct Chain {
    sets: Vec<Set>,
    /// The last signature, and what it signs of the header.
    signature: Signature,
    text: Vec<u8>,
    body: usize,
}

impl Verifier {
    /// The chain in a header.
    pub fn new(header: &Header) -> Self {
        let mut bodies = Bodies::default();
        let chain = sets(header).and_then(|sets| Chain::new(header, sets, &mut bodies));
        Self { chain, bodies }
    }

    /// The next octets of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.bodies.feed(chunk);
    }

    /// The message has ended: what the chain is worth.
    pub fn finish(self, text: &mut Text<'_>) -> Checked {
        let (word, why) = match self.chain {
            Ok(None) => (Word::None, String::new()),
            Err(why) => (Word::Fail, why.to_owned()),
            Ok(Some(chain)) => match chain.check(&self.bodies, text) {
                Ok(by) => (Word::Pass, by),
                Err(found) => found,
            },
        };
        Checked {
            method: "arc",
            word,
            why,
            properties: Vec::new(),
        }
    }
}

impl Chain {
    fn new(
        header: &Header,
        sets: Vec<Set>,
        bodies: &mut Bodies,
    ) -> Result<Option<Self>, &'static str> {
        let Some(last) = sets.last() else {
            return Ok(None);
        };
        let tags = Tags::parse(last.message.body()).ok_or("its last signature cannot be read")?;
        let signature = Signature {
            // i= counts sets here, and names nobody.
            identity: format!("@{}", signer(&tags)?.1),
            ..Signature::read(&tags)?
        };
        if signature.names.iter().any(|n| n.eq_ignore_ascii_case(SEAL)) {
            return Err("its last signature signs a seal");
        }
        Ok(Some(Self {
            text: signed(header, &last.message, &signature)?,
            body: bodies.want(signature.body_form, signature.limit),
            signature,
            sets,
        }))
    }

    /// Checks it from its end (RFC 8617 5.2). Returned is who has sealed last.
    fn check(&self, bodies: &Bodies, text: &mut Text<'_>) -> Result<String, (Word, String)> {
        let fail = |why: &str| (Word::Fail, why.to_owned());
        let mut by = String::new();
        for number in (1..=self.sets.len()).rev() {
            let sets = self.sets.get(..number).unwrap_or_default();
            let seal = sets.last().and_then(|set| Tags::parse(set.seal.body()));
            let seal = seal.ok_or_else(|| fail("a seal cannot be read"))?;
            let expected = if number == 1 { "none" } else { "pass" };
            if seal.packed("cv").as_deref() != Some(expected) {
                return Err(fail("it was broken before"));
            }
            if seal.get("h").is_some() {
                return Err(fail("a seal names fields"));
            }
            if number == self.sets.len() {
                self.last_signature(bodies, text)?;
            }
            let (algorithm, domain, selector) = signer(&seal).map_err(fail)?;
            if by.is_empty() {
                by = format!("i={number}, sealed by {domain}");
            }
            let value = seal.packed("b").and_then(decode_base64);
            let seal = Signature {
                algorithm,
                identity: format!("@{domain}"),
                domain,
                selector,
                value: value.ok_or_else(|| fail("a seal has no value"))?,
                ..self.signature.clone()
            };
            right(check(&seal, &sealed(sets), text))?;
        }
        Ok(by)
    }

    fn last_signature(&self, bodies: &Bodies, text: &mut Text<'_>) -> Result<(), (Word, String)> {
        if self.signature.body_hash != bodies.finish(self.body).0 {
            return Err((Word::Fail, "the body was changed".to_owned()));
        }
        right(check(&self.signature, &self.text, text))
    }
}

fn right((word, why): (Word, String)) -> Result<(), (Word, String)> {
    match word {
        Word::Pass => Ok(()),
        Word::Temperror => Err((Word::Temperror, why)),
        _ => Err((Word::Fail, why)),
    }
}

/// The set of this system for a message that it passes on: fields to be put before it. Only for a message that bears
/// what this system (`by`) has found out about it; nothing for any other, nor for a chain that was broken before.
/// `None`: the key cannot sign.
pub fn seal(message: &Signable, by: &str, signer: &Signer, now: i64) -> Option<Vec<u8>> {
    let nothing = Some(Vec::new());
    let Some(found) = results::told(&message.header, by) else {
        return nothing;
    };
    let Ok(mut sets) = sets(&message.header) else {
        return nothing;
    };
    let validity = match (sets.len(), chain_word(&found)) {
        (0, _) => "none",
        (1..MAX_SETS, Some(Word::Pass)) => "pass",
        _ => return nothing,
    };
    let (number, algorithm) = (sets.len() + 1, signer.key.algorithm().name());
    let (domain, selector) = (&signer.domain, &signer.selector);
    let results = format!("{RESULTS}: i={number}; {by};\r\n\t{found}\r\n");
    let mut names = names(&message.header);
    let signatures = message
        .header
        .fields()
        .iter()
        .filter(|f| f.is(super::dkim::FIELD));
    names.extend(signatures.map(|_| super::dkim::FIELD.to_owned()));
    let bh = encode_base64(message.body_hash);
    let mut text = format!(
        "{MESSAGE}: i={number}; a={algorithm}; c=relaxed/relaxed; d={domain};\r\n\ts={selector}; t={now}; bh={bh};\r\n\th="
    );
    fold(&mut text, &names, ":");
    text.push_str(";\r\n\tb=");
    let signature = sign(&message.header, &names, text, &signer.key)?;
    let text = format!(
        "{SEAL}: i={number}; a={algorithm}; cv={validity}; d={domain}; s={selector};\r\n\tt={now};\r\n\tb="
    );
    sets.push(Set {
        results: Field::parse(results.as_bytes())?,
        message: Field::parse(&signature)?,
        seal: Field::parse(format!("{text}\r\n").as_bytes())?,
    });
    let value = encode_base64(signer.key.sign(&sealed(&sets))?);
    let mut fields = text.into_bytes();
    for (line, part) in value.as_bytes().chunks(72).enumerate() {
        fields.extend_from_slice(if line > 0 { b"\r\n\t " } else { b"" });
        fields.extend_from_slice(part);
    }
    fields.extend_from_slice(b"\r\n");
    fields.extend(signature);
    fields.extend(results.into_bytes());
    Some(fields)
}

/// What was found out about the chain, in the text of Authentication-Results. Of several, the one that is not right.
fn chain_word(found: &str) -> Option<Word> {
    let checks = found.split(';').map(str::trim);
    let words = checks.filter_map(|check| check.strip_prefix("arc="));
    let mut words = words.map(|rest| Word::parse(rest.split_ascii_whitespace().next()?));
    let first = words.next()?;
    words.fold(first, |found, next| match found {
        Some(Word::Pass) => next,
        found => found,
    })
}

#[cfg(test)]
mod tests;

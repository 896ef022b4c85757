//! Checking what others have signed (RFC 6376 6).
//!
//! 1. [`Verifier::new`]: the signatures of a header, the topmost first, a few at most; what each signed of the header
//!    is put together at once
//! 2. [`Verifier::feed`]: the body passes by, and is hashed in each form that a signature wants
//! 3. [`Verifier::finish`]: keys are asked for, and only of signatures whose body is right

use super::canonical::{BodyHash, Form};
use super::key::PublicKey;
use super::{FIELD, Signature, signed_fields, unsigned};
use crate::proto::address::Domain;
use crate::proto::header::{Field, Header};
use crate::proto::mx::NoAnswer;
use crate::proto::results::{Checked, Word};

/// The most signatures that are checked; honest mail has one to three.
const MAX_SIGNATURES: usize = 5;
/// The most octets of a header that a signature may sign.
const MAX_SIGNED: usize = 64 * 1024;
/// How far another machine's clock may be ahead, in seconds.
const AHEAD: u64 = 300;

/// Answers questions for text records: the text of each record.
pub type Text<'t> = dyn FnMut(&str) -> Result<Vec<String>, NoAnswer> + 't;

/// The signatures of a message, while it passes by.
pub struct Verifier {
    checks: Vec<Check>,
    bodies: Bodies,
    now: u64,
}

/// Hashes of one body, one for each form and limit it is wanted in.
#[derive(Default)]
pub struct Bodies(Vec<(Form, Option<u64>, BodyHash)>);

impl Bodies {
    /// Wants one, and returns its number.
    pub fn want(&mut self, form: Form, limit: Option<u64>) -> usize {
        let found = self
            .0
            .iter()
            .position(|(f, l, _)| (*f, *l) == (form, limit));
        found.unwrap_or_else(|| {
            self.0.push((form, limit, BodyHash::new(form, limit)));
            self.0.len() - 1
        })
    }

    /// The next octets of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        for (.., body) in &mut self.0 {
            body.feed(chunk);
        }
    }

    /// The hash of this number, and the octets of the whole body in its form.
    pub fn finish(&self, number: usize) -> ([u8; 32], u64) {
        let body = self.0.get(number).map(|(.., body)| body.clone().finish());
        body.unwrap_or_default()
    }
}

/// One signature.
struct Check {
    signature: Result<Signature, &'static str>,
    /// What is signed of the header.
    text: Vec<u8>,
    /// Which hash of the body.
    body: usize,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How it went.
    pub word: Word,
    /// Why.
    pub why: String,
    /// Who signed; `None`: it cannot be read.
    pub signature: Option<Signature>,
}

impl Found {
    /// The domain that answers for the message, if it is proved.
    pub fn proved(&self) -> Option<&Domain> {
        let signature = self.signature.as_ref().filter(|_| self.word == Word::Pass);
        signature.map(|s| &s.domain)
    }

    /// As it stands in Authentication-Results (RFC 8601 2.7.1, RFC 6008).
    pub fn checked(&self) -> Checked {
        let mut properties = Vec::new();
        if let Some(signature) = &self.signature {
            properties.push(("header.d", signature.domain.to_string()));
            properties.push(("header.i", signature.identity.clone()));
            properties.push(("header.s", signature.selector.clone()));
            properties.push(("header.a", signature.algorithm.name().to_owned()));
            properties.push(("header.b", signature.shown.chars().take(8).collect()));
        }
        Checked {
            method: "dkim",
            word: self.word,
            why: self.why.clone(),
            properties,
        }
    }
}

impl Verifier {
    /// The signatures in a header.
    pub fn new(header: &Header, now: i64) -> Self {
        let mut bodies = Bodies::default();
        let fields = header.fields().iter().filter(|f| f.is(FIELD));
        let check = |field: &Field| {
            let signature = Signature::parse(field.body());
            let signature = signature.and_then(|s| Ok((signed(header, field, &s)?, s)));
            match signature {
                Ok((text, signature)) => Check {
                    text,
                    body: bodies.want(signature.body_form, signature.limit),
                    signature: Ok(signature),
                },
                Err(why) => Check {
                    signature: Err(why),
                    text: Vec::new(),
                    body: 0,
                },
            }
        };
        Self {
            checks: fields.take(MAX_SIGNATURES).map(check).collect(),
            bodies,
            now: u64::try_from(now).unwrap_or_default(),
        }
    }

    /// The next octets of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.bodies.feed(chunk);
    }

    /// The message has ended: what became of each signature.
    pub fn finish(self, text: &mut Text<'_>) -> Vec<Found> {
        let Self {
            checks,
            bodies,
            now,
        } = self;
        let judge = |check: Check| match check.signature {
            Err(why) => Found {
                word: Word::Permerror,
                why: why.to_owned(),
                signature: None,
            },
            Ok(signature) => {
                let body = bodies.finish(check.body);
                let (word, why) = judge(&signature, &check.text, body, now, text);
                Found {
                    word,
                    why,
                    signature: Some(signature),
                }
            }
        };
        checks.into_iter().map(judge).collect()
    }
}

/// What a signature signs of the header, its own field included.
///
/// # Errors
/// It is too long.
pub fn signed(
    header: &Header,
    own: &Field,
    signature: &Signature,
) -> Result<Vec<u8>, &'static str> {
    let mut text = Vec::new();
    for field in signed_fields(header, &signature.names) {
        signature.header_form.field(field, &mut text);
        if text.len() > MAX_SIGNED {
            return Err("the signature signs a header that is too long");
        }
    }
    unsigned(own, signature.header_form, &mut text);
    Ok(text)
}

fn judge(
    signature: &Signature,
    signed: &[u8],
    (hash, length): ([u8; 32], u64),
    now: u64,
    text: &mut Text<'_>,
) -> (Word, String) {
    let say = |word: Word, why: &str| (word, why.to_owned());
    if signature.expires.is_some_and(|x| x < now) {
        return say(Word::Fail, "the signature has expired");
    }
    if signature
        .made_at
        .is_some_and(|t| t > now.saturating_add(AHEAD))
    {
        return say(Word::Permerror, "the signature is of the future");
    }
    if !signature.is_for_its_domain(false) {
        return say(Word::Permerror, "the signature is for somebody else (i=)");
    }
    if signature.body_hash != hash {
        return say(Word::Fail, "the body was changed");
    }
    let (word, why) = check(signature, signed, text);
    if word == Word::Pass && signature.limit.is_some_and(|limit| limit < length) {
        return say(Word::Policy, "only a part of the body is signed");
    }
    (word, why)
}

/// Whether a signature of a text was made by whose name it bears.
pub fn check(signature: &Signature, signed: &[u8], text: &mut Text<'_>) -> (Word, String) {
    let key = match key(signature, text) {
        Ok(key) => key,
        Err(found) => return found,
    };
    if key.strict && !signature.is_for_its_domain(true) {
        return (
            Word::Permerror,
            "the key is not for domains below its own".to_owned(),
        );
    }
    match key.verify(signature.algorithm, signed, &signature.value) {
        Ok(true) if key.testing => (Word::Pass, "its owner only tries".to_owned()),
        Ok(true) => (Word::Pass, String::new()),
        Ok(false) => (
            Word::Fail,
            "the signature is wrong, or the header was changed".to_owned(),
        ),
        Err(why) => (Word::Permerror, why.0.to_owned()),
    }
}

/// The key of a signature, or how the check ends without one.
fn key(signature: &Signature, text: &mut Text<'_>) -> Result<PublicKey, (Word, String)> {
    let name = signature.key_name();
    let records = text(&name).map_err(|none| match none {
        NoAnswer::Temporary(why) => (Word::Temperror, format!("its key is not to be had: {why}")),
        NoAnswer::NoData | NoAnswer::NoSuchDomain => {
            (Word::Permerror, format!("there is no key at {name}"))
        }
    })?;
    let found = records
        .iter()
        .find_map(|record| PublicKey::parse(record.as_bytes()));
    match found {
        None => Err((Word::Permerror, format!("there is no key at {name}"))),
        Some(Err(why)) => Err((Word::Permerror, why.0.to_owned())),
        Some(Ok(key)) => Ok(key),
    }
}

#[cfg(test)]
mod tests;

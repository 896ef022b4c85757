//! Signing (RFC 6376 5): every field that readers and programs trust, the whole body, relaxed/relaxed.
//!
//! From, Subject, To and the like are named once more than they are there, so that nobody can add another one
//! (RFC 6376 8.15). l= is never used: what it leaves out anybody can replace.

use std::fmt::Write as _;

use super::canonical::{BodyHash, Form};
use super::key::SigningKey;
use super::{FIELD, signed_fields, unsigned};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::addrlist::addresses;
use crate::proto::header::{Field, Header};
use crate::proto::header_reader::{HeaderReader, HeaderTooBig};
use crate::proto::sasl::encode_base64;

/// Who signs.
#[derive(Debug)]
pub struct Signer {
    /// d=
    pub domain: Domain,
    /// s=
    pub selector: String,
    /// Its private key.
    pub key: SigningKey,
}

/// Signed, and signed not to be there (again).
const OVERSIGNED: &[&str] = &["From", "Reply-To", "Subject", "To", "Cc"];
/// Signed, and where they are there, signed not to be there again.
const ONCE: &[&str] = &[
    "Date",
    "Sender",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];
/// Signed where they are there.
const MORE: &[&str] = &[
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "TLS-Required",
];

/// A message that is to be signed, while it passes by as it will be sent.
pub struct Signing {
    stage: Stage,
    body: BodyHash,
}

enum Stage {
    Header(HeaderReader),
    Body(Header),
}

impl Signing {
    /// A message with a header of at most so many octets.
    pub fn new(max_header: usize) -> Self {
        Self {
            stage: Stage::Header(HeaderReader::new(max_header)),
            body: BodyHash::new(Form::Relaxed, None),
        }
    }

    /// The next octets.
    ///
    /// # Errors
    /// The header is longer than it may be.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), HeaderTooBig> {
        let mut rest = chunk;
        if let Stage::Header(reader) = &mut self.stage {
            let Some(taken) = reader.push(chunk)? else {
                return Ok(());
            };
            rest = chunk.get(taken..).unwrap_or_default();
            self.end_of_header();
        }
        self.body.feed(rest);
        Ok(())
    }

    fn end_of_header(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Body(Header::default()));
        self.stage = match stage {
            Stage::Header(reader) => {
                let (header, rest) = reader.finish();
                self.body.feed(&rest);
                Stage::Body(header)
            }
            ended => ended,
        };
    }

    /// The message has ended: its header, and the hash of its body.
    pub fn finish(mut self) -> Signable {
        self.end_of_header();
        let header = match self.stage {
            Stage::Body(header) => header,
            Stage::Header(_) => Header::default(),
        };
        Signable {
            header,
            body_hash: self.body.finish().0,
        }
    }
}

/// What is to be signed of a message.
pub struct Signable {
    /// Its header.
    pub header: Header,
    /// The hash of its body, in relaxed form.
    pub body_hash: [u8; 32],
}

impl Signable {
    /// The signatures of those who answer for the message's author: the fields to be put before it. Nothing, when
    /// nobody does. `None`: one of them cannot sign.
    pub fn signatures(&self, signers: &[Signer], now: i64) -> Option<Vec<u8>> {
        let mut fields = Vec::new();
        if let Some(author) = author(&self.header) {
            for signer in chosen(signers, author.domain()) {
                fields.extend(self.signature(signer, now)?);
            }
        }
        Some(fields)
    }

    fn signature(&self, signer: &Signer, now: i64) -> Option<Vec<u8>> {
        let names = names(&self.header);
        let bh = encode_base64(self.body_hash);
        let (domain, selector) = (&signer.domain, &signer.selector);
        let algorithm = signer.key.algorithm().name();
        let mut text = format!(
            "{FIELD}: v=1; a={algorithm}; c=relaxed/relaxed; d={domain};\r\n\ts={selector}; t={now}; bh={bh};\r\n\th="
        );
        fold(&mut text, &names, ":");
        text.push_str(";\r\n\tb=");
        sign(&self.header, &names, text, &signer.key)
    }
}

/// Completes a signature's field, which ends with `b=`, with the signature of it and of the named fields.
pub fn sign(
    header: &Header,
    names: &[String],
    mut text: String,
    key: &SigningKey,
) -> Option<Vec<u8>> {
    let field = Field::parse(format!("{text}\r\n").as_bytes())?;
    let mut signed = Vec::new();
    for field in signed_fields(header, names) {
        Form::Relaxed.field(field, &mut signed);
    }
    unsigned(&field, Form::Relaxed, &mut signed);
    let value = encode_base64(key.sign(&signed)?);
    for (number, line) in value.as_bytes().chunks(72).enumerate() {
        if number > 0 {
            text.push_str("\r\n\t ");
        }
        text.push_str(&String::from_utf8_lossy(line));
    }
    text.push_str("\r\n");
    Some(text.into_bytes())
}

/// The names for h=, each as often as its field is to be signed.
pub fn names(header: &Header) -> Vec<String> {
    let count = |name: &str| header.fields().iter().filter(|f| f.is(name)).count();
    let of = |name: &&str, more: usize| vec![(*name).to_owned(); count(name) + more];
    let over = OVERSIGNED.iter().flat_map(|name| of(name, 1));
    let once = ONCE
        .iter()
        .flat_map(|name| of(name, usize::from(count(name) > 0)));
    over.chain(once)
        .chain(MORE.iter().flat_map(|name| of(name, 0)))
        .collect()
}

/// Appends words with something between them, in lines of a bearable length.
pub fn fold(text: &mut String, words: &[String], between: &str) {
    let mut length = 10;
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            text.push_str(between);
        }
        if number > 0 && length + word.len() > 74 {
            text.push_str("\r\n\t ");
            length = 10;
        }
        length += word.len() + between.len();
        // Writing to a String cannot fail.
        let _ = write!(text, "{word}");
    }
}

/// The author of a message: the first address in From.
pub fn author(header: &Header) -> Option<Mailbox> {
    let from = header.get("From")?;
    let mut found = addresses(from.body()).filter_map(|a| a.spec.ok());
    found.find_map(|spec| Mailbox::parse(&spec).ok())
}

/// Of these domains the one itself, or else the nearest above it.
pub fn nearest<'d>(
    domains: impl Iterator<Item = &'d Domain>,
    domain: &Domain,
) -> Option<&'d Domain> {
    let is_above = |other: &&Domain| {
        let below = domain.ascii().strip_suffix(other.ascii());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    domains
        .filter(is_above)
        .max_by_key(|other| other.as_str().len())
}

/// Those who sign for a domain: of the domain itself, or else of the nearest above it (RFC 7489 3.1.1: relaxed
/// alignment).
pub fn chosen<'s>(signers: &'s [Signer], domain: &Domain) -> Vec<&'s Signer> {
    let nearest = nearest(signers.iter().map(|s| &s.domain), domain);
    signers
        .iter()
        .filter(|s| Some(&s.domain) == nearest)
        .collect()
}

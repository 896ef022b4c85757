//! DKIM (RFC 6376): a message is signed by the domain that answers for it, and what others have signed is checked.
//!
//! Both are done on text that passes by. Out: [`sign::Signing`] sees the message once, as it will be sent, and has the
//! fields to put before it. In: [`verify::Verifier`] takes the header, sees the body pass, and asks for keys when it
//! has ended. What is held is the header; of the body, a hash for each form it was signed in.

pub mod canonical;
pub mod key;
pub mod sign;
pub mod verify;

use std::collections::BTreeMap;

use super::address::Domain;
use super::header::{Field, Header};
use super::sasl::decode_base64;
use super::tags::Tags;
use canonical::Form;
use key::Algorithm;

/// The name of the field.
pub const FIELD: &str = "DKIM-Signature";

/// What a signature says of itself (RFC 6376 3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// a=
    pub algorithm: Algorithm,
    /// d=: who answers for the message.
    pub domain: Domain,
    /// s=: which of its keys.
    pub selector: String,
    /// i=: for whom, `[local]@domain`.
    pub identity: String,
    /// c=, its first half.
    pub header_form: Form,
    /// c=, its second half.
    pub body_form: Form,
    /// bh=
    pub body_hash: Vec<u8>,
    /// b=
    pub value: Vec<u8>,
    /// b=, as it stands in the field without white space.
    pub shown: String,
    /// h=: the fields that were signed, in this order.
    pub names: Vec<String>,
    /// l=: how many octets of the body were signed.
    pub limit: Option<u64>,
    /// t=
    pub made_at: Option<u64>,
    /// x=
    pub expires: Option<u64>,
}

/// The most names in h=; more than a header can use are a way to make us work.
const MAX_NAMES: usize = 512;

impl Signature {
    /// Reads the value of a DKIM-Signature field.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let tags = Tags::parse(value).ok_or("the signature cannot be read")?;
        if tags.packed("v").as_deref() != Some("1") {
            return Err("the signature is of another version");
        }
        let signature = Self::read(&tags)?;
        // A signature that leaves out the author signs nothing that anybody sees (RFC 6376 5.4).
        if !signature
            .names
            .iter()
            .any(|n| n.eq_ignore_ascii_case("From"))
        {
            return Err("the signature leaves out From");
        }
        Ok(signature)
    }

    /// Reads what signatures of a message have in common, here and in ARC (RFC 8617 4.1.2).
    pub fn read(tags: &Tags) -> Result<Self, &'static str> {
        let (algorithm, domain, selector) = signer(tags)?;
        let forms = tags.packed("c").unwrap_or_else(|| "simple".to_owned());
        let (header, body) = forms.split_once('/').unwrap_or((&forms, "simple"));
        let form = |name| Form::parse(name).ok_or("the signature has an unknown form (c=)");
        let names = tags.list("h").ok_or("the signature names no fields (h=)")?;
        if names.len() > MAX_NAMES {
            return Err("the signature names too many fields (h=)");
        }
        let base64 = |name| tags.packed(name).filter(|text| !text.is_empty());
        let octets = |name| base64(name).and_then(decode_base64);
        let number = |name| {
            tags.number(name)
                .ok_or("the signature has a number that is none")
        };
        let identity = match tags.packed("i") {
            Some(identity) => identity,
            None => format!("@{domain}"),
        };
        let query = tags.list("q").unwrap_or_default();
        if !query.is_empty() && !query.iter().any(|q| q == "dns/txt") {
            return Err("the signature's key is not to be had from DNS (q=)");
        }
        let (made_at, expires) = (number("t")?, number("x")?);
        if expires.is_some_and(|x| x <= made_at.unwrap_or_default()) {
            return Err("the signature expired before it was made");
        }
        Ok(Self {
            algorithm,
            header_form: form(header)?,
            body_form: form(body)?,
            body_hash: octets("bh").ok_or("the signature has no hash (bh=)")?,
            value: octets("b").ok_or("the signature has no value (b=)")?,
            shown: base64("b").unwrap_or_default(),
            names,
            limit: number("l")?,
            made_at,
            expires,
            domain,
            selector,
            identity,
        })
    }

    /// Whether whom it is for belongs to who signs: `strict`, to this very domain.
    pub fn is_for_its_domain(&self, strict: bool) -> bool {
        let Some((_, domain)) = self.identity.rsplit_once('@') else {
            return false;
        };
        let (domain, own) = (domain.to_ascii_lowercase(), self.domain.as_str());
        domain == own || !strict && domain.strip_suffix(own).is_some_and(|d| d.ends_with('.'))
    }

    /// Where in DNS its key is.
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

/// a=, d= and s=, which every kind of signature has.
pub fn signer(tags: &Tags) -> Result<(Algorithm, Domain, String), &'static str> {
    let algorithm = tags.packed("a").and_then(|a| Algorithm::parse(&a));
    let domain = tags.packed("d").and_then(|d| Domain::parse(&d).ok());
    // A selector is one or more labels of a name.
    let selector = tags.packed("s").filter(|s| Domain::parse(s).is_ok());
    Ok((
        algorithm.ok_or("the signature's algorithm (a=) is not known, or not safe")?,
        domain.ok_or("the signature has no good domain (d=)")?,
        selector.ok_or("the signature has no good selector (s=)")?,
    ))
}

/// The fields that h= means: of several of a name the last first (RFC 6376 5.4.2); a name without a field (or without
/// one more) signs that there is none.
pub fn signed_fields<'h>(header: &'h Header, names: &[String]) -> Vec<&'h Field> {
    // The fields of each name, sorted out once: a stranger's header may have as many as fit, and name as many as may be.
    let mut left: BTreeMap<Vec<u8>, Vec<&Field>> = BTreeMap::new();
    for name in names {
        left.entry(name.to_ascii_lowercase().into_bytes())
            .or_default();
    }
    for field in header.fields() {
        if let Some(fields) = left.get_mut(&field.name().to_ascii_lowercase()) {
            fields.push(field);
        }
    }
    let last = |name: &String| {
        left.get_mut(name.to_ascii_lowercase().as_bytes())
            .and_then(Vec::pop)
    };
    names.iter().filter_map(last).collect()
}

/// A signature's own field as it is signed: in the given form, the value of b= left out, without its line end
/// (RFC 6376 3.7).
pub fn unsigned(field: &Field, form: Form, out: &mut Vec<u8>) {
    let name = field.raw().len() - field.body().len();
    let name = field
        .raw()
        .get(..name.saturating_sub(2))
        .unwrap_or_default();
    let mut raw = name.to_vec();
    // The body starts behind the colon, and is followed by its line end.
    raw.extend(without_value(field.body()));
    raw.extend_from_slice(b"\r\n");
    if let Some(field) = Field::parse(&raw) {
        form.field(&field, out);
        out.truncate(out.len() - 2);
    }
}

/// A list of tags without the value of b=.
fn without_value(body: &[u8]) -> Vec<u8> {
    let mut parts = body.split(|b| *b == b';');
    let mut out = Vec::new();
    let mut first = true;
    for part in &mut parts {
        if !std::mem::take(&mut first) {
            out.push(b';');
        }
        let equals = part.iter().position(|b| *b == b'=');
        match equals {
            Some(at) if part.get(..at).is_some_and(|name| name.trim_ascii() == b"b") => {
                out.extend_from_slice(part.get(..=at).unwrap_or_default());
            }
            _ => out.extend_from_slice(part),
        }
    }
    out
}

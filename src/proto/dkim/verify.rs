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
mod tests {
    use super::*;
    use crate::proto::dkim::key::SigningKey;
    use crate::proto::dkim::sign::{Signer, Signing};
    use crate::proto::header_reader::HeaderReader;

    /// RFC 8463 A: the message, its two signatures, their keys.
    const MESSAGE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\nFrom: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

    const KEYS: &[(&str, &str)] = &[
        (
            "brisbane._domainkey.football.example.com",
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        ),
        (
            "test._domainkey.football.example.com",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        ),
    ];

    /// The words of all signatures of a message whose keys are these.
    fn check_with(message: &str, keys: &[(&str, &str)], now: i64) -> Vec<String> {
        let mut reader = HeaderReader::new(100_000);
        let taken = reader.push(message.as_bytes()).unwrap().unwrap();
        let (header, rest) = reader.finish();
        let mut verifier = Verifier::new(&header, now);
        verifier.feed(&rest);
        verifier.feed(&message.as_bytes()[taken..]);
        let mut text = |name: &str| {
            let found = keys.iter().filter(|(n, _)| *n == name);
            let found: Vec<String> = found.map(|(_, record)| (*record).to_owned()).collect();
            match found.as_slice() {
                [] => Err(NoAnswer::NoSuchDomain),
                [only] if only == "?" => Err(NoAnswer::Temporary("silence".to_owned())),
                _ => Ok(found),
            }
        };
        let found = verifier.finish(&mut text);
        let words = |f: &Found| format!("{} {}", f.word, f.why).trim().to_owned();
        found.iter().map(words).collect()
    }

    fn check(message: &str) -> Vec<String> {
        check_with(message, KEYS, 1_528_637_909)
    }

    const CHANGED: &str = "fail the signature is wrong, or the header was changed";

    #[test]
    fn the_example_of_the_rfc_passes_and_no_changed_one_does() {
        assert_eq!(check(MESSAGE), ["pass", "pass"]);
        // What is replaced by what, and what becomes of both signatures.
        let rows = [
            ("Joe.\r\n", "Joe.  \r\n\r\n\r\n", ["pass", "pass"]),
            (
                "Is dinner ready?",
                "Is  dinner\r\n\tready? ",
                ["pass", "pass"],
            ),
            ("Subject: Is", "SUBJECT : Is", ["pass", "pass"]),
            ("Joe.\r\n", "Jo.\r\n", ["fail the body was changed"; 2]),
            (
                "Joe.\r\n",
                "\r\n Joe.\r\n",
                ["fail the body was changed"; 2],
            ),
            ("Is dinner", "Isdinner", [CHANGED; 2]),
            ("From: Joe", "From: Jo", [CHANGED; 2]),
            // Oversigned: one more of a name that was signed not to be there.
            (
                "From: Joe",
                "From: me <me@evil.example>\r\nFrom: Joe",
                [CHANGED; 2],
            ),
            ("Date: Fri", "Subject: one more\r\nDate: Fri", [CHANGED; 2]),
            (
                "Date: Fri",
                "X-More: one more\r\nDate: Fri",
                ["pass", "pass"],
            ),
            (
                "s=brisbane",
                "s=elsewhere",
                [
                    "permerror there is no key at elsewhere._domainkey.football.example.com",
                    "pass",
                ],
            ),
            (
                "s=brisbane",
                "s=test",
                [
                    "permerror the key is of another kind than the signature",
                    "pass",
                ],
            ),
            (
                "a=ed25519-sha256",
                "a=rsa-sha1",
                [
                    "permerror the signature's algorithm (a=) is not known, or not safe",
                    "pass",
                ],
            ),
            (
                "v=1; a=ed",
                "v=2; a=ed",
                ["permerror the signature is of another version", "pass"],
            ),
            (
                "h=from : to :\r\n subject : date : message-id : from",
                "h=to :\r\n subject",
                ["permerror the signature leaves out From", "pass"],
            ),
            (
                "i=@football.example.com",
                "i=@example.com",
                ["permerror the signature is for somebody else (i=)", "pass"],
            ),
            (
                "i=@football.example.com",
                "i=joe@a.football.example.com",
                [CHANGED, "pass"],
            ),
            (
                "t=1528637909;",
                "t=1528637909; x=1528637908;",
                ["permerror the signature expired before it was made", "pass"],
            ),
            (
                "t=1528637909;",
                "t=1; x=1528637908;",
                ["fail the signature has expired", "pass"],
            ),
            (
                "t=1528637909;",
                "t=1528638500;",
                ["permerror the signature is of the future", "pass"],
            ),
            (
                "t=1528637909;",
                "t=x;",
                ["permerror the signature has a number that is none", "pass"],
            ),
            (
                "t=1528637909;",
                "t=1; t=2;",
                ["permerror the signature cannot be read", "pass"],
            ),
            (
                "c=relaxed/relaxed",
                "c=relaxed/strict",
                ["permerror the signature has an unknown form (c=)", "pass"],
            ),
            (
                "q=dns/txt",
                "q=http",
                [
                    "permerror the signature's key is not to be had from DNS (q=)",
                    "pass",
                ],
            ),
            (
                "b=/gCrin",
                "b=;z=",
                ["permerror the signature has no value (b=)", "pass"],
            ),
        ];
        for (from, to, expected) in rows {
            assert_eq!(
                check(&MESSAGE.replacen(from, to, 1)),
                expected,
                "{from:?} as {to:?}"
            );
        }
        let bare = MESSAGE.split_once("From: Joe").unwrap();
        assert_eq!(check(&format!("From: Joe{}", bare.1)), [""; 0]);
        let many = format!("{}{MESSAGE}", "DKIM-Signature: x\r\n".repeat(20));
        assert_eq!(check(&many).len(), MAX_SIGNATURES);
    }

    #[test]
    fn a_key_decides_as_its_record_says() {
        let key = KEYS[0].1;
        let rows: &[(&str, &str)] = &[
            (key, "pass"),
            (
                "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=; k=ed25519",
                "pass",
            ),
            (
                "v=DKIM1; k=ed25519; t=y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
                "pass its owner only tries",
            ),
            (
                "v=DKIM1; k=ed25519; t=s:y; h=sha1:sha256; s=email; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
                "pass its owner only tries",
            ),
            ("v=DKIM1; k=ed25519; p=", "permerror the key was revoked"),
            ("v=DKIM1; k=ed25519", "permerror the record has no key"),
            ("v=DKIM1; k=ed25519; p=!", "permerror the key is not base64"),
            (
                "v=DKIM1; k=ed25519; p=AAAA",
                "permerror the key has a wrong length",
            ),
            (
                "v=DKIM1; k=dsa; p=AAAA",
                "permerror the key is of an unknown kind",
            ),
            (
                "v=DKIM1; h=sha1; k=ed25519; p=AAAA",
                "permerror the key is for other hashes",
            ),
            (
                "v=DKIM1; s=chat; k=ed25519; p=AAAA",
                "permerror the key is not for mail",
            ),
            (
                "v=DKIM1; k=ed25519; p=21qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
                CHANGED,
            ),
            (
                "v=spf1 -all",
                "permerror there is no key at brisbane._domainkey.football.example.com",
            ),
            (
                "v=DKIM2; p=AAAA",
                "permerror there is no key at brisbane._domainkey.football.example.com",
            ),
            ("?", "temperror its key is not to be had: silence"),
        ];
        for (record, expected) in rows {
            let found = check_with(MESSAGE, &[(KEYS[0].0, record)], 1_528_637_909);
            assert_eq!(found[0], *expected, "{record}");
        }
        // RFC 8301 3.2: 512 bits are no key.
        let short = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMGmL/rBE8PldmDmrDwRyqyQP3JeLr2SkOJJGJrWqGnZzYJjsYOJgHzZzoCJYTgVfXmrZWCmEZnQ0R7bXYBPMOECAwEAAQ==";
        let found = check_with(MESSAGE, &[(KEYS[1].0, short)], 1_528_637_909);
        assert_eq!(found[1], "permerror the key has less than 1024 bits");
    }

    /// As the program does: the message passes by, and its signatures are put before it.
    fn signed(message: &str, signers: &[Signer]) -> String {
        let mut signing = Signing::new(100_000);
        for octet in message.as_bytes().chunks(1) {
            signing.feed(octet).unwrap();
        }
        let fields = signing.finish().signatures(signers, 1_528_637_909).unwrap();
        format!("{}{message}", String::from_utf8(fields).unwrap())
    }

    const MAIL: &str = "From: Me <me@lists.example.org>\r\nTo: you@example.net\r\nSubject: hello\r\nReceived: x\r\nReceived: y\r\n\r\nBody\r\n\r\n";

    #[test]
    fn what_is_signed_can_be_checked_and_not_changed() {
        let pem = SigningKey::generate().unwrap();
        let signer = |domain: &str| Signer {
            domain: Domain::parse(domain).unwrap(),
            selector: "pi".to_owned(),
            key: SigningKey::from_pem(pem.as_bytes()).unwrap(),
        };
        let signers = ["example.org", "org", "example.net", "sts.example.org"].map(signer);
        let record = signers[0].key.record();
        let keys = [("pi._domainkey.example.org", record.as_str())];
        let check = |message: &str| check_with(message, &keys, 1_528_637_909);
        let sent = signed(MAIL, &signers);
        assert_eq!(check(&sent), ["pass"], "{sent}");
        assert!(sent.lines().all(|line| line.len() < 100), "{sent}");
        for (from, to) in [
            ("From: Me", "From: x@evil.example\r\nFrom: Me"),
            ("From: Me", "To: one@more.example\r\nFrom: Me"),
            ("From: Me", "Reply-To: one@more.example\r\nFrom: Me"),
            ("From: Me", "Cc: one@more.example\r\nFrom: Me"),
            ("From: Me", "Subject: more\r\nFrom: Me"),
            ("hello", "hell"),
        ] {
            assert_eq!(check(&sent.replace(from, to)), [CHANGED], "{to}");
        }
        assert_eq!(
            check(&sent.replace("Body", "Body\r\nand more")),
            ["fail the body was changed"]
        );
        assert_eq!(check(&sent.replace("Received: x", "Received: z")), ["pass"]);
        // Nobody answers for this author.
        let other = MAIL.replace("me@lists.example.org", "me@elsewhere.example");
        assert_eq!(signed(&other, &signers), other);
        assert_eq!(signed("To: x\r\n\r\n", &signers), "To: x\r\n\r\n");
    }
}

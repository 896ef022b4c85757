//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the keys that both sides make of a password, and the server's side.
//!
//! 1. [`First::parse`] reads the client's first message: who it is, and its half of the nonce.
//! 2. [`First::challenge`] answers with salt, rounds and the other half.
//! 3. [`Challenge::verify`] says whether the client has proved that it knows the password, and with what the server
//!    proves that it knows it too.
//!
//! The server keeps a [`Verifier`]: who steals it cannot log in with it, though he can try passwords against it.

use std::fmt;
use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

use super::sasl::{decode_base64, encode_base64};

/// Octets of a key, SHA-256's.
pub const KEY: usize = digest::SHA256_OUTPUT_LEN;

/// What is made of a password (RFC 5802 3).
pub struct Keys {
    /// ClientKey: who has it can log in.
    pub client: [u8; KEY],
    /// StoredKey, its hash.
    pub stored: [u8; KEY],
    /// ServerKey: who has it can pretend to be the server.
    pub server: [u8; KEY],
}

impl Keys {
    /// The password is taken as it is, which is what SASLprep makes of ASCII.
    pub fn new(password: &[u8], salt: &[u8], rounds: NonZeroU32) -> Self {
        let mut salted = [0; KEY];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            salt,
            password,
            &mut salted,
        );
        let client = sign(&salted, b"Client Key");
        Self {
            client,
            stored: hash(&client),
            server: sign(&salted, b"Server Key"),
        }
    }
}

/// HMAC-SHA-256.
pub fn sign(key: &[u8], text: &[u8]) -> [u8; KEY] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut tag = [0; KEY];
    tag.copy_from_slice(hmac::sign(&key, text).as_ref()); // of the same length
    tag
}

/// SHA-256.
pub fn hash(octets: &[u8]) -> [u8; KEY] {
    let mut out = [0; KEY];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref()); // of the same length
    out
}

/// One text or the other, bit by bit: with the same text twice, what was there before.
pub fn xor(one: &[u8; KEY], other: &[u8; KEY]) -> [u8; KEY] {
    let mut out = *one;
    for (octet, other) in out.iter_mut().zip(other) {
        *octet ^= other;
    }
    out
}

/// What a server keeps of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    stored: [u8; KEY],
    server: [u8; KEY],
}

/// The longest salt, so that a challenge fits into a reply line.
const MAX_SALT: usize = 64;
/// Rounds with which [`Verifier::new`] makes keys: a client on a small machine takes half a second for them, and
/// whoever has stolen the file as long for each guess on such a machine.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(32_768) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};

impl Verifier {
    /// Of a new password. `salt`: random octets, 16 of them.
    pub fn new(password: &[u8], salt: &[u8]) -> Self {
        let keys = Keys::new(password, salt, ROUNDS);
        Self {
            rounds: ROUNDS,
            salt: salt.to_vec(),
            stored: keys.stored,
            server: keys.server,
        }
    }

    /// Reads the form that Dovecot has, too: `rounds,salt,StoredKey,ServerKey`, all but the first in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut part = || parts.next();
        let rounds = part()?.parse().ok()?;
        let salt = decode_base64(part()?)?;
        let stored = decode_base64(part()?)?.try_into().ok()?;
        let server = decode_base64(part()?)?.try_into().ok()?;
        let whole = parts.next().is_none() && (1..=MAX_SALT).contains(&salt.len());
        whole.then_some(Self {
            rounds,
            salt,
            stored,
            server,
        })
    }

    /// What an unknown user is challenged with: it looks like this one's, is the same each time, and no proof fits
    /// it. `seed` is known to nobody outside.
    pub fn decoy(&self, seed: &[u8], user: &str) -> Self {
        let made = sign(seed, user.as_bytes());
        let length = self.salt.len();
        Self {
            rounds: self.rounds,
            salt: made.iter().cycle().take(length).copied().collect(),
            stored: sign(seed, &made),
            server: sign(&made, seed),
        }
    }

    /// Whether this is the password, when a client sends it as it is. What is compared are hashes: the time it takes
    /// tells nothing of the password.
    pub fn is_of(&self, password: &[u8]) -> bool {
        Keys::new(password, &self.salt, self.rounds).stored == self.stored
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored, &self.server].map(encode_base64);
        write!(f, "{},{salt},{stored},{server}", self.rounds)
    }
}

impl fmt::Debug for Verifier {
    /// Without its keys, so that none is ever printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// A message of the client that is none of this mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// The user's name; any text.
    pub user: String,
    /// Whether he does not want to act as somebody else, which nobody may here.
    pub is_for_himself: bool,
    /// The header, which the client repeats as its channel binding: `n,,`.
    header: String,
    /// The message without it.
    bare: String,
    nonce: String,
}

/// The longest nonce of a client, so that a challenge fits into a reply line.
const MAX_NONCE: usize = 128;

impl First {
    /// Reads `n,,n=user,r=nonce` (RFC 5802 7).
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
        let mut parts = text.splitn(3, ',');
        let mut part = || parts.next().ok_or(Malformed);
        let (binding, identity, bare) = (part()?, part()?, part()?);
        // y: the client could bind to TLS and believes that we cannot, which is so. p: it does so, unasked.
        if binding != "n" && binding != "y" {
            return Err(Malformed);
        }
        // Mandatory extensions (m=) would stand before the name.
        let (name, rest) = bare
            .strip_prefix("n=")
            .and_then(|b| b.split_once(','))
            .ok_or(Malformed)?;
        let user = unescape(name).ok_or(Malformed)?;
        let nonce = rest.split(',').next().and_then(|n| n.strip_prefix("r="));
        let nonce = nonce.filter(|n| is_nonce(n)).ok_or(Malformed)?;
        let mut is_for_himself = true;
        if !identity.is_empty() {
            let identity = identity.strip_prefix("a=").and_then(unescape);
            let identity = identity.ok_or(Malformed)?;
            is_for_himself = identity == user;
        }
        Ok(Self {
            is_for_himself,
            header: format!("{binding},{identity},"),
            user,
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// Our answer. `nonce`: fresh, random, of printable ASCII without commas.
    pub fn challenge(self, verifier: Verifier, nonce: &str) -> (String, Challenge) {
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = encode_base64(&verifier.salt);
        let text = format!("r={nonce},s={salt},i={}", verifier.rounds);
        let challenge = Challenge {
            user: self.user,
            header: self.header,
            nonce,
            signed: format!("{},{text}", self.bare),
            verifier,
        };
        (text, challenge)
    }
}

fn is_nonce(text: &str) -> bool {
    (1..=MAX_NONCE).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A name within a list of attributes (RFC 5802 5.1 saslname).
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        out.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out)
}

/// A challenge that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The user's name; any text.
    pub user: String,
    header: String,
    nonce: String,
    /// What is signed, up to here.
    signed: String,
    verifier: Verifier,
}

impl Challenge {
    /// Reads `c=biws,r=nonce,p=proof`. `Some`: the client knows the password, and this is to be said to it; `None`:
    /// it does not.
    pub fn verify(&self, message: &[u8]) -> Result<Option<String>, Malformed> {
        let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
        let (last, proof) = text.rsplit_once(",p=").ok_or(Malformed)?;
        let mut parts = last.split(',');
        let mut part = |name| parts.next().and_then(|p| p.strip_prefix(name));
        let (Some(binding), Some(nonce)) = (part("c="), part("r=")) else {
            return Err(Malformed);
        };
        let bound = decode_base64(binding).is_some_and(|b| b == self.header.as_bytes());
        let proof = decode_base64(proof).and_then(|p| p.try_into().ok());
        let proof: [u8; KEY] = proof.ok_or(Malformed)?;
        if !bound || nonce != self.nonce {
            return Err(Malformed);
        }
        let signed = format!("{},{last}", self.signed);
        let client_key = xor(&proof, &sign(&self.verifier.stored, signed.as_bytes()));
        // Of hashes the time that a comparison takes tells nothing.
        if hash(&client_key) != self.verifier.stored {
            return Ok(None);
        }
        let signature = sign(&self.verifier.server, signed.as_bytes());
        Ok(Some(format!("v={}", encode_base64(signature))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 3: user "user", password "pencil".
    const RFC: (&str, &str, &str, &str) = (
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    );
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn pencil() -> Verifier {
        let salt = decode_base64("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let rounds = NonZeroU32::new(4096).unwrap();
        let keys = Keys::new(b"pencil", &salt, rounds);
        Verifier {
            rounds,
            salt,
            stored: keys.stored,
            server: keys.server,
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn the_example_of_the_rfc_works() {
        let first = First::parse(RFC.0.as_bytes()).unwrap();
        assert_eq!(first.user, "user");
        let (text, challenge) = first.challenge(pencil(), NONCE);
        assert_eq!(text, RFC.1);
        assert_eq!(
            challenge.verify(RFC.2.as_bytes()),
            Ok(Some(RFC.3.to_owned()))
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn no_other_proof_is_taken() {
        let (_, challenge) = First::parse(RFC.0.as_bytes())
            .unwrap()
            .challenge(pencil(), NONCE);
        let rows = [
            (RFC.2.replace("dHzb", "dHzc"), Ok(None)),
            (RFC.2.replace("c=biws", "c=eSws"), Err(Malformed)), // another header than before
            (RFC.2.replace("k0,p", "k1,p"), Err(Malformed)),
            (RFC.2.replace(NONCE, ""), Err(Malformed)),
            (RFC.2.replace("p=dHzb", "p="), Err(Malformed)),
            (RFC.2.replace(",p=", ",q="), Err(Malformed)),
            (RFC.2.replace("k0,p", "k0,x=y,p"), Ok(None)), // an extension, which is signed
            (String::new(), Err(Malformed)),
            (format!("{},p=AAAA", RFC.2), Err(Malformed)),
        ];
        for (message, expected) in rows {
            assert_eq!(challenge.verify(message.as_bytes()), expected, "{message}");
        }
        let decoy = pencil().decoy(b"seed", "user");
        let (_, challenge) = First::parse(RFC.0.as_bytes())
            .unwrap()
            .challenge(decoy, NONCE);
        assert_eq!(challenge.verify(RFC.2.as_bytes()), Ok(None));
    }

    #[test]
    fn first_messages_are_read_or_refused() {
        let long = format!("n,,n=user,r={}", "a".repeat(MAX_NONCE + 1));
        let rows = [
            ("n,,n=user,r=abc", Ok("user")),
            ("y,,n=user,r=abc", Ok("user")),
            ("n,a=user,n=user,r=abc", Ok("user")),
            ("n,,n=a=2Cb=3Dc,r=abc", Ok("a,b=c")),
            ("n,,n=user,r=abc,x=future", Ok("user")),
            ("n,,n=,r=abc", Ok("")),
            ("n,a=root,n=user,r=abc", Ok("root is not user")), // CVE-2023-27582
            ("p=tls-exporter,,n=user,r=abc", Err(Malformed)),
            ("n,,m=x,n=user,r=abc", Err(Malformed)),
            ("n,,n=us=2cer,r=abc", Err(Malformed)),
            ("n,,n=us=,r=abc", Err(Malformed)),
            ("n,,n=us=\u{e4}\u{e4},r=abc", Err(Malformed)),
            ("n,,n=user,r=", Err(Malformed)),
            ("n,,n=user,r=a b", Err(Malformed)),
            ("n,,n=user", Err(Malformed)),
            ("n,user,n=user,r=abc", Err(Malformed)),
            ("", Err(Malformed)),
            (&long, Err(Malformed)),
        ];
        for (message, expected) in rows {
            let found = First::parse(message.as_bytes()).map(|f| match f.is_for_himself {
                true => f.user,
                false => format!("root is not {}", f.user),
            });
            assert_eq!(found, expected.map(str::to_owned), "{message}");
        }
        assert_eq!(First::parse(b"n,,n=\xff,r=abc"), Err(Malformed));
    }

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn what_is_kept_can_be_read_again() {
        let made = Verifier::new(b"secret", &[7; 16]);
        let text = made.to_string();
        assert!(text.starts_with("32768,BwcH"));
        assert!(Verifier::parse(&text) == Some(made.clone()));
        assert!(made.is_of(b"secret") && !made.is_of(b"Secret") && !made.is_of(b""));
        // Made by doveadm pw -s SCRAM-SHA-256 in this form, here with the RFC's numbers.
        let dovecot = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert!(Verifier::parse(dovecot).is_some_and(|v| v.is_of(b"pencil")));
        let long = encode_base64([0; MAX_SALT + 1]);
        for bad in [
            "",
            "4096",
            &text.replacen("32768", "0", 1),
            &text.replacen("32768", "-1", 1),
            &format!("{text},"),
            &text.replace("BwcH", "????"),
            &text.replacen("BwcHBwcHBwcHBwcHBwcHBw==", &long, 1),
            &text.replacen("BwcHBwcHBwcHBwcHBwcHBw==", "", 1),
        ] {
            assert!(Verifier::parse(bad).is_none(), "{bad}");
        }
        assert!(!format!("{made:?}").contains('['));
    }
}

//! The server's side of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN, up to a name and a password to be checked;
//! SCRAM-SHA-256 (RFC 7677), up to whether the client has proved that it knows the password.
//!
//! Every attempt is a new [`Exchange`]: nothing of an attempt broken off is left for the next (CVE-2011-1720).

use std::borrow::Cow;
use std::fmt;

use super::replies::{self, Reply};
use super::sasl::{decode_base64, encode_base64};
use super::scram::{Challenge, First, Verifier};

/// What is offered to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN.
    Plain,
    /// LOGIN, which some clients have alone.
    Login,
    /// SCRAM-SHA-256: the server never learns the password.
    ScramSha256,
}

impl Mechanism {
    /// As it stands in the answer to EHLO, and in AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// A name and a password to be checked.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    /// The user's name: text, not empty, without control characters.
    pub user: String,
    /// The password: any octets, at least one.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    /// Without the password, so that none is ever printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What follows from a line of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Say this (base64) with 334, and give the answer to the exchange.
    Ask(Cow<'static, str>, Exchange),
    /// The mechanism has all it needs.
    Check(Credentials),
    /// SCRAM needs what is kept of this user: [`challenge`] goes on from here.
    LookUp(First),
    /// It is known already: whether the client has proved by SCRAM that it knows this user's password; never, when
    /// it says what no user can say.
    Proved(String, bool),
}

/// Where a mechanism stands when the client is to speak.
#[derive(Debug, PartialEq, Eq)]
pub enum Exchange {
    /// PLAIN's only message.
    Plain,
    /// LOGIN's user name.
    LoginUser,
    /// LOGIN's password, of this user.
    LoginPassword(String),
    /// SCRAM's first message.
    ScramFirst,
    /// SCRAM's proof.
    ScramProof(Box<Challenge>),
    /// SCRAM's empty message, once this user's client has seen our own proof (RFC 4954 4: it comes with 334).
    ScramEnd(String),
}

impl Exchange {
    /// After AUTH, with what came on the same line; an error is the reply that ends the exchange.
    pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Result<Turn, Reply> {
        let (challenge, exchange) = match mechanism {
            Mechanism::Plain => ("", Self::Plain),
            Mechanism::Login => (ASK_USER, Self::LoginUser),
            Mechanism::ScramSha256 => ("", Self::ScramFirst),
        };
        match initial {
            None => Ok(Turn::Ask(challenge.into(), exchange)),
            Some("=") => exchange.take(Vec::new()), // R143
            Some(initial) => exchange.answer(initial.as_bytes()),
        }
    }

    /// After a line of the client.
    pub fn answer(self, line: &[u8]) -> Result<Turn, Reply> {
        if line == b"*" {
            return Err(replies::AUTH_CANCELLED);
        }
        let message = decode_base64(line).ok_or(replies::BAD_AUTH)?;
        self.take(message)
    }

    fn take(self, message: Vec<u8>) -> Result<Turn, Reply> {
        match self {
            Self::Plain => plain(&message),
            Self::LoginUser => {
                // Octets that are no text make a name that nobody has.
                let user = String::from_utf8_lossy(&message).into_owned();
                Ok(Turn::Ask(ASK_PASSWORD.into(), Self::LoginPassword(user)))
            }
            Self::LoginPassword(user) => Ok(check(user, message)),
            Self::ScramFirst => {
                let first = First::parse(&message).map_err(|_| replies::BAD_AUTH)?;
                Ok(if is_name(&first.user) && first.is_for_himself {
                    Turn::LookUp(first)
                } else {
                    Turn::Proved(first.user, false)
                })
            }
            Self::ScramProof(challenge) => {
                match challenge.verify(&message).map_err(|_| replies::BAD_AUTH)? {
                    Some(answer) => {
                        let answer = encode_base64(answer);
                        Ok(Turn::Ask(answer.into(), Self::ScramEnd(challenge.user)))
                    }
                    None => Ok(Turn::Proved(challenge.user, false)),
                }
            }
            Self::ScramEnd(user) if message.is_empty() => Ok(Turn::Proved(user, true)),
            Self::ScramEnd(_) => Err(replies::BAD_AUTH),
        }
    }
}

/// SCRAM goes on, with what is kept of the user and a fresh nonce: random, printable ASCII without commas.
pub fn challenge(first: First, verifier: Verifier, nonce: &str) -> Turn {
    let (text, challenge) = first.challenge(verifier, nonce);
    let text = encode_base64(text);
    Turn::Ask(text.into(), Exchange::ScramProof(Box::new(challenge)))
}

/// "Username:" and "Password:", the only words clients of LOGIN understand.
const ASK_USER: &str = "VXNlcm5hbWU6";
const ASK_PASSWORD: &str = "UGFzc3dvcmQ6";

/// `[authorisation] NUL user NUL password` (RFC 4616 2). Nobody may act as somebody else.
fn plain(message: &[u8]) -> Result<Turn, Reply> {
    let parts: Vec<&[u8]> = message.split(|b| *b == 0).collect();
    let [identity, user, password] = parts.as_slice() else {
        return Err(replies::BAD_AUTH);
    };
    let name = String::from_utf8_lossy(user).into_owned();
    if !identity.is_empty() && identity != user {
        return Ok(Turn::Proved(name, false));
    }
    Ok(check(name, password.to_vec()))
}

/// No user has an empty name or one with a control character; who would look such a one up in a file of lines could
/// be led astray.
fn is_name(user: &str) -> bool {
    !user.is_empty() && !user.chars().any(char::is_control)
}

/// No user has an empty password.
fn check(user: String, password: Vec<u8>) -> Turn {
    if is_name(&user) && !password.is_empty() {
        Turn::Check(Credentials { user, password })
    } else {
        Turn::Proved(user, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b64(octets: &[u8]) -> String {
        crate::proto::sasl::encode_base64(octets)
    }

    fn found(user: &str, password: &[u8]) -> Result<Turn, Reply> {
        Ok(Turn::Check(Credentials {
            user: user.to_owned(),
            password: password.to_vec(),
        }))
    }

    fn never(user: &str) -> Result<Turn, Reply> {
        Ok(Turn::Proved(user.to_owned(), false))
    }

    #[test]
    fn plain_is_read_or_refused() {
        let long = [&b"\0alice\0"[..], &[b'x'; 1000]].concat();
        let rows: Vec<(String, Result<Turn, Reply>)> = vec![
            (b64(b"\0alice\0secret"), found("alice", b"secret")),
            (b64(b"alice\0alice\0secret"), found("alice", b"secret")),
            (
                b64("\0alice\0p\u{e4}ss w\u{f6}rd".as_bytes()),
                found("alice", "p\u{e4}ss w\u{f6}rd".as_bytes()),
            ), // D16
            (b64(b"\0alice\0x"), found("alice", b"x")),
            (b64(&long), found("alice", &[b'x'; 1000])),
            (b64(b"\0alice\0"), never("alice")),
            (b64(b"root\0alice\0secret"), never("alice")), // CVE-2023-27582's neighbour
            (b64(b"\0\0secret"), never("")),
            (b64(b"\0a\nb\0secret"), never("a\nb")), // D19, D20
            (b64(b"\0\xff\0secret"), found("\u{fffd}", b"secret")),
            (b64(b"alice"), Err(replies::BAD_AUTH)), // D15
            (b64(b"\0alice"), Err(replies::BAD_AUTH)),
            (b64(b"\0alice\0se\0cret"), Err(replies::BAD_AUTH)),
            (b64(b"\0alice\0secret\0"), Err(replies::BAD_AUTH)),
            ("=".to_owned(), Err(replies::BAD_AUTH)), // D14
            ("*".to_owned(), Err(replies::AUTH_CANCELLED)),
            ("AGFs aWNl".to_owned(), Err(replies::BAD_AUTH)), // D13
            ("AGFsaWNlAHg".to_owned(), Err(replies::BAD_AUTH)),
            ("AGF=aWNlAHg=".to_owned(), Err(replies::BAD_AUTH)),
            ("AGFsaWNlAHg-".to_owned(), Err(replies::BAD_AUTH)),
        ];
        for (initial, expected) in rows {
            let turn = Exchange::begin(Mechanism::Plain, Some(&initial));
            assert_eq!(turn, expected, "{initial}");
            if initial != "=" {
                let turn = Exchange::Plain.answer(initial.as_bytes());
                assert_eq!(turn, expected, "{initial}");
            }
        }
        assert_eq!(
            Exchange::begin(Mechanism::Plain, None),
            Ok(Turn::Ask("".into(), Exchange::Plain))
        );
    }

    #[test]
    fn login_asks_for_name_and_password() {
        let asked = Exchange::begin(Mechanism::Login, None).unwrap();
        assert_eq!(asked, Turn::Ask(ASK_USER.into(), Exchange::LoginUser));
        for asked in [
            Exchange::LoginUser.answer(b64(b"alice").as_bytes()),
            Exchange::begin(Mechanism::Login, Some(&b64(b"alice"))),
        ] {
            let Ok(Turn::Ask(challenge, exchange)) = asked else {
                panic!("{asked:?}");
            };
            assert_eq!(challenge, ASK_PASSWORD);
            assert_eq!(
                exchange.answer(b64(b"secret").as_bytes()),
                found("alice", b"secret")
            );
        }
        // D18: another command in the place of the answer
        let refused = Exchange::LoginUser.answer(b"AUTH PLAIN AGFsaWNlAHg=");
        assert_eq!(refused, Err(replies::BAD_AUTH));
    }

    /// Our client and our server; the last word is the client's, and says nothing.
    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn scram_lets_in_who_knows_the_password() {
        use crate::proto::sasl;
        for (password, known) in [("secret", true), ("Secret", false)] {
            let verifier = Verifier::new(b"secret", &[1; 16]);
            let mechanism = sasl::Mechanism::ScramSha256;
            let mut client = sasl::Client::new(mechanism, "al,ice", password.as_bytes(), "xyz");
            let command = client.command();
            let initial = command.strip_prefix("AUTH SCRAM-SHA-256 ").unwrap();
            let Ok(Turn::LookUp(first)) = Exchange::begin(Mechanism::ScramSha256, Some(initial))
            else {
                panic!("{command}");
            };
            assert_eq!(first.user, "al,ice");
            let Turn::Ask(text, exchange) = challenge(first, verifier, "nonce") else {
                panic!();
            };
            let proof = client.answer(&text).unwrap();
            let turn = exchange.answer(proof.as_bytes()).unwrap();
            let Turn::Ask(text, exchange) = turn else {
                assert!(!known && turn == Turn::Proved("al,ice".to_owned(), false));
                continue;
            };
            assert_eq!(client.answer(&text).unwrap(), "");
            assert_eq!(client.finish(), Ok(()));
            assert_eq!(
                exchange.answer(b""),
                Ok(Turn::Proved("al,ice".to_owned(), known))
            );
        }
    }

    #[test]
    fn scram_is_refused_at_each_step() {
        let begin = |text: &[u8]| Exchange::begin(Mechanism::ScramSha256, Some(&b64(text)));
        assert_eq!(begin(b"n,,n=a\nb,r=x"), never("a\nb")); // D20
        assert_eq!(begin(b"n,,n=,r=x"), never(""));
        assert_eq!(begin(b"n,a=root,n=user,r=x"), never("user"));
        assert_eq!(begin(b"\0alice\0secret"), Err(replies::BAD_AUTH));
        assert_eq!(
            Exchange::begin(Mechanism::ScramSha256, None),
            Ok(Turn::Ask("".into(), Exchange::ScramFirst))
        );
        let end = || Exchange::ScramEnd("user".to_owned());
        assert_eq!(end().answer(b"AAAA"), Err(replies::BAD_AUTH));
        assert_eq!(end().answer(b"*"), Err(replies::AUTH_CANCELLED));
    }

    #[test]
    fn a_password_is_never_printed() {
        let turn = found("alice", b"secret").unwrap();
        assert!(!format!("{turn:?}").contains("secret"));
    }
}

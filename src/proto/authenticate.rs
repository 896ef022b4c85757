//! The server's side of AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN, up to a name and a password to be checked.
//!
//! Every attempt is a new [`Exchange`]: nothing of an attempt broken off is left for the next (CVE-2011-1720).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::replies::{self, Reply};

/// What is offered to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN.
    Plain,
    /// LOGIN, which some clients have alone.
    Login,
}

impl Mechanism {
    /// As it stands in the answer to EHLO, and in AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
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
    Ask(&'static str, Exchange),
    /// The mechanism has all it needs.
    Check(Credentials),
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
}

impl Exchange {
    /// After AUTH, with what came on the same line; an error is the reply that ends the exchange.
    pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Result<Turn, Reply> {
        let (challenge, exchange) = match mechanism {
            Mechanism::Plain => ("", Self::Plain),
            Mechanism::Login => (ASK_USER, Self::LoginUser),
        };
        match initial {
            None => Ok(Turn::Ask(challenge, exchange)),
            Some("=") => exchange.take(Vec::new()), // R143
            Some(initial) => exchange.answer(initial.as_bytes()),
        }
    }

    /// After a line of the client.
    pub fn answer(self, line: &[u8]) -> Result<Turn, Reply> {
        if line == b"*" {
            return Err(replies::AUTH_CANCELLED);
        }
        let message = STANDARD.decode(line).map_err(|_| replies::BAD_AUTH)?;
        self.take(message)
    }

    fn take(self, message: Vec<u8>) -> Result<Turn, Reply> {
        match self {
            Self::Plain => plain(&message),
            Self::LoginUser => {
                let user = String::from_utf8(message).map_err(|_| replies::AUTH_FAILED)?;
                Ok(Turn::Ask(ASK_PASSWORD, Self::LoginPassword(user)))
            }
            Self::LoginPassword(user) => check(user, message),
        }
    }
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
    if !identity.is_empty() && identity != user {
        return Err(replies::AUTH_FAILED);
    }
    let user = String::from_utf8(user.to_vec()).map_err(|_| replies::AUTH_FAILED)?;
    check(user, password.to_vec())
}

/// No user has an empty name, one with a control character or an empty password; who would look such a one up
/// in a file of lines, or log it, could be led astray.
fn check(user: String, password: Vec<u8>) -> Result<Turn, Reply> {
    if user.is_empty() || user.chars().any(char::is_control) || password.is_empty() {
        return Err(replies::AUTH_FAILED);
    }
    Ok(Turn::Check(Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b64(octets: &[u8]) -> String {
        STANDARD.encode(octets)
    }

    fn found(user: &str, password: &[u8]) -> Result<Turn, Reply> {
        Ok(Turn::Check(Credentials {
            user: user.to_owned(),
            password: password.to_vec(),
        }))
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
            (b64(b"\0alice\0"), Err(replies::AUTH_FAILED)),
            (b64(b"root\0alice\0secret"), Err(replies::AUTH_FAILED)), // CVE-2023-27582's neighbour
            (b64(b"\0\0secret"), Err(replies::AUTH_FAILED)),
            (b64(b"\0a\nb\0secret"), Err(replies::AUTH_FAILED)), // D19, D20
            (b64(b"\0\xff\0secret"), Err(replies::AUTH_FAILED)),
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
            Ok(Turn::Ask("", Exchange::Plain))
        );
    }

    #[test]
    fn login_asks_for_name_and_password() {
        let asked = Exchange::begin(Mechanism::Login, None).unwrap();
        assert_eq!(asked, Turn::Ask(ASK_USER, Exchange::LoginUser));
        for asked in [
            Exchange::LoginUser.answer(b64(b"alice").as_bytes()),
            Exchange::begin(Mechanism::Login, Some(&b64(b"alice"))),
        ] {
            let Ok(Turn::Ask(ASK_PASSWORD, exchange)) = asked else {
                panic!("{asked:?}");
            };
            assert_eq!(
                exchange.answer(b64(b"secret").as_bytes()),
                found("alice", b"secret")
            );
        }
        // D18: another command in the place of the answer
        let refused = Exchange::LoginUser.answer(b"AUTH PLAIN AGFsaWNlAHg=");
        assert_eq!(refused, Err(replies::BAD_AUTH));
    }

    #[test]
    fn a_password_is_never_printed() {
        let turn = found("alice", b"secret").unwrap();
        assert!(!format!("{turn:?}").contains("secret"));
    }
}

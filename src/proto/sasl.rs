//! The SASL mechanisms of AUTH (RFC 4954): the client's side.
//!
//! [`choose`] picks the mechanism, [`Client::command`] is the AUTH command, [`Client::answer`] answers each
//! challenge of a 334 reply, and [`Client::finish`] tells after a 235 whether the server has proved what its
//! mechanism makes it prove. Passwords and tokens are octets, of any value. No error tells anything of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::scram::{self, Keys};

/// A way to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN (RFC 4616): the password itself.
    Plain,
    /// LOGIN (no RFC): the password itself, asked for with prompts.
    Login,
    /// CRAM-MD5 (RFC 2195): a digest with the server's challenge.
    CramMd5,
    /// SCRAM-SHA-256 (RFC 5802, 7677): both sides prove that they know the password; the server has only a hash.
    ScramSha256,
    /// XOAUTH2 (Google's and Microsoft's): a token.
    Xoauth2,
    /// OAUTHBEARER (RFC 7628): a token.
    Oauthbearer,
}

impl Mechanism {
    /// As it is written in AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::CramMd5 => "CRAM-MD5",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Xoauth2 => "XOAUTH2",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// The order in which a mechanism is chosen where nobody can listen. PLAIN is first, as it works everywhere; the
/// others are for servers that do not offer it. A token is never sent unasked: it is no password.
const PROTECTED: [Mechanism; 4] = [
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::ScramSha256,
    Mechanism::CramMd5,
];
/// The order where somebody may listen: he learns nothing from these that lets him log in.
const IN_THE_CLEAR: [Mechanism; 2] = [Mechanism::ScramSha256, Mechanism::CramMd5];

/// Chooses a mechanism. One that is `wanted` is taken as told, if it is offered; otherwise the best that is
/// safe, `protected` or not. An error is a sentence's end, after "the server ".
pub fn choose(
    wanted: Option<Mechanism>,
    offered: &[String],
    protected: bool,
) -> Result<Mechanism, String> {
    let is_offered = |m: &Mechanism| offered.iter().any(|o| o.eq_ignore_ascii_case(m.name()));
    let order = if protected {
        &PROTECTED[..]
    } else {
        &IN_THE_CLEAR[..]
    };
    let found = match wanted {
        Some(wanted) => Some(wanted).filter(is_offered),
        None => order.iter().copied().find(is_offered),
    };
    if let Some(mechanism) = found {
        return Ok(mechanism);
    }
    let list = match offered {
        [] => return Err("offers no AUTH on this connection".to_owned()),
        list => list.join(", "),
    };
    Err(match wanted {
        Some(wanted) => format!("offers AUTH with {list}, and not {}", wanted.name()),
        None if !protected && PROTECTED.iter().any(is_offered) => format!(
            "offers AUTH with {list}, and none of it keeps the password safe where TLS does not"
        ),
        None => {
            format!(
                "offers AUTH with {list}, none of which is chosen unless auth = \"...\" says so"
            )
        }
    })
}

/// Why an exchange cannot go on; the words come after "the server ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

fn refused<T>(words: &str) -> Result<T, Refused> {
    Err(Refused(words.to_owned()))
}

/// One login.
pub struct Client<'a> {
    mechanism: Mechanism,
    user: &'a str,
    password: &'a [u8],
    nonce: &'a str,
    /// How many challenges were answered.
    step: u32,
    /// The initial response, if the command left it out.
    held_back: Option<String>,
    /// SCRAM: what the server must sign in the end.
    expected: Option<Vec<u8>>,
    verified: bool,
}

/// The longest AUTH command that may carry an initial response, without CRLF (RFC 4954 4, RFC 5321 4.5.3.1.4).
const MAX_COMMAND: usize = 510;
/// A challenge takes a bounded time to answer: no server that is used today asks for more rounds.
const MAX_ITERATIONS: u32 = 1_000_000;

impl<'a> Client<'a> {
    /// A login. `nonce` is a fresh random text of printable ASCII without commas; only SCRAM uses it.
    pub fn new(mechanism: Mechanism, user: &'a str, password: &'a [u8], nonce: &'a str) -> Self {
        Self {
            mechanism,
            user,
            password,
            nonce,
            step: 0,
            held_back: None,
            expected: None,
            verified: false,
        }
    }

    /// The AUTH command, without its line end.
    pub fn command(&mut self) -> String {
        let name = self.mechanism.name();
        let Some(initial) = self.initial() else {
            return format!("AUTH {name}");
        };
        let initial = BASE64.encode(initial);
        if "AUTH ".len() + name.len() + 1 + initial.len() > MAX_COMMAND {
            self.held_back = Some(initial);
            return format!("AUTH {name}");
        }
        format!("AUTH {name} {initial}")
    }

    /// What the client says first, where the mechanism lets it.
    fn initial(&self) -> Option<Vec<u8>> {
        match self.mechanism {
            Mechanism::Plain => {
                let user = self.user.as_bytes();
                Some([b"\0", user, b"\0", self.password].concat())
            }
            Mechanism::ScramSha256 => Some(format!("n,,{}", self.scram_first()).into_bytes()),
            Mechanism::Xoauth2 => {
                let user = format!("user={}\x01auth=Bearer ", self.user);
                Some([user.as_bytes(), self.password, b"\x01\x01"].concat())
            }
            Mechanism::Oauthbearer => {
                let user = format!("n,a={},\x01auth=Bearer ", sasl_name(self.user));
                Some([user.as_bytes(), self.password, b"\x01\x01"].concat())
            }
            Mechanism::Login | Mechanism::CramMd5 => None,
        }
    }

    /// The answer to a 334 reply's text, without its line end. However long a server goes on asking, it gets
    /// three answers at most.
    pub fn answer(&mut self, challenge: &str) -> Result<String, Refused> {
        if let Some(initial) = self.held_back.take() {
            return Ok(initial);
        }
        let step = self.step;
        self.step += 1;
        let answer = match (self.mechanism, step) {
            // The prompts of LOGIN are words in any language: the user name is asked for first.
            (Mechanism::Login, 0) => self.user.as_bytes().to_vec(),
            (Mechanism::Login, 1) => self.password.to_vec(),
            (Mechanism::CramMd5, 0) => self.cram_md5(&decode(challenge)?),
            (Mechanism::ScramSha256, 0) => self.scram_proof(&decode(challenge)?)?,
            (Mechanism::ScramSha256, 1) => self.scram_verify(&decode(challenge)?)?,
            // The challenge tells what is wrong with the token; the refusal comes after our empty answer (RFC
            // 7628 3.2.3).
            (Mechanism::Xoauth2, 0) => Vec::new(),
            (Mechanism::Oauthbearer, 0) => b"\x01".to_vec(),
            _ => return refused("goes on asking when everything is said"),
        };
        Ok(BASE64.encode(answer))
    }

    /// Whether a 235 may be believed.
    pub fn finish(&self) -> Result<(), Refused> {
        if self.mechanism == Mechanism::ScramSha256 && !self.verified {
            return refused("has not proved that it knows the password, as SCRAM demands");
        }
        Ok(())
    }

    fn cram_md5(&self, challenge: &[u8]) -> Vec<u8> {
        let digest = hmac_md5(self.password, challenge);
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        format!("{} {hex}", self.user).into_bytes()
    }

    fn scram_first(&self) -> String {
        format!("n={},r={}", sasl_name(self.user), self.nonce)
    }

    /// The second message (RFC 5802 3, 5.1).
    fn scram_proof(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Refused> {
        let first = std::str::from_utf8(challenge).unwrap_or_default();
        let mut parts = first.split(',');
        let mut part = |name: &str| parts.next().and_then(|p| p.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (part("r="), part("s="), part("i=")) else {
            return refused("sent a SCRAM challenge that is none");
        };
        if !nonce.starts_with(self.nonce) || nonce.len() == self.nonce.len() {
            return refused("sent a SCRAM challenge that does not belong to this login");
        }
        let salt = decode(salt)?;
        let rounds = rounds.parse().ok().filter(|r| *r <= MAX_ITERATIONS);
        let Some(rounds) = rounds.and_then(std::num::NonZeroU32::new) else {
            return refused("asks for a number of SCRAM rounds that is not sensible");
        };
        let keys = Keys::new(self.password, &salt, rounds);
        let last = format!("c=biws,r={nonce}"); // biws: "n,,", no channel binding
        let signed = format!("{},{first},{last}", self.scram_first());
        let signature = scram::sign(&keys.stored, signed.as_bytes());
        let proof = scram::xor(&keys.client, &signature);
        self.expected = Some(scram::sign(&keys.server, signed.as_bytes()).to_vec());
        Ok(format!("{last},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// The server's proof. A wrong one means that somebody else answers in its place.
    fn scram_verify(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Refused> {
        let text = std::str::from_utf8(challenge).unwrap_or_default();
        let signature = text.split(',').next().and_then(|p| p.strip_prefix("v="));
        let signature = signature.and_then(|s| BASE64.decode(s).ok());
        if signature.is_none() || signature != self.expected {
            return refused(
                "does not know the password, or sits between us and the server that does",
            );
        }
        self.verified = true;
        Ok(Vec::new())
    }
}

/// The octets of a challenge; an empty one may be written as `=` (RFC 4954 4).
fn decode(challenge: &str) -> Result<Vec<u8>, Refused> {
    match challenge.trim() {
        "=" => Ok(Vec::new()),
        text => BASE64
            .decode(text)
            .or_else(|_| refused("sent a challenge that is not base64")),
    }
}

/// A user name within a list of attributes (RFC 5802 5.1 saslname).
fn sasl_name(user: &str) -> String {
    user.replace('=', "=3D").replace(',', "=2C")
}

/// HMAC (RFC 2104) with MD5, which ring leaves out for good reasons; CRAM-MD5 has no other.
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    const BLOCK: usize = 64;
    let mut block = if key.len() > BLOCK {
        md5::compute(key).0.to_vec()
    } else {
        key.to_vec()
    };
    block.resize(BLOCK, 0);
    let mask = |with: u8| block.iter().map(|b| b ^ with).collect::<Vec<u8>>();
    let inner = md5::compute([&mask(0x36), text].concat());
    md5::compute([&mask(0x5c), inner.0.as_slice()].concat()).0
}

/// What base64 stands for (RFC 4648 4); `None` for anything that is not exactly that.
pub fn decode_base64(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Octets as base64.
pub fn encode_base64(octets: impl AsRef<[u8]>) -> String {
    BASE64.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(encoded: &str) -> String {
        String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn the_safest_mechanism_that_works_is_chosen() {
        use Mechanism::*;
        // Wanted, offered, protected; chosen.
        let rows = [
            (None, "LOGIN PLAIN CRAM-MD5", true, Some(Plain)),
            (None, "LOGIN CRAM-MD5", true, Some(Login)),
            (None, "CRAM-MD5 SCRAM-SHA-256", true, Some(ScramSha256)),
            (None, "PLAIN CRAM-MD5", false, Some(CramMd5)),
            (None, "PLAIN LOGIN", false, None),
            (None, "XOAUTH2 OAUTHBEARER", true, None),
            (None, "", true, None),
            (Some(Xoauth2), "XOAUTH2 PLAIN", true, Some(Xoauth2)),
            (Some(Plain), "PLAIN", false, Some(Plain)), // as told
            (Some(Plain), "LOGIN", true, None),
            (None, "plain", true, Some(Plain)),
        ];
        for (wanted, offered, protected, expected) in rows {
            let list: Vec<String> = offered.split_whitespace().map(str::to_owned).collect();
            let chosen = choose(wanted, &list, protected);
            assert_eq!(chosen.ok(), expected, "{wanted:?} {offered} {protected}");
        }
    }

    #[test]
    fn passwords_of_any_octets_are_sent_as_they_are() {
        let password = b"p\xff ,=\"\x01";
        let mut client = Client::new(Mechanism::Plain, "me@example.org", password, "");
        let command = client.command();
        let sent = BASE64
            .decode(command.strip_prefix("AUTH PLAIN ").unwrap())
            .unwrap();
        assert_eq!(sent, b"\0me@example.org\0p\xff ,=\"\x01");
        let mut client = Client::new(Mechanism::Login, "me", password, "");
        assert_eq!(client.command(), "AUTH LOGIN");
        assert_eq!(plain(&client.answer("VXNlcm5hbWU6").unwrap()), "me");
        assert_eq!(
            BASE64
                .decode(client.answer("UGFzc3dvcmQ6").unwrap())
                .unwrap(),
            password
        );
        assert!(client.answer("").is_err()); // K12: it does not go on for ever
    }

    #[test]
    fn a_long_initial_response_waits_for_its_challenge() {
        let token = [b't'; 2000];
        let mut client = Client::new(Mechanism::Xoauth2, "me@example.org", &token, "");
        assert_eq!(client.command(), "AUTH XOAUTH2");
        let answer = client.answer("").unwrap();
        assert!(plain(&answer).starts_with("user=me@example.org\x01auth=Bearer ttt"));
        assert!(plain(&answer).ends_with("t\x01\x01"));
        assert_eq!(client.answer("eyJzdGF0dXMiOiI0MDEifQ==").unwrap(), "");
        assert!(client.answer("").is_err());
    }

    #[test]
    fn tokens_are_sent_as_the_mechanism_wants() {
        let token = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        let mut client = Client::new(Mechanism::Oauthbearer, "u,s=r@example.com", token, "");
        let command = client.command();
        assert_eq!(
            plain(command.strip_prefix("AUTH OAUTHBEARER ").unwrap()),
            "n,a=u=2Cs=3Dr@example.com,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
        );
        assert_eq!(client.answer("e30=").unwrap(), "AQ=="); // RFC 7628 3.2.3
    }

    #[test]
    fn cram_md5_gives_the_digest_of_its_rfc() {
        let mut client = Client::new(Mechanism::CramMd5, "tim", b"tanstaaftanstaaf", "");
        assert_eq!(client.command(), "AUTH CRAM-MD5");
        let answer = client
            .answer("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+")
            .unwrap();
        assert_eq!(plain(&answer), "tim b913a602c7eda7a495b4e6e7334d3890"); // RFC 2195 2
        // RFC 2202 2, test case 6: a key longer than a block.
        let digest = hmac_md5(
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(digest[..4], [0x6b, 0x1a, 0xb7, 0xfe]);
        let mut client = Client::new(Mechanism::CramMd5, "tim", b"x", "");
        assert!(client.answer("%%%").is_err());
    }

    /// The exchange of RFC 7677 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    #[cfg_attr(miri, ignore = "ring is C and assembly")]
    fn scram_gives_the_proof_of_its_rfc_and_wants_one() {
        let begin = || Client::new(Mechanism::ScramSha256, "user", b"pencil", NONCE);
        let mut client = begin();
        let command = client.command();
        assert_eq!(
            plain(command.strip_prefix("AUTH SCRAM-SHA-256 ").unwrap()),
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
        );
        let answer = client.answer(&BASE64.encode(CHALLENGE)).unwrap();
        assert_eq!(
            plain(&answer),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(client.finish().is_err()); // a 235 without the server's proof
        let proof = BASE64.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(client.answer(&proof).unwrap(), "");
        assert!(client.finish().is_ok());

        let mut client = begin();
        client.answer(&BASE64.encode(CHALLENGE)).unwrap();
        let wrong = BASE64.encode("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(client.answer(&wrong).is_err());
        for challenge in [
            "",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=%,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert!(
                begin().answer(&BASE64.encode(challenge)).is_err(),
                "{challenge}"
            );
        }
    }
}

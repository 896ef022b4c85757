//! Hashes of passwords: argon2id, which `minimta --password` makes; the forms of crypt(3) that people have already
//! (yescrypt, SHA-512, SHA-256, bcrypt); and what SCRAM-SHA-256 needs.
//!
//! To check a password costs memory and time on purpose. So that a flood of logins cannot use up either, all that
//! are checked at one time share [`BUDGET`]; who does not find room in it waits, and not for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use bcrypt::HashParts;
use sha_crypt::ShaCrypt;
use yescrypt::Yescrypt;

use super::clock;
use crate::proto::scram::Verifier;

/// What is kept of a password.
#[derive(Clone)]
pub struct Hash {
    form: Form,
    text: String,
    /// What a check takes, KiB.
    memory: usize,
}

#[derive(Clone)]
enum Form {
    Argon2,
    ShaCrypt,
    Bcrypt,
    Yescrypt,
    Scram(Verifier),
}

/// What every check at one time may take together, KiB; one that takes more alone is checked alone.
const BUDGET: usize = 16 * 1024;
/// What one check is counted as at least, KiB: some take no memory, but a processor each.
const LEAST: usize = BUDGET / 4;
/// The most that one check may take, KiB: the default of other programs.
const MOST: usize = 64 * 1024;
/// How long a check waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Argon2id as `minimta --password` makes it, as strong as the second of OWASP's equal choices: 8 MiB, which a
/// router can spare, four times over, which takes a Raspberry Pi of the first kind half a second.
const MEMORY: u32 = 8 * 1024;
const PASSES: u32 = 4;

/// Makes the hash of a new password.
///
/// # Errors
/// A sentence; none is known that could come.
pub fn make(password: &[u8]) -> Result<String, String> {
    let refused = |e: &dyn std::fmt::Display| format!("cannot make a hash of the password: {e}");
    let params = Params::new(MEMORY, PASSES, 1, None).map_err(|e| refused(&e))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let made: PasswordHash = argon2
        .hash_password_with_salt(password, &salt())
        .map_err(|e| refused(&e))?;
    Ok(made.to_string())
}

/// Makes what SCRAM-SHA-256 needs of a new password.
pub fn make_scram(password: &[u8]) -> String {
    format!("{SCRAM}{}", Verifier::new(password, &salt()))
}

const SCRAM: &str = "{SCRAM-SHA-256}";

/// No two passwords get the same; nothing depends on it being a secret.
fn salt() -> [u8; 16] {
    (u128::from(clock::random()) << 64 | u128::from(clock::random())).to_be_bytes()
}

/// What crypt(3) and other mail servers write before a hash.
const NAMES: &[&str] = &[
    "{CRYPT}",
    "{ARGON2ID}",
    "{ARGON2I}",
    "{SHA512-CRYPT}",
    "{SHA256-CRYPT}",
    "{BLF-CRYPT}",
];

impl Hash {
    /// Reads a hash. An error is a sentence's end, after "the hash ".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(kept) = text.strip_prefix(SCRAM) {
            let verifier = Verifier::parse(kept).ok_or(BROKEN)?;
            return Ok(Self::new(Form::Scram(verifier), text, 0));
        }
        let named = NAMES.iter().find_map(|name| text.strip_prefix(name));
        let text = named.unwrap_or(text);
        let Some((kind, _)) = text.strip_prefix('$').and_then(|t| t.split_once('$')) else {
            return Err("is none: no password is the right one");
        };
        let hash = match kind {
            "argon2id" | "argon2i" | "argon2d" => {
                let parsed = PasswordHash::new(text).map_err(|_| BROKEN)?;
                let params = Params::try_from(&parsed).map_err(|_| BROKEN)?;
                parsed.hash.as_ref().ok_or(BROKEN)?;
                let memory = usize::try_from(params.m_cost()).unwrap_or(usize::MAX);
                Self::new(Form::Argon2, text, memory)
            }
            "5" | "6" => {
                if !(2..=3).contains(&fields(text).len()) {
                    return Err(BROKEN);
                }
                Self::new(Form::ShaCrypt, text, 0)
            }
            "2a" | "2b" | "2x" | "2y" => {
                let parts: HashParts = text.parse().map_err(|_| BROKEN)?;
                if !(4..=31).contains(&parts.get_cost()) {
                    return Err(BROKEN);
                }
                Self::new(Form::Bcrypt, text, 0)
            }
            "y" => {
                let [params, _, _] = fields(text)[..] else {
                    return Err(BROKEN);
                };
                let params: yescrypt::Params = params.parse().map_err(|_| BROKEN)?;
                let octets = params.n().saturating_mul(u64::from(params.r()) * 128);
                let memory = usize::try_from(octets / 1024).unwrap_or(usize::MAX);
                Self::new(Form::Yescrypt, text, memory)
            }
            _ => {
                return Err(
                    "is of a kind that is not known here; make one with minimta --password",
                );
            }
        };
        if hash.memory > MOST {
            return Err("would take more than 64 MiB to check; make one with minimta --password");
        }
        Ok(hash)
    }

    fn new(form: Form, text: &str, memory: usize) -> Self {
        Self {
            form,
            text: text.to_owned(),
            memory,
        }
    }

    /// What SCRAM needs, if that is what is kept.
    pub fn verifier(&self) -> Option<&Verifier> {
        match &self.form {
            Form::Scram(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// Whether this is the password. It waits for its turn.
    ///
    /// # Errors
    /// A sentence: too many others are checked.
    pub fn is_of(&self, password: &[u8]) -> Result<bool, String> {
        let _turn = GATE
            .enter(self.memory.max(LEAST), PATIENCE)
            .ok_or("too many passwords are checked at once; somebody may be trying them out")?;
        Ok(match &self.form {
            Form::Argon2 => Argon2::default()
                .verify_password(password, self.text.as_str())
                .is_ok(),
            Form::ShaCrypt => ShaCrypt::default()
                .verify_password(password, self.text.as_str())
                .is_ok(),
            Form::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Form::Yescrypt => Yescrypt::default()
                .verify_password(password, self.text.as_str())
                .is_ok(),
            Form::Scram(verifier) => verifier.is_of(password),
        })
    }
}

const BROKEN: &str = "is not whole; was a part of it lost when it was copied?";

/// What stands behind `$kind$`, between dollar signs; none, if one of them is empty.
fn fields(text: &str) -> Vec<&str> {
    let fields: Vec<&str> = text.split('$').skip(2).collect();
    if fields.contains(&"") {
        return Vec::new();
    }
    fields
}

/// Lets in as many at a time as [`BUDGET`] has room for.
struct Gate {
    taken: Mutex<usize>,
    freed: Condvar,
}

static GATE: Gate = Gate::new();

/// Room that was given, until this is gone.
struct Turn<'a> {
    gate: &'a Gate,
    amount: usize,
}

impl Gate {
    const fn new() -> Self {
        Self {
            taken: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// `None`: there was no room within `patience`.
    fn enter(&self, amount: usize, patience: Duration) -> Option<Turn<'_>> {
        let full = |taken: &mut usize| *taken > 0 && *taken + amount > BUDGET;
        let (mut taken, waited) = self
            .freed
            .wait_timeout_while(self.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *taken += amount;
        Some(Turn { gate: self, amount })
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.gate.lock();
        *taken = taken.saturating_sub(self.amount);
        self.gate.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that other programs have made, the program, and the password.
    const OTHERS: &[(&str, &str, &str)] = &[
        (
            "openssl passwd -6, mkpasswd -m sha-512",
            "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.",
            "secret",
        ),
        (
            "glibc's test of rounds",
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
            "Hello world!",
        ),
        (
            "openssl passwd -5",
            "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.",
            "secret",
        ),
        (
            "mkpasswd -m bcrypt; htpasswd -B writes the same",
            "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u",
            "secret",
        ),
        (
            "mkpasswd, passwd on Debian",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
            "secret",
        ),
        (
            "argon2 -id",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "password",
        ),
        (
            "doveadm pw -s SHA512-CRYPT",
            "{SHA512-CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.",
            "secret",
        ),
        (
            "doveadm pw -s SCRAM-SHA-256",
            "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "pencil",
        ),
    ];

    #[test]
    fn hashes_of_other_programs_are_checked() {
        for (program, text, password) in OTHERS {
            let hash = Hash::parse(text).unwrap_or_else(|why| panic!("{program}: {why}"));
            assert_eq!(hash.is_of(password.as_bytes()), Ok(true), "{program}");
            let wrong = format!("{password} ");
            assert_eq!(hash.is_of(wrong.as_bytes()), Ok(false), "{program}");
        }
    }

    #[test]
    fn what_is_made_here_is_checked_here() {
        let (made, scram) = (make(b"s\xff").unwrap(), make_scram(b"s\xff"));
        assert!(made.starts_with("$argon2id$v=19$m=8192,t=4,p=1$"), "{made}");
        assert_ne!(made, make(b"s\xff").unwrap());
        for text in [made, scram] {
            assert!(!text.contains([':', ' ']), "{text}");
            let hash = Hash::parse(&text).ok().unwrap();
            assert!(hash.memory <= BUDGET);
            assert_eq!(hash.is_of(b"s\xff"), Ok(true));
            assert_eq!(hash.is_of(b"s"), Ok(false));
        }
    }

    #[test]
    fn what_no_password_can_fit_is_told() {
        let rows = [
            ("", "is none"),
            ("x", "is none"),
            ("*", "is none"),
            ("!", "is none"),
            ("secret", "is none"),
            ("{PLAIN}secret", "is none"),
            ("$", "is none"),
            (
                "$1$saltstri$WHZcnT3IOdSrMvizOq7Ht1",
                "of a kind that is not known",
            ),
            ("$apr1$x$y", "of a kind that is not known"),
            ("$9$x$y", "of a kind that is not known"),
            ("$6$", "not whole"),
            ("$6$saltstring", "not whole"),
            ("$6$saltstring$", "not whole"),
            (
                "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2",
                "not whole",
            ),
            (
                "$2y$99$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u",
                "not whole",
            ),
            ("$y$j9T$x", "not whole"),
            ("$y$$x$y", "not whole"),
            ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ", "not whole"),
            (
                "$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "not whole",
            ),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                "more than 64 MiB",
            ),
            (
                "$y$jFT$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
                "more than 64 MiB",
            ),
            ("{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==", "not whole"),
        ];
        for (text, expected) in rows {
            match Hash::parse(text) {
                Err(why) => assert!(why.contains(expected), "{text:?}: {why}"),
                Ok(hash) => {
                    // What looks whole must at least not be taken for anything.
                    assert_eq!(hash.is_of(b"secret"), Ok(false), "{text:?}");
                    panic!("{text:?} was taken");
                }
            }
        }
    }

    #[test]
    fn no_more_are_checked_than_there_is_memory_for() {
        let gate = Gate::new();
        let none = Duration::ZERO;
        let one = gate.enter(BUDGET / 2, none).unwrap();
        let two = gate.enter(BUDGET / 2, none).unwrap();
        assert!(gate.enter(LEAST, none).is_none());
        drop(one);
        assert!(gate.enter(MOST, none).is_none());
        drop(two);
        let large = gate.enter(MOST, none).unwrap(); // alone
        assert!(gate.enter(1, none).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(LEAST, Duration::from_secs(60)).is_some());
            drop(large);
            assert!(waiting.join().unwrap());
        });
        assert_eq!(*gate.lock(), 0);
    }
}

//! Hashes of passwords in a build without a server: nobody logs in, so that only the form which costs nothing is
//! known, that of SCRAM-SHA-256.

use super::clock;
use crate::parts::NO_SERVER;
use crate::proto::scram::Verifier;

/// What is kept of a password.
#[derive(Clone)]
pub struct Hash(Verifier);

const SCRAM: &str = "{SCRAM-SHA-256}";

/// Makes none.
///
/// # Errors
/// Always.
pub fn make(_: &[u8]) -> Result<String, String> {
    Err(NO_SERVER.to_owned())
}

/// Makes what SCRAM-SHA-256 needs of a new password.
pub fn make_scram(password: &[u8]) -> String {
    let salt = (u128::from(clock::random()) << 64 | u128::from(clock::random())).to_be_bytes();
    format!("{SCRAM}{}", Verifier::new(password, &salt))
}

impl Hash {
    /// Reads a hash. An error is a sentence's end, after "the hash ".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let kept = text.strip_prefix(SCRAM).and_then(Verifier::parse);
        kept.map(Self)
            .ok_or("is of a kind that a small build of minimta does not know")
    }

    /// What SCRAM needs.
    pub fn verifier(&self) -> Option<&Verifier> {
        Some(&self.0)
    }

    /// Whether this is the password.
    ///
    /// # Errors
    /// None.
    pub fn is_of(&self, password: &[u8]) -> Result<bool, String> {
        Ok(self.0.is_of(password))
    }
}

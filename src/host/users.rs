//! The users who may log in: a file of lines `name:hash`, read again when it changes.

use std::path::{Path, PathBuf};

use super::secret::Version;
use crate::proto::authenticate::Mechanism;

/// The users file.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
}

impl Users {
    /// The file of this name; it need not be there.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The ways to log in that can work now.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        if Version::of(&self.path).exists() {
            vec![Mechanism::Plain, Mechanism::Login]
        } else {
            Vec::new()
        }
    }

    /// Whether this is the user's password.
    ///
    /// # Errors
    /// A sentence: it cannot be told now.
    pub fn check(&self, _user: &str, _password: &[u8]) -> Result<bool, String> {
        Err("not yet".to_owned())
    }

    /// What a user may send as, beside his own name.
    ///
    /// # Errors
    /// A sentence: it cannot be told now.
    pub fn senders(&self, _user: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

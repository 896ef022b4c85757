//! One key for signatures as a whole: what it needs must be there.

use std::ops::Range;
use std::path::PathBuf;

use super::Dkim;
use super::document::Entry;
use super::report::Problem;
use crate::proto::address::Domain;

/// The selector where none is named.
pub const SELECTOR: &str = "minimta";

/// What a `[dkim]` table said, a field a key; `None`: it is not there, or its value was refused.
#[derive(Debug, Default)]
pub struct DkimDraft {
    pub domain: Option<Domain>,
    pub selector: Option<String>,
    pub key: Option<PathBuf>,
}

impl DkimDraft {
    /// The key, or what it lacks. `table` and `at` are where the keys and the table's head stand.
    pub fn finish(self, table: &[Entry], at: Range<usize>) -> Result<Dkim, Vec<Problem>> {
        let has = |name: &str| table.iter().any(|entry| entry.name == name);
        let missing = [
            ("domain", "add a line such as: domain = \"example.org\""),
            ("key", "add a line such as: key = \"/etc/minimta/dkim.pem\""),
        ];
        let missing = missing.into_iter().filter(|(name, _)| !has(name));
        let problems = missing.map(|(name, remedy)| Problem {
            at: at.clone(),
            key: name.to_owned(),
            finding: "missing in this [dkim]".to_owned(),
            remedy: remedy.to_owned(),
        });
        match (self.domain, self.key) {
            (Some(domain), Some(key)) => Ok(Dkim {
                // It stands in fields and names that all have to understand (RFC 8616 4).
                domain: domain.into_ascii(),
                selector: self.selector.unwrap_or_else(|| SELECTOR.to_owned()),
                key,
            }),
            _ => Err(problems.collect()),
        }
    }
}

//! What of the file system this process can reach, from now on and for good: Landlock, where the kernel has it. The only
//! file with landlock.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};

/// The rights that are asked for; an older kernel knows some of them, and keeps these.
const RIGHTS: ABI = ABI::V3;

/// How much of what was asked for holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// All.
    All,
    /// What this kernel knows.
    Some,
    /// Nothing: this kernel has no Landlock.
    Nothing,
}

/// Shuts this thread, and those that it will start, out of all files but those below these paths: some to read alone.
/// Paths that are not there are passed over.
///
/// # Errors
/// A sentence; nothing has changed then.
pub fn enter(read: &[PathBuf], write: &[PathBuf]) -> Result<Holds, String> {
    restrict(read, write).map_err(|e| e.to_string())
}

fn restrict(read: &[PathBuf], write: &[PathBuf]) -> Result<Holds, RulesetError> {
    let (reading, all) = (
        AccessFs::ReadFile | AccessFs::ReadDir,
        AccessFs::from_all(RIGHTS),
    );
    // Libraries of the user database are mapped, and not executed; nothing is, but what commands would be.
    let status = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(read, reading))?
        .add_rules(path_beneath_rules(write, all & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Holds::All,
        RulesetStatus::PartiallyEnforced => Holds::Some,
        RulesetStatus::NotEnforced => Holds::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::mailbox::scratch::Scratch;

    #[test]
    fn outside_is_nothing_to_be_had() {
        let scratch = Scratch::new("jail");
        let (inside, readable, outside) = (
            scratch.path("in"),
            scratch.path("read"),
            scratch.path("out"),
        );
        for folder in [&inside, &readable, &outside] {
            fs::create_dir(folder).unwrap();
            crate::host::durable::create(&folder.join("file"), 0o600).unwrap();
        }
        // The jail is this thread's alone.
        let tried = std::thread::spawn(move || {
            let holds = enter(
                &[readable.clone(), "/no/such/path".into()],
                std::slice::from_ref(&inside),
            )
            .unwrap();
            let reads = |folder: &PathBuf| fs::read(folder.join("file")).is_ok();
            let writes = |folder: &PathBuf| {
                let made = fs::OpenOptions::new()
                    .append(true)
                    .open(folder.join("file"));
                made.is_ok() && fs::create_dir(folder.join("more")).is_ok()
            };
            let folders = [&inside, &readable, &outside];
            (holds, folders.map(|f| (reads(f), writes(f))))
        });
        let (holds, tried) = tried.join().unwrap();
        let expected = match holds {
            Holds::All => [(true, true), (true, false), (false, false)],
            // Each right is tried above, so nothing is known of a kernel without some.
            Holds::Some | Holds::Nothing => return,
        };
        assert_eq!(tried, expected);
    }
}

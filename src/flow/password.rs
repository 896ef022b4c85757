//! `--password`: a line for the users file. Only the hash of what is typed is ever shown.

use crate::cli::{Invocation, say};
use crate::error::{Error, Result};
use crate::host::{hash, terminal};

/// Reads a password, twice at a terminal, and prints its hash; with a name as the argument, the whole line.
///
/// # Errors
/// `Usage` for a name that cannot stand in the file; `Data` when there is no password, or two different ones.
pub fn run(call: &Invocation) -> Result<()> {
    let name = match call.arguments.as_slice() {
        [] => String::new(),
        [name] if is_name(name) => format!("{name}:"),
        [name] => {
            return Err(Error::Usage(format!(
                "{name:?} cannot be the name of a user: it is empty, or begins with #, or has a colon, a space at an end \
                 or a control character"
            )));
        }
        _ => {
            return Err(Error::Usage(
                "--password takes one name; the password itself is typed, or written to standard input".to_owned(),
            ));
        }
    };
    let password = terminal::read_password("Password: ").map_err(Error::Data)?;
    if terminal::is_there() {
        let again = terminal::read_password("Again: ").map_err(Error::Data)?;
        if again != password {
            return Err(Error::Data(
                "the two passwords are not the same; nothing was made".to_owned(),
            ));
        }
    }
    let hash = if call.scram {
        hash::make_scram(&password)
    } else {
        hash::make(&password).map_err(Error::Internal)?
    };
    say(&format!("{name}{hash}\n"))
}

fn is_name(name: &str) -> bool {
    let odd = |c: char| c == ':' || c.is_control();
    !name.is_empty() && name.trim() == name && !name.starts_with('#') && !name.contains(odd)
}

//! A password typed at a terminal, which does not show it; or a line of standard input, when that is none.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

use super::words;

/// The longest password that is read, octets.
const MAX: u64 = 4096;
/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// Reads a line that nobody sees. `prompt` is shown, on standard error, only at a terminal.
///
/// # Errors
/// A sentence: nothing was typed, or it was broken off.
pub fn read_password(prompt: &str) -> Result<Vec<u8>, String> {
    let input = io::stdin();
    let cannot = |e: io::Error| format!("cannot read the password: {}", words(&e));
    if !input.is_terminal() {
        return line(&mut input.lock()).map_err(cannot)?;
    }
    let _ = write!(io::stderr(), "{prompt}");
    let hidden = Hidden::new().map_err(|e| cannot(e.into()))?;
    let typed = line(&mut input.lock()).map_err(cannot)?;
    drop(hidden);
    let _ = writeln!(io::stderr());
    typed
}

/// Whether somebody sits before it.
pub fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// One line, octet by octet: what follows it belongs to the next question.
fn line(input: &mut impl BufRead) -> io::Result<Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    for octet in input.take(MAX + 1).bytes() {
        match octet? {
            b'\n' => break,
            INTERRUPT => return Ok(Err("interrupted; nothing was made".to_owned())),
            octet => line.push(octet),
        }
    }
    Ok(if line.is_empty() {
        Err(
            "there is no password on standard input; type one, or write it there as a line"
                .to_owned(),
        )
    } else if line.len() as u64 > MAX {
        Err(format!("the password is longer than {MAX} octets"))
    } else {
        Ok(line)
    })
}

/// A terminal that shows nothing of what is typed, until this is gone.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn new() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        // Without signals: Ctrl-C would leave the terminal as it is now. It ends the line instead, and is read.
        now.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        if let Some(end) = now
            .control_chars
            .get_mut(SpecialCharacterIndices::VEOL as usize)
        {
            *end = INTERRUPT;
        }
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &now)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // An error means that the terminal has gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_any_octets() {
        let long = vec![b'x'; 5000];
        type Row<'a> = (&'a [u8], Result<&'a [u8], &'static str>);
        let rows: &[Row<'_>] = &[
            (b"secret\nmore\n", Ok(b"secret")),
            (b" s\xff\0 ", Ok(b" s\xff\0 ")),
            (b"", Err("there is no password")),
            (b"\nsecret", Err("there is no password")),
            (b"sec\x03", Err("interrupted")),
            (&long, Err("longer than 4096 octets")),
            (&long[..4096], Ok(&long[..4096])),
        ];
        for (input, expected) in rows {
            let mut input = *input;
            match (line(&mut input).unwrap(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, *expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, _) => panic!("{found:?} instead of {expected:?}"),
            }
        }
    }
}

//! A password typed at a terminal, which does not show it; or a line of standard input, when that is none. And what a
//! terminal may be shown of a message.

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

/// Whether what is printed goes to one.
pub fn is_shown() -> bool {
    io::stdout().is_terminal()
}

/// Takes out of a piece of a message what a terminal would obey: a stranger wrote it. `before` is the octet before the
/// piece, and its last one afterwards.
pub fn tame(piece: &mut [u8], before: &mut u8) {
    for octet in piece {
        let after = std::mem::replace(before, *octet);
        // ESC and its like, and those of C1 in UTF-8.
        let is_harmless = match *octet {
            b'\t' | b'\r' | b'\n' => true,
            0x80..=0x9f => after != 0xc2,
            octet => !octet.is_ascii_control(),
        };
        if !is_harmless {
            *octet = b'?';
        }
    }
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
    fn no_message_commands_a_terminal() {
        let text = "a\t\u{1b}]0;x\u{7}\r\n\u{9b}2J\u{7f}\u{fc}\u{dc}\u{20ac}";
        let tamed = b"a\t?]0;x?\r\n\xc2?2J?\xc3\xbc\xc3\x9c\xe2\x82\xac";
        for cut in 0..text.len() {
            let mut octets = text.as_bytes().to_vec();
            let (one, other) = octets.split_at_mut(cut);
            let mut before = 0;
            tame(one, &mut before);
            tame(other, &mut before);
            assert_eq!(octets, tamed, "cut at {cut}");
        }
    }

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

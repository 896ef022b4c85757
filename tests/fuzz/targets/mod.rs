//! What strangers send, and what must be true of it whatever they send: each target takes octets, gives them to a
//! part of the program, and panics when a promise of that part is broken.
//!
//! `make fuzz` looks for such octets with libFuzzer. Those that broke a promise once, and the seeds from which it
//! starts, are under `corpus/`; `make test` plays them all, each cut at every place as well.

mod address;
mod answers;
mod client;
mod files;
mod household;
mod message;
mod server;
mod trust;

/// A target.
pub type Target = fn(&[u8]);

/// All of them; the name is also that of the folder under `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("command", server::command),
    ("data", message::data),
    ("session", server::session),
    ("auth", server::auth),
    ("header", message::header),
    ("mime", message::mime),
    ("address", address::address),
    ("list", address::list),
    ("proxy", server::proxy),
    ("envelope", files::envelope),
    ("journal", files::journal),
    ("reply", client::reply),
    ("client", client::session),
    ("login", client::login),
    ("config", files::config),
    ("alias", files::alias),
    ("policy", trust::policy),
    ("signatures", trust::signatures),
    ("dns", answers::dns),
    ("tlsa", answers::tlsa),
    ("sts", answers::sts),
    ("screen", answers::screen),
    ("milter", answers::milter),
    ("handover", household::handover),
    ("day", household::day),
];

/// The target of this name.
#[cfg(not(test))]
pub fn find(name: &str) -> Option<Target> {
    let found = TARGETS.iter().find(|(n, _)| *n == name);
    found.map(|(_, target)| *target)
}

/// Sizes of pieces in which octets come, from a number that chooses them: all at once, one by one, or mixed.
pub struct Pieces(u32);

impl Pieces {
    /// Chosen by an octet.
    pub fn new(choice: u8) -> Self {
        Self(u32::from(choice))
    }

    /// The size of the next piece, at least 1.
    pub fn next(&mut self) -> usize {
        match self.0 {
            0 => usize::MAX,
            1 => 1,
            seed => {
                self.0 = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) | 2;
                (self.0 >> 24) as usize % 61 + 1
            }
        }
    }

    /// Gives the octets piece by piece.
    pub fn each(mut self, mut octets: &[u8], take: &mut dyn FnMut(&[u8])) {
        while !octets.is_empty() {
            let (piece, rest) = octets.split_at(self.next().min(octets.len()));
            take(piece);
            octets = rest;
        }
    }
}

/// The first octet, which chooses something, and the others.
pub fn choice(octets: &[u8]) -> (u8, &[u8]) {
    octets
        .split_first()
        .map_or((0, octets), |(c, rest)| (*c, rest))
}

/// Whether every line ends with CRLF and no CR, LF or NUL stands anywhere else.
pub fn is_canonical(text: &[u8]) -> bool {
    let lines = text.strip_suffix(b"\r\n");
    let odd = |line: &[u8]| line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
    text.is_empty() || lines.is_some_and(|lines| !split_lines(lines).any(odd))
}

/// The lines between CRLFs.
pub fn split_lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        match text.windows(2).position(|w| w == b"\r\n") {
            Some(at) => {
                let (line, rest) = text.split_at(at);
                text = &rest[2..];
                Some(line)
            }
            None => {
                over = true;
                Some(text)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every seed and every finding, whole and cut at every place.
    #[test]
    fn the_corpus_breaks_no_promise() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let folder =
                std::fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut count = 0;
            for entry in folder {
                let octets = std::fs::read(entry.unwrap().path()).unwrap();
                target(&octets);
                for cut in 0..octets.len().min(2000) {
                    target(&octets[..cut]);
                }
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
        }
    }
}

//! Making a message fit a server that cannot take it as it is: lines over 998 octets (RFC 5321 4.5.3.1.6), or
//! octets beyond ASCII for a server without 8BITMIME (RFC 6152 3).
//!
//! Two passes over the canonical message (CRLF lines, header included), both cut anywhere:
//!
//! 1. [`Survey`] looks at each MIME part and ends as a [`Plan`]: which parts must change, and how.
//! 2. [`Converter`] sees the same octets again and writes them with these changes.
//!
//! What changes, and only where it must: a part without a transfer encoding becomes quoted-printable (RFC 2045
//! 6.7); over-long lines of a part that is already encoded are broken where its encoding allows it; a
//! multipart or message/rfc822 that declared 8bit or binary declares what is left in it; header lines are
//! folded at white space. Every body decodes to the octets it had.
//!
//! What passes as it came: multipart/signed with all in it, because any change would break the signature, and
//! a server that refuses it says so to the sender, who alone can sign again; a header that is none; a transfer
//! encoding nobody knows; what lies deeper than 20 levels or behind 1000 parts; octets beyond ASCII in headers.
//! A DKIM signature made before does not survive a change of the body, but without the change the message
//! would not arrive at all. `structure.rs` finds the parts, the same way in both passes.

mod header;
mod lines;
pub mod quoted;
mod structure;

pub use lines::MAX_LINE;

use header::{Encoding, Field, Head, Kind};
use lines::{Folder, Line, Utf8};
use quoted::{Base64Lines, QuotedPrintable};
use structure::{Sink, Walker};

/// What the server cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Whether octets beyond ASCII may stay in bodies (the server has 8BITMIME).
    pub eight_bit_ok: bool,
}

/// What is in some octets that a plain server cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// An octet beyond ASCII.
    pub eight_bit: bool,
    /// A line of more than 998 octets.
    pub long_line: bool,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.eight_bit |= other.eight_bit;
        self.long_line |= other.long_line;
    }

    /// The least Content-Transfer-Encoding that is true of it (RFC 2045 6.2).
    fn encoding(self) -> Encoding {
        match (self.long_line, self.eight_bit) {
            (true, _) => Encoding::Binary,
            (false, true) => Encoding::EightBit,
            (false, false) => Encoding::SevenBit,
        }
    }
}

/// The first pass.
#[derive(Debug)]
pub struct Survey {
    walker: Walker,
    notes: Notes,
}

impl Survey {
    /// Before the message's first octet.
    pub fn new(need: Need) -> Self {
        let notes = Notes {
            need,
            parts: Vec::new(),
            folds: false,
            line: Line::default(),
        };
        Self {
            walker: Walker::new(),
            notes,
        }
    }

    /// Takes in the next octets.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.walker.feed(chunk, &mut self.notes);
    }

    /// After the message's last octet: what is to be done.
    pub fn finish(mut self) -> Plan {
        self.walker.finish(&mut self.notes);
        self.notes.plan()
    }
}

/// What the second pass does. For a message that fits it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By part, in the order in which they begin.
    changes: Vec<Change>,
    /// MIME-Version is missing and will be needed (RFC 2045 4).
    mime_version: bool,
    /// There is a header line to fold.
    folds: bool,
    /// What stays in the message because it could not be changed.
    left: Found,
}

impl Plan {
    /// Whether the second pass would write anything other than it reads.
    pub fn changes(&self) -> bool {
        self.folds || self.changes.iter().any(|c| *c != Change::Nothing)
    }

    /// What is still in the message after the second pass: whether to say BODY=8BITMIME, and what to log.
    pub fn left(&self) -> Found {
        self.left
    }
}

/// What becomes of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    /// It becomes quoted-printable, and gets a Content-Type when it has none and needs one.
    Quote(Option<&'static str>),
    /// It is quoted-printable already, but has lines or octets that quoted-printable has not.
    Requote,
    /// Its base64 is broken into shorter lines.
    Rewrap,
    /// A container: it declares this transfer encoding instead of its own.
    Declare(Encoding),
}

/// What the first pass keeps of each part.
#[derive(Debug, Clone, Copy)]
struct Note {
    parent: Option<usize>,
    kind: Kind,
    encoding: Encoding,
    has_type: bool,
    has_mime_version: bool,
    header: Found,
    body: Found,
    utf8: Utf8,
}

#[derive(Debug)]
struct Notes {
    need: Need,
    parts: Vec<Note>,
    folds: bool,
    line: Line,
}

impl Sink for Notes {
    fn begin(&mut self, parent: Option<usize>) {
        self.line = Line::default();
        self.parts.push(Note {
            parent,
            kind: Kind::Sealed,
            encoding: Encoding::SevenBit,
            has_type: false,
            has_mime_version: false,
            header: Found::default(),
            body: Found::default(),
            utf8: Utf8::default(),
        });
    }

    fn header(&mut self, part: usize, _field: Field, octets: &[u8]) {
        let found = self.line.look(octets);
        self.folds |= found.long_line;
        if let Some(note) = self.parts.get_mut(part) {
            note.header.eight_bit |= found.eight_bit;
        }
    }

    fn head_ends(&mut self, part: usize, head: &Head, blank: &[u8]) {
        self.line.look(blank);
        if let Some(note) = self.parts.get_mut(part) {
            note.kind = head.kind();
            note.encoding = head.encoding();
            note.has_type = head.has_type();
            note.has_mime_version = head.has_mime_version();
        }
    }

    fn body(&mut self, part: usize, octets: &[u8]) {
        let found = self.line.look(octets);
        if let Some(note) = self.parts.get_mut(part) {
            note.body.add(found);
            note.utf8.look(octets);
        }
    }

    fn around(&mut self, part: usize, octets: &[u8]) {
        self.body(part, octets);
    }
}

impl Notes {
    /// Decides from the last part to the first, so that a container comes after all that is in it.
    fn plan(self) -> Plan {
        let mut changes = vec![Change::Nothing; self.parts.len()];
        let mut below = vec![(Found::default(), false); self.parts.len()];
        let mut whole = Found::default();
        for (index, note) in self.parts.iter().enumerate().rev() {
            let (mut left, changed_below) = below.get(index).copied().unwrap_or_default();
            let change = match note.kind {
                Kind::Sealed => Change::Nothing,
                Kind::Leaf => self.leaf(note),
                Kind::Multipart | Kind::Message => {
                    left.add(note.body);
                    let declared = left.encoding();
                    match changed_below && declared < note.encoding {
                        true => Change::Declare(declared),
                        false => Change::Nothing,
                    }
                }
            };
            if matches!(note.kind, Kind::Leaf | Kind::Sealed) {
                left.add(after(change, note.body));
            }
            left.add(note.header);
            let changed = changed_below || change != Change::Nothing;
            match note.parent.and_then(|parent| below.get_mut(parent)) {
                Some((found, changes)) => {
                    found.add(left);
                    *changes |= changed;
                }
                None => whole = left,
            }
            // Both vectors are as long as the parts.
            if let Some(slot) = changes.get_mut(index) {
                *slot = change;
            }
        }
        let versioned = self.parts.first().is_none_or(|top| top.has_mime_version);
        Plan {
            mime_version: !versioned && changes.iter().any(|c| *c != Change::Nothing),
            folds: self.folds,
            left: whole,
            changes,
        }
    }

    fn leaf(&self, note: &Note) -> Change {
        let eight_bit = note.body.eight_bit && !self.need.eight_bit_ok;
        if !eight_bit && !note.body.long_line {
            return Change::Nothing;
        }
        match note.encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => {
                // Without a Content-Type the octets would be read as US-ASCII (RFC 2045 5.2), which they are
                // not; what is not UTF-8 gets the name of RFC 1428.
                let charset = match (note.has_type, note.body.eight_bit, note.utf8.is_valid()) {
                    (false, true, true) => Some("utf-8"),
                    (false, true, false) => Some("unknown-8bit"),
                    _ => None,
                };
                Change::Quote(charset)
            }
            Encoding::QuotedPrintable => Change::Requote,
            Encoding::Base64 if note.body.long_line => Change::Rewrap,
            Encoding::Base64 | Encoding::Unknown => Change::Nothing,
        }
    }
}

/// What is left of `found` after a change.
fn after(change: Change, found: Found) -> Found {
    match change {
        Change::Quote(_) | Change::Requote => Found::default(),
        Change::Rewrap => Found {
            long_line: false,
            ..found
        },
        Change::Nothing | Change::Declare(_) => found,
    }
}

/// The second pass.
#[derive(Debug)]
pub struct Converter {
    walker: Walker,
    plan: Plan,
    folder: Folder,
    coder: Coder,
}

/// What the body of the present part goes through.
#[derive(Debug)]
enum Coder {
    Copy,
    Quoted(QuotedPrintable),
    Base64(Base64Lines),
}

impl Converter {
    /// Before the message's first octet.
    pub fn new(plan: Plan) -> Self {
        Self {
            walker: Walker::new(),
            plan,
            folder: Folder::default(),
            coder: Coder::Copy,
        }
    }

    /// Takes in the next octets and adds what is ready to `out`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut writer = Writer {
            plan: &self.plan,
            folder: &mut self.folder,
            coder: &mut self.coder,
            out,
        };
        self.walker.feed(chunk, &mut writer);
    }

    /// After the message's last octet: adds what was held back.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            plan: &self.plan,
            folder: &mut self.folder,
            coder: &mut self.coder,
            out,
        };
        self.walker.finish(&mut writer);
        self.folder.finish(out);
        if let Coder::Quoted(quoted) = &mut self.coder {
            quoted.finish(out);
        }
    }
}

struct Writer<'a> {
    plan: &'a Plan,
    folder: &'a mut Folder,
    coder: &'a mut Coder,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn change(&self, part: usize) -> Change {
        let change = self.plan.changes.get(part);
        change.copied().unwrap_or(Change::Nothing)
    }
}

impl Sink for Writer<'_> {
    fn begin(&mut self, _parent: Option<usize>) {
        *self.coder = Coder::Copy;
    }

    fn header(&mut self, part: usize, field: Field, octets: &[u8]) {
        let replaced = matches!(self.change(part), Change::Quote(_) | Change::Declare(_));
        if !(replaced && field == Field::Encoding) {
            self.folder.feed(octets, self.out);
        }
    }

    /// New fields stand at the header's end, so that trace fields stay on top (RFC 5321 4.4).
    fn head_ends(&mut self, part: usize, _head: &Head, blank: &[u8]) {
        let mut field = |name: &str, value: &str| {
            for text in [name, ": ", value, "\r\n"] {
                self.out.extend_from_slice(text.as_bytes());
            }
        };
        if part == 0 && self.plan.mime_version {
            field("MIME-Version", "1.0");
        }
        let change = self.plan.changes.get(part).copied();
        match change.unwrap_or(Change::Nothing) {
            Change::Quote(charset) => {
                if let Some(charset) = charset {
                    field("Content-Type", &format!("text/plain; charset={charset}"));
                }
                field(ENCODING, Encoding::QuotedPrintable.name());
                *self.coder = Coder::Quoted(QuotedPrintable::new());
            }
            Change::Requote => *self.coder = Coder::Quoted(QuotedPrintable::of_quoted()),
            Change::Rewrap => *self.coder = Coder::Base64(Base64Lines::new()),
            Change::Declare(encoding) => field(ENCODING, encoding.name()),
            Change::Nothing => {}
        }
        self.out.extend_from_slice(blank);
    }

    fn body(&mut self, _part: usize, octets: &[u8]) {
        match self.coder {
            Coder::Copy => self.out.extend_from_slice(octets),
            Coder::Quoted(quoted) => quoted.feed(octets, self.out),
            Coder::Base64(lines) => lines.feed(octets, self.out),
        }
    }

    fn around(&mut self, _part: usize, octets: &[u8]) {
        // A header that ended without a blank line has nothing held back, unless its last line had no CRLF.
        self.folder.finish(self.out);
        self.out.extend_from_slice(octets);
    }
}

/// The field that says how a body is encoded (RFC 2045 6).
const ENCODING: &str = "Content-Transfer-Encoding";

#[cfg(test)]
mod tests {
    use super::*;

    const TO_SEVEN_BIT: Need = Need {
        eight_bit_ok: false,
    };
    const TO_EIGHT_BIT: Need = Need { eight_bit_ok: true };

    fn survey(need: Need, chunks: &[&[u8]]) -> Plan {
        let mut survey = Survey::new(need);
        chunks.iter().for_each(|c| survey.feed(c));
        survey.finish()
    }

    fn convert(plan: Plan, chunks: &[&[u8]]) -> Vec<u8> {
        let mut converter = Converter::new(plan);
        let mut out = Vec::new();
        chunks.iter().for_each(|c| converter.feed(c, &mut out));
        converter.finish(&mut out);
        out
    }

    /// Both passes, whole, octet by octet and cut once anywhere: with one result.
    fn both(need: Need, message: &[u8]) -> Vec<u8> {
        let whole = convert(survey(need, &[message]), &[message]);
        let single: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(survey(need, &single), survey(need, &[message]));
        assert!(whole == convert(survey(need, &[message]), &single));
        for cut in (0..message.len()).step_by(1 + message.len() / 300) {
            let (a, b) = message.split_at(cut);
            let plan = survey(need, &[a, b]);
            assert!(whole == convert(plan, &[a, b]), "cut at {cut}");
        }
        whole
    }

    fn text(octets: &[u8]) -> String {
        String::from_utf8_lossy(octets).replace("\r\n", "\n")
    }

    /// Messages with LF here, CRLF when they are used; `@` is a word of 1,000 octets, `#` what becomes of it.
    const MESSAGES: &[(&str, Need, &str, &str)] = &[
        (
            "nothing to do",
            TO_SEVEN_BIT,
            "From: a\n\nbody\n",
            "From: a\n\nbody\n",
        ),
        (
            "8-bit text to a server that takes it (K22)",
            TO_EIGHT_BIT,
            "From: a\n\nb\u{f6}dy\n",
            "From: a\n\nb\u{f6}dy\n",
        ),
        (
            "8-bit text of cron, without MIME (K22, R124)",
            TO_SEVEN_BIT,
            "From: a\n\nb\u{f6}dy \n\n--\nx=y",
            "From: a\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\nb=C3=B6dy=20\n\n--\nx=3Dy",
        ),
        (
            "a long line of cron (callers.md 4 #5)",
            TO_EIGHT_BIT,
            "From: a\n\n@\n",
            "From: a\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n#\n",
        ),
        (
            "an old transfer encoding is replaced, wherever it stands and however it is folded",
            TO_SEVEN_BIT,
            "content-transfer-encoding:\n 8bit (of course)\nMime-Version: 1.0\n\
             Content-Type: text/html; charset=utf-8\nX: y\n\n\u{e9}\n",
            "Mime-Version: 1.0\nContent-Type: text/html; charset=utf-8\nX: y\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n",
        ),
        (
            "only the part that needs it; the container says what is left; PHP forgets MIME-Version",
            TO_SEVEN_BIT,
            "Content-Type: multipart/mixed; boundary=\"a b\"\nContent-Transfer-Encoding: 8bit\n\npre\n\
             --a b\n\none\n--a b  \nContent-Type: text/plain; charset=utf-8\n\n\u{e9}\n--a b--\nepi\n",
            "Content-Type: multipart/mixed; boundary=\"a b\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: 7bit\n\npre\n\
             --a b\n\none\n--a b  \nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--a b--\nepi\n",
        ),
        (
            "a container keeps its 8bit when something of it stays 8-bit",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr\u{e9}\n--b\nContent-Type: text/plain\n\n\u{e9}\n--b--\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr\u{e9}\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b--\n",
        ),
        (
            "a forwarded message is looked into, and its container may not be quoted (RFC 2046 5.2.1)",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: binary\n\n\
             Subject: in\nContent-Type: text/plain\n\n\u{e9}\n",
            "MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\n\
             Subject: in\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n",
        ),
        (
            "in a digest a part without a type is a message",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\n\u{e9}\n--b--\n",
            "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b--\n",
        ),
        (
            "nested, the inner boundary beginning like the outer one, the inner one never closed",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
             Content-Type: multipart/alternative;\n charset=x; boundary=\"b1\"\n\n--b1\nContent-Type: text/plain\n\n\
             \u{e9}\n--b2\n--b\nContent-Type: text/plain\n\n\u{e8}\n--b--\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
             Content-Type: multipart/alternative;\n charset=x; boundary=\"b1\"\n\n--b1\nContent-Type: text/plain\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b2\n--b\nContent-Type: text/plain\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=A8\n--b--\n",
        ),
        (
            "what is signed stays as it was signed",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/plain\n\n\u{e9}\n@\n--b--\n",
            "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/plain\n\n\u{e9}\n@\n--b--\n",
        ),
        (
            "quoted-printable that is none is mended, and decodes to the same",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nx=3D\u{e9} =\ny \n",
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nx=3D=C3=A9 =\ny \n",
        ),
        (
            "encodings nobody knows, two that differ, a header that is none (F10), no boundary: left alone",
            TO_SEVEN_BIT,
            "Content-Transfer-Encoding: x-yenc\n\n\u{e9}\n",
            "Content-Transfer-Encoding: x-yenc\n\n\u{e9}\n",
        ),
        (
            "",
            TO_SEVEN_BIT,
            "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: base64\n\n\u{e9}\n",
            "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: base64\n\n\u{e9}\n",
        ),
        (
            "",
            TO_SEVEN_BIT,
            "Subject: x\nnot a header\nFrom: y\n\n\u{e9}\n",
            "Subject: x\nnot a header\nFrom: y\n\n\u{e9}\n",
        ),
        (
            "",
            TO_SEVEN_BIT,
            "Content-Type: multipart/mixed\n\n\u{e9}\n",
            "Content-Type: multipart/mixed\n\n\u{e9}\n",
        ),
        (
            "a part whose header runs into the next delimiter",
            TO_SEVEN_BIT,
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b\n\u{e9} no field\n--b\n\n\u{e9}\n--b--",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b\n\u{e9} no field\n--b\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b--",
        ),
        (
            "a separator of a mailbox file before the header (F13)",
            TO_SEVEN_BIT,
            "From a-b Mon Nov 23 17:20:00 2026\nMIME-Version: 1.0\nContent-Type: text/plain\n\n\u{e9}\n",
            "From a-b Mon Nov 23 17:20:00 2026\nMIME-Version: 1.0\nContent-Type: text/plain\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=A9\n",
        ),
        ("no header", TO_SEVEN_BIT, "\n", "\n"),
        ("no octet", TO_SEVEN_BIT, "", ""),
        (
            "no end of the header (F9)",
            TO_SEVEN_BIT,
            "A: b\n c",
            "A: b\n c",
        ),
    ];

    #[test]
    fn only_what_must_change_changes() {
        let long = "w".repeat(1000);
        let quoted = long.as_bytes().chunks(75).map(text).collect::<Vec<_>>();
        let quoted = quoted.join("=\n");
        for (name, need, message, expected) in MESSAGES {
            let message = message.replace('@', &long).replace('\n', "\r\n");
            let expected = expected.replace('@', &long).replace('#', &quoted);
            let plan = survey(*need, &[message.as_bytes()]);
            assert_eq!(
                plan.changes(),
                message != expected.replace('\n', "\r\n"),
                "{name}"
            );
            assert_eq!(text(&both(*need, message.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn what_stays_is_told() {
        let rows: &[(&str, Need, bool, bool)] = &[
            ("A: b\r\n\r\n\u{e9}", TO_SEVEN_BIT, false, false),
            ("A: b\r\n\r\n\u{e9}", TO_EIGHT_BIT, true, false),
            ("A: \u{e9}\r\n\r\nx", TO_SEVEN_BIT, true, false), // F2: only SMTPUTF8 would help
            (
                "Content-Transfer-Encoding: base64\r\n\r\n\u{e9}",
                TO_SEVEN_BIT,
                true,
                false,
            ),
        ];
        for (message, need, eight_bit, long_line) in rows {
            let left = survey(*need, &[message.as_bytes()]).left();
            assert_eq!(
                left,
                Found {
                    eight_bit: *eight_bit,
                    long_line: *long_line
                },
                "{message:?}"
            );
        }
    }

    #[test]
    fn the_longest_line_is_998_octets() {
        for (length, changes) in [(998, false), (999, true)] {
            for end in ["", "\r\n", "\r\nx\r\n"] {
                let message = format!("A: b\r\n\r\n{}{end}", "x".repeat(length));
                let plan = survey(TO_EIGHT_BIT, &[message.as_bytes()]);
                assert_eq!(plan.changes(), changes, "{length} {end:?}");
                both(TO_EIGHT_BIT, message.as_bytes());
            }
        }
    }

    #[test]
    fn base64_is_broken_where_it_is_too_long() {
        let message = format!(
            "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n{}\r\n",
            "QUJD".repeat(300)
        );
        let out = text(&both(TO_EIGHT_BIT, message.as_bytes()));
        let (_, body) = out.split_once("\n\n").unwrap();
        assert!(body.lines().all(|l| l.len() <= 76));
        assert_eq!(
            body.replace('\n', ""),
            format!("AAAA{}", "QUJD".repeat(300))
        );
    }

    #[test]
    fn long_header_lines_are_folded_at_white_space() {
        let name = |n: usize| "a@b.example, ".repeat(n);
        let rows = [
            (format!("To: {}c@d", name(400)), 998),
            (format!("X: {} y", "z".repeat(2000)), 2002), // nothing to fold at but the end
            (format!("X:\t{}", "z".repeat(1500)), 1501),
            (format!("X: y\r\n {}{}", name(90), " ".repeat(9)), 998), // no line of white space alone
            (format!("X: {}y", " ".repeat(9000)), 9003),
        ];
        for (field, longest) in rows {
            let message = format!("{field}\r\nY: z\r\n\r\nbody\r\n");
            let out = text(&both(TO_EIGHT_BIT, message.as_bytes()));
            assert!(out.lines().all(|l| l.len() <= longest), "{out}");
            assert!(out.starts_with("X:") || out.starts_with("To:"));
            assert!(
                out.lines()
                    .take_while(|l| !l.is_empty())
                    .all(|l| !l.trim().is_empty())
            );
            assert!(out.ends_with("\nY: z\n\nbody\n"));
            assert_eq!(out.replace('\n', ""), message.replace("\r\n", ""));
        }
    }

    /// Bodies decode to the octets they had, and whatever is wrong with the structure, no octet is lost.
    #[test]
    fn no_octet_is_lost() {
        const PIECES: &[&[u8]] = &[
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: multipart/digest; boundary=\"c\\ \"\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: multipart/signed; boundary=b\r\n",
            b"Content-Transfer-Encoding: 8bit\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"--b\r\n",
            b"--b--\r\n",
            b"--c \r\n",
            b"--",
            b"\r",
            b"\n",
            b" folded\r\n",
            b"x",
            b" ",
            b"=",
            b"\0\xff\xc3",
            b"\xc3\xa9\r\n",
        ];
        let long = [b'w'; 1001];
        let mut random = 1_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for _ in 0..400 {
            let mut message = Vec::new();
            for _ in 0..next(40) {
                let at = next(PIECES.len() + 1);
                message.extend_from_slice(PIECES.get(at).copied().unwrap_or(&long));
            }
            let out = both(TO_SEVEN_BIT, &message);
            // What can be done is done: a second time there is nothing left to do.
            let again = survey(TO_SEVEN_BIT, &[&out]);
            assert!(
                again.changes.iter().all(|c| *c == Change::Nothing),
                "{}",
                text(&out)
            );
        }
    }

    #[test]
    fn endless_nesting_and_endless_parts_are_passed() {
        let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000); // F30
        let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n".to_owned()
            + &"--b\r\n\r\n\u{e9}\r\n".repeat(3000);
        let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
        for message in [nested, digest, messages] {
            let plan = survey(TO_SEVEN_BIT, &[message.as_bytes()]);
            assert!(plan.changes.len() <= structure::MAX_PARTS);
            let out = convert(plan, &[message.as_bytes()]);
            assert!(out.len() >= message.len());
        }
    }
}

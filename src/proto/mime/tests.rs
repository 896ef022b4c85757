//! Messages converted for servers that take seven bits, and those that cannot be.

use super::*;
use crate::proto::few;

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
    let cuts = few(few(300));
    for cut in (0..message.len()).step_by(1 + message.len() / cuts) {
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
        "what no reader shows is masked, before and after the parts of each multipart",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr\u{e9}\n--b\nContent-Type: text/plain\n\n\u{e9}\n--b\nContent-Type: multipart/mixed; boundary=c\n\n\
             \u{e9}\n--c\n\nx\n--c--\n\u{e9}\n--b--\n\u{e9}",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n\
             pr??\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b\n\
             Content-Type: multipart/mixed; boundary=c\n\n??\n--c\n\nx\n--c--\n??\n--b--\n??",
    ),
    (
        "and so it is where nothing else must change; not for a server that takes it, however long a line there is",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr\u{e9}\n--b\n\nx\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n\
             pr??\n--b\n\nx\n--b--\n",
    ),
    (
        "",
        TO_EIGHT_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npr\u{e9}\n--b\n\n@\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npr\u{e9}\n--b\n\
             Content-Transfer-Encoding: quoted-printable\n\n#\n--b--\n",
    ),
    (
        "a part behind the end of all parts is nobody's by the book, and readable",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             --b\n\nx\n--b--\n\u{e9}\n--b--\n--b2\n\u{e9}\n--b\nContent-Transfer-Encoding: 8bit\n\n\u{e9}\n--b--\n\u{e9}\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             --b\n\nx\n--b--\n??\n--b--\n--b2\n??\n--b\nContent-Transfer-Encoding: 8bit\n\n\u{e9}\n--b--\n\u{e9}\n",
    ),
    (
        "and so in a multipart within another one, until that has its next part",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n\
             --c\n\nx\n--c--\n--c\n\n\u{e9}\n--b\n\nx\n--b--\n\u{e9}\n--c\n\u{e9}\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n\
             --c\n\nx\n--c--\n--c\n\n\u{e9}\n--b\n\nx\n--b--\n??\n--c\n??\n",
    ),
    (
        "where no part is found, it may be the text",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\u{e9}\n--other\n\u{e9}\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\u{e9}\n--other\n\u{e9}\n--b--\n",
    ),
    (
        "a boundary in pieces is not put together",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n\n\u{e9}\n--bc--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n\n\u{e9}\n--bc--\n",
    ),
    (
        "one behind a comment is not found",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=(x)b\n\n--b\n\n\u{e9}\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=(x)b\n\n--b\n\n\u{e9}\n--b--\n",
    ),
    (
        "a boundary beyond ASCII stays what it is",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\u{e9}\n\n\u{e9}\n--\u{e9}\n\nx\n--\u{e9}--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\u{e9}\n\n??\n--\u{e9}\n\nx\n--\u{e9}--\n",
    ),
    (
        "a container keeps its 8bit when something of it stays 8-bit: the header of a forwarded message, a signed part",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr\u{e9}\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: \u{e9}\n\n\u{e9}\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             pr??\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: \u{e9}\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--b--\n",
    ),
    (
        "",
        TO_SEVEN_BIT,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             \u{e9}\n--b\nContent-Type: multipart/signed; boundary=c\n\n\u{e9}\n--c\n\n\u{e9}\n--c--\n\u{e9}\n--b--\n",
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n\
             ??\n--b\nContent-Type: multipart/signed; boundary=c\n\n\u{e9}\n--c\n\n\u{e9}\n--c--\n\u{e9}\n--b--\n",
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
    let blank = 1000 + few(8000);
    let rows = [
        (format!("To: {}c@d", name(400)), 998),
        (format!("X: {} y", "z".repeat(2000)), 2002), // nothing to fold at but the end
        (format!("X:\t{}", "z".repeat(1500)), 1501),
        (format!("X: y\r\n {}{}", name(90), " ".repeat(9)), 998), // no line of white space alone
        (format!("X: {}y", " ".repeat(blank)), blank + 3),
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
    for _ in 0..few(few(400)) {
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
#[cfg_attr(miri, ignore = "takes too long")]
fn parts_beyond_the_last_that_is_looked_at_are_kept() {
    let part = "--b\r\n\r\n\u{e9}\r\n";
    let parts = part.repeat(structure::MAX_PARTS + 1);
    let message = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{e9}\r\n{parts}--b--\r\n\u{e9}"
    );
    let plan = survey(TO_SEVEN_BIT, &[message.as_bytes()]);
    let out = text(&convert(plan, &[message.as_bytes()]));
    // The message itself is one of those that count.
    assert!(out.ends_with("=C3=A9\n--b\n\n\u{e9}\n--b\n\n\u{e9}\n--b--\n??"));
}

#[test]
fn endless_nesting_and_endless_parts_are_passed() {
    let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(few(10_000)); // F30
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\n\u{e9}\r\n".repeat(few(3000));
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(few(10_000));
    for message in [nested, digest, messages] {
        let plan = survey(TO_SEVEN_BIT, &[message.as_bytes()]);
        assert!(plan.changes.len() <= structure::MAX_PARTS);
        let out = convert(plan, &[message.as_bytes()]);
        assert!(out.len() >= message.len());
    }
}

//! Where a message ends, and nowhere else; what becomes of its lines on the way in and out.

use super::*;
use crate::proto::{below, few};

/// The input whole, an octet at a time, and cut in two at every place.
fn cuts(input: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut ways = vec![vec![input], input.chunks(1).collect()];
    for at in below(input.len()).skip(1) {
        let (first, second) = input.split_at(at);
        ways.push(vec![first, second]);
    }
    ways
}

fn data(chunks: &[&[u8]], limit: u64) -> (Vec<u8>, usize, bool, Option<DataFault>) {
    let (mut reader, mut out) = (DataReader::new(limit), Vec::new());
    let (mut consumed, mut ended) = (0, false);
    for chunk in chunks {
        let progress = reader.feed(chunk, &mut out);
        assert!(progress.consumed == chunk.len() || progress.ended);
        consumed += progress.consumed;
        ended = progress.ended;
    }
    (out, consumed, ended, reader.fault())
}

use DataFault::{BareCr, BareLf, Nul, TooBig};

/// What comes after DATA; what of it is left unread; what is stored; the fault. All of them end.
type DataRow = (
    &'static [u8],
    &'static [u8],
    &'static [u8],
    Option<DataFault>,
);
/// The limit of every row.
const LIMIT: u64 = 16;
const DATA: &[DataRow] = &[
    (b"a\r\n.\r\n", b"", b"a\r\n", None),               // A1
    (b".\r\n", b"", b"", None),                         // A35: an empty message
    (b".\r\nQUIT\r\n", b"QUIT\r\n", b"", None),         // B31
    (b"\r\n.\r\n", b"", b"\r\n", None),                 // an empty line
    (b"..X: y\r\n.\r\n", b"", b".X: y\r\n", None),      // A36: un-stuffed on the first line
    (b"..\r\n...\r\n.\r\n", b"", b".\r\n..\r\n", None), // A38
    (b".x\r\n.\r\n", b"", b"x\r\n", None),              // R52: one dot goes, whatever follows
    (b"a.\r\n.\r\n", b"", b"a.\r\n", None),             // a dot at a line's end
    (b"a\r\n.\r\n.\r\n", b".\r\n", b"a\r\n", None),     // the first end mark counts
    (
        b"a\r\n.\r\nMAIL FROM:<b@c>\r\n",
        b"MAIL FROM:<b@c>\r\n",
        b"a\r\n",
        None,
    ), // A32
    (b"line\n.\nMAIL\r\n.\r\n", b"", b"line", Some(BareLf)), // A20
    (b"line\n.\rMAIL\r\n.\r\n", b"", b"line", Some(BareLf)), // A21
    (b"line\r.\nMAIL\r\n.\r\n", b"", b"line", Some(BareCr)), // A22
    (b"line\r.\rMAIL\r\n.\r\n", b"", b"line", Some(BareCr)), // A23
    (b"line\n.\r\nMAIL\r\n.\r\n", b"", b"line", Some(BareLf)), // A24
    (b"line\r.\r\nMAIL\r\n.\r\n", b"", b"line", Some(BareCr)), // A25
    (b"line\r\n.\nMAIL\r\n.\r\n", b"", b"line\r\n", Some(BareLf)), // A26
    (b"line\r\n.\rMAIL\r\n.\r\n", b"", b"line\r\n", Some(BareCr)),
    (
        b"line\r\n.\r\r\nMAIL\r\n.\r\n",
        b"",
        b"line\r\n",
        Some(BareCr),
    ), // A28
    (
        b"line\r\r\n.\r\r\nMAIL\r\n.\r\n",
        b"",
        b"line",
        Some(BareCr),
    ), // A29
    (b"line\r\n\0.\r\nMAIL\r\n.\r\n", b"", b"line\r\n", Some(Nul)), // A30
    (b"line\r\n.\0\r\nMAIL\r\n.\r\n", b"", b"line\r\n", Some(Nul)), // A31
    (b"a\0b\r\n.\r\n", b"", b"a", Some(Nul)),                       // F3
    (b"a\rb\r\n.\r\n", b"", b"a", Some(BareCr)),                    // F4
    (b"a\nb\r\n.\r\n", b"", b"a", Some(BareLf)),                    // F5
    (b"\n.\r\n\r\n.\r\n", b"", b"", Some(BareLf)),                  // a bare LF as the first octet
    (b"\r.\r\n\r\n.\r\n", b"", b"", Some(BareCr)),
    (b".\n\r\n.\r\n", b"", b"", Some(BareLf)), // LF ends no data after DATA's own line either
    (b"a\nb\rc\0\r\n.\r\n", b"", b"a", Some(BareLf)), // the first fault is the one told
    (b"\xff\xe9\r\n.\r\n", b"", b"\xff\xe9\r\n", None), // F1
    (b"12345678901234\r\n.\r\n", b"", b"12345678901234\r\n", None), // 16: the limit exactly
    (
        b"..345678901234\r\n..\r\n.\r\n",
        b"",
        b".345678901234\r\n.",
        Some(TooBig),
    ),
    (
        b"..3456789012345\r\n.\r\n",
        b"",
        b".3456789012345\r\n",
        None,
    ), // R123: the dot is not counted
    (
        b"123456789012345\r\n.\r\n",
        b"",
        b"123456789012345",
        Some(TooBig),
    ), // 17, inside CRLF
    (
        b"1234567890123456\r\n.\r\n",
        b"",
        b"1234567890123456",
        Some(TooBig),
    ),
    (
        b"12345678901234567\r\n.\r\n",
        b"",
        b"1234567890123456",
        Some(TooBig),
    ),
    (
        b"12345678901234567\n.\r\n\r\n.\r\n",
        b"",
        b"1234567890123456",
        Some(TooBig),
    ),
];

#[test]
fn data_ends_at_its_one_end_mark() {
    for (input, left, stored, fault) in DATA {
        for chunks in cuts(input) {
            let (out, consumed, ended, found) = data(&chunks, LIMIT);
            let name = format!("{:?} as {chunks:?}", String::from_utf8_lossy(input));
            assert!(ended, "{name}");
            assert_eq!(&input[consumed..], *left, "{name}");
            assert_eq!((&out[..], found), (*stored, *fault), "{name}");
        }
    }
}

#[test]
fn data_that_stops_early_has_not_ended() {
    // A18, A39, B25: every beginning of a message that has its end mark last.
    for whole in [&b"a\r\n..b\r\n.\r\n"[..], b".\r\n", b"\r\n.\r\n"] {
        for at in 0..whole.len() {
            let (_, consumed, ended, _) = data(&[&whole[..at]], 100);
            assert_eq!((consumed, ended), (at, false), "{at} of {whole:?}");
        }
    }
}

#[test]
fn data_takes_linear_time() {
    // A40, F24: under a second even unoptimised; quadratic would be minutes.
    let (dots, empty) = (few(100_000), few(1_000_000));
    let mut input = b"..\r\n".repeat(dots);
    input.extend_from_slice(&b"\r\n".repeat(empty));
    input.extend_from_slice(b".\r\n");
    let (out, _, ended, fault) = data(&[&input], u64::MAX);
    assert_eq!(
        (out.len(), ended, fault),
        (3 * dots + 2 * empty, true, None)
    );
}

fn local(chunks: &[&[u8]], dot_ends: bool) -> (Vec<u8>, usize, u64) {
    let (mut text, mut out) = (LocalText::new(dot_ends), Vec::new());
    let consumed = chunks.iter().map(|c| text.feed(c, &mut out).consumed).sum();
    text.finish(&mut out);
    (out, consumed, text.nuls())
}

/// What comes in; with `-i`, what is stored; without it, what is stored and what is left unread.
type LocalRow = (&'static [u8], &'static [u8], &'static [u8], &'static [u8]);
const LOCAL: &[LocalRow] = &[
    (b"", b"", b"", b""),
    (b"a", b"a\r\n", b"a\r\n", b""), // I2: no final newline
    (b"a\nb\n", b"a\r\nb\r\n", b"a\r\nb\r\n", b""), // I2
    (b"a\r\nb\r\n", b"a\r\nb\r\n", b"a\r\nb\r\n", b""), // Gitea
    (
        b"a\r\nb\nc\r\n",
        b"a\r\nb\r\nc\r\n",
        b"a\r\nb\r\nc\r\n",
        b"",
    ),
    (b"a\r\r\nb\r\r\r\n", b"a\r\nb\r\n", b"a\r\nb\r\n", b""), // notqmail#239
    (
        b"1%\r2%\r3%",
        b"1%\r\n2%\r\n3%\r\n",
        b"1%\r\n2%\r\n3%\r\n",
        b"",
    ),
    (b"a\r", b"a\r\n", b"a\r\n", b""),
    (b"\r\n\n\r", b"\r\n\r\n\r\n", b"\r\n\r\n\r\n", b""),
    (b"a\0b\0\n", b"ab\r\n", b"ab\r\n", b""), // I6
    (b"a\r\0\nb", b"a\r\nb\r\n", b"a\r\nb\r\n", b""),
    (b"\0", b"", b"", b""),
    (b"a\n.\nb\n", b"a\r\n.\r\nb\r\n", b"a\r\n", b"b\n"), // I3
    (b"a\r\n.\r\nb", b"a\r\n.\r\nb\r\n", b"a\r\n", b"b"),
    (b".\n", b".\r\n", b"", b""),
    (b".", b".\r\n", b"", b""),
    (b"a\n.", b"a\r\n.\r\n", b"a\r\n", b""),
    (b"a\n.\0\r\r\nb", b"a\r\n.\r\nb\r\n", b"a\r\n", b"b"),
    (b"..\n...\n", b"..\r\n...\r\n", b".\r\n..\r\n", b""), // Symfony stuffs unless -i
    (
        b"..a\n.a\na.\n",
        b"..a\r\n.a\r\na.\r\n",
        b".a\r\n.a\r\na.\r\n",
        b"",
    ),
    (b".\0.\n", b"..\r\n", b".\r\n", b""),
];

#[test]
fn local_text_becomes_canonical() {
    for (input, with_i, without_i, left) in LOCAL {
        for chunks in cuts(input) {
            let name = format!("{:?} as {chunks:?}", String::from_utf8_lossy(input));
            let nuls = input.iter().filter(|b| **b == 0).count() as u64;
            let kept = local(&chunks, false);
            assert_eq!(kept, (with_i.to_vec(), input.len(), nuls), "{name}");
            let (out, consumed, _) = local(&chunks, true);
            assert_eq!(
                (&out[..], &input[consumed..]),
                (*without_i, *left),
                "{name}"
            );
        }
    }
}

#[test]
fn a_meter_counts_the_same_for_every_cut() {
    // Octets beyond ASCII: anywhere, and in the header.
    let rows: &[(&[u8], u64, [bool; 2])] = &[
        (b"", 0, [false, false]),
        (b"\r\n", 0, [false, false]),
        (b"abc\r\nde\r\n", 3, [false, false]),
        (b"a\r\nlonger\r\n\r\n", 6, [false, false]),
        (b"a\r\n\xc3\xa9t\xc3\xa9\r\n", 5, [true, true]),
        (b"a\r\n\r\n\xc3\xa9t\xc3\xa9\r\n", 5, [true, false]),
        (b"\r\n\xc3\xa9", 2, [true, false]),
        (b"\xe9: a\r\n\r\nb\r\n\r\n\xe9\r\n", 4, [true, true]),
        (b"a\r\nunfinished", 10, [false, false]),
    ];
    for (input, longest_line, [eight_bit, eight_bit_header]) in rows {
        let expected = Facts {
            size: input.len() as u64,
            crc32: crc32fast::hash(input),
            longest_line: *longest_line,
            eight_bit: *eight_bit,
            eight_bit_header: *eight_bit_header,
        };
        for chunks in cuts(input) {
            let mut meter = Meter::new();
            chunks.iter().for_each(|c| meter.feed(c));
            assert_eq!(meter.facts(), expected, "{chunks:?}");
        }
    }
}

fn stuffed(chunks: &[&[u8]]) -> Vec<u8> {
    let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
    chunks.iter().for_each(|c| stuffer.feed(c, &mut out));
    stuffer.finish(&mut out);
    out
}

#[test]
fn what_is_sent_has_one_end_mark_and_no_bare_line_end() {
    let rows: &[(&[u8], &[u8])] = &[
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"), // K21: no final newline
        (
            b".\r\n..\r\n.x\r\nx.\r\n",
            b"..\r\n...\r\n..x\r\nx.\r\n.\r\n",
        ), // K21
        (b".", b"..\r\n.\r\n"),
        (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"), // K20 with A20
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"), // A23
        (b"a\r\n.\rb\r", b"a\r\n..\r\nb\r\n.\r\n"),
    ];
    for (input, expected) in rows {
        for chunks in cuts(input) {
            assert_eq!(stuffed(&chunks), *expected, "{chunks:?}");
        }
    }
    for (input, ..) in DATA {
        let sent = stuffed(&[input]);
        let (_, consumed, ended, fault) = data(&[&sent], u64::MAX);
        assert_eq!((consumed, ended), (sent.len(), true), "{input:?}"); // K20
        assert!(matches!(fault, None | Some(Nul)), "{input:?}");
    }
}

#[test]
fn files_get_local_line_ends_and_an_mbox_its_quotes() {
    // Canonical text; as a Maildir file; as part of an mbox.
    let rows: &[(&[u8], &[u8], &[u8])] = &[
        (b"", b"", b""),
        (b"a\r\n\r\nb\r\n", b"a\n\nb\n", b"a\n\nb\n"),
        (b"a", b"a\n", b"a\n"),
        (b"Fro", b"Fro\n", b"Fro\n"),
        (b"From a\r\n", b"From a\n", b">From a\n"), // F13
        (b"From \r\n", b"From \n", b">From \n"),
        (b"From\r\nF\r\n", b"From\nF\n", b"From\nF\n"),
        (
            b"x\r\n>From a\r\n>>From a\r\n",
            b"x\n>From a\n>>From a\n",
            b"x\n>>From a\n>>>From a\n",
        ),
        (
            b"From: a\r\nFFrom a\r\n From a\r\n",
            b"From: a\nFFrom a\n From a\n",
            b"From: a\nFFrom a\n From a\n",
        ),
        (
            b"F>From a\r\n> From a\r\n",
            b"F>From a\n> From a\n",
            b"F>From a\n> From a\n",
        ),
        (b"a\rFrom b\r\r\n", b"a\rFrom b\r\n", b"a\rFrom b\r\n"), // never in the spool: kept as it is
    ];
    for (input, maildir, mbox) in rows {
        for chunks in cuts(input) {
            for (quote, expected) in [(false, maildir), (true, mbox)] {
                let (mut ends, mut out) = (LocalEnds::new(quote), Vec::new());
                chunks.iter().for_each(|c| ends.feed(c, &mut out));
                ends.finish(&mut out);
                assert_eq!(out, *expected, "{quote} {chunks:?}");
            }
        }
    }
}

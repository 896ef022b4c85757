//! Messages: framing, headers, conversion.

use super::{Pieces, choice, is_canonical, split_lines};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::data::{DataFault, DataReader, DotStuffer, LocalEnds, LocalText, Meter};
use crate::proto::date::Stamp;
use crate::proto::header::{Header, Made};
use crate::proto::header_reader::HeaderReader;
use crate::proto::header_watch::HeaderWatch;
use crate::proto::mime::{Converter, MAX_LINE, Need, Survey};

/// The message that `sendmail -i` makes of some octets.
fn canonical(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut reader = LocalText::new(false);
    reader.feed(octets, &mut text);
    reader.finish(&mut text);
    text
}

/// What DATA finds, fed in these pieces: text, fault, and how much of the octets it took, if it ended.
fn read(octets: &[u8], pieces: Pieces) -> (Vec<u8>, Option<DataFault>, Option<usize>) {
    let mut reader = DataReader::new(1000);
    let (mut text, mut taken, mut ended) = (Vec::new(), 0, None);
    pieces.each(octets, &mut |piece| {
        if ended.is_none() {
            let progress = reader.feed(piece, &mut text);
            taken += progress.consumed;
            ended = progress.ended.then_some(taken);
        }
    });
    (text, reader.fault(), ended)
}

/// DATA: there is one end mark, whatever the pieces; what comes out is canonical; and what we send ourselves comes
/// back as it was, with nothing left over.
pub fn data(octets: &[u8]) {
    let (pieces, octets) = choice(octets);
    let whole = read(octets, Pieces::new(0));
    assert_eq!(whole, read(octets, Pieces::new(pieces)));
    let (text, fault, ended) = whole;
    let mark = octets
        .windows(5)
        .position(|w| w == b"\r\n.\r\n")
        .map(|at| at + 5);
    let first = octets.starts_with(b".\r\n").then_some(3);
    assert_eq!(ended, first.or(mark));
    if ended.is_some() && fault.is_none() {
        assert!(is_canonical(&text) && text.len() <= 1000);
    }

    let message = canonical(octets);
    assert!(is_canonical(&message));
    let (mut wire, mut stuffer) = (Vec::new(), DotStuffer::new());
    Pieces::new(pieces).each(&message, &mut |piece| stuffer.feed(piece, &mut wire));
    stuffer.finish(&mut wire);
    let mut back = Vec::new();
    let mut reader = DataReader::new(u64::MAX);
    let progress = reader.feed(&wire, &mut back);
    assert!(progress.ended && progress.consumed == wire.len() && reader.fault().is_none());
    assert_eq!(back, message);

    let mut meter = Meter::new();
    Pieces::new(pieces).each(&message, &mut |piece| meter.feed(piece));
    let facts = meter.facts();
    let longest = split_lines(&message).map(<[u8]>::len).max().unwrap_or(0);
    assert_eq!(
        (facts.size, facts.longest_line),
        (message.len() as u64, longest as u64)
    );

    let (mut local, mut ends) = (Vec::new(), LocalEnds::new(true));
    Pieces::new(pieces).each(&message, &mut |piece| ends.feed(piece, &mut local));
    ends.finish(&mut local);
    let from = |line: &[u8]| line.starts_with(b"From ");
    assert!(!local.contains(&b'\r') && !local.split(|b| *b == b'\n').any(from));
}

/// The header of a message: it ends at the same place whatever the pieces, Bcc is gone once it was taken out, and
/// what was written is read again as the same.
pub fn header(octets: &[u8]) {
    let (pieces, octets) = choice(octets);
    let message = canonical(octets);
    let take = |pieces: Pieces| {
        let mut reader = HeaderReader::new(100_000);
        let (mut body, mut ended) = (Vec::new(), false);
        pieces.each(&message, &mut |piece| {
            let taken = match ended {
                true => 0,
                false => reader
                    .push(piece)
                    .expect("it is short")
                    .inspect(|_| ended = true)
                    .unwrap_or(piece.len()),
            };
            body.extend_from_slice(&piece[taken..]);
        });
        let (header, first) = reader.finish();
        (header, [first, body].concat())
    };
    let (mut header, body) = take(Pieces::new(0));
    assert_eq!((header.clone(), body.clone()), take(Pieces::new(pieces)));

    let domain = Domain::parse("pi.example.org").unwrap();
    let found = header.recipients(&domain);
    for mailbox in &found.good {
        assert_eq!(Mailbox::parse(&mailbox.to_string()).as_ref(), Ok(mailbox));
    }
    assert!(found.bad.len() <= 100);
    header.qualify(&domain);
    let again = header.recipients(&domain);
    assert_eq!(again.good, found.good, "qualifying changes nobody");
    header.complete(&Made {
        date: Stamp::utc(0),
        message_id: "<1@pi.example.org>",
        from: &Mailbox::parse("a@pi.example.org").unwrap(),
        full_name: Some("A \"name\", (odd)"),
        recipients: &found.good,
    });
    header.strip_bcc();
    let mut text = Vec::new();
    header.write(&mut text);
    text.extend_from_slice(&body);
    assert!(is_canonical(&text));

    let mut reader = HeaderReader::new(1_000_000);
    let taken = reader.push(&text).expect("it is short");
    let (read, first) = reader.finish();
    let rest = &text[taken.unwrap_or(text.len())..];
    assert_eq!((&read, [&first, rest].concat()), (&header, body));
    for name in ["Date", "From", "Message-ID"] {
        assert!(read.get(name).is_some(), "{name}");
    }
    assert!(read.get("Bcc").is_none() && read.get("Resent-Bcc").is_none());

    let mut watch = HeaderWatch::default();
    Pieces::new(pieces).each(&text, &mut |piece| watch.feed(piece));
    assert_eq!(watch.hops(), Header::hops(&read));
}

/// Conversion for servers that take less: the pieces do not matter, what comes out is canonical, and where nothing
/// was left as it was, every line and octet fits.
pub fn mime(octets: &[u8]) {
    let (flags, octets) = choice(octets);
    let message = canonical(octets);
    let need = Need {
        eight_bit_ok: flags & 1 != 0,
    };
    let convert = |message: &[u8], pieces: u8| {
        let mut survey = Survey::new(need);
        Pieces::new(pieces).each(message, &mut |piece| survey.feed(piece));
        let plan = survey.finish();
        let (mut out, mut converter) = (Vec::new(), Converter::new(plan.clone()));
        Pieces::new(pieces).each(message, &mut |piece| converter.feed(piece, &mut out));
        converter.finish(&mut out);
        (plan, out)
    };
    let (plan, out) = convert(&message, 0);
    assert_eq!((plan.clone(), out.clone()), convert(&message, flags));
    assert!(is_canonical(&out));
    if !plan.changes() {
        assert_eq!(out, message);
    }
    let left = plan.left();
    if !left.eight_bit && !need.eight_bit_ok {
        assert!(out.is_ascii());
    }
    if !left.long_line && plan.changes() {
        // A line of a header is folded at white space, and has to have some.
        let foldable = |line: &[u8]| {
            line.trim_ascii_end().len() > MAX_LINE && line.trim_ascii().contains(&b' ')
        };
        let long = split_lines(&out).find(|line| foldable(line));
        assert!(
            long.is_none(),
            "{:?}",
            long.map(|l| l.escape_ascii().to_string())
        );
    }
    assert_eq!(convert(&out, 0).1, out, "once is enough");
}

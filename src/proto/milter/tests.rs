use super::*;
use crate::proto::header::sample;

fn terms(steps: u32) -> Terms {
    let numbers = [6, 0, steps].map(u32::to_be_bytes);
    Terms::parse(&[b"O", numbers.as_flattened()].concat()).unwrap()
}

#[test]
fn what_is_offered_and_wanted() {
    let offer = offer();
    assert_eq!(offer.get(..5), Some(&b"\0\0\0\x0dO"[..]));
    assert_eq!(offer.get(8..9), Some(&[6][..]));
    // Never the body, nor answers that nobody has asked for.
    assert_eq!(offer.get(12), Some(&0xfd));
    let terms = terms(0x01 | 0x80 | 0x20_0000 >> 1 | 0x1000_0000);
    for (step, wants, answers) in [
        (Step::Connect, false, true),
        (Step::Header, true, false),
        (Step::Body, true, true),
        (Step::Data, true, true),
        (Step::End, true, true),
    ] {
        assert_eq!((terms.wants(step), terms.answers(step)), (wants, answers));
    }
    let old = [3, 0, 0].map(u32::to_be_bytes);
    let old = Terms::parse(&[b"O", old.as_flattened()].concat()).unwrap();
    assert!(!old.wants(Step::Data) && old.wants(Step::EndOfHeader));
    for (numbers, why) in [
        ([1, 0, 0], "another version"),
        ([7, 0, 0], "another version"),
        ([6, 0, 0x800], "not offered"),
    ] {
        let packet = [b"O", numbers.map(u32::to_be_bytes).as_flattened()].concat();
        assert!(Terms::parse(&packet).unwrap_err().contains(why));
    }
    assert!(Terms::parse(b"O\0\0\0\x06").is_err());
    assert!(Terms::parse(b"c").is_err());
}

#[test]
fn steps_are_packets() {
    let address = "192.0.2.1".parse().unwrap();
    assert_eq!(
        connect("[192.0.2.1]", Some((address, 258))),
        b"\0\0\0\x1aC[192.0.2.1]\x004\x01\x02192.0.2.1\0"
    );
    assert_eq!(connect("local", None), b"\0\0\0\x08Clocal\0U");
    assert_eq!(
        words(Step::Mail, &["<a@b.example>", "SIZE=1"]),
        b"\0\0\0\x16M<a@b.example>\0SIZE=1\0"
    );
    assert_eq!(
        macros(Step::Mail, &[("i", "X1"), ("{auth_authen}", "")]),
        b"\0\0\0\x07DMi\0X1\0"
    );
    let folded = Field::parse(b"Subject:  a\r\n b\r\n").unwrap();
    assert_eq!(field(terms(0), &folded), b"\0\0\0\x0fLSubject\0 a\n b\0");
    assert_eq!(
        field(terms(LEADING_SPACE), &folded),
        b"\0\0\0\x10LSubject\0  a\n b\0"
    );
    assert_eq!(octets(Step::End, b""), b"\0\0\0\x01E");
}

#[test]
fn what_a_filter_says_is_read_whole_or_not_at_all() {
    let rows: &[(&[u8], &str)] = &[
        (b"c", "Continue"),
        (b"a", "Accept"),
        (b"d", "Discard"),
        (b"p", "Progress"),
        (b"r", "550 5.7.1 a filter refuses this"),
        (b"t", "451 4.7.1 a filter wants you to try again later"),
        (b"y550 5.7.9 100%% spam\0", "550 5.7.9 100% spam"),
        (b"y452-4.2.2 one\r\n452 4.2.2 two\0", "452 4.2.2 one\ntwo"),
        (b"y554 spam", "554 5.7.1 spam"),
        (b"y554", "554 5.7.1 "),
        (b"y250 ok\0", "! no refusal"),
        (b"y550-a\r\n450 b\0", "! no refusal"),
        (b"y5\0", "! no refusal"),
        (b"y\0", "! no refusal"),
        ("y55\u{e9} x\0".as_bytes(), "! no refusal"),
        (b"s", "! none of the protocol"),
        (b"b1234", "! replaces the body"),
        (b"f", "! not want to work"),
        (b"", "! empty"),
        (b"Z", "! none of the protocol"),
        (
            b"hX-Spam\0yes\nno\r\n\n  maybe\0",
            "Add X-Spam: yes\r\n\tno\r\n  maybe\r\n",
        ),
        (b"hX-Spam\0", "Add X-Spam: \r\n"),
        (b"hX Spam\0yes\0", "! no name"),
        (b"hX-Spam:\0yes\0", "! no name"),
        (b"h\0yes\0", "! no name"),
        (b"h\xff\0yes\0", "! no name"),
        (b"i\0\0\0\0A\0b\0", "Insert 0 A: b\r\n"),
        (b"i\0\0\0\x02A\0b\0", "Insert 1 A: b\r\n"),
        (b"i\0\0", "! half a packet"),
        (b"m\0\0\0\x01A\0 b\0", "Replace A 1 A: b\r\n"),
        (b"m\0\0\0\0A\0\0", "Replace A 1 -"),
        (b"e<>\0", "From <>"),
        (b"e<a@b.example>\0SIZE=1\0", "From <a@b.example>"),
        (b"+<a@b.example>\0", "To a@b.example"),
        (b"2a@b.example\0NOTIFY=NEVER\0", "To a@b.example"),
        (b"+<>\0", "! no"),
        (b"+<a@b.example\nto x>\0", "! address that is none"),
        (b"-<a@b.example>\0", "NotTo a@b.example"),
        (b"qlooks\nodd\0", "Quarantine looksodd"),
    ];
    for (packet, expected) in rows {
        let shown = show(Said::parse(terms(0), packet));
        match expected.strip_prefix("! ") {
            Some(why) => {
                assert!(
                    shown.starts_with("! ") && shown.contains(why.split(' ').next().unwrap()),
                    "{shown}"
                );
            }
            None => assert_eq!(shown, *expected),
        }
    }
    assert_eq!(Said::parse(terms(SKIP), b"s"), Ok(Said::Skip));
}

fn show(said: Result<Said, Fault>) -> String {
    let field = |f: &Field| String::from_utf8_lossy(f.raw()).into_owned();
    match said {
        Err(why) => format!("! {why}"),
        Ok(Said::Refuse(reply)) => {
            let mut text = Vec::new();
            reply.write_to(&mut text);
            let text = String::from_utf8(text).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let (first, others) = lines.split_first().unwrap();
            let others: String = others.iter().map(|l| format!("\n{}", &l[10..])).collect();
            format!("{} {}{others}", &first[..3], &first[4..])
        }
        Ok(Said::Change(change)) => match change {
            Change::Add(f) => format!("Add {}", field(&f)),
            Change::Insert(at, f) => format!("Insert {at} {}", field(&f)),
            Change::Replace(name, n, new) => {
                let new = new.map_or("-".to_owned(), |f| field(&f));
                format!("Replace {} {n} {new}", String::from_utf8(name).unwrap())
            }
            Change::From(path) => format!("From {path}"),
            Change::To(to) => format!("To {to}"),
            Change::NotTo(to) => format!("NotTo {to}"),
            Change::Quarantine(why) => format!("Quarantine {why}"),
        },
        Ok(other) => format!("{other:?}"),
    }
}

#[test]
fn changes_of_a_header_are_done_in_their_order() {
    let mut header = sample("A: 1\r\nB: 2\r\na: 3\r\n");
    let packets: [&[u8]; 7] = [
        b"hZ\0last\0",
        b"i\0\0\0\0F\0first\0",
        b"i\0\0\0\x02S\0second\0",
        b"i\0\0\0\x63E\0end\0",
        b"m\0\0\0\x02A\0changed\0",
        b"m\0\0\0\x01B\0\0",
        b"m\0\0\0\x05B\0new\0",
    ];
    for packet in packets {
        let Ok(Said::Change(change)) = Said::parse(terms(0), packet) else {
            panic!("{packet:?}");
        };
        assert_eq!(apply(&mut header, change), None);
    }
    // To delete what is not there is nothing.
    apply(&mut header, Change::Replace(b"Nil".to_vec(), 1, None));
    let mut text = Vec::new();
    header.write(&mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "F: first\r\nS: second\r\nA: 1\r\nA: changed\r\nZ: last\r\nE: end\r\nB: new\r\n\r\n"
    );
}

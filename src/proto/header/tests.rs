//! Headers of submissions: recipients found, blind copies removed, what is missing added.

use super::*;
use crate::proto::few;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn text(header: &Header) -> String {
    let mut out = Vec::new();
    header.write(&mut out);
    String::from_utf8(out).unwrap()
}

/// The test message of the survey of small mailers: each of them had a case in it to get wrong.
const MESSAGE: &str = concat!(
    "From: root (Cron Daemon)\r\n",
    "To: \"Doe, John\" <john@a.example>,\r\n",
    " friends: a@b.example, plain;, kim@c.example (Kim, at work),\r\n",
    "\t=?utf-8?Q?J=C3=B6rg?=\r\n",
    " =?utf-8?Q?_M?= <joerg@d.example>\r\n",
    "Subject: To: nobody@x.example\r\n",
    "cc: local\r\n",
    "Bcc: hidden@e.example,\r\n",
    " John@A.example, john@A.example\r\n",
);

/// A header; whom `-t` finds; what it cannot read.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);
const RECIPIENTS_FOUND: &[Row] = &[
    (
        MESSAGE,
        &[
            "john@a.example",
            "a@b.example",
            "plain@pi.example",
            "kim@c.example",
            "joerg@d.example",
            "local@pi.example",
            "hidden@e.example",
            "John@a.example", // the local part is compared exactly, the domain without case
        ],
        &[],
    ),
    ("Subject: x\r\n", &[], &[]), // I4
    (
        "To: undisclosed-recipients:;\r\nBcc: a@x\r\n",
        &["a@x"],
        &[],
    ), // I22
    ("To: a@x\r\nTo: b@x\r\nTO : a@X\r\n", &["a@x", "b@x"], &[]), // I1
    ("Apparently-To: a@x\r\n", &["a@x"], &[]),
    ("Reply-To: a@x\r\nErrors-To: b@x\r\n", &[], &[]),
    ("To: a@x, John Doe, b@x\r\n", &["a@x", "b@x"], &["John Doe"]), // one bad among good
    ("To: <>, \"x\r\n y, b@x\r\n", &[], &["<>", "\"x y, b@x"]),     // I22
    (
        "To: a..b@x, c@-x.example, d@\r\n",
        &[],
        &["a..b@x", "c@-x.example", "d@"],
    ),
    // Only the topmost block counts, and it hides To.
    (
        "Resent-From: me@x\r\nResent-To: a@x,\r\n b@x\r\nresent-bcc: c\r\nReceived: y\r\nResent-To: old@x\r\nTo: o@x\r\n",
        &["a@x", "b@x", "c@pi.example"],
        &[],
    ),
    (
        "Received: y\r\nResent-To: a@x\r\nResent-Cc: b@x\r\nResent-Date: d\r\nResent-Date: e\r\nResent-To: old@x\r\n",
        &["a@x", "b@x"],
        &[],
    ),
    (
        "Resent-To: a@x\r\nResent-To: b@x\r\nTo: o@x\r\n",
        &["a@x", "b@x"],
        &[],
    ),
    // In whatever order: a second field of one name is of an older block, but where it goes on with the one above.
    (
        "Resent-To: a@x\r\nResent-From: b@x\r\nResent-Date: d\r\nResent-To: old@x\r\nResent-From: c@x\r\n",
        &["a@x"],
        &[],
    ),
    (
        "Resent-Cc: a@x\r\nresent-cc : b@x\r\nResent-Bcc: c@x\r\nResent-Bcc: d@x\r\nResent-Cc: old@x\r\n",
        &["a@x", "b@x", "c@x", "d@x"],
        &[],
    ),
    (
        "Resent-Date: d\r\nResent-From: me@x\r\nResent-Message-ID: <1@x>\r\nResent-To: a@x\r\nResent-Cc: b@x\r\nTo: o@x\r\n",
        &["a@x", "b@x"],
        &[],
    ),
    ("Resent-From: me@x\r\nTo: o@x\r\n", &[], &[]),
];

#[test]
fn recipients_are_found_as_the_standards_say() {
    for (header, good, bad) in RECIPIENTS_FOUND {
        let found = sample(header).recipients(&domain("pi.example"));
        let names: Vec<String> = found.good.iter().map(ToString::to_string).collect();
        assert_eq!(names, *good, "{header:?}");
        let shown: Vec<&str> = found.bad.iter().map(|(shown, _)| &**shown).collect();
        assert_eq!(shown, *bad, "{header:?}");
    }
}

#[test]
fn many_recipients_take_linear_time_and_many_bad_ones_little_room() {
    // I21
    let many = few(100_000);
    let list: Vec<String> = (0..many).map(|n| format!("user{n}@host.example")).collect();
    let padding = " ".repeat(70);
    let header = sample(&format!(
        "To: {}\r\n",
        list.join(&format!(",\r\n{padding}"))
    ));
    assert_eq!(header.recipients(&domain("x")).good.len(), many);
    let header = sample(&format!("To: {}\r\n", "a b,".repeat(many)));
    assert_eq!(header.recipients(&domain("x")).bad.len(), MAX_BAD);
    let header = sample(&"Resent-X: y\r\n".repeat(many));
    assert!(header.recipients(&domain("x")).good.is_empty());
}

#[test]
fn blind_copies_are_removed_whole() {
    let mut header = sample(&format!("Resent-BCC : x@y,\r\n z@y\r\n{MESSAGE}BCC:\r\n"));
    header.strip_bcc();
    let expected = MESSAGE.split("Bcc:").next().unwrap();
    assert_eq!(text(&header), format!("{expected}\r\n"));
}

#[test]
fn only_bare_addresses_change() {
    let same = "From: =?utf-8?q?J=C3=B6rg?=\r\n"; // nullmailer#79
    let rows = [
        (
            "From: root (Cron Daemon)\r\n",
            "From: root@pi.example (Cron Daemon)\r\n",
        ),
        (same, same),
        (
            "From: \"Doe, John\"  <doe>\r\n",
            "From: \"Doe, John\"  <doe@pi.example>\r\n",
        ),
        ("FROM:root\r\n", "FROM:root@pi.example\r\n"),
        (
            "To: a,\r\n\tb (c, d),\r\n G: e;\r\n",
            "To: a@pi.example,\r\n\tb@pi.example (c, d),\r\n G: e@pi.example;\r\n",
        ),
        (
            "Cc: a@B.Example, \"x y\", John Doe\r\n",
            "Cc: a@B.Example, \"x y\", John Doe\r\n",
        ),
        ("Cc: <\"x y\">, a@\r\n", "Cc: <\"x y\"@pi.example>, a@\r\n"),
        (
            "Resent-To: a\r\nSender : b\r\n",
            "Resent-To: a@pi.example\r\nSender : b@pi.example\r\n",
        ),
        (
            "Subject: root\r\nX-To: root\r\n",
            "Subject: root\r\nX-To: root\r\n",
        ),
    ];
    for (before, after) in rows {
        let mut header = sample(before);
        header.qualify(&domain("pi.example"));
        assert_eq!(text(&header), format!("{after}\r\n"));
    }
    let mut header = sample("From: R <root@pi.lan>, b@c (d)\r\n");
    header.rewrite_addresses(&["From"], &mut |spec| {
        spec.strip_suffix("@pi.lan")
            .map(|_| "me@example.org".to_owned())
    });
    assert_eq!(text(&header), "From: R <me@example.org>, b@c (d)\r\n\r\n");
}

#[test]
fn octets_that_are_not_utf8_stay() {
    let raw = b"From: J\xf6rg <root>, \xf6\r\n";
    let mut header = Header::default();
    header.append(Field::parse(raw).unwrap());
    header.qualify(&domain("x"));
    let mut out = Vec::new();
    header.write(&mut out);
    assert_eq!(out, b"From: J\xf6rg <root@x>, \xf6\r\n\r\n");
}

#[test]
fn what_a_submission_lacks_is_added() {
    let from = Mailbox::parse("alice@pi.example").unwrap();
    let one = [Mailbox::parse("bob@x.example").unwrap()];
    let two = [one[0].clone(), from.clone()];
    let date = "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n";
    let sender = "From: Alice <alice@pi.example>\r\n";
    let id = "Message-ID: <1@pi.example>\r\n";
    let rows: &[(&str, &[Mailbox], String)] = &[
        ("", &one, format!("{date}{sender}{id}To: bob@x.example\r\n")), // I24, F23
        (
            "",
            &two,
            format!("{date}{sender}{id}To: undisclosed-recipients:;\r\n"),
        ),
        (
            "Bcc: b@x\r\n",
            &one,
            format!("Bcc: b@x\r\n{date}{sender}{id}To: undisclosed-recipients:;\r\n"),
        ),
        (
            "CC: b@x\r\n",
            &two,
            format!("CC: b@x\r\n{date}{sender}{id}"),
        ),
        (
            "From:\r\nTo: b@x\r\nDate: \r\n",
            &one,
            format!("To: b@x\r\n{date}{sender}{id}"),
        ),
        (
            "date: x\r\nfrom : y\r\nmessage-id: z\r\nTo:\r\n",
            &one,
            "date: x\r\nfrom : y\r\nmessage-id: z\r\nTo: bob@x.example\r\n".to_owned(),
        ),
        (
            "To:\r\nCc: \r\nBcc: b@x\r\n",
            &one,
            format!("Bcc: b@x\r\n{date}{sender}{id}To: undisclosed-recipients:;\r\n"),
        ),
        (
            "Received: r\r\nResent-To: c@x\r\nDate: d\r\nFrom: f\r\nMessage-ID: m\r\nTo: t\r\n",
            &one,
            format!(
                "Received: r\r\nResent-{date}Resent-{sender}Resent-{id}Resent-To: c@x\r\nDate: d\r\nFrom: f\r\nMessage-ID: m\r\nTo: t\r\n"
            ),
        ),
    ];
    for (before, recipients, after) in rows {
        let mut header = sample(before);
        header.complete(&Made {
            date: Stamp::utc(0),
            message_id: "<1@pi.example>",
            from: &from,
            full_name: Some("Alice"),
            recipients,
        });
        assert_eq!(text(&header), format!("{after}\r\n"), "{before:?}");
    }
}

#[test]
fn fields_are_counted_and_found_by_any_case() {
    let mut header = sample("Received: a\r\nreceived : b\r\n c\r\nX-Received: d\r\n");
    assert_eq!(header.hops(), 2); // F15
    assert_eq!(header.get("RECEIVED").map(Field::body), Some(&b" a"[..]));
    header.append(Field::made("A", "b"));
    header.strip("Received");
    assert_eq!(text(&header), "X-Received: d\r\nA: b\r\n\r\n");
}

//! What is stored of a message from standard input: octet for octet what came, and the fields that were missing.

use crate::harness::system::{HOST, me, user};
use crate::harness::{Mail, System};

/// A message, and the whole text that must be stored of it after the fields that are always made. Each goes to
/// one recipient with `-i`.
#[test]
fn the_message_is_stored_as_it_came() {
    let head =
        "From: a@example.org\nDate: Mon, 23 Nov 2026 18:20:00 +0100\nMessage-ID: <1@example.org>\n";
    let long = "x".repeat(5000);
    let fields: String = (0..1000).map(|i| format!("X-{i}: {i}\n")).collect();
    let lines: String = (0..2000)
        .map(|i| format!("{i}{}\n", "-".repeat(i % 200)))
        .collect();
    let rows: &[(&str, String, String)] = &[
        (
            "a body",
            format!("{head}\nhello\n"),
            format!("{head}\nhello\n"),
        ),
        ("no body", format!("{head}\n"), format!("{head}\n")),
        (
            "no blank line and no body (OpenSMTPD 646)",
            head.to_owned(),
            format!("{head}\n"),
        ),
        (
            "no line end at the end",
            format!("{head}\nhello"),
            format!("{head}\nhello\n"),
        ),
        (
            "dots",
            format!("{head}\n.\n..\n.x\n"),
            format!("{head}\n.\n..\n.x\n"),
        ),
        (
            "blank lines",
            format!("{head}\n\n\n"),
            format!("{head}\n\n\n"),
        ),
        (
            "a line of 5000",
            format!("{head}\n{long}\n"),
            format!("{head}\n{long}\n"),
        ),
        (
            "a thousand fields",
            format!("{fields}{head}\nhello\n"),
            format!("{fields}{head}\nhello\n"),
        ),
        (
            "no header field in the first line (I25)",
            "hello world\nmore\n".to_owned(),
            "\nhello world\nmore\n".to_owned(),
        ),
        (
            "a text with a colon later on",
            "hello world\nto: x\n".to_owned(),
            "\nhello world\nto: x\n".to_owned(),
        ),
        (
            "a blank first line",
            "\nhello\n".to_owned(),
            "\nhello\n".to_owned(),
        ),
        (
            "text among the fields (F10)",
            format!("{head}not a field\nTo: x\n\nbody\n"),
            format!("{head}\nnot a field\nTo: x\n\nbody\n"),
        ),
        (
            "UTF-8 in body and header",
            format!("Subject: gr\u{fc}n\n{head}\n\u{20ac}\n"),
            format!("Subject: gr\u{fc}n\n{head}\n\u{20ac}\n"),
        ),
        (
            "more blank lines than are read at a time, which become twice as long",
            format!("{head}\n{}", "\n".repeat(200_000)),
            format!("{head}\n{}", "\n".repeat(200_000)),
        ),
        (
            "as many octets in lines of all lengths",
            format!("{head}\n{lines}"),
            format!("{head}\n{lines}"),
        ),
        (
            "two CRs before a LF",
            format!("{head}\nhello\r\r\nx\n"),
            String::new(),
        ),
    ];
    for (what, input, expected) in rows {
        let system = System::offline("stored");
        system.accept(
            &["-i", "-odq", "-f", "a@example.org", "one@example.net"],
            input,
        );
        let queued = system.queued();
        let text = String::from_utf8(queued.message.clone()).unwrap();
        let bare = text.replace("\r\n", "");
        assert!(!bare.contains(['\r', '\n']), "{what}: {text:?}");
        if expected.is_empty() {
            continue;
        }
        // Made fields stand before or after those that came: without them it is what came.
        let came = Mail::new(expected.as_bytes());
        let made = ["Received", "From", "Date", "Message-ID", "To"];
        let header: String = fields_of(&queued.mail())
            .into_iter()
            .filter(|f| {
                let name = f.split(':').next().unwrap_or_default();
                !made.contains(&name) || !came.all(name).is_empty() && name != "Received"
            })
            .collect();
        let text = format!("{header}\n{}", queued.mail().body());
        let expected = Mail::new(expected.as_bytes());
        assert_eq!(text, expected.text(), "{what}");
    }
}

/// The header's fields, each with its folded lines.
fn fields_of(mail: &Mail) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in mail.header().split_inclusive('\n') {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(last) => last.push_str(line),
            None => fields.push(line.to_owned()),
        }
    }
    fields
}

/// F3, I6: a NUL is kept or refused, never the end of a line.
#[test]
fn nothing_is_cut_at_a_nul() {
    for input in ["Subject: a\0b\n\nhello\n", "Subject: x\n\na\0b\nend\n"] {
        let system = System::offline("nul");
        let ran = system.run(&["-i", "-odq", "one@example.net"], input);
        if ran.code == 65 {
            assert!(system.queue().is_empty());
            continue;
        }
        assert_eq!(ran.code, 0, "{ran:?}");
        let queued = system.queued();
        assert!(!queued.envelope.concat().contains('\0'));
        let last = input.trim_end().rsplit('\n').next().unwrap();
        assert!(
            queued.mail().text().ends_with(&format!("{last}\n")),
            "{input:?}"
        );
        assert!(
            queued.mail().text().replace('\0', "").contains("ab\n"),
            "{input:?}"
        );
    }
}

/// The fields every message has in the end (RFC 5322 3.6), made only where they are missing (RFC 6409 8).
#[test]
fn missing_fields_are_made() {
    let (me, user) = (me(), user());
    let rows: &[(&[&str], &str, &str, &str)] = &[
        (&["-F", "Jane Doe"], "\nx\n", "From", "Jane Doe <ME>"),
        (&["-F", "Doe, Jane"], "\nx\n", "From", "\"Doe, Jane\" <ME>"),
        (
            &["-F", "a \"b\" \\c"],
            "\nx\n",
            "From",
            "\"a \\\"b\\\" \\\\c\" <ME>",
        ),
        (&["-F", ""], "\nx\n", "From", "ME"),
        (
            &["-F", "x", "-f", "a@example.org"],
            "\nx\n",
            "From",
            "x <a@example.org>",
        ),
        (
            &["-F", "x"],
            "From: given@example.org\n\nx\n",
            "From",
            "given@example.org",
        ),
        (&[], "From: given\n\nx\n", "From", "given@HOST"),
        (
            &[],
            "From: given (Its Name)\n\nx\n",
            "From",
            "given@HOST (Its Name)",
        ),
        (
            &[],
            "From: =?UTF-8?Q?D=C3=B6?= <given>\n\nx\n",
            "From",
            "=?UTF-8?Q?D=C3=B6?= <given@HOST>",
        ),
        (
            &[],
            "To: \"a, b\" <given>, c@example.net, d: e, f@example.net;\n\nx\n",
            "To",
            "\"a, b\" <given@HOST>, c@example.net, d: e@HOST, f@example.net;",
        ),
        (
            &[],
            "Reply-To: given@@broken\n\nx\n",
            "Reply-To",
            "given@@broken",
        ),
        (&[], "Message-Id: <given>\n\nx\n", "Message-ID", "<given>"),
        (&[], "Date: yesterday\n\nx\n", "Date", "yesterday"),
    ];
    for (args, input, field, expected) in rows {
        let system = System::offline("made");
        system.accept(&[&["-odq"], *args, &["one@example.net"]].concat(), input);
        let expected = expected.replace("ME", &me).replace("HOST", HOST);
        let found = system.queued().mail().field(field);
        assert_eq!(found, Some(expected), "{args:?} {input:?}");
    }
    // Without -F the name is the one in passwd, where there is one.
    let system = System::offline("made");
    system.accept(&["-odq", "one@example.net"], "\nx\n");
    let mail = system.queued().mail();
    assert!(
        mail.field("From")
            .unwrap()
            .contains(&format!("{user}@{HOST}"))
    );
    let id = mail.field("Message-ID").unwrap();
    assert!(
        id.starts_with('<') && id.ends_with(&format!("@{HOST}>")),
        "{id}"
    );
    assert!(mail.field("Date").unwrap().ends_with(" +0000"), "{mail:?}"); // TZ is UTC
}

/// RFC 5321 4.4; who the user is stands there whatever -f says (I15).
#[test]
fn the_trace_says_who_sent_it() {
    let system = System::offline("trace");
    system.accept(
        &[
            "-odq",
            "-f",
            "boss@example.org",
            "one@example.net",
            "two@example.net",
        ],
        "\nx\n",
    );
    let queued = system.queued();
    let uid = nix::unistd::getuid().to_string();
    assert_eq!(queued.field("client"), Some(format!("uid {uid}")));
    assert_eq!(queued.field("protocol").as_deref(), Some("local"));
    assert!(queued.field("received").unwrap().ends_with('Z'));
    assert!(queued.mail().text().starts_with("Received: "));
    let received = queued.mail().field("Received").unwrap();
    for part in [
        format!("by {HOST}"),
        format!("id {}", queued.id),
        format!("uid {uid}"),
        "; ".to_owned(),
    ] {
        assert!(received.contains(&part), "{part}: {received}");
    }
    // Several recipients: none is named (RFC 5321 7.2).
    assert!(!received.contains("one@example.net"), "{received}");
}

/// I21, F12: what is not bounded would be held in memory.
#[test]
fn a_header_of_ten_megabytes_is_taken_or_refused_as_a_whole() {
    let folded = format!(
        "To: one@example.net\nX-Long: x{}\n\nbody\n",
        "\n x".repeat(10_000_000 / 3)
    );
    let system = System::offline("header");
    let ran = system.run(&["-t", "-i", "-odq"], &folded);
    if ran.code == 0 {
        assert!(system.queued().message.len() > 10_000_000);
    } else {
        assert_eq!(ran.code, 65, "{ran:?}");
        assert!(system.queue().is_empty());
    }
    assert!(system.names("tmp").is_empty());
}

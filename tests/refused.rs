//! What an SMTP session refuses, and how it ends: each is a line in the log with the client, the step and the reply, and
//! what was refused is counted.

use crate::harness::system::{HOST, me};
use crate::harness::{Daemon, System};

/// What is said, and how the answer to it begins.
type Steps<'a> = &'a [(&'a str, &'a str)];

#[test]
fn whatever_refuses_a_message_is_told_once_and_counted() {
    let system = System::listening("refused")
        .with("access", "relay_from = []\nspf = \"off\"\ndmarc = \"off\"")
        .with("limits", "message_size = \"64K\"\nrecipients = 1");
    let daemon = Daemon::start(&system);
    let mail = ("MAIL FROM:<a@b.example>", "250 ");
    let to = format!("RCPT TO:<{}>", me());
    let to = (to.as_str(), "250 ");
    let data = ("DATA", "354 ");
    let nobody = format!("RCPT TO:<nobody-here@{HOST}>");
    let long = format!("{}\r\n.", "x".repeat(70_000));
    // What is said; from whom the refused message is, the end of the reason, and the step.
    let rows: &[(Steps<'_>, &str, &str, &str)] = &[
        (
            &[("MAIL FROM:<a@b.example> SIZE=99999", "552 5.3.4 ")],
            "",
            ": MAIL FROM:<a@b.example> SIZE=99999",
            "MAIL",
        ),
        (
            &[("MAIL FROM:<a b@c.example>", "501 5.1.7 ")],
            "",
            ": MAIL FROM:<a b@c.example>",
            "MAIL",
        ),
        (
            &[("MAIL FROM:<a@b.example> X=\\\"1", "555 5.5.4 ")],
            "",
            ": MAIL FROM:<a@b.example> X=\\\\\\\"1",
            "MAIL",
        ),
        (
            &[mail, ("RCPT TO:<a b@c.example>", "501 5.1.3 ")],
            "<a@b.example>",
            ": RCPT TO:<a b@c.example>",
            "RCPT",
        ),
        (
            &[mail, ("RCPT TO:<\u{fc}@c.example>", "553 5.6.7 ")],
            "<a@b.example>",
            ": RCPT TO:<\u{fc}@c.example>",
            "RCPT",
        ),
        (
            &[mail, (&nobody, "550 5.1.1 ")],
            "<a@b.example>",
            &format!(": nobody-here@{HOST}"),
            "RCPT",
        ),
        (
            &[mail, to, ("RCPT TO:<postmaster>", "452 4.5.3 ")],
            "<a@b.example>",
            ": RCPT TO:<postmaster>",
            "RCPT",
        ),
        (
            &[mail, to, ("DATA x", "501 5.5.4 ")],
            "<a@b.example>",
            ": DATA x",
            "DATA",
        ),
        (
            &[mail, to, data, ("a\nb\r\n.", "554 5.6.0 ")],
            "<a@b.example>",
            " not part of a CRLF",
            "text",
        ),
        (
            &[mail, to, data, ("a\0b\r\n.", "554 5.6.0 ")],
            "<a@b.example>",
            " NUL octet",
            "text",
        ),
        (
            &[mail, to, data, (&long, "552 5.3.4 ")],
            "<a@b.example>",
            " too big",
            "text",
        ),
    ];
    for (index, (steps, from, end, step)) in rows.iter().enumerate() {
        let mut client = daemon.client();
        // What is no command, or out of order, refuses no message.
        client.steps(&[("FOO", "500 "), ("EHLO x", "250"), ("DATA", "503 ")]);
        client.steps(steps);
        let (_, code) = steps.last().unwrap();
        let log = system.log();
        let lines: Vec<&str> = log.lines().filter(|l| l.contains(" reject ")).collect();
        assert_eq!(lines.len(), index + 1, "{steps:?}: {log}");
        let begins = format!("- reject client=\"127.0.0.1\" from=\"{from}\" reason=\"{code}");
        let ends = format!("{end}\" step={step}");
        let line = lines.last().unwrap();
        assert!(line.contains(&begins) && line.ends_with(&ends), "{line}");
    }
    daemon.stop();
    let status = system.run(&["--status"], "").stdout;
    let counted = format!(" {} rejected\n", rows.len());
    assert!(status.contains(&counted), "{status}");
}

/// The line is there however many there were of what has led to it.
#[test]
fn the_end_of_a_session_is_told_when_the_client_has_earned_it() {
    let system = System::listening("sent-away").with("access", "relay_from = []");
    let daemon = Daemon::start(&system);
    let nobody = format!("RCPT TO:<nobody-here@{HOST}>");
    let rows = [
        ("FOO", "500 ", "421 4.7.0 too many errors; closing"),
        (
            "NOOP",
            "250 ",
            "421 4.7.0 too many commands without a message; closing",
        ),
        (&nobody, "550 ", "421 4.7.0 too much was refused; closing"),
        (
            "GET / HTTP/1.0",
            "",
            "421 4.7.0 this is a mail server; closing",
        ),
        (
            "BDAT 5 LAST",
            "",
            "502 5.5.1 CHUNKING is not offered; closing",
        ),
        (
            &"x".repeat(140_000),
            "",
            "421 4.5.2 the line does not end; closing",
        ),
    ];
    for (line, expected, last) in rows {
        let mut client = daemon.client();
        client.steps(&[("EHLO x", "250"), ("MAIL FROM:<a@b.example>", "250 ")]);
        let mut reply = client.say(line);
        while !expected.is_empty() && reply.starts_with(expected) {
            reply = client.say(line);
        }
        assert_eq!(reply, last, "{line:.20}");
        let log = system.log();
        let told = format!("- reject client=\"127.0.0.1\" reason=\"{last}\"\n");
        assert_eq!(log.matches(&told).count(), 1, "{last}: {log}");
    }
    // Who goes by himself is not sent away.
    let mut client = daemon.client();
    client.steps(&[("EHLO x", "250"), ("QUIT", "221 ")]);
    assert!(!system.log().contains("reason=\"221"), "{}", system.log());
}

/// Who is slow has lost a message only when he had begun one.
#[test]
fn silence_is_told_when_a_message_was_begun() {
    let system = System::listening("silent").with("limits", "command_timeout = \"1s\"");
    let daemon = Daemon::start(&system);
    let hello = ("EHLO x", "250");
    let rows: [(Steps<'_>, usize); 2] = [
        (&[hello], 0),
        (&[hello, ("MAIL FROM:<a@b.example>", "250 ")], 1),
    ];
    for (steps, told) in rows {
        let mut client = daemon.client();
        client.steps(steps);
        assert_eq!(client.reply(), "421 4.4.2 timed out; closing");
        let log = system.log();
        let line = "- reject client=\"127.0.0.1\" reason=\"421 4.4.2 timed out; closing\"\n";
        assert_eq!(log.matches(line).count(), told, "{log}");
    }
}

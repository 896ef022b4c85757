//! What a server offers, and what a message becomes for one that offers less.

use std::fs;

use crate::harness::quoted::{canonical, decode};
use crate::harness::system::{me, names_in};
use crate::harness::tls::Authority;
use crate::harness::{Remote, Script, System};
use crate::send::Fate::{Deferred, Delivered, Failed};
use crate::send::{MESSAGE, check};

/// What is offered is used, and nothing else is.
#[test]
fn only_what_is_offered_is_used() {
    struct Row {
        offers: &'static str,
        args: &'static [&'static str],
        body: &'static str,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    }
    let rows = [
        Row {
            offers: "SIZE 1000000,8BITMIME,DSN,ENHANCEDSTATUSCODES,PIPELINING",
            args: &["-N", "never", "-R", "hdrs", "-V", "QQ 1"],
            body: "gr\u{fc}n\n",
            has: &[
                "SIZE=",
                "BODY=8BITMIME",
                "RET=HDRS",
                "ENVID=QQ+201",
                "NOTIFY=NEVER",
            ],
            lacks: &["SMTPUTF8"],
        },
        Row {
            offers: "",
            args: &["-N", "never", "-R", "hdrs", "-V", "QQ1"],
            body: "green\n",
            has: &[],
            lacks: &["SIZE=", "BODY=", "RET=", "ENVID=", "NOTIFY="], // msmtp 24: the message goes all the same
        },
        Row {
            offers: "DSN",
            args: &[],
            body: "green\n",
            has: &[],
            lacks: &["SIZE=", "BODY=8BITMIME", "RET=", "ENVID=", "NOTIFY="],
        },
    ];
    for row in rows {
        let remote = Remote::start(Script::new().offers(row.offers));
        let system = System::relaying("offers", &remote);
        system.accept(
            &[
                &["-odq", "-f", "me@example.org"],
                row.args,
                &["one@example.net"],
            ]
            .concat(),
            format!("Subject: x\n\n{}", row.body),
        );
        system.accept(&["-q"], "");
        let received = remote.received();
        assert_eq!(received.len(), 1, "{}", row.offers);
        let said = format!("{} {}", received[0].from, received[0].to.join(" "));
        for part in row.has {
            assert!(said.contains(part), "{part}: {said}");
        }
        for part in row.lacks {
            assert!(!said.contains(part), "{part}: {said}");
        }
    }
}

/// K23: what the server said it will not take is not sent to it.
#[test]
fn a_message_over_the_servers_size_is_not_sent() {
    let remote = Remote::start(Script::new().offers("SIZE 1000"));
    let system = System::relaying("size", &remote);
    system.accept(
        &["-odq", "one@example.net"],
        format!("Subject: x\n\n{}", "x\n".repeat(3000)),
    );
    check(&system, &remote, Failed("5.3.4"), "size");
    assert!(!remote.commands().iter().any(|c| c == "DATA"));
}

/// K24, R158: an address that needs SMTPUTF8 goes only where it is offered.
#[test]
fn an_address_beyond_ascii_needs_smtputf8() {
    let to = "gr\u{fc}n@example.net";
    let remote = Remote::start(Script::new());
    let system = System::relaying("utf8", &remote);
    system.accept(&["-odq", to], MESSAGE);
    check(&system, &remote, Delivered, "offered");
    assert!(
        remote.received()[0].from.ends_with(" SMTPUTF8")
            || remote.received()[0].from.contains(" SMTPUTF8 ")
    );
    assert_eq!(remote.received()[0].recipients(), [to]);
    let remote = Remote::start(Script::new().offers("8BITMIME"));
    let system = System::relaying("utf8", &remote);
    system.accept(&["-odq", to], MESSAGE);
    check(&system, &remote, Failed("5.6.7"), "not offered");
}

/// RFC 8689 4.2.1: mail with REQUIRETLS goes to a server that offers it under TLS and is known to be the right one,
/// or back to its sender; without its text, and with the same demand.
#[test]
fn mail_that_requires_tls_goes_over_tls_or_back() {
    let authority = Authority::new();
    let (good, foreign) = (
        authority.certify(&["127.0.0.1"]),
        Authority::new().certify(&["127.0.0.1"]),
    );
    let offering = || Script::new().offers("REQUIRETLS");
    let starttls = "tls = \"starttls\"\nca_file = \"CA\"";
    // The server, how it is reached, and what becomes of it.
    let rows = [
        (offering().starttls(good.clone()), starttls, Delivered),
        (
            Script::new().offers("DSN").starttls(good.clone()),
            starttls,
            Failed("5.7.30"),
        ),
        (
            offering().starttls(good),
            "tls = \"opportunistic\"",
            Failed("5.7.30"),
        ),
        (offering(), "tls = \"none\"", Failed("5.7.30")),
        // What may be mended, or our own fault, is waited for.
        (offering().starttls(foreign), starttls, Deferred("4.7.0")),
        (offering(), starttls, Deferred("4.7.4")),
    ];
    for (number, (script, lines, fate)) in rows.into_iter().enumerate() {
        let remote = Remote::start(script);
        let system = System::relaying("requiretls", &remote);
        let ca = system.path("ca.pem");
        let system = system.with("smarthost", &lines.replace("CA", &ca.display().to_string()));
        authority.write(&ca);
        let secret = "Subject: x\n\na secret\n";
        system.accept(&["-odq", "-R", "full", "one@example.net"], secret);
        let path = system.path("spool/new").join(&system.names("new")[0]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("\nprotocol ", "\nrequiretls yes\nprotocol "),
        )
        .unwrap();
        check(&system, &remote, fate, &format!("row {number}"));
        match fate {
            Delivered => assert!(remote.received()[0].from.ends_with(" REQUIRETLS")),
            Failed(_) => assert!(!system.mailbox()[0].text().contains("a secret")),
            Deferred(_) => {}
        }
        let commands = remote.commands();
        let named = commands.iter().any(|c| c.starts_with("MAIL"));
        assert_eq!(named, fate == Delivered, "row {number}: {commands:?}");
    }
}

/// K20, K21, A1: every sample arrives as it was stored, and the wire holds one end mark and no bare CR or LF.
#[test]
fn each_sample_arrives_unchanged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mail");
    let samples = names_in(folder.as_ref());
    assert!(samples.len() >= 12);
    for sample in samples {
        let input = fs::read(format!("{folder}/{sample}")).unwrap();
        let remote = Remote::start(Script::new());
        let system = System::relaying("sample", &remote);
        system.accept(
            &["-i", "-odq", "-f", "sender@example.org", "one@example.net"],
            &input,
        );
        let stored = system.queued().message;
        system.accept(&["-q"], "");
        let received = remote.received();
        assert_eq!(received.len(), 1, "{sample}");
        assert!(
            received[0].data == stored,
            "{sample}: {}",
            received[0].mail().text()
        );
        let wire = &remote.wire()[0];
        let marks = wire.windows(5).filter(|w| w == b"\r\n.\r\n").count();
        assert_eq!(marks, 1, "{sample}");
        let bare = wire.iter().enumerate().any(|(i, b)| match b {
            b'\n' => i == 0 || wire[i - 1] != b'\r',
            b'\r' => wire.get(i + 1) != Some(&b'\n'),
            _ => false,
        });
        assert!(!bare, "{sample}");
        // And what was stored is what came, after the fields that were made.
        let came = canonical(&input);
        let body = came
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map_or(&came[..], |at| &came[at + 2..]);
        let no_header = sample.starts_with("no-header");
        assert!(
            sample == "no-blank-line.eml" || stored.ends_with(if no_header { &came } else { body }),
            "{sample}"
        );
        // Nothing was read as a command.
        let commands = remote.commands();
        let odd = commands.iter().find(|c| {
            !["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
                .iter()
                .any(|v| c.starts_with(v))
        });
        assert_eq!(odd, None, "{sample}");
    }
}

/// A line over 998 octets is never refused and never cut; where a server could not take it, it goes as
/// quoted-printable (dma 18).
#[test]
fn long_lines_go_as_quoted_printable() {
    let long = "0123456789".repeat(500);
    let body = format!("before\n{long}=\n.after {long}\ngr\u{fc}n \nend\n");
    let remote = Remote::start(Script::new());
    let system = System::relaying("long", &remote);
    system.accept(
        &["-i", "-odq", "-f", "a@example.org", "one@example.net"],
        format!("Subject: x\n\n{body}"),
    );
    system.accept(&["-q"], "");
    let received = remote.received();
    assert_eq!(received.len(), 1);
    let mail = received[0].mail();
    assert_eq!(
        mail.field("Content-Transfer-Encoding")
            .map(|f| f.to_ascii_lowercase())
            .as_deref(),
        Some("quoted-printable")
    );
    assert!(
        received[0]
            .data
            .split(|b| *b == b'\n')
            .all(|l| l.len() <= 999)
    );
    let at = received[0]
        .data
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap();
    let decoded = decode(&received[0].data[at + 4..]);
    assert!(
        decoded == canonical(body.as_bytes()),
        "{}",
        String::from_utf8_lossy(&decoded)
    );
    // At home nothing is in the way of a long line.
    system.accept(&["-i", "-odq", &me()], format!("Subject: x\n\n{body}"));
    system.accept(&["-q"], "");
    assert_eq!(system.mailbox()[0].body(), body);
}

/// R124, K22: octets beyond ASCII for a server without 8BITMIME.
#[test]
fn eight_bit_text_is_changed_for_a_server_of_seven() {
    let remote = Remote::start(Script::new().offers(""));
    let system = System::relaying("seven", &remote);
    let text = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
                Content-Transfer-Encoding: 8bit\n\ngr\u{fc}n\n";
    system.accept(&["-odq", "one@example.net"], text);
    system.accept(&["-q"], "");
    let received = remote.received();
    assert_eq!(received.len(), 1);
    assert!(received[0].data.is_ascii());
    let at = received[0]
        .data
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap();
    assert_eq!(
        decode(&received[0].data[at + 4..]),
        "gr\u{fc}n\r\n".as_bytes()
    );
}

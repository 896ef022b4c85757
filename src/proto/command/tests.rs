//! Command lines of the protocol: those that are taken, and the reply to each that is not.

use super::*;
use crate::proto::envelope::{Notify, Ret};
use crate::proto::parameters::{Body, MAX_ENVID, MAX_ORCPT};

fn grammar() -> Grammar {
    Grammar {
        hostname: Domain::parse("mx.test.example").unwrap(),
        qualify: false,
        offered: Offered {
            smtputf8: true,
            dsn: true,
            auth: true,
            requiretls: true,
        },
    }
}

/// A line, and the code of its refusal; 0: it is parsed.
#[test]
fn a_line_is_parsed_or_refused() {
    let long = |n: usize| "a".repeat(n);
    let rows: Vec<(String, u16)> = [
        ("NOOP", 0),
        ("noop anything at all", 0),
        ("NOOP\tanything", 0),
        ("", 500), // A6
        (" NOOP", 500),
        ("NOOP\rNOOP", 500),
        ("NO\0OP", 500),
        ("NOOP a\0b", 501),
        ("NOOP a\x1bb", 501),
        ("FOO", 500),
        ("NOOPS", 500),
        ("EHLO", 501), // B12
        ("HELO ", 501),
        ("EHLO client.example", 0),
        ("EHLO my_host", 0),
        ("EHLO localhost.", 0),
        ("EHLO [192.0.2.1]", 0), // R14
        ("EHLO [IPv6:2001:db8::1]", 0),
        ("EHLO 192.0.2.1", 0),
        ("EHLO x)(y", 501), // F20
        ("EHLO \"\\", 501),
        ("EHLO [a]b", 501),
        ("EHLO []", 501),
        ("EHLO a b", 501),
        ("EHLO jos\u{e9}", 501),
        ("VRFY", 501),
        ("VRFY x", 0),
        ("HELP", 0),
        ("DATA x", 501), // B10, B11
        ("RSET x", 501),
        ("QUIT x", 501),
        ("STARTTLS x", 501), // D4
        ("AUTH", 501),
        ("AUTH PLAIN AAAA x", 501),
        ("MAIL", 501),
        ("MAIL FROM", 501),
        ("MAIL TO:<a@b.example>", 501),
        ("MAIL FROM:", 501),
        ("MAIL FROM:<a@b.example", 501),
        ("MAIL FROM:<a@b.example>", 0),
        ("mail from: <a@b.example>", 0), // R19
        ("MAIL FROM:a@b.example SIZE=1", 0),
        ("MAIL FROM:<>", 0), // C42
        ("MAIL FROM:<a>", 501),
        ("MAIL FROM:<;sleep 60;>", 501), // C10
        ("MAIL FROM:<a@b.example>SIZE=1", 501),
        ("MAIL FROM:<a@b.example>  SIZE=1\tBODY=7bit ", 0), // E25
        ("MAIL FROM:<a@b.example> SIZE=abc", 501),          // E12
        ("MAIL FROM:<a@b.example> SIZE=-5", 501),
        ("MAIL FROM:<a@b.example> SIZE=", 501),
        ("MAIL FROM:<a@b.example> SIZE", 501),
        ("MAIL FROM:<a@b.example> SIZE=1 size=2", 501), // E13
        ("MAIL FROM:<a@b.example> BODY=7BIT BODY=8BITMIME", 501),
        ("MAIL FROM:<a@b.example> FOO=bar", 555), // E14
        ("MAIL FROM:<a@b.example> =bar", 501),
        ("MAIL FROM:<a@b.example> BODY=8BITMIME", 0), // E15
        ("MAIL FROM:<a@b.example> BODY=FOO", 501),
        ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 555),
        ("MAIL FROM:<a@b.example> SMTPUTF8", 0),
        ("MAIL FROM:<a@b.example> SMTPUTF8=1", 501), // E16
        ("MAIL FROM:<a@b.example> REQUIRETLS", 0),
        ("MAIL FROM:<a@b.example> REQUIRETLS=1", 501),
        ("MAIL FROM:<a@b.example> REQUIRETLS requiretls", 501),
        ("RCPT TO:<a@b.example> REQUIRETLS", 555),
        ("MAIL FROM:<jos\u{e9}@b.example>", 553), // C32
        ("MAIL FROM:<jos\u{e9}@b.example> SMTPUTF8", 0),
        ("MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ+20x", 0),
        ("MAIL FROM:<a@b.example> RET=SOME", 501),
        ("MAIL FROM:<a@b.example> ENVID=a+00b", 501), // E21
        ("MAIL FROM:<a@b.example> ENVID=a+0Db", 501), // C30
        ("MAIL FROM:<a@b.example> ENVID=+ZZ", 501),   // E23
        ("MAIL FROM:<a@b.example> ENVID=+4", 501),
        ("MAIL FROM:<a@b.example> ENVID=+2b", 501), // R150: upper case only
        ("MAIL FROM:<a@b.example> ENVID=", 501),
        ("MAIL FROM:<a@b.example> AUTH=<>", 0), // E20
        ("MAIL FROM:<a@b.example> AUTH=a+40b.example", 0),
        ("MAIL FROM:<a@b.example> AUTH=<x+0D+0AY>", 501),
        ("MAIL FROM:<a@b.example> AUTH=<a+0Ab>", 501), // C30
        ("RCPT TO:<>", 501),                           // C43
        ("RCPT TO:<alice>", 501),                      // C24
        ("RCPT TO:<PostMaster>", 0),                   // C9
        ("RCPT TO:<a@b.example> NOTIFY=SUCCESS,DELAY", 0),
        ("RCPT TO:<a@b.example> NOTIFY=NEVER,SUCCESS", 501), // E18
        ("RCPT TO:<a@b.example> NOTIFY=", 501),
        ("RCPT TO:<a@b.example> NOTIFY=FOO", 501),
        ("RCPT TO:<a@b.example> ORCPT=rfc822;a+40b.example", 0),
        ("RCPT TO:<a@b.example> ORCPT=rfc822;a+0D+0ARCPT", 501), // E22
        ("RCPT TO:<a@b.example> ORCPT=noaddresstype", 501),      // E23
        ("RCPT TO:<a@b.example> ORCPT=utf-8;jos\u{e9}@b.example", 0),
        (
            "RCPT TO:<a@b.example> ORCPT=rfc822;jos\u{e9}@b.example",
            501,
        ),
        ("RCPT TO:<a@b.example> FOO=bar", 555),
        ("RCPT TO:<a@b.example> SIZE=1", 555),
        ("RCPT TO:<a@@b> FOO=bar", 501), // E25
    ]
    .into_iter()
    .map(|(line, code)| (line.to_owned(), code))
    .chain([
        // E19
        (
            format!("MAIL FROM:<a@b.example> ENVID={}", long(MAX_ENVID)),
            0,
        ),
        (
            format!("MAIL FROM:<a@b.example> ENVID={}", long(MAX_ENVID + 1)),
            501,
        ),
        (
            format!("RCPT TO:<a@b.example> ORCPT=x;{}", long(MAX_ORCPT - 2)),
            0,
        ),
        (
            format!("RCPT TO:<a@b.example> ORCPT=x;{}", long(MAX_ORCPT - 1)),
            501,
        ),
        (
            format!("MAIL FROM:<a@b.example> SIZE={}", "9".repeat(20)),
            0,
        ), // G1
        (
            format!("MAIL FROM:<a@b.example> SIZE={}", "1".repeat(21)),
            501,
        ),
        (format!("EHLO {}", long(255)), 0),
        (format!("EHLO {}", long(256)), 501),
        (format!("NOOP {}", long(MAX_LINE - 5)), 0), // A8
        (format!("NOOP {}", long(MAX_LINE - 4)), 500),
        (format!("AUTH PLAIN {}", long(MAX_LINE)), 0), // R145
        (format!("MAIL FROM:<{}@b.example>", long(2000)), 501), // C23
    ])
    .collect();
    for (line, code) in rows {
        let refused = Command::parse(line.as_bytes(), &grammar()).err();
        assert_eq!(refused.map_or(0, |r| r.code()), code, "{line:?}");
    }
}

#[test]
fn octets_that_are_no_text_are_refused() {
    for (line, code) in [
        (&b"\xff\xfeEHLO"[..], 500),                   // A12
        (b"MAIL FROM:<\xff@b.example> SMTPUTF8", 501), // C33
        (b"EHLO \xff", 501),
    ] {
        let refused = Command::parse(line, &grammar()).unwrap_err();
        assert_eq!(refused.code(), code, "{line:?}");
    }
}

#[test]
fn what_was_not_offered_is_unknown() {
    let grammar = Grammar {
        offered: Offered {
            smtputf8: false,
            requiretls: false,
            dsn: false,
            auth: false,
        },
        ..grammar()
    };
    for line in [
        "MAIL FROM:<a@b.example> SMTPUTF8",
        "MAIL FROM:<a@b.example> REQUIRETLS", // E24
        "MAIL FROM:<a@b.example> RET=FULL",
        "MAIL FROM:<a@b.example> ENVID=x",
        "MAIL FROM:<a@b.example> AUTH=<>",
        "RCPT TO:<a@b.example> NOTIFY=NEVER",
        "RCPT TO:<a@b.example> ORCPT=rfc822;x",
    ] {
        let refused = Command::parse(line.as_bytes(), &grammar).unwrap_err();
        assert_eq!(refused, replies::UNKNOWN_PARAMETER, "{line}");
    }
}

#[test]
fn contents_are_what_was_said() {
    let mailbox = |text| Mailbox::parse(text).unwrap();
    let parse = |line: &str, qualify| {
        let grammar = Grammar {
            qualify,
            ..grammar()
        };
        Command::parse(line.as_bytes(), &grammar).unwrap()
    };
    let sender = |line, qualify| match parse(line, qualify) {
        Command::Mail(sender, parameters) => (sender, parameters),
        other => panic!("{other:?}"),
    };
    let recipient = |line, qualify| match parse(line, qualify) {
        Command::Rcpt(rcpt) => rcpt,
        other => panic!("{other:?}"),
    };
    // C5, C41, C9
    let (route, _) = sender("MAIL FROM:<@x.example:a@b.example>", false);
    assert_eq!(route, ReversePath::Mailbox(mailbox("a@b.example")));
    let (bare, _) = sender("MAIL FROM:<root>", true);
    assert_eq!(bare, ReversePath::Mailbox(mailbox("root@mx.test.example")));
    let postmaster = recipient("RCPT TO:<PostMaster>", false);
    assert!(postmaster.postmaster);
    assert_eq!(
        postmaster.recipient.address,
        mailbox("PostMaster@mx.test.example")
    );
    assert!(!recipient("RCPT TO:<postmaster@b.example>", true).postmaster);

    let (_, parameters) = sender(
        "MAIL FROM:<a@b.example> SIZE=18446744073709551616 BODY=8bitmime RET=hdrs ENVID=a+2Bb AUTH=c+40d.example",
        false,
    );
    assert_eq!(
        parameters,
        MailParameters {
            size: Some(u64::MAX),
            body: Some(Body::EightBitMime),
            smtputf8: false,
            requiretls: false,
            ret: Some(Ret::Headers),
            envid: Some("a+2Bb".to_owned()),
            auth: Some(ReversePath::Mailbox(mailbox("c@d.example"))),
        }
    );
    let rcpt = recipient(
        "RCPT TO:<a@b.example> NOTIFY=delay ORCPT=rfc822;x+40y",
        false,
    );
    assert_eq!(rcpt.recipient.notify, Notify::parse("DELAY"));
    assert_eq!(rcpt.recipient.orcpt.as_deref(), Some("rfc822;x+40y"));
    assert_eq!(
        parse("auth plain =", false),
        Command::Auth {
            mechanism: "PLAIN".to_owned(),
            initial: Some("=".to_owned())
        }
    );
}

#[test]
fn verbs_left_out_are_known() {
    let rows = [
        ("EXPN x", Command::NotImplemented),
        ("ETRN test.example", Command::NotImplemented), // B23
        ("XCLIENT ADDR=1.2.3.4", Command::NotImplemented),
        ("TURN", Command::NotImplemented), // B22
        ("BDAT 5 LAST", Command::Bdat),    // E1
        ("BDAT x", Command::Bdat),
        ("GET / HTTP/1.1", Command::NotSmtp), // A15
        ("CONNECT mx:25 HTTP/1.1", Command::NotSmtp),
        ("\x16\x03\x01\x02\0\x01", Command::NotSmtp), // A16
    ];
    for (line, expected) in rows {
        assert_eq!(
            Command::parse(line.as_bytes(), &grammar()),
            Ok(expected),
            "{line:?}"
        );
    }
}

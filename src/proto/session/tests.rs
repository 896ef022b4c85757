//! Every command in every stage of a session, and what is left of it afterwards.

use super::*;

/// Lets everybody do everything.
struct Anybody;

impl Policy for Anybody {
    fn space(&mut self, _: u64) -> Result<(), Reply> {
        Ok(())
    }

    fn sender(&mut self, _: &Transaction) -> Result<(), Reply> {
        Ok(())
    }

    fn recipient(&mut self, _: &Transaction, _: &Recipient) -> Result<(), Reply> {
        Ok(())
    }

    fn authenticate(&mut self, _: &Credentials) -> Result<(), Reply> {
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        hostname: Domain::parse("mx.test.example").unwrap(),
        lmtp: false,
        qualify: false,
        size_limit: 1000,
        smtputf8: true,
        dsn: true,
        starttls: true,
        tls: false,
        tls_required: false,
        mechanisms: vec![Mechanism::Plain, Mechanism::Login],
        auth_in_clear: true,
        auth_required: false,
        max_recipients: 100,
        max_errors: 10,
    }
}

fn say_all(session: &mut Session, lines: &[&str]) -> Vec<u16> {
    let answers = lines
        .iter()
        .map(|line| session.command(line.as_bytes(), false, &mut Anybody));
    answers.map(|(reply, _)| reply.code()).collect()
}

/// A command, and the code it gets: before EHLO, after EHLO, after MAIL, after RCPT.
const TABLE: &[(&str, [u16; 4])] = &[
    ("EHLO x", [250, 250, 250, 250]),
    ("HELO x", [250, 250, 250, 250]),
    ("LHLO x", [500, 500, 500, 500]), // R163
    ("MAIL FROM:<a@b.example>", [503, 250, 503, 503]),
    ("RCPT TO:<a@b.example>", [503, 503, 250, 250]),
    ("DATA", [503, 503, 503, 354]),
    ("RSET", [250, 250, 250, 250]),
    ("NOOP", [250, 250, 250, 250]),
    ("VRFY x", [252, 252, 252, 252]),
    ("HELP", [214, 214, 214, 214]),
    ("QUIT", [221, 221, 221, 221]),
    ("STARTTLS", [220, 220, 220, 220]),
    ("AUTH PLAIN", [503, 334, 503, 503]),
    ("AUTH FOO", [503, 504, 503, 503]),
    ("EXPN x", [502, 502, 502, 502]),
    ("BDAT 5 LAST", [502, 502, 502, 502]),
    ("GET / HTTP/1.0", [421, 421, 421, 421]),
    ("FOO", [500, 500, 500, 500]),
    ("DATA foo", [501, 501, 501, 501]),
];

#[test]
fn every_command_has_its_answer_in_every_stage() {
    let way = [
        "EHLO client.example",
        "MAIL FROM:<a@b.example>",
        "RCPT TO:<c@d.example>",
    ];
    for (line, expected) in TABLE {
        for (stage, code) in expected.iter().enumerate() {
            let mut session = Session::new(settings());
            assert!(
                say_all(&mut session, &way[..stage])
                    .iter()
                    .all(|c| *c == 250)
            );
            let (reply, then) = session.command(line.as_bytes(), false, &mut Anybody);
            assert_eq!(reply.code(), *code, "{line} in stage {stage}");
            let expected = match code {
                354 => Then::ReadData,
                220 => Then::StartTls,
                221 | 421 => Then::HangUp,
                _ if line.starts_with("BDAT") => Then::HangUp,
                _ => Then::Continue,
            };
            assert_eq!(then, expected, "{line} in stage {stage}");
        }
    }
}

#[test]
fn everything_that_ends_a_transaction_leaves_nothing_of_it() {
    let begin = [
        "EHLO client.example",
        "MAIL FROM:<a@b.example> ENVID=x",
        "RCPT TO:<c@d.example>",
    ];
    let ends: [fn(&mut Session); 8] = [
        |s| drop(say_all(s, &["EHLO x"])),
        |s| drop(say_all(s, &["HELO x"])),
        |s| drop(say_all(s, &["RSET"])),
        |s| drop(s.data_end(Ok("ID".to_owned()))),
        |s| drop(s.data_end(Err(replies::TOO_BIG))),
        |s| drop(s.refuse_data(replies::NO_SPACE, false, &mut Anybody)),
        |s| drop(say_all(s, &["STARTTLS"])),
        |s| s.tls_started(),
    ];
    for (index, end) in ends.iter().enumerate() {
        let mut session = Session::new(settings());
        say_all(&mut session, &begin);
        assert!(session.transaction().is_some());
        end(&mut session);
        assert!(session.transaction().is_none(), "{index}");
        assert_eq!(say_all(&mut session, &["DATA"]), [503], "{index}");
    }
}

/// Each word of HELP is a command that this port takes at some time, and no other is.
#[test]
fn help_names_the_commands_of_the_port() {
    let all = [
        "EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT",
        "VRFY", "HELP",
    ];
    // LMTP, STARTTLS, AUTH; what is not taken.
    let rows: [(bool, bool, bool, &[&str]); 4] = [
        (false, true, true, &["LHLO"]),
        (false, false, false, &["LHLO", "STARTTLS", "AUTH"]),
        (false, false, true, &["LHLO", "STARTTLS"]),
        (true, false, false, &["EHLO", "HELO", "STARTTLS", "AUTH"]),
    ];
    for (lmtp, starttls, auth, missing) in rows {
        let mechanisms = auth.then_some(Mechanism::Plain).into_iter().collect();
        let settings = Settings {
            lmtp,
            starttls,
            mechanisms,
            ..settings()
        };
        let mut session = Session::new(settings.clone());
        let (reply, _) = session.command(b"HELP", false, &mut Anybody);
        let (words, _) = reply.text().split_once(" are known here").unwrap();
        let words: Vec<&str> = words.split(' ').collect();
        for word in all {
            let is_missing = missing.contains(&word);
            assert_eq!(words.contains(&word), !is_missing, "{lmtp} {word}");
            let mut session = Session::new(settings.clone());
            let hello = if lmtp { "LHLO x" } else { "EHLO x" };
            assert_eq!(say_all(&mut session, &[hello]), [250]);
            let line = match word {
                "EHLO" | "HELO" | "LHLO" => format!("{word} x"),
                "AUTH" => "AUTH PLAIN".to_owned(),
                word => word.to_owned(),
            };
            let (reply, _) = session.command(line.as_bytes(), false, &mut Anybody);
            let is_unknown = matches!(reply.code(), 500 | 502);
            assert_eq!(is_unknown, is_missing, "{line}: {reply}");
        }
    }
}

/// R65: HELO or EHLO, TLS, AUTH, SMTPUTF8, LMTP.
#[test]
fn the_received_field_gets_the_right_word() {
    let rows = [
        ("HELO x", "", false, false, "SMTP"),
        ("EHLO x", "", false, false, "ESMTP"),
        ("EHLO x", "", true, false, "ESMTPS"),
        ("EHLO x", "", false, true, "ESMTPA"),
        ("EHLO x", "", true, true, "ESMTPSA"),
        ("EHLO x", " SMTPUTF8", false, false, "UTF8SMTP"),
        ("EHLO x", " SMTPUTF8", true, true, "UTF8SMTPSA"),
        ("LHLO x", "", false, false, "LMTP"),
        ("LHLO x", " SMTPUTF8", true, false, "UTF8LMTPS"),
    ];
    for (hello, parameter, tls, auth, word) in rows {
        let lmtp = hello.starts_with('L');
        let mut session = Session::new(Settings {
            tls,
            lmtp,
            ..settings()
        });
        say_all(&mut session, &[hello]);
        if auth {
            say_all(&mut session, &["AUTH PLAIN AGFsaWNlAHNlY3JldA=="]);
        }
        let mail = format!("MAIL FROM:<a@b.example>{parameter} RET=HDRS ENVID=QQ");
        say_all(&mut session, &[&mail, "RCPT TO:<c@d.example> NOTIFY=NEVER"]);
        let transaction = session.transaction().unwrap();
        assert_eq!(transaction.protocol(), word);
        let envelope = transaction.envelope(7, "[192.0.2.1]");
        assert_eq!(envelope.auth.as_deref(), auth.then_some("alice"));
        assert_eq!(envelope.smtputf8, !parameter.is_empty());
        assert_eq!(envelope.envid.as_deref(), Some("QQ"));
        assert_eq!(envelope.recipients.len(), 1);
        assert_eq!(
            (envelope.protocol.as_str(), envelope.received_at),
            (word, 7)
        );
    }
}

#[test]
fn nothing_said_in_the_clear_counts_under_tls() {
    let mut session = Session::new(settings());
    say_all(
        &mut session,
        &[
            "EHLO secret.example",
            "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
            "STARTTLS",
        ],
    );
    session.tls_started();
    assert!(session.greeting().is_some()); // the flow says it, and had not here
    assert_eq!(session.greeting(), None);
    assert_eq!(
        say_all(&mut session, &["MAIL FROM:<a@b.example>", "EHLO x"]),
        [503, 250]
    );
    say_all(&mut session, &["MAIL FROM:<a@b.example>"]);
    let client = &session.transaction().unwrap().client;
    assert_eq!((client.name.as_str(), &client.user), ("x", &None));
}

/// What a policy is told of: each refusal that it has not made itself, with its step, and the end, once.
#[test]
fn what_the_session_refuses_is_told_once() {
    #[derive(Default)]
    struct Told(Vec<String>);
    impl Policy for Told {
        fn space(&mut self, _: u64) -> Result<(), Reply> {
            Ok(())
        }
        fn sender(&mut self, transaction: &Transaction) -> Result<(), Reply> {
            match transaction.sender.mailbox() {
                Some(_) => Ok(()),
                None => Err(replies::SENDER_REFUSED),
            }
        }
        fn recipient(&mut self, _: &Transaction, recipient: &Recipient) -> Result<(), Reply> {
            match recipient.address.local() {
                "nobody" => Err(replies::NO_SUCH_USER),
                _ => Ok(()),
            }
        }
        fn authenticate(&mut self, _: &Credentials) -> Result<(), Reply> {
            Err(replies::AUTH_FAILED)
        }
        fn refused(&mut self, refusal: &Refusal<'_>) {
            let (step, code) = (refusal.step.name(), refusal.reply.code());
            self.0.push(format!("{step} {code}"));
        }
        fn closed(&mut self, reply: &Reply) {
            self.0.push(format!("closed {}", reply.code()));
        }
    }
    let (mail, rcpt) = ("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>");
    let rows: &[(&[&str], &[&str])] = &[
        (&["MAIL FROM:<a@b.example> SIZE=1001"], &["MAIL 552"]),
        (&["MAIL FROM:<a b>"], &["MAIL 501"]),
        (&["MAIL FROM:<>"], &[]), // by the policy, as the next
        (&[mail, "RCPT TO:<nobody@d.example>"], &[]),
        (&[mail, rcpt, "RCPT TO:<e@d.example>"], &["RCPT 452"]),
        (&[mail, "RCPT TO:<x y>"], &["RCPT 501"]),
        (&["RCPT TO:<x y>", "DATA x"], &[]), // of no message
        (&[rcpt, "DATA", mail, mail, "DATA"], &[]), // out of order
        (&["FOO", "NOOP", "AUTH PLAIN AGEAYg=="], &[]),
        (&["FOO", "FOO", "FOO"], &["closed 421"]),
        (
            &["FOO", "FOO", "MAIL FROM:<a@b.example> X=1"],
            &["MAIL 555", "closed 421"],
        ),
        (&["GET / HTTP/1.0"], &["closed 421"]),
        (&["BDAT 5 LAST"], &["closed 502"]),
        (&["DATA x", "text"], &["closed 421"]),
        (&["QUIT"], &[]),
    ];
    for (lines, expected) in rows {
        let mut told = Told::default();
        let mut session = Session::new(Settings {
            max_recipients: 1,
            max_errors: 2,
            ..settings()
        });
        session.command(b"EHLO x", false, &mut told);
        for line in *lines {
            session.command(line.as_bytes(), false, &mut told);
        }
        assert_eq!(told.0, *expected, "{lines:?}");
    }
    // A service for users refuses the message of who is none.
    let mut told = Told::default();
    let mut session = Session::new(Settings {
        tls: true,
        auth_required: true,
        ..settings()
    });
    for line in ["EHLO x", mail, rcpt, "DATA"] {
        session.command(line.as_bytes(), false, &mut told);
    }
    assert_eq!(told.0, ["MAIL 530"]);
}

/// A policy may end the session, whatever it is asked (R82).
#[test]
fn a_refusal_of_421_hangs_up() {
    struct Closing;
    impl Policy for Closing {
        fn space(&mut self, _: u64) -> Result<(), Reply> {
            Ok(())
        }
        fn sender(&mut self, _: &Transaction) -> Result<(), Reply> {
            Err(replies::SHUTTING_DOWN)
        }
        fn recipient(&mut self, _: &Transaction, _: &Recipient) -> Result<(), Reply> {
            Ok(())
        }
        fn authenticate(&mut self, _: &Credentials) -> Result<(), Reply> {
            Ok(())
        }
    }
    let mut session = Session::new(settings());
    say_all(&mut session, &["EHLO x"]);
    let answer = session.command(b"MAIL FROM:<>", false, &mut Closing);
    assert_eq!(answer, (replies::SHUTTING_DOWN, Then::HangUp));
    let (_, then) = session.data_end(Err(replies::SHUTTING_DOWN));
    assert_eq!(then, Then::HangUp);
}

//! The client's side of a transaction without a network: what is said, and what each reply means for whom.

use super::super::address::{Mailbox, ReversePath};
use super::super::envelope::{Facts, Notify, Recipient, Ret};
use super::super::letter::capabilities;
use super::super::reply::ReplyReader;
use super::commands::MAX_GROUP_OCTETS;
use super::*;

fn reply(text: &str) -> Reply {
    let (taken, reply) = ReplyReader::default().feed(text.as_bytes()).unwrap();
    assert_eq!(taken, text.len());
    reply.unwrap()
}

/// How a transaction went: the groups that were sent (a message is "(message)"), and what became of each
/// recipient: "=" delivered, "~" deferred, "!" failed, "+" again, with the words.
struct Run {
    groups: Vec<String>,
    verdicts: Vec<String>,
    usable: bool,
    left_open: bool,
}

/// Runs a transaction against replies; where they end, the connection is gone.
fn run(letter: &Letter<'_>, offered: &str, replies: &[&str]) -> Run {
    let mut capabilities = capabilities(offered);
    capabilities.lmtp = offered.starts_with(LMTP);
    run_with(letter, &capabilities, replies)
}

fn run_with(letter: &Letter<'_>, capabilities: &Capabilities, replies: &[&str]) -> Run {
    let all: Vec<usize> = (0..letter.recipients.len()).collect();
    let mut transaction = Transaction::new(letter, &all, capabilities, "mx", false);
    let mut replies = replies.iter();
    let mut groups = Vec::new();
    loop {
        let mut out = Vec::new();
        let next = transaction.next(&mut out);
        if !out.is_empty() {
            let text = String::from_utf8(out).unwrap();
            groups.push(text.trim_end().replace("\r\n", "|"));
        }
        match next {
            Next::Reply(_) => match replies.next() {
                Some(text) => transaction.take(&reply(&format!("{text}\r\n"))),
                None => transaction.lost(Enhanced(4, 4, 2), "gone"),
            },
            Next::Message | Next::NoMessage => {
                let nothing = next == Next::NoMessage;
                groups.push(if nothing { "." } else { "(message)" }.to_owned());
                transaction.sent();
            }
            Next::Done => break,
        }
    }
    assert_eq!(replies.next(), None);
    let (usable, left_open) = (transaction.is_usable(), transaction.left_open());
    let settled = transaction.finish().into_iter();
    let verdicts = settled.map(|(_, settled)| match settled {
        Settled::Again(outcome) => format!("+ {}", outcome.words()),
        Settled::Now(outcome) => {
            let sign = match outcome.verdict {
                Verdict::Delivered => "=",
                Verdict::Deferred => "~",
                Verdict::Failed | Verdict::Expanded => "!",
            };
            format!("{sign} {}", outcome.words())
        }
    });
    Run {
        groups,
        verdicts: verdicts.collect(),
        usable,
        left_open,
    }
}

fn recipients(count: usize) -> Vec<Recipient> {
    let addresses = (1..=count).map(|n| Mailbox::parse(&format!("r{n}@b.example")).unwrap());
    addresses.map(Recipient::plain).collect()
}

fn with_letter<T>(recipients: &[Recipient], then: impl FnOnce(Letter<'_>) -> T) -> T {
    let sender = ReversePath::Mailbox(Mailbox::parse("a@b.example").unwrap());
    let borrowed: Vec<&Recipient> = recipients.iter().collect();
    then(Letter {
        sender: &sender,
        recipients: &borrowed,
        facts: Facts {
            size: 5000,
            crc32: 0,
            longest_line: 70,
            eight_bit: false,
            eight_bit_header: false,
        },
        smtputf8: false,
        requiretls: false,
        ret: None,
        envid: None,
    })
}

const PIPED: &str = "PIPELINING";
/// As a server of LMTP; no keyword, but what is not known is passed over.
const LMTP: &str = "LMTP";
const GROUP: &str = "MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|DATA";

/// Recipients, what is offered, replies; groups sent, verdicts, usable afterwards, left open.
type Row = (
    usize,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    bool,
    bool,
);

#[rustfmt::skip]
    const ROWS: &[Row] = &[
        // K29: LMTP has a reply for each recipient after the dot; one that does not come defers.
        (3, LMTP, &["250 ok", "250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there", "452 4.2.2 full", "550 5.7.1 no"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "RCPT TO:<r3@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 452 4.2.2 full", "! 550 5.7.1 no"], true, false),
        (2, LMTP, &["250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 4.4.2 gone; it may have the message"], false, false),
        // One that is 421 is so of his recipient alone; what comes behind it counts, and what does not come is in doubt.
        (3, LMTP, &["250 ok", "250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there", "421 4.2.1 locked", "250 2.1.5 there"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "RCPT TO:<r3@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 421 4.2.1 locked", "= 250 2.1.5 there"], false, false),
        (3, LMTP, &["250 ok", "250 ok", "250 ok", "250 ok", "354 go", "421 4.3.2 bye"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "RCPT TO:<r3@b.example>", "DATA", "(message)"],
         &["~ 421 4.3.2 bye", "~ 4.4.2 gone; it may have the message", "~ 4.4.2 gone; it may have the message"], false, true),
        (2, LMTP, &["250 ok", "250 ok", "250 ok", "354 go", "250 2.0.0 there", "421 4.3.2 bye"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 there", "~ 421 4.3.2 bye"], false, false),
        (2, LMTP, &["250 ok", "550 no", "250 ok", "354 go", "250 2.0.0 there"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["! 550 no", "= 250 2.0.0 there"], true, false),
        // All well: one at a time, and in one group.
        (1, "", &["250 ok", "250 ok", "354 go", "250 2.0.0 queued"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 queued"], true, false),
        (1, PIPED, &["250 ok", "251 ok", "354 go", "250 queued"],
         &[GROUP, "(message)"], &["= 250 2.0.0 queued"], true, false),
        // K14 without its 421: each has its own verdict, and 452 is tried again at once.
        (5, PIPED, &["250 ok", "250 ok", "450 later", "550 5.1.1 no", "452 4.5.3 many", "552 many", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|RCPT TO:<r3@b.example>|RCPT TO:<r4@b.example>|RCPT TO:<r5@b.example>|DATA", "(message)"],
         &["= 250 2.0.0 ok", "~ 450 later", "! 550 5.1.1 no", "+ 452 4.5.3 many", "+ 552 many"], true, false),
        // K14: with 421 all that is not decided is deferred.
        (3, PIPED, &["250 ok", "250 ok", "550 no", "421 bye"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|RCPT TO:<r3@b.example>|DATA"],
         &["~ 421 bye", "! 550 no", "~ 421 bye"], false, true),
        // 452 for one full mailbox is no reason for another transaction; nor is any 452 when nobody was accepted.
        (2, PIPED, &["250 ok", "250 ok", "452 4.2.2 full", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|DATA", "(message)"],
         &["= 250 2.0.0 ok", "~ 452 4.2.2 full"], true, false),
        (1, PIPED, &["250 ok", "452 4.5.3 many", "503 none"], &[GROUP], &["~ 452 4.5.3 many"], true, true),
        (2, PIPED, &["250 ok", "250 ok", "452 many", "354 go", "451 not now"],
         &["MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|RCPT TO:<r2@b.example>|DATA", "(message)"],
         &["~ 451 not now", "~ 452 many"], true, false),
        // After "too many" the rest is not named.
        (3, "", &["250 ok", "250 ok", "452 many", "354 go", "250 ok"],
         &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "RCPT TO:<r2@b.example>", "DATA", "(message)"],
         &["= 250 2.0.0 ok", "+ 452 many", "+ 452 many"], true, false),
        // K49: MAIL decides for all; so do DATA and the dot.
        (1, PIPED, &["550 no", "503 none", "503 none"], &[GROUP], &["! 550 no"], true, false),
        (1, "", &["452 full"], &["MAIL FROM:<a@b.example>"], &["~ 452 full"], true, false),
        (1, "", &["250 ok", "250 ok", "554 no"], &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>", "DATA"],
         &["! 554 no"], true, true),
        (1, PIPED, &["250 ok", "250 ok", "451 no"], &[GROUP], &["~ 451 no"], true, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "552 5.3.4 big"], &[GROUP, "(message)"], &["! 552 5.3.4 big"], true, false),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "554 spam"], &[GROUP, "(message)"], &["! 554 spam"], true, false),
        // Our login or TLS is not what it wants: not the mail's fault.
        (1, PIPED, &["530 5.7.0 log in", "503 x", "503 x"], &[GROUP], &["~ 530 5.7.0 log in"], true, false),
        // Nobody accepted, one at a time: no DATA.
        (1, "", &["250 ok", "550 no"], &["MAIL FROM:<a@b.example>", "RCPT TO:<r1@b.example>"], &["! 550 no"], true, true),
        // K51: DATA granted although nobody was accepted, or MAIL was not.
        (1, PIPED, &["250 ok", "550 no", "354 go", "250 ok"], &[GROUP, "."], &["! 550 no"], true, false),
        (1, PIPED, &["451 no", "250 ok", "354 go", "250 ok"], &[GROUP, "."], &["~ 451 no"], true, false),
        // K15: 421 at each step.
        (1, "", &["421 bye"], &["MAIL FROM:<a@b.example>"], &["~ 421 bye"], false, false),
        (1, PIPED, &["250 ok", "421 bye"], &[GROUP], &["~ 421 bye"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "421 bye"], &[GROUP], &["~ 421 bye"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "421 bye"], &[GROUP, "(message)"], &["~ 421 bye"], false, true),
        // A drop at each step; after the dot nobody has it (R111).
        (1, "", &[], &["MAIL FROM:<a@b.example>"], &["~ 4.4.2 gone"], false, false),
        (1, PIPED, &["250 ok"], &[GROUP], &["~ 4.4.2 gone"], false, true),
        (1, PIPED, &["250 ok", "250 ok"], &[GROUP], &["~ 4.4.2 gone"], false, true),
        (1, PIPED, &["250 ok", "250 ok", "354 go"], &[GROUP, "(message)"], &["~ 4.4.2 gone; it may have the message"], false, true),
        // K50, K11: replies that do not fit.
        (1, PIPED, &["250 ok", "250 ok", "250 ok"], &[GROUP],
         &["~ 4.5.0 the server broke the protocol: it answered DATA with 250 ok"], false, true),
        (1, PIPED, &["250 ok", "354 go"], &[GROUP],
         &["~ 4.5.0 the server broke the protocol: it answered RCPT with 354 go"], false, true),
        (1, "", &["354 go"], &["MAIL FROM:<a@b.example>"],
         &["~ 4.5.0 the server broke the protocol: it answered MAIL with 354 go"], false, false),
        (1, PIPED, &["250 ok", "250 ok", "354 go", "354 go"], &[GROUP, "(message)"],
         &["~ 4.5.0 the server broke the protocol: it answered the end of the message with 354 go; it may have the message"], false, true),
        // K23: larger than the server takes; exactly as large.
        (1, "SIZE_4999", &[], &[], &["! 5.3.4 the message has 5000 octets, and this host takes at most 4999"], true, false),
        (1, "SIZE_5000", &["550 no"], &["MAIL FROM:<a@b.example> SIZE=5000"], &["! 550 no"], true, false),
        (1, "SIZE_0", &["550 no"], &["MAIL FROM:<a@b.example> SIZE=5000"], &["! 550 no"], true, false),
    ];

#[test]
fn each_recipient_gets_its_verdict() {
    for (count, offered, replies, groups, verdicts, usable, left_open) in ROWS {
        let run = with_letter(&recipients(*count), |letter| run(&letter, offered, replies));
        assert_eq!(run.groups, *groups, "{replies:?}");
        assert_eq!(run.verdicts, *verdicts, "{replies:?}");
        assert_eq!(run.usable, *usable, "{replies:?}");
        assert_eq!(run.left_open, *left_open, "{replies:?}");
    }
}

/// RFC 8689 4.2.1: only to a server that offers it and is known to be the right one.
#[test]
fn what_requires_tls_is_not_named_to_others() {
    let to = recipients(1);
    let rows = [
        (
            "REQUIRETLS",
            true,
            &["MAIL FROM:<a@b.example> REQUIRETLS"][..],
        ),
        ("REQUIRETLS", false, &[]),
        ("", true, &[]),
        ("", false, &[]),
    ];
    for (offered, authentic, groups) in rows {
        let run = with_letter(&to, |mut letter| {
            letter.requiretls = true;
            let capabilities = Capabilities {
                authentic,
                ..capabilities(offered)
            };
            run_with(&letter, &capabilities, &["550 no"][..groups.len()])
        });
        assert_eq!(run.groups, groups, "{offered} {authentic}");
        let about = run.verdicts[0].starts_with("~ 4.7.30 the sender asks for REQUIRETLS");
        assert_eq!(about, groups.is_empty(), "{}", run.verdicts[0]);
    }
}

/// R152, R156: what the sender wanted of reports goes on as it came, and SMTPUTF8 goes with 8BITMIME.
#[test]
fn parameters_are_said_only_to_servers_that_know_them() {
    let mut to = recipients(1);
    to[0].notify = Notify::parse("SUCCESS,FAILURE");
    to[0].orcpt = Some("rfc822;r1@b.example".to_owned());
    let rows = [
        ("", "MAIL FROM:<a@b.example>|RCPT TO:<r1@b.example>|DATA"),
        (
            "SIZE 8BITMIME SMTPUTF8 DSN",
            "MAIL FROM:<a@b.example> SIZE=5000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ|\
                 RCPT TO:<r1@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;r1@b.example|DATA",
        ),
    ];
    for (offered, expected) in rows {
        let replies = ["250 ok", "250 ok", "354 go", "250 ok"];
        let run = with_letter(&to, |mut letter| {
            letter.facts.eight_bit = true;
            letter.smtputf8 = !offered.is_empty();
            letter.ret = Some(Ret::Headers);
            letter.envid = Some("QQ");
            run(&letter, &format!("{offered} PIPELINING"), &replies)
        });
        assert_eq!(run.groups[0], expected);
    }
    // RFC 6533 3: an address in UTF-8 as the server understands it.
    let rows = [
        (
            "utf-8;b\u{f8}b@b.example",
            "DSN SMTPUTF8",
            " ORCPT=utf-8;b\u{f8}b@b.example",
        ),
        (
            "UTF-8;b\u{f8}b@b.example",
            "DSN",
            " ORCPT=UTF-8;b\\x{F8}b@b.example",
        ),
        (
            "utf-8;b\\x{F8}b@b.example",
            "DSN SMTPUTF8",
            " ORCPT=utf-8;b\\x{F8}b@b.example",
        ),
        ("utf-8;b\u{f8}b\u{85}=@b.example", "DSN SMTPUTF8", ""),
        ("rfc822;b\u{f8}b@b.example", "DSN SMTPUTF8", ""),
        (
            &format!("utf-8;{}@b.example", "\u{f8}".repeat(100)),
            "DSN",
            "",
        ),
    ];
    for (orcpt, offered, expected) in rows {
        to[0].orcpt = Some(orcpt.to_owned());
        let run = with_letter(&to, |letter| run(&letter, offered, &["250 ok", "250 ok"]));
        let named = "RCPT TO:<r1@b.example> NOTIFY=SUCCESS,FAILURE";
        assert_eq!(
            run.groups[1],
            format!("{named}{expected}"),
            "{orcpt} {offered}"
        );
    }
    // What could become a second parameter is left out.
    to[0].orcpt = Some("rfc822;a NOTIFY=NEVER".to_owned());
    let run = with_letter(&to, |letter| run(&letter, "DSN", &["250 ok", "250 ok"]));
    assert_eq!(
        run.groups[1],
        "RCPT TO:<r1@b.example> NOTIFY=SUCCESS,FAILURE"
    );
}

#[test]
fn only_those_who_need_smtputf8_fail_without_it() {
    // K24. Which addresses are beyond ASCII (sender, then recipients), submitted as SMTPUTF8, 8-bit; who
    // fails.
    let rows: &[([&str; 3], bool, bool, [bool; 2])] = &[
        (
            ["a@b.example", "b@c.example", "c@d.example"],
            false,
            true,
            [false, false],
        ),
        (
            ["a@b.example", "b@c.example", "c@d.example"],
            true,
            false,
            [false, false],
        ),
        (
            ["a@b.example", "b@c.example", "c@d.example"],
            true,
            true,
            [true, true],
        ),
        (
            ["a@b.example", "b@c.example", "jos\u{e9}@d.example"],
            false,
            false,
            [false, true],
        ),
        (
            ["jos\u{e9}@a.example", "b@c.example", "c@d.example"],
            false,
            false,
            [true, true],
        ),
        // A domain has a form in ASCII.
        (
            [
                "a@\u{e9}.example",
                "b@\u{e9}.example",
                "jos\u{e9}@\u{e9}.example",
            ],
            false,
            false,
            [false, true],
        ),
    ];
    for ([from, one, two], smtputf8, eight_bit, failing) in rows {
        let sender = ReversePath::Mailbox(Mailbox::parse(from).unwrap());
        let to = [one, two].map(|a| Recipient::plain(Mailbox::parse(a).unwrap()));
        let with = |offered: &str| {
            let letter = Letter {
                sender: &sender,
                recipients: &[&to[0], &to[1]],
                facts: Facts {
                    eight_bit: *eight_bit,
                    eight_bit_header: *eight_bit,
                    ..Facts::default()
                },
                smtputf8: *smtputf8,
                requiretls: false,
                ret: None,
                envid: None,
            };
            run(&letter, offered, &[])
        };
        let without = with("");
        let failed: Vec<bool> = without
            .verdicts
            .iter()
            .map(|v| v.starts_with("! 5.6.7"))
            .collect();
        assert_eq!(failed, failing, "{from} {one} {two}");
        assert!(!without.groups.iter().any(|g| g.contains("SMTPUTF8")));
        let wanted = *smtputf8 || ![*from, *one, *two].iter().all(|a| a.is_ascii());
        let offered = with("SMTPUTF8");
        assert_eq!(offered.groups[0].ends_with(" SMTPUTF8"), wanted);
        assert!(offered.verdicts.iter().all(|v| v.starts_with("~ 4.4.2")));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn groups_are_bounded() {
    let to = recipients(250);
    let replies = ["250 ok"].repeat(251);
    let mut replies = replies.clone();
    replies.extend(["354 go", "250 ok"]);
    let run = with_letter(&to, |letter| run(&letter, PIPED, &replies));
    let counts: Vec<usize> = run.groups.iter().map(|g| g.split('|').count()).collect();
    assert_eq!(counts, [100, 100, 52, 1]);
    let text = |g: &String| g.len() < MAX_GROUP_OCTETS + 600;
    assert!(run.groups.iter().all(text));
    assert!(run.verdicts.iter().all(|v| v.starts_with('=')));
}

#[test]
fn a_transaction_left_open_is_reset_first() {
    with_letter(&recipients(1), |letter| {
        let capabilities = capabilities(PIPED);
        let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", true);
        let mut out = Vec::new();
        assert_eq!(transaction.next(&mut out), Next::Reply(Command::Reset));
        assert!(out.starts_with(b"RSET\r\nMAIL FROM:<"));
        transaction.take(&reply("250 ok\r\n"));
        transaction.take(&reply("550 no\r\n"));
        assert!(!transaction.left_open() && transaction.is_usable());
    });
}

#[test]
fn what_the_server_says_while_the_message_is_sent_is_used() {
    // K16. A yes counts for nothing, as the server has not seen the end.
    for (said, expected) in [
        ("550 5.7.1 spam\r\n", Verdict::Failed),
        ("451 no\r\n", Verdict::Deferred),
        ("421 bye\r\n", Verdict::Deferred),
        ("250 ok\r\n", Verdict::Deferred),
    ] {
        with_letter(&recipients(1), |letter| {
            let capabilities = capabilities(PIPED);
            let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", false);
            for text in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                transaction.next(&mut Vec::new());
                transaction.take(&reply(text));
            }
            assert_eq!(transaction.next(&mut Vec::new()), Next::Message);
            transaction.take_early(&reply(said));
            assert_eq!(transaction.next(&mut Vec::new()), Next::Done);
            assert!(!transaction.is_usable());
            let Some((_, Settled::Now(outcome))) = transaction.finish().pop() else {
                panic!("no outcome");
            };
            assert_eq!(outcome.verdict, expected, "{said}");
        });
    }
}

#[test]
fn the_duty_to_report_goes_on_with_the_message() {
    for (offered, expected) in [("PIPELINING", false), ("PIPELINING DSN", true)] {
        with_letter(&recipients(1), |letter| {
            let capabilities = capabilities(offered);
            let mut transaction = Transaction::new(&letter, &[0], &capabilities, "mx", false);
            for text in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                transaction.next(&mut Vec::new());
                transaction.take(&reply(text));
            }
            transaction.sent();
            transaction.take(&reply("250 ok\r\n"));
            let Some((_, Settled::Now(outcome))) = transaction.finish().pop() else {
                panic!("no outcome");
            };
            assert_eq!(outcome.dsn_passed, expected);
        });
    }
}

#[test]
fn a_closed_idle_connection_is_known_as_such() {
    with_letter(&recipients(1), |letter| {
        let capabilities = capabilities("");
        let begin = || Transaction::new(&letter, &[0], &capabilities, "mx", false);
        let mut gone = begin();
        gone.next(&mut Vec::new());
        gone.lost(Enhanced(4, 4, 2), "gone");
        assert!(gone.is_untouched());
        let mut closing = begin();
        closing.next(&mut Vec::new());
        closing.take(&reply("421 idle too long\r\n"));
        assert!(closing.is_untouched()); // K46
        let mut not_reset = Transaction::new(&letter, &[0], &capabilities, "mx", true);
        not_reset.next(&mut Vec::new());
        not_reset.take(&reply("502 what is that\r\n"));
        assert!(not_reset.is_untouched());
        let mut later = begin();
        later.next(&mut Vec::new());
        later.take(&reply("250 ok\r\n"));
        later.lost(Enhanced(4, 4, 2), "gone");
        assert!(!later.is_untouched());
    });
}

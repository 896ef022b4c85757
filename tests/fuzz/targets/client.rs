//! What servers say to the client.

use super::{Pieces, choice};
use crate::proto::address::{Mailbox, ReversePath};
use crate::proto::client::{Next, Settled, Transaction};
use crate::proto::envelope::{Facts, Recipient};
use crate::proto::journal::{Entry, Progress};
use crate::proto::letter::{Capabilities, Letter};
use crate::proto::outcome::Verdict;
use crate::proto::reply::{Enhanced, Reply, ReplyReader};
use crate::proto::sasl;

/// All replies in some octets, fed in pieces, and whether they end in something that is none.
fn replies(octets: &[u8], pieces: Pieces) -> (Vec<Reply>, bool) {
    let (mut reader, mut found, mut bad) = (ReplyReader::default(), Vec::new(), false);
    pieces.each(octets, &mut |mut piece| {
        while !piece.is_empty() && !bad {
            match reader.feed(piece) {
                Ok((taken, reply)) => {
                    assert!(taken > 0 && taken <= piece.len());
                    piece = &piece[taken..];
                    found.extend(reply);
                }
                Err(_) => bad = true,
            }
        }
    });
    (found, bad)
}

/// Replies: the same whatever the pieces, each bounded, each line printable.
pub fn reply(octets: &[u8]) {
    let (pieces, octets) = choice(octets);
    let whole = replies(octets, Pieces::new(0));
    assert_eq!(whole, replies(octets, Pieces::new(pieces)));
    for reply in &whole.0 {
        assert!((200..=599).contains(&reply.code), "{reply:?}");
        assert!(reply.lines.len() <= ReplyReader::MAX_LINES);
        assert!(
            !reply.text().contains(|c: char| c.is_control()),
            "{reply:?}"
        );
        let _ = Capabilities::parse(reply);
    }
}

/// A transaction with a server that says anything: it ends, everybody has one verdict, nobody has the message who was
/// not told so behind its end, and what is journalled is read again.
pub fn session(octets: &[u8]) {
    let (flags, octets) = choice(octets);
    let on = |bit: u8| flags & (1 << bit) != 0;
    let (said, _) = replies(octets, Pieces::new(0));
    let mut said = said.into_iter();
    let mut capabilities = said
        .next()
        .map(|r| Capabilities::parse(&r))
        .unwrap_or_default();
    capabilities.lmtp = on(0);
    let addresses = [
        "one@example.net",
        "\"a b\"@example.net",
        "jos\u{e9}@example.net",
    ];
    let recipients = addresses.map(|a| Recipient::plain(Mailbox::parse(a).unwrap()));
    let named: Vec<&Recipient> = recipients.iter().take(if on(1) { 3 } else { 2 }).collect();
    let sender = ReversePath::Null;
    let letter = Letter {
        sender: &sender,
        recipients: &named,
        facts: Facts {
            size: 100,
            eight_bit: on(2),
            eight_bit_header: on(2) && on(6),
            ..Facts::default()
        },
        smtputf8: on(3),
        ret: None,
        envid: Some("QQ"),
        requiretls: on(5),
    };
    let indices: Vec<usize> = (0..named.len()).collect();
    let mut transaction = Transaction::new(&letter, &indices, &capabilities, "mx", on(4));
    let (mut dots, mut yes_to_dot) = (0, false);
    for _ in 0..100 {
        let mut out = Vec::new();
        let next = transaction.next(&mut out);
        assert!(out.is_empty() || out.ends_with(b"\r\n"));
        assert!(dots == 0 || out.is_empty(), "commands behind the message");
        match next {
            Next::Done => break,
            Next::Message | Next::NoMessage => {
                dots += 1;
                transaction.sent();
            }
            Next::Reply(_) => match said.next() {
                Some(reply) => {
                    yes_to_dot |= dots > 0 && reply.class() == 2;
                    transaction.take(&reply);
                }
                None => transaction.lost(Enhanced(4, 4, 2), "gone"),
            },
        }
    }
    assert!(dots <= 1);
    assert_eq!(transaction.next(&mut Vec::new()), Next::Done);
    let outcomes = transaction.finish();
    assert_eq!(outcomes.len(), named.len());
    let mut journal = String::new();
    for (index, settled) in outcomes {
        let (Settled::Now(outcome) | Settled::Again(outcome)) = settled;
        assert!(
            outcome.verdict != Verdict::Delivered || yes_to_dot,
            "{outcome:?}"
        );
        let line = Entry::Attempt(vec![index], outcome).line(0);
        assert_eq!(line.lines().count(), 1);
        journal.push_str(&line);
    }
    let (progress, _) =
        Progress::parse(journal.as_bytes(), &mut recipients[..named.len()].to_vec());
    assert!(
        progress.standings.iter().all(|s| s.last.is_some()),
        "{journal}"
    );
}

/// A login at a server that asks anything: three answers at most, none of which is more than one line.
pub fn login(octets: &[u8]) {
    let (flags, octets) = choice(octets);
    let mechanism = match flags % 6 {
        0 => sasl::Mechanism::Plain,
        1 => sasl::Mechanism::Login,
        2 => sasl::Mechanism::CramMd5,
        3 => sasl::Mechanism::ScramSha256,
        4 => sasl::Mechanism::Xoauth2,
        _ => sasl::Mechanism::Oauthbearer,
    };
    // A challenge of a million rounds is not a fault, but it is slow.
    if octets.windows(5).any(|w| w.iter().all(u8::is_ascii_digit)) {
        return;
    }
    let mut client = sasl::Client::new(mechanism, "us=er,", b"pass\xffword", "nonce");
    let mut answers = vec![client.command()];
    // What is asked comes in base64; so that it is seen, it is written here as it is.
    for challenge in octets.split(|b| *b == b'\n') {
        let encoded = match flags & 0x80 {
            0 => sasl::encode_base64(challenge),
            _ => String::from_utf8_lossy(challenge).into_owned(),
        };
        match client.answer(&encoded) {
            Ok(answer) => answers.push(answer),
            Err(refused) => {
                assert!(!refused.0.is_empty());
                break;
            }
        }
    }
    assert!(answers.len() <= 4);
    let odd = |text: &String| text.contains(|c: char| c.is_control());
    assert!(!answers.iter().any(odd), "{answers:?}");
    let _ = client.finish();
}

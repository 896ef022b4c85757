//! What strangers and their name servers say of who sends a message: SPF, DKIM, DMARC, ARC.

use std::net::IpAddr;
use std::sync::LazyLock;

use super::{Pieces, choice, is_canonical, split_lines};
use crate::proto::address::Domain;
use crate::proto::arc;
use crate::proto::data::LocalText;
use crate::proto::dkim::key::{PublicKey, SigningKey};
use crate::proto::dkim::sign::{Signable, Signer, Signing};
use crate::proto::dkim::verify::{Found, Verifier};
use crate::proto::dmarc::{self, Proofs};
use crate::proto::header::Header;
use crate::proto::header_reader::HeaderReader;
use crate::proto::mx::{Exchanger, NoAnswer};
use crate::proto::names::Names;
use crate::proto::results::{Checked, Word, field};
use crate::proto::spf;

/// Name servers that answer each question with the next line of some octets, and nothing when there is none left.
struct Answers<'o> {
    lines: Vec<&'o [u8]>,
    asked: usize,
}

impl<'o> Answers<'o> {
    fn new(octets: &'o [u8]) -> Self {
        let lines = octets.split(|b| *b == b'\n').collect();
        Self { lines, asked: 0 }
    }

    fn next(&mut self, name: &str) -> Result<String, NoAnswer> {
        assert!(!name.is_empty() && name.len() <= 400, "{name:?}");
        let line = self.lines.get(self.asked).copied();
        self.asked += 1;
        match line {
            None | Some([]) => Err(NoAnswer::NoSuchDomain),
            Some([b'-']) => Err(NoAnswer::NoData),
            Some([b'!']) => Err(NoAnswer::Temporary("it is silent".to_owned())),
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        }
    }

    fn words(&mut self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(self.next(name)?.split(' ').map(str::to_owned).collect())
    }
}

impl Names for Answers<'_> {
    fn txt(&mut self, name: &str) -> Result<Vec<String>, NoAnswer> {
        // Several records stand in one line.
        Ok(self.next(name)?.split('\t').map(str::to_owned).collect())
    }

    fn addresses(&mut self, name: &str, v6: bool) -> Result<Vec<IpAddr>, NoAnswer> {
        let words = self.words(name)?;
        let found = words.iter().filter_map(|w| w.parse().ok());
        Ok(found.filter(|ip: &IpAddr| ip.is_ipv6() == v6).collect())
    }

    fn mx(&mut self, domain: &str) -> Result<Vec<Exchanger>, NoAnswer> {
        let exchanger = |name: String| Exchanger {
            preference: 0,
            name,
        };
        Ok(self.words(domain)?.into_iter().map(exchanger).collect())
    }

    fn pointer(&mut self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        self.words(&address.to_string())
    }
}

/// The field that tells of a check is one field of bounded lines, whatever strangers put in it.
fn can_be_told(checked: Checked) {
    let text = field("pi.example.org", &[checked]);
    assert!(
        is_canonical(text.as_bytes()) && text.len() < 4096,
        "{text:?}"
    );
    let mut lines = split_lines(text.strip_suffix("\r\n").unwrap().as_bytes());
    assert!(lines.all(|line| !line.is_empty() && line.len() <= 998));
    let mut reader = HeaderReader::new(100_000);
    reader.push(text.as_bytes()).unwrap();
    reader.push(b"\r\n").unwrap();
    assert_eq!(reader.finish().0.fields().len(), 1, "{text:?}");
}

/// SPF: an answer after a bounded number of questions. The first line is who sends, the others what is answered.
pub fn policy(octets: &[u8]) {
    let (flags, octets) = choice(octets);
    let (who, said) = match octets.iter().position(|b| *b == b'\n') {
        Some(at) => (&octets[..at], &octets[at + 1..]),
        None => (octets, &b""[..]),
    };
    let who = String::from_utf8_lossy(who);
    let mut words = who.splitn(3, ' ');
    let mut word = |default| words.next().filter(|w| !w.is_empty()).unwrap_or(default);
    let address = match flags & 1 {
        0 => "192.0.2.3",
        _ => "2001:db8::cb01",
    };
    let client = spf::Client {
        address: address.parse().unwrap(),
        domain: word("example.org"),
        local: word("postmaster"),
        helo: word("mail.example.org"),
    };
    let mut answers = Answers::new(said);
    let answer = spf::check(client, &mut answers);
    // Ten terms, each of which may have ten hosts or names looked up, and the records themselves.
    assert!(answers.asked <= 11 + 10 * 11, "{} questions", answers.asked);
    can_be_told(Checked {
        method: "spf",
        word: answer.word,
        why: answer.why,
        properties: vec![("smtp.mailfrom", who.into_owned())],
    });

    // DMARC, by the same name servers.
    let from = Domain::parse("a.b.c.d.e.f.g.h.i.j.example.org").unwrap();
    let sent = "x.example.org";
    let proofs = Proofs {
        signed: vec![&from],
        sent: Some(sent),
        unsure: flags & 2 != 0,
    };
    for proofs in [Proofs::default(), proofs] {
        let mut answers = Answers::new(said);
        let answer = dmarc::check(&from, &proofs, &mut answers, u64::from(flags));
        assert!(answers.asked <= 40, "{} questions", answers.asked);
        assert!(answer.word != Word::Pass || !proofs.signed.is_empty());
        can_be_told(Checked {
            method: "dmarc",
            word: answer.word,
            why: answer.why,
            properties: Vec::new(),
        });
    }
}

/// Made for this; it signs nothing else.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer {
    domain: Domain::parse("example.org").unwrap(),
    selector: "s".to_owned(),
    key: SigningKey::from_pem(
        b"-----BEGIN PRIVATE KEY-----\n\
          MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
          -----END PRIVATE KEY-----\n",
    )
    .unwrap(),
});

/// A message as it stands in the queue: what took it in has written a field before it, so that a `From ` line of an mbox
/// is not its first line any more.
fn message(octets: &[u8]) -> Vec<u8> {
    let mut text = b"Received: by pi.example.org\r\n".to_vec();
    let mut reader = LocalText::new(false);
    reader.feed(octets, &mut text);
    reader.finish(&mut text);
    text
}

fn split(message: &[u8]) -> Option<(Header, Vec<u8>)> {
    let mut reader = HeaderReader::new(1_000_000);
    let taken = reader.push(message).ok()?.unwrap_or(message.len());
    let (header, first) = reader.finish();
    Some((header, [&first, &message[taken..]].concat()))
}

fn signable(message: &[u8], pieces: u8) -> Signable {
    let mut signing = Signing::new(1_000_000);
    Pieces::new(pieces).each(message, &mut |piece| signing.feed(piece).unwrap());
    signing.finish()
}

/// What is found of all signatures, with `record` for each key.
fn verified(message: &[u8], record: &str, pieces: u8) -> (Vec<Found>, Checked, usize) {
    let (header, body) = split(message).unwrap();
    let mut asked = 0;
    let mut text = |name: &str| {
        assert!(!name.contains(char::is_control), "{name:?}");
        asked += 1;
        match record {
            "" => Err(NoAnswer::NoSuchDomain),
            record => Ok(vec![record.to_owned()]),
        }
    };
    let mut dkim = Verifier::new(&header, 1_600_000_000);
    let mut chain = arc::Verifier::new(&header);
    Pieces::new(pieces).each(&body, &mut |piece| {
        dkim.feed(piece);
        chain.feed(piece);
    });
    let found = dkim.finish(&mut text);
    let checked = chain.finish(&mut text);
    (found, checked, asked)
}

/// DKIM and ARC: whatever a header says, the pieces do not matter, few keys are asked for, and nothing is right by
/// somebody else's key; what we sign and seal ourselves is found right, and nothing else becomes right by it.
pub fn signatures(octets: &[u8]) {
    let (pieces, octets) = choice(octets);
    let (record, octets) = match octets.iter().position(|b| *b == b'\n') {
        Some(at) => (&octets[..at], &octets[at + 1..]),
        None => (&b""[..], octets),
    };
    let record = String::from_utf8_lossy(record);
    let _ = PublicKey::parse(record.as_bytes());
    let text = message(octets);
    let whole = verified(&text, &record, 0);
    assert_eq!(whole, verified(&text, &record, pieces));
    let (found, chain, asked) = &whole;
    assert!(found.len() <= 5 && *asked <= 5 + 11, "{asked} keys");
    for found in found {
        can_be_told(found.checked());
    }
    can_be_told(chain.clone());

    let ours = SIGNER.key.record();
    let signable = signable(&text, pieces);
    let fields = signable
        .signatures(std::slice::from_ref(&*SIGNER), 1_500_000_000)
        .unwrap();
    if !fields.is_empty() {
        let (now, ..) = verified(&[&fields[..], &text].concat(), &ours, 0);
        assert_eq!(now[0].word, Word::Pass, "{now:?}");
        let before = verified(&text, &ours, 0).0;
        assert_eq!(
            now[1..],
            before[..before.len().min(4)],
            "one more is on top"
        );
    }
    let set = arc::seal(&signable, "pi.example.org", &SIGNER, 1_500_000_000).unwrap();
    if !set.is_empty() {
        let sealed = [&set[..], &text].concat();
        let (_, now, _) = verified(&sealed, &ours, 0);
        let before = verified(&text, &ours, 0).1;
        if matches!(before.word, Word::None | Word::Pass) {
            assert_eq!(now.word, Word::Pass, "{now:?}");
        }
    }
}

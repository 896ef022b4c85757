//! Orders to a helper, the broken and the dishonest ones too, and what it does for them.

use super::*;
use crate::cli;
use crate::config::{Config, System};
use crate::host::mailbox::scratch::Scratch;
use crate::proto::outcome::Verdict;

/// What a helper for the user of this process answers to these octets, with the mailbox in this folder, and the
/// folder above it as the home.
fn answers(folder: &Path, octets: &[u8]) -> String {
    let mailbox = format!("{}/", folder.display());
    answers_with(&mailbox, folder.parent().unwrap(), octets)
}

fn answers_with(mailbox: &str, home: &Path, octets: &[u8]) -> String {
    let text = format!("hostname = \"pi.example.org\"\n[local]\nmailbox = \"{mailbox}\"\n");
    let system = System {
        hostname: &String::new,
    };
    let config = Config::parse(text.as_bytes(), None, &system).unwrap();
    let call = cli::parse(std::iter::empty()).unwrap();
    let context = Context::new(config, "minimta", &call);
    let account = Account {
        home: home.to_owned(),
        ..accounts::caller()
    };
    let helper = Helper {
        context: &context,
        whom: &Whom::User(account.name.clone()),
        account: &account,
    };
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut answers = String::new();
    thread::scope(|scope| {
        scope.spawn(|| drop(helper.serve(there)));
        // It may hang up before it has heard all.
        let _ = here.write_all(octets);
        let _ = here.shutdown(std::net::Shutdown::Write);
        let _ = here.read_to_string(&mut answers);
    });
    answers
}

const ORDER: &str = "deliver mailbox\nfrom <>\nto <a@pi.example.org>\nfirst <a@pi.example.org>\n\n";

fn block(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn verdict(line: &str) -> Option<Verdict> {
    match Answer::parse(line)? {
        Answer::Done(outcome) => Some(outcome.verdict),
        Answer::Mailbox => None,
    }
}

/// What is for a mailbox of a server is left to the worker, whole lines and all.
#[test]
fn the_mailbox_of_a_server_is_none_of_a_helpers() {
    let scratch = Scratch::new("helper-server");
    let home = scratch.as_ref();
    let file = ORDER.replace("mailbox", "file /nowhere/mbox");
    let message = [&block("A: b\r\n\r\nx"), &[0; 4][..]].concat();
    let octets = [ORDER.as_bytes(), &message, file.as_bytes(), &message].concat();
    let said = answers_with("lmtp:/nowhere/lmtp", home, &octets);
    assert_eq!(said, "mailbox\nmailbox\n");
}

fn is_empty(folder: &Path) -> bool {
    ["tmp", "new"]
        .iter()
        .all(|name| std::fs::read_dir(folder.join(name)).map_or(true, |names| names.count() == 0))
}

#[test]
fn orders_are_carried_out_one_after_the_other() {
    let scratch = Scratch::new("helper-orders");
    let folder = scratch.path("Maildir");
    let message = [
        ORDER.as_bytes(),
        &block("A: b\r\n"),
        &block("\r\nx"),
        &[0; 4],
    ]
    .concat();
    let aborted = [ORDER.as_bytes(), &block("A: b\r\n"), &ABORT.to_be_bytes()].concat();
    let said = answers(&folder, &[message.as_slice(), &aborted, &message].concat());
    let lines: Vec<&str> = said.lines().collect();
    let outcomes: Vec<Verdict> = lines.iter().map(|line| verdict(line).unwrap()).collect();
    let expected = [Verdict::Delivered, Verdict::Deferred, Verdict::Delivered];
    assert_eq!(outcomes, expected, "{said}");
    let new = std::fs::read_dir(folder.join("new")).unwrap();
    let kept: Vec<String> = new
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(kept, ["A: b\n\nx\n"; 2]);
}

/// A worker that somebody else has taken over may ask for anything.
#[test]
fn only_what_the_user_has_named_is_run_or_written() {
    let scratch = Scratch::new("helper-names");
    let (folder, list) = (scratch.path("Maildir"), scratch.path("list"));
    let path = |name: &str| scratch.path(name).display().to_string();
    let forward = format!(
        "{}, \"|cat >{}\"\n:include:{}\n",
        path("box"),
        path("run"),
        list.display()
    );
    std::fs::write(scratch.path(".forward"), forward).unwrap();
    std::fs::write(&list, format!("\"|cat >{}\"\n", path("listed"))).unwrap();
    let rows = [
        (format!("file {}", path("box")), "box", true),
        (format!("pipe cat >{}", path("run")), "run", true),
        (format!("pipe cat >{}", path("listed")), "listed", true),
        (format!("file {}", path("other")), "other", false),
        (format!("pipe cat >{}", path("evil")), "evil", false),
        (format!("pipe cat >{} ", path("run2")), "run2", false),
    ];
    for (end, file, named) in rows {
        let order = ORDER.replace("mailbox", &end);
        let octets = [order.as_bytes(), &block("A: b\r\n\r\nx"), &[0; 4]].concat();
        let said = answers(&folder, &octets);
        let verdict = verdict(said.trim_end());
        assert_eq!(verdict, Some(Verdict::Delivered), "{end}: {said}");
        assert_eq!(scratch.path(file).exists(), named, "{end}");
        assert_eq!(said.contains("Maildir"), !named, "{end}: {said}");
    }
}

#[test]
fn what_breaks_off_or_is_no_order_delivers_nothing() {
    let scratch = Scratch::new("helper-garbage");
    let folder = scratch.path("Maildir");
    let whole = [ORDER.as_bytes(), &block("A: b\r\n\r\nx"), &[0; 4]].concat();
    for at in 0..whole.len() {
        assert_eq!(answers(&folder, &whole[..at]), "", "cut at {at}");
        assert!(is_empty(&folder), "cut at {at}");
    }
    let too_long = u32::try_from(MAX_BLOCK + 1).unwrap().to_be_bytes();
    let mut rows = vec![
        [ORDER.as_bytes(), &too_long, &vec![b'x'; MAX_BLOCK + 1]].concat(),
        vec![b'x'; MAX_ORDER * 2],
        vec![b'\n'; 100],
        b"deliver mailbox\n\n".to_vec(),
    ];
    // Any octets, from a generator that does the same each time.
    let mut state = 4711_u64;
    for length in (0..2000).step_by(37) {
        let random = (0..length).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        });
        rows.push(random.collect());
    }
    for row in rows {
        assert_eq!(answers(&folder, &row), "");
        assert!(is_empty(&folder));
    }
}

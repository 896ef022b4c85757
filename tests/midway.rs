//! Whoever is asked for something breaks off, falls silent, gets slow or never ends, at each octet of what he says: a
//! server of SMTP in the clear and under TLS, one of LMTP, a filter, a name server, a web server with a policy.
//!
//! What must hold: the run ends in its time and its memory; nobody who was promised a message loses it; who has it gets
//! it again only if the word that it was taken did not arrive whole; and when the peer is well again, all is as ever.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::lmtp::Lmtp;
use crate::harness::system::{HOST, me, until};
use crate::harness::tls::Authority;
use crate::harness::{
    Between, Daemon, Dns, Milter, Remote, Script, System, Then, Wants, Web, every,
};

const MESSAGE: &str = "Subject: x\n\nhello\n";
const LIMITS: &str = "command_timeout = \"1s\"\ndata_timeout = \"1s\"";
/// What may happen at an octet beside the end: in a few places, as each takes its time.
const SLOW: &[Then] = &[
    Then::Silence,
    Then::Trickles,
    Then::Floods(b"250-2.0.0 more\r\n"),
    Then::Floods(b"x"),
];
/// A run waits no longer than this, whatever its peer does. A web server has half a minute for its policy.
const PATIENCE: Duration = Duration::from_secs(60);
/// A peer gets rid of no more than this, most of which is in the buffers of the kernel.
const SWALLOWED: u64 = 24 << 20;

/// A queue run that has little memory, and must do with it.
fn run(system: &System, between: &Between, what: &str) {
    let begun = Instant::now();
    let call = system.call_after("ulimit -d 65536").args(&["-q"]);
    let ran = call.run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}");
    assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", begun.elapsed());
    assert!(between.passed() < SWALLOWED, "{what}: {}", between.passed());
}

/// The places at which something happens, of so many octets: each one, or some.
fn places(total: u64, most: usize) -> Vec<u64> {
    let step = usize::try_from(total).unwrap().div_ceil(most).max(1);
    let mut all: Vec<u64> = (0..total).step_by(step * every()).collect();
    all.push(total - 1);
    all
}

/// All that is tried: the end at up to `most` octets, and the rest at a few.
fn trials(total: u64, most: usize) -> Vec<(u64, Then)> {
    let mut all: Vec<_> = places(total, most)
        .into_iter()
        .map(|at| (at, Then::Closes))
        .collect();
    for (number, at) in places(total, 8).into_iter().enumerate() {
        all.push((at, SLOW[number % SLOW.len()]));
    }
    all
}

fn reached(remote: &Remote, since: usize, who: &str) -> usize {
    let received = remote.received();
    let has = |r: &&crate::harness::remote::Received| r.recipients().iter().any(|t| t == who);
    received[since..].iter().filter(has).count()
}

/// Two messages over one connection, of which one has a recipient who is refused.
fn smtp(name: &str, script: Script, keys: impl Fn(&System) -> String, most: usize) {
    let remote = Remote::start(script.on("RCPT TO:<bad@", "550 5.1.1 no such user"));
    let between = Between::start(remote.address);
    let system = System::new(name).with("limits", LIMITS);
    let keys = format!("{}\n{}", between.smarthost(), keys(&system));
    let system = system.with("smarthost", &keys);
    let to = ["one@example.net", "two@example.net", "bad@example.net"];
    let put = || {
        system.accept(&[&["-odq"], &to[..]].concat(), MESSAGE);
        system.accept(&["-odq", "three@example.net"], MESSAGE);
    };
    put();
    between.let_pass(u64::MAX, Then::Closes);
    run(&system, &between, "undisturbed");
    let total = between.passed();
    system.accept(&["-q"], "");
    let mut again = 0;
    for (at, then) in trials(total, most) {
        let what = format!("{name}: {then:?} at {at} of {total}");
        let (received, reports) = (remote.received().len(), system.mailbox().len());
        put();
        between.let_pass(at, then);
        run(&system, &between, &what);
        let first = to.map(|who| reached(&remote, received, who));
        let waiting: Vec<String> = system
            .queue()
            .iter()
            .flat_map(|q| q.journal.clone())
            .collect();
        assert!(
            waiting
                .iter()
                .all(|l| !l.contains(" failed ") || l.contains(" 550 5.1.1 ")),
            "{what}: {waiting:?}"
        );
        between.let_pass(u64::MAX, Then::Closes);
        for _ in 0..2 {
            system.accept(&["-q"], "");
        }
        assert!(system.queue().is_empty(), "{what}: {}", system.log());
        for (who, first) in to.iter().zip(first).take(2) {
            let all = reached(&remote, received, who);
            assert!(
                all == 1 || all == 2 && first == 1,
                "{what}: {who} {all} times"
            );
            again += all - 1;
        }
        let all = reached(&remote, received, "three@example.net");
        assert!((1..=2).contains(&all), "{what}: {all}");
        let told = system.mailbox().len() - reports;
        assert_eq!(told, 1, "{what}: {told} reports");
    }
    // Only where the reply to the dot was cut, which is a few octets long: a record of TLS at the most.
    println!("midway: {name}: {total} octets, {again} copies more");
    assert!(again <= 2 * 100, "{name}: {again}");
}

#[test]
fn a_server_breaks_off_at_each_octet() {
    smtp("midway-plain", Script::new(), |_| String::new(), 2000);
}

#[test]
fn a_server_breaks_off_under_tls() {
    let authority = Authority::new();
    let script = Script::new()
        .starttls(authority.certify(&["127.0.0.1"]))
        .also("AUTH PLAIN LOGIN")
        .login("me@example.org", "secret");
    let keys = |system: &System| {
        authority.write(&system.path("ca.pem"));
        let path = system.path("password");
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        format!(
            "tls = \"starttls\"\nuser = \"me@example.org\"\npassword_file = {:?}\nca_file = {:?}",
            path.display().to_string(),
            system.path("ca.pem").display().to_string()
        )
    };
    smtp("midway-tls", script, keys, 150);
}

/// Each recipient has a reply of its own, and whoever's came whole does not get the message again.
#[test]
fn a_server_of_lmtp_breaks_off_at_each_octet() {
    const THERE: &str = "250 2.0.0 there";
    let server = Lmtp::start(None, |_| ("250 2.1.5 ok", THERE));
    let address: SocketAddr = server.place.parse().unwrap();
    let between = Between::start(address);
    let system = System::new("midway-lmtp")
        .with("limits", LIMITS)
        .with("", "domains = [\"pi.test.example\", \"home.example\"]")
        .with(
            "[route]",
            &format!(
                "domain = \"home.example\"\nvia = \"lmtp:{}\"",
                between.address
            ),
        );
    let to = ["one@home.example", "two@home.example"];
    let copies = |since: usize, who: &str| {
        let heard = server.heard();
        let has = |h: &&String| h.contains(who) && h.contains("\r\n.\r\n");
        heard[since..].iter().filter(has).count()
    };
    system.accept(&[&["-odq"], &to[..]].concat(), MESSAGE);
    run(&system, &between, "undisturbed");
    let total = between.passed();
    let mut again = [0, 0];
    for (at, then) in trials(total, 2000) {
        let what = format!("lmtp: {then:?} at {at} of {total}");
        let since = server.heard().len();
        system.accept(&[&["-odq"], &to[..]].concat(), MESSAGE);
        between.let_pass(at, then);
        run(&system, &between, &what);
        between.let_pass(u64::MAX, Then::Closes);
        system.accept(&["-q"], "");
        assert!(system.queue().is_empty(), "{what}: {}", system.log());
        for (who, again) in to.iter().zip(&mut again) {
            let all = copies(since, who);
            assert!((1..=2).contains(&all), "{what}: {who} {all} times");
            if then == Then::Closes {
                *again += all - 1;
            }
        }
    }
    let line = THERE.len() + 2;
    assert!(again[0] <= line && again[1] <= 2 * line, "{again:?}");
    assert!(again[0] > 0 && again[1] > again[0], "{again:?}");
}

/// What a filter does not say to its end is not said: the client comes again, and nothing is kept.
#[test]
fn a_filter_breaks_off_at_each_octet() {
    let milter = Milter::start(Wants::default().on(b"E", &[b"hX-Seen\0yes", b"c"]));
    let keys = milter.keys();
    let address: SocketAddr = keys.split('"').nth(1).unwrap().parse().unwrap();
    let between = Between::start(address);
    let system = System::offline("midway-filter")
        .listens()
        .with("", &format!("domains = [\"{HOST}\"]"))
        .with("access", "spf = \"off\"\ndmarc = \"off\"")
        .with(
            "[milter]",
            &format!("socket = \"{}\"\ntimeout = \"1s\"", between.address),
        );
    let little = system.call_after("ulimit -d 131072").args(&["-bD"]);
    let daemon = Daemon::of(&system, || little.start());
    let send = || {
        let mut client = daemon.client();
        let mut said = client.say("EHLO x.example");
        for line in [
            "MAIL FROM:<a@b.example>",
            &format!("RCPT TO:<{}>", me()),
            "DATA",
            "Subject: x\r\n\r\nhello\r\n.",
        ] {
            if said.starts_with(['2', '3']) {
                said = client.say(line);
            }
        }
        client.say("QUIT");
        said
    };
    between.let_pass(u64::MAX, Then::Closes);
    assert!(send().starts_with("250 "));
    let total = between.passed();
    let mut taken = 1;
    for (at, then) in trials(total, 2000) {
        let what = format!("filter: {then:?} at {at} of {total}");
        between.let_pass(at, then);
        let begun = Instant::now();
        let said = send();
        // One octet less, and its last word is not known.
        assert!(
            said.starts_with("451 4.7.1 a filter does not answer")
                || then == Then::Trickles && said.starts_with("250 "),
            "{what}: {said}"
        );
        taken += usize::from(said.starts_with("250 "));
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", begun.elapsed());
        assert!(between.passed() < SWALLOWED, "{what}");
    }
    between.let_pass(u64::MAX, Then::Closes);
    assert!(send().starts_with("250 "));
    until("all that was taken is delivered", || {
        system.mailbox().len() == taken + 1
    });
    daemon.stop();
    assert_eq!(system.mailbox().len(), taken + 1);
    assert_eq!(system.names("tmp"), [""; 0]);
}

/// Half an answer is none: the mail waits, or another question is asked; it is never returned.
#[test]
fn a_name_server_breaks_off_at_each_octet() {
    for by_tcp in [false, true] {
        let remote = Remote::start(Script::new());
        let dns = Dns::start("example.net MX 10 mail.example.net\nmail.example.net A 127.0.0.1");
        let between = Between::names(dns.address, by_tcp);
        let port = remote.address.port();
        let system = System::new("midway-dns")
            .with("limits", LIMITS)
            .with(
                "dns",
                &format!("servers = [\"{}\"]\ntimeout = \"1s\"", between.address),
            )
            .with(
                "remote",
                &format!("port = {port}\ndane = false\nmta_sts = false"),
            );
        let put = || system.accept(&["-odq", "one@example.net"], MESSAGE);
        put();
        between.let_pass(u64::MAX, Then::Closes);
        run(&system, &between, "undisturbed");
        let total = if by_tcp { between.passed() } else { 90 };
        for (at, then) in trials(total, 40) {
            let what = format!("dns, by_tcp {by_tcp}: {then:?} at {at} of {total}");
            let received = remote.received().len();
            put();
            between.let_pass(at, then);
            run(&system, &between, &what);
            between.let_pass(u64::MAX, Then::Closes);
            system.accept(&["-q"], "");
            assert!(system.queue().is_empty(), "{what}: {}", system.log());
            let all = reached(&remote, received, "one@example.net");
            assert_eq!(all, 1, "{what}");
            assert!(system.mailbox().is_empty(), "{what}");
        }
    }
}

/// A policy that is not read to its end is none, and mail goes as it would without one.
#[test]
fn a_web_server_breaks_off_at_each_octet() {
    let authority = Authority::new();
    let good = authority.certify(&["mail.example.net", "mta-sts.example.net"]);
    let remote = Remote::several(&[Script::new().starttls(good.clone())]).remove(0);
    let dns = Dns::start(
        "example.net MX 10 mail.example.net\nmail.example.net A 127.0.0.2\nmta-sts.example.net A 127.0.0.9\n_mta-sts.example.net TXT v=STSv1; id=1;",
    );
    let policy = "version: STSv1\r\nmode: enforce\r\nmx: elsewhere.example\r\nmax_age: 86400\r\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{policy}",
        policy.len()
    );
    let web = Web::start(&good, &answer);
    let between = Between::start(format!("127.0.0.9:{}", web.port).parse().unwrap());
    let system = System::direct("midway-web", &dns, &remote).with("limits", LIMITS);
    authority.write(&system.path("ca.pem"));
    let keys = format!(
        "dane = false\nmta_sts_port = {}\nca_file = {:?}",
        between.address.port(),
        system.path("ca.pem").display().to_string()
    );
    let system = system.with("remote", &keys);
    let put = || system.accept(&["-odq", "one@example.net"], MESSAGE);
    // Read whole, it forbids this server.
    put();
    between.let_pass(u64::MAX, Then::Closes);
    run(&system, &between, "undisturbed");
    assert!(
        system.queued().journal.last().unwrap().contains("MTA-STS"),
        "{}",
        system.log()
    );
    let total = between.passed();
    system.accept(&["--remove", "ALL"], "");
    // Behind the policy comes only the farewell of TLS.
    let farewell = 24 + 16;
    let slow = |(at, then): &(u64, Then)| *then == Then::Closes || *at > 0 && *at < total / 2;
    for (at, then) in trials(total - farewell, 60).into_iter().filter(slow) {
        let what = format!("web: {then:?} at {at} of {total}");
        let _ = std::fs::remove_dir_all(system.path("spool/state"));
        let received = remote.received().len();
        put();
        between.let_pass(at, then);
        run(&system, &between, &what);
        let all = reached(&remote, received, "one@example.net");
        if then != Then::Trickles {
            assert_eq!(all, 1, "{what}: {}", system.log());
        }
        system.run(&["--remove", "ALL"], "");
    }
}

//! The other users of the machine: what they can do to each other's mail, and with the program. Needs root, who makes
//! users for it and takes them away again; for anybody else each test says that it was skipped.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use crate::harness::house::{ALICE, BOB, House, SPOOL};
use crate::harness::system::{HOST, finish};
use crate::harness::until;

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

/// I7: by no option, by no file, by no configuration of their own.
#[test]
fn users_can_do_nothing_to_the_mail_of_others() {
    let Some(house) = House::open("others") else {
        return;
    };
    for (user, to) in [(ALICE, "mt-bob"), (BOB, "mt-alice")] {
        house.submit(user, &["-odq", to], MESSAGE);
        house.submit(user, &["someone@nowhere.test.example"], MESSAGE);
    }
    until("the attempts of both are over", || {
        house.log().matches(" deferred ").count() == 2
    });
    let of = |user: &str| -> Vec<String> {
        let listed = house.call_as("mailq", user, &["--json"], "").stdout;
        let ids = listed.split("\"id\":").skip(1);
        ids.map(|text| text.split('"').nth(1).unwrap().to_owned())
            .collect()
    };
    let (alices, bobs) = (of(ALICE), of(BOB));
    assert_eq!((alices.len(), bobs.len(), of("root").len()), (2, 2, 4));
    assert!(!alices.iter().any(|id| bobs.contains(id)));
    let theirs = bobs[0].as_str();
    for option in ["--show", "--remove", "--hold", "--release"] {
        let ran = house.call(ALICE, &[option, theirs], "");
        assert_eq!(ran.code, 65, "{option} {ran:?}");
        let said = format!(
            "sendmail: {theirs}: there is no such message in the queue; mailq lists them\n"
        );
        assert_eq!((ran.stdout.as_str(), ran.stderr), ("", said), "{option}");
    }
    for words in [
        &["--hold", "ALL"][..],
        &["--release", "ALL"],
        &["-q"],
        &["-qR", "mt"],
        &["-bp", "-qS", "bob"],
    ] {
        let ran = house.call(ALICE, words, "");
        assert!(
            !bobs.iter().any(|id| ran.stdout.contains(id)),
            "{words:?} {ran:?}"
        );
    }
    // Nor by other means: the spool is closed to whoever has not the group.
    let spool = house.path("spool").display().to_string();
    let new = format!("{spool}/new/{theirs}");
    let cur = format!("{spool}/cur/{theirs}");
    for (what, file) in [
        ("ls", &spool),
        ("cat", &new),
        ("cat", &cur),
        ("rm -f", &new),
        ("touch", &cur),
        ("sh -c 'echo x >\"$0\"'", &new),
        ("ln -s /etc/passwd", &cur),
        ("mkfifo", &format!("{spool}/new/1k0ysgq5kccddek00")),
        (
            "sh -c 'echo x >\"$0\"'",
            &house.path("run/trigger").display().to_string(),
        ),
        ("rm -f", &house.path("run/pid").display().to_string()),
    ] {
        let ran = house.shell(ALICE, &format!("{what} {file}"));
        assert!(ran.code != 0, "{what} {file}: {ran:?}");
    }
    // With a configuration of his own he has no rights but his own.
    let own = house.path("home/mt-alice/own.toml");
    let text = format!(
        "user = \"mt-alice\"\n[queue]\nspool = \"{spool}\"\nrun = \"{}\"\n",
        house.path("run").display()
    );
    fs::write(&own, text).unwrap();
    for words in [
        &["-bp"][..],
        &["-q"],
        &["--show", theirs],
        &["-bD"],
        &["-bs"],
    ] {
        let mut all = vec!["-C", own.to_str().unwrap()];
        all.extend(words);
        let ran = house.call(
            ALICE,
            &all,
            "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<mt-bob>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
        );
        assert!(
            !ran.stdout.contains(theirs) && !ran.stdout.contains("secret"),
            "{words:?} {ran:?}"
        );
        assert!(
            ran.code != 0 || ran.stdout.contains("451 4"),
            "{words:?} {ran:?}"
        );
    }
    // The parts of root's minimta are not to be had.
    let alice = "user mt-alice";
    for words in [
        &["--as-worker", "-q"][..],
        &["--as-worker", "-bD"],
        &["--as-helper", alice],
        &["--as-helper", "root"],
    ] {
        let ran = house.call(ALICE, words, "");
        assert_eq!(ran.code, 77, "{words:?} {ran:?}");
    }
    assert_eq!(
        (of("root").len(), house.log().matches(" removed ").count()),
        (4, 0)
    );
    // His own he may remove; and what is left arrives.
    let ran = house.call(BOB, &["--remove", theirs], "");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    let arrived = (house.mail_of(ALICE).len(), house.mail_of(BOB).len());
    assert!(arrived == (0, 1) || arrived == (1, 1), "{arrived:?}");
    assert_eq!(of("root").len(), 3 - arrived.0 - arrived.1);
}

#[test]
fn a_callers_surroundings_change_nothing() {
    let Some(house) = House::open("surroundings") else {
        return;
    };
    let rows = [
        "exec 0</dev/zero 3</etc/hostname 4>&1",
        "umask 0",
        "umask 777",
        "export LD_PRELOAD=/nowhere.so LD_LIBRARY_PATH=/tmp TZ=/etc/shadow PATH=/tmp HOME=/root USER=root LOGNAME=root",
        "export LISTEN_FDS=3 LISTEN_FDNAMES=smtp GCONV_PATH=/tmp MALLOC_ARENA_MAX=x LANG=x IFS=x RUST_BACKTRACE=1",
        "ulimit -n 16",
        "ulimit -s 256",
        "d=$(mktemp -d); cd $d; rmdir $d",
        "exec 2>&-",
        "trap '' HUP TERM INT PIPE CHLD",
    ];
    for (count, before) in (1..).zip(rows) {
        let script = format!(
            "{before}\nexec {} -odq mt-bob <<EOF\n{MESSAGE}EOF\n",
            house.program("sendmail")
        );
        let ran = house.shell(ALICE, &script);
        assert_eq!(ran.code, 0, "{before}: {ran:?}");
        let names = house.names("new");
        assert_eq!(names.len(), count, "{before}");
        for name in names {
            let meta = fs::metadata(house.path("spool/new").join(name)).unwrap();
            let found = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
            assert_eq!(
                found,
                (house.id(ALICE).0, house.id(SPOOL).1, 0o660),
                "{before}"
            );
        }
    }
    // Without a message, or with no room for one, nothing is kept and that is said.
    for (before, code) in [
        ("exec 0<&-", 65),
        ("ulimit -f 0; yes | head -c 100000 | ", 75),
    ] {
        let line = if code == 65 {
            format!("{before}\nexec ")
        } else {
            before.to_owned()
        };
        let ran = house.shell(
            ALICE,
            &format!("{line} {} -odq mt-bob", house.program("sendmail")),
        );
        assert_eq!(ran.code, code, "{before}: {ran:?}");
        assert_eq!(house.names("new").len(), rows.len());
    }
    assert_eq!(house.call("root", &["-q"], "").code, 0);
    assert_eq!(house.mail_of(BOB).len(), rows.len());
    assert_eq!(house.names("new").len() + house.names("cur").len(), 0);
}

/// Who may not look into the spool is told so, and not that all is well.
#[test]
fn a_spool_that_is_closed_is_told() {
    let Some(house) = House::open("closed") else {
        return;
    };
    let ran = house.call(ALICE, &["--check"], "");
    let said = format!(
        "ok       spool {}: closed to mt-alice, as it should be; only root can tell what is in it\n",
        house.path("spool").display()
    );
    assert!(ran.stdout.contains(&said), "{ran:?}");
    // With a configuration of her own she is told the same, and nothing of what is in there.
    let own = house.path("home/mt-alice/own.toml");
    let spool = house.path("spool").display().to_string();
    fs::write(&own, format!("[queue]\nspool = \"{spool}\"\n")).unwrap();
    let ran = house.call(ALICE, &["-C", own.to_str().unwrap(), "--check"], "");
    assert!(ran.stdout.contains(&said), "{ran:?}");
}

/// By whatever name it is called, and with none at all.
#[test]
fn the_name_it_is_called_by_is_only_a_name() {
    let Some(house) = House::open("names") else {
        return;
    };
    let odd = "x\ny\u{1b}[2J%s/../../etc/passwd".to_owned();
    let rows = [String::new(), odd, "n".repeat(10_000), "-bd".to_owned()];
    for (count, name) in (1..).zip(&rows) {
        let (uid, gid) = house.id(ALICE);
        let mut command = Command::new(house.program("minimta"));
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, gid);
        let mut child = command
            .args(["-odq", "mt-bob"])
            .env_clear()
            .env("MINIMTA_CONFIG", house.path("minimta.toml"))
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut pipe, MESSAGE.as_bytes()).unwrap();
        drop(pipe);
        let ran = finish(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name:?}");
        assert_eq!(house.names("new").len(), count, "{name:?}");
    }
}

/// Where the program has only the rights of its group, mail for people of this machine is root's to deliver: whoever asks
/// what becomes of his mail is told so, and not that there is nothing to do.
#[test]
fn who_looks_on_is_told_what_is_left_to_root() {
    let Some(house) = House::open("left") else {
        return;
    };
    let ran = house.call(ALICE, &["-v", "mt-bob"], MESSAGE);
    let id = house.names("new").concat();
    let why = "this mail waits for a queue run as root";
    let said = format!("sendmail: {id}: {why}\n");
    assert_eq!((ran.code, ran.stderr), (0, said));
    let ran = house.call(ALICE, &["-q", "-v"], "");
    let said = format!(
        "sendmail: {id} to mt-bob@{HOST}: {why}\nsendmail: nothing was tried; 1 left to root's queue run\n"
    );
    assert_eq!((ran.code, ran.stderr), (0, said));
    // Nothing was changed by either: it is due.
    let list = house.call_as("mailq", ALICE, &[], "").stdout;
    assert!(list.contains("; next try now"), "{list}");
    let daemon = house.daemon();
    let ran = house.call(ALICE, &["-v", "mt-bob"], MESSAGE);
    assert_eq!(ran.code, 0);
    let end = ": left to the daemon, which delivers it now\n";
    assert!(ran.stderr.ends_with(end), "{ran:?}");
    until("both have arrived", || house.mail_of(BOB).len() == 2);
    drop(daemon);
}

/// The counts are of the mail of all, which is not for everybody; and no remedy makes it so.
#[test]
fn the_status_is_for_those_who_may_see_all() {
    let Some(house) = House::open("status") else {
        return;
    };
    let ran = house.call(ALICE, &["--status"], "");
    let said = "sendmail: --status counts the mail of all, and is for root and the user of the spool; mailq lists your own\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{ran:?}");
    // The log is closed to her, too, and that is said above.
    assert!(ran.stderr.ends_with(said), "{ran:?}");
    assert_eq!(house.call("root", &["--status"], "").code, 0);
}

/// Whoever can stop the process that has the table of greylisting would stop the mail of all: a user's has none.
#[test]
fn a_user_keeps_no_stranger_waiting() {
    let Some(house) = House::open("greylist") else {
        return;
    };
    let lines =
        format!("user = \"{SPOOL}\"\n[access]\ngreylist = true\nrelay_from = [\"192.0.2.1\"]");
    let house = house.with(&lines);
    // As the daemon makes it.
    let table = house.path("spool/greylist");
    fs::write(&table, "").unwrap();
    chown(&table, Some(house.id(SPOOL).0), Some(house.group(SPOOL))).unwrap();
    fs::set_permissions(&table, PermissionsExt::from_mode(0o660)).unwrap();
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut own = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
    let child = house.serve(ALICE, ours.accept().unwrap().0);
    own.write_all(
        b"EHLO x\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<mt-bob@pi.test.example>\r\nQUIT\r\n",
    )
    .unwrap();
    let mut said = String::new();
    own.read_to_string(&mut said).unwrap();
    assert_eq!(finish(child).code, 0);
    assert!(said.contains("\n250 2.1.5 "), "{said}");
    assert_eq!(fs::metadata(&table).unwrap().len(), 0);
}

/// The program may read passwords, and tells what a list says: whoever keeps one has nothing read by it that is not his.
#[test]
fn a_list_shows_only_what_belongs_to_who_keeps_it() {
    let Some(house) = House::open("lists") else {
        return;
    };
    let lists = house.path("lists");
    let (list, secret) = (lists.join("team"), house.path("secret"));
    fs::create_dir(&lists).unwrap();
    fs::set_permissions(&lists, PermissionsExt::from_mode(0o755)).unwrap();
    house.give(&lists, ALICE);
    fs::write(&secret, "s3kr1t.pass\n").unwrap();
    chown(&secret, Some(0), Some(house.group(SPOOL))).unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    let (list, secret) = (list.display().to_string(), secret.display().to_string());
    fs::write(
        house.path("aliases"),
        format!("team: :include:{list}\nroots: :include:{secret}\n"),
    )
    .unwrap();
    let folder = house.path("").display().to_string();
    for (makes, says) in [
        ("echo mt-bob >LIST", "> local user mt-bob"),
        ("mv LIST LIST.1; ln -s LIST.1 LIST", "> local user mt-bob"),
        (
            "echo :include:LIST.1 >LIST.2; ln -sf LIST.2 LIST",
            "> local user mt-bob",
        ),
        (
            "ln -sf SECRET LIST",
            "is reached by the link LIST, which is not root's",
        ),
        (
            "ln -sfn ROOT LIST.d; rm LIST; ln -s LIST.d/secret LIST",
            "by the link LIST, which",
        ),
        (
            "rm LIST; echo :include:SECRET >LIST",
            "the list SECRET does not belong to whoever",
        ),
        (
            "echo :include:LIST.d/secret >LIST",
            "is reached by the link LIST.d, which",
        ),
        (
            "for i in $(seq 1001); do echo :include:LIST.$i; done >LIST",
            "the list LIST includes more than 1000 others",
        ),
    ] {
        let real = |text: &str| {
            let text = text.replace("LIST", &list).replace("SECRET", &secret);
            text.replace("ROOT", &folder)
        };
        let ran = house.shell(ALICE, &real(makes));
        assert_eq!(ran.code, 0, "{makes}: {ran:?}");
        for user in [ALICE, "root"] {
            let ran = house.call(user, &["-bv", "team"], "");
            let all = format!("{}{}", ran.stdout, ran.stderr);
            // She has not the group, and is told that she may not read it.
            let is_told = all.contains(&real(says)) || user == ALICE && all.contains("permission");
            assert!(is_told, "{user}: {makes}: {all}");
            assert!(!all.contains("s3kr1t"), "{user}: {makes}: {all}");
        }
        let checked = house.call_as("newaliases", "root", &[], "");
        let is_told = format!("{}{}", checked.stdout, checked.stderr).contains(&real(says));
        assert_eq!(is_told, !says.contains("mt-bob"), "{makes}: {checked:?}");
    }
    // What root himself names is read.
    let ran = house.call("root", &["-bv", "roots"], "");
    assert!(ran.stdout.contains("s3kr1t.pass"), "{ran:?}");
}

/// What was found out here is believed, and so no user writes it himself; root may run a filter.
#[test]
fn a_user_judges_no_mail() {
    let Some(house) = House::open("judges") else {
        return;
    };
    let message = format!("Authentication-Results: {HOST}; dmarc=pass\n{MESSAGE}");
    for (user, count) in [(ALICE, 0), ("root", 1)] {
        house.submit(user, &["-odq", "mt-bob"], &message);
        let file = house.path("spool/new").join(house.names("new").remove(0));
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches("dmarc=pass").count(), count, "{text}");
        fs::remove_file(file).unwrap();
    }
}

/// Who fills the queue leaves room for the mail of root and of the network.
#[test]
fn a_user_does_not_fill_the_queue() {
    let Some(house) = House::open("fills") else {
        return;
    };
    let file = house.path("minimta.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[queue]", "[queue]\nmax_messages = 10")).unwrap();
    let rows = [
        (ALICE, 9, 0),
        (ALICE, 1, 75),
        ("root", 1, 0),
        ("root", 1, 75),
    ];
    for (user, count, code) in rows {
        for _ in 0..count {
            let ran = house.call(user, &["-odq", "mt-bob"], MESSAGE);
            assert_eq!(ran.code, code, "{user}: {ran:?}");
            let is_told = ran
                .stderr
                .contains("the last tenth of which is kept for root");
            assert_eq!(is_told, code != 0, "{ran:?}");
        }
    }
    assert_eq!(house.names("new").len(), 10);
}

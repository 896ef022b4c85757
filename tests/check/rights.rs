//! Rights: what the worker cannot read, modes and owners that are wrong, and what root alone is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::house::{ALICE, House, SPOOL};
use crate::harness::{Remote, Script, System};

/// What root can read and the worker cannot, which is the commonest mistake with a password.
#[test]
fn what_the_worker_cannot_read_is_told() {
    let Some(house) = House::open("unread") else {
        return;
    };
    let login = Script::new()
        .also("AUTH PLAIN")
        .login("me@example.org", "secret");
    let remote = Remote::start(login);
    let password = house.path("password");
    fs::write(&password, "secret\n").unwrap();
    let house = house.with(&format!(
        "user = \"{SPOOL}\"\n[smarthost]\n{}\nuser = \"me@example.org\"\npassword_file = {password:?}",
        remote.smarthost()
    ));
    let (root, group) = (0, house.group(SPOOL));
    let cannot = "cannot read password_file ";
    let rows = [
        ("secret\n", root, 0o600, "error", cannot),
        ("secret\n", root, 0o640, "error", cannot),
        ("secret\n", group, 0o640, "ok", "closed to others"),
        (
            "",
            group,
            0o640,
            "error",
            "has no password in its first line",
        ),
        (
            "\n\n",
            group,
            0o640,
            "error",
            "has no password in its first line",
        ),
    ];
    for (text, owner, mode, grade, words) in rows {
        fs::write(&password, text).unwrap();
        std::os::unix::fs::chown(&password, Some(root), Some(owner)).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(mode)).unwrap();
        let ran = house.call("root", &["--check"], "");
        let begins = format!("{grade:<8} password file {}: ", password.display());
        let line = ran.stdout.lines().find(|l| l.starts_with(&begins));
        let line = line.unwrap_or_else(|| panic!("{owner} {mode:o}: {ran:?}"));
        assert!(line.contains(words), "{line}");
        assert_eq!(words == cannot, line.contains("; chmod 0640 "), "{line}");
        let is_well = grade == "ok";
        assert_eq!(
            ran.stdout.contains("login as me@example.org works"),
            is_well,
            "{ran:?}"
        );
        let ran = house.call("root", &["--test", "you@example.net"], "");
        let code = if is_well { 0 } else { 75 };
        assert_eq!(
            (ran.code, ran.stdout.contains(words)),
            (code, !is_well),
            "{ran:?}"
        );
    }
    // A user is not asked to read it.
    let ran = house.call(ALICE, &["--check"], "");
    let said = format!(
        "ok       password file {}: closed to others",
        password.display()
    );
    assert!(ran.stdout.contains(&said), "{ran:?}");
}

/// The program's own rights; and a system that has no list of authorities, as one without ca-certificates.
#[test]
fn rights_that_are_wrong_and_roots_that_are_missing_are_told() {
    let Some(house) = House::open("check") else {
        return;
    };
    let rows = [
        (
            0o4755,
            "error    program ",
            "it is set-user-id, which it must never be; chmod u-s ",
        ),
        (
            0o0755,
            "warning  program ",
            "it is not set-group-id mt-spool, so only root can hand in mail; chown root:mt-spool ",
        ),
        (0o2755, "ok       program ", "all users can hand in mail"),
    ];
    for (mode, begins, words) in rows {
        let program = house.path("bin/minimta");
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        let ran = house.call("root", &["--check"], "");
        let line = ran.stdout.lines().find(|l| l.starts_with(begins));
        let line = line.unwrap_or_else(|| panic!("{mode:o}: {ran:?}"));
        assert!(line.contains(words), "{line} {SPOOL}");
    }
    for (folder, mode, words) in [
        ("spool", 0o700, "g+x"),
        ("spool/new", 0o750, "g+wx"),
        ("spool/tmp", 0o700, "g+wx"),
    ] {
        let shown = house.path(folder);
        fs::set_permissions(&shown, fs::Permissions::from_mode(mode)).unwrap();
        let ran = house.call("root", &["--check"], "");
        let shown = shown.display();
        let said = format!(
            "so only root can hand in mail; chgrp {SPOOL} {shown}; chmod {words} {shown}\n"
        );
        assert!(ran.stdout.contains(&said), "{ran:?}");
        let put = house.shell("root", &format!("chmod {words} {shown}"));
        assert_eq!(put.code, 0, "{put:?}");
    }
    let ran = house.call("root", &["--check"], "");
    assert!(
        ran.stdout.contains(": all users can hand in mail\n"),
        "{ran:?}"
    );
    // Where it is mounted so that the mode does not count.
    let program = house.path("bin");
    let (bin, spool) = (program.display(), house.path("spool").display().to_string());
    let mounted = |place: &str, how: &str| {
        let script = format!(
            "unshare --mount sh -c 'mount --bind {place} {place} && mount -o remount,bind,{how} {place} && exec {bin}/sendmail --check'"
        );
        house.shell("root", &script)
    };
    let ran = mounted(&bin.to_string(), "nosuid");
    let said = "/minimta: its file system is mounted nosuid, ";
    assert!(
        ran.stdout.contains(said) || ran.stdout.is_empty(),
        "{ran:?}"
    );
    // A disk that the kernel has made read-only, as it does with a card that dies.
    let ran = mounted(&spool, "ro");
    let said =
        format!("error    spool {spool}: nothing can be put into {spool}: read-only file system; ");
    assert!(
        ran.stdout.contains(&said) || ran.stdout.is_empty(),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains(&format!("{spool}: usable")), "{ran:?}");
    // A disk that is full, with nothing to be left free.
    let script = format!(
        "unshare --mount sh -c 'mount -t tmpfs -o size=64k,mode=0710 none {spool} && head -c 100k /dev/zero >{spool}/fill 2>/dev/null; sed \"s/^spool = /min_free = 0\\n&/\" {0} >{0}.full && exec {bin}/sendmail -C {0}.full --check'",
        house.path("minimta.toml").display()
    );
    let ran = house.shell("root", &script);
    let said = format!(
        "error    spool {spool}: the file system of the spool {spool} is nearly full: 0 KiB are free "
    );
    assert!(
        ran.stdout.contains(&said) || ran.stdout.is_empty(),
        "{ran:?}"
    );
    // A spool that was copied back as root.
    house.give(&house.path("spool/new"), "root");
    let ran = house.call("root", &["--check"], "");
    let said = format!("error    spool {spool}: {spool}/new belongs to the user with the id 0, ");
    assert!(ran.stdout.contains(&said), "{ran:?}");
    assert!(!ran.stdout.contains(&format!("{spool}: usable")), "{ran:?}");
    // What a user is told whom the program's own rights do not reach.
    let program = house.path("bin/minimta");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let file = house.path("minimta.toml");
    std::os::unix::fs::chown(&file, Some(0), Some(house.group(SPOOL))).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let ran = house.call(ALICE, &["root"], "x\n");
    assert_eq!(ran.code, 78, "{ran:?}");
    let said = "permission denied; its group can read it, which this program is given by being set-group-id";
    assert!(ran.stderr.contains(said), "{ran:?}");
    let ran = house.call(ALICE, &["-C", file.to_str().unwrap(), "root"], "x\n");
    assert!(
        ran.stderr.contains("or for you when you name it with -C"),
        "{ran:?}"
    );
    let system = System::offline("roots").with("smarthost", "tls = \"starttls\"");
    let ran = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /etc/ssl && exec \"$0\" \"$@\"",
        ])
        .arg(system.path("bin/sendmail"))
        .arg("-C")
        .arg(system.path("minimta.toml"))
        .arg("--check")
        .output();
    let said = ran
        .map(|r| String::from_utf8_lossy(&r.stdout).into_owned())
        .unwrap_or_default();
    if said.is_empty() {
        return println!("no namespace can be made here: left out");
    }
    let begins =
        "error    certificate authorities: this system has no list of certificate authorities";
    assert!(said.lines().any(|l| l.starts_with(begins)), "{said}");
    assert!(
        said.contains("install the package ca-certificates, or set ca_file or fingerprint"),
        "{said}"
    );
}

/// As root alone nothing is delivered to others, and the reason says what to change.
#[test]
fn root_alone_says_why_mail_for_others_waits() {
    if !nix::unistd::geteuid().is_root() {
        return println!("left out: it is for root");
    }
    let system = System::new("root-alone");
    system.accept(&["-odi", "nobody@pi.test.example"], "Subject: x\n\nx\n");
    let said = system.call("mailq").run().stdout;
    let why = "mail for nobody waits until user in the configuration names somebody else than root";
    assert!(said.contains(why), "{said}");
}

/// What root alone can read makes everybody else's sendmail end with 78, and root's own queue run.
#[test]
fn a_configuration_that_is_closed_to_those_who_work_is_told() {
    let Some(house) = House::open("closed") else {
        return;
    };
    let file = house.path("minimta.toml");
    let owner = house.id(SPOOL).0;
    let shown = file.display();
    let rows = [
        (0, 0o600, "the user mt-spool, as whom root's minimta works"),
        (
            owner,
            0o600,
            "the group mt-spool, with which users hand in mail",
        ),
    ];
    for (owner, mode, whom) in rows {
        std::os::unix::fs::chown(&file, Some(owner), Some(0)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ran = house.call("root", &["--check"], "");
        let said = format!(
            "error    {shown}: {shown} is closed to {whom}; chgrp {SPOOL} {shown}; chmod g+r {shown}\n"
        );
        assert_eq!(ran.code, 78, "{ran:?}");
        assert!(ran.stdout.contains(&said), "{said}{ran:?}");
        assert!(!ran.stdout.contains("all users can hand in"), "{ran:?}");
    }
    let done = house.shell("root", &format!("chgrp {SPOOL} {shown}; chmod g+r {shown}"));
    assert_eq!(done.code, 0, "{done:?}");
    let ran = house.call("root", &["--check"], "");
    assert!(ran.stdout.contains("read without an error"), "{ran:?}");
    // A folder on the way, and a spool of which only the folder is there.
    let folder = file.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    let ran = house.call("root", &["--check"], "");
    let folder = folder.display();
    let said = format!("chgrp {SPOOL} {folder}; chmod g+x {folder}\n");
    assert!(ran.stdout.contains(&said), "{said}{ran:?}");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(file.parent().unwrap(), mode).unwrap();
    fs::remove_dir(house.path("spool/tmp")).unwrap();
    let ran = house.call("root", &["--check"], "");
    assert!(
        ran.stdout.contains("its folders are not there yet"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("all users can hand in"), "{ran:?}");
}

/// Who is nobody has no mailbox, which is no matter of folders; and root that may be nobody else is told so once.
#[test]
fn whoever_cannot_be_somebody_is_told_once() {
    let Some(house) = House::open("nobody") else {
        return;
    };
    let program = house.path("bin/minimta");
    let program = program.display();
    let rows = [
        (
            "--reuid=47110 --regid=47110 --clear-groups",
            "warning  mailbox of uid47110: there is no user of this id",
        ),
        (
            "--inh-caps=-setuid --bounding-set=-setuid",
            "error    user: cannot work as the user mt-spool: ",
        ),
    ];
    for (options, begins) in rows {
        let ran = house.shell("root", &format!("exec setpriv {options} {program} --check"));
        if ran.code == 127 {
            return println!("skipped: there is no setpriv to take rights away");
        }
        assert_eq!(ran.stdout.matches(begins).count(), 1, "{ran:?}");
    }
    // The folder is there, and need not be made.
    let lost = "-dac_override,-dac_read_search";
    let lost = format!("--inh-caps={lost} --bounding-set={lost}");
    let ran = house.shell("root", &format!("exec setpriv {lost} {program} -q"));
    let spool = house.path("spool");
    let said = format!(
        "minimta: cannot open the folder {}: permission denied; root has not all its rights there, such as CAP_DAC_OVERRIDE\n",
        spool.display()
    );
    assert_eq!((ran.code, ran.stderr), (77, said));
}

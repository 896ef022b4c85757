//! What `make install` puts into a system, what it leaves alone, and what `make uninstall` takes out again; and that the
//! files beside the program are what their readers expect. A package, user, group and rights in a fresh Debian:
//! `make packages-test`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that `make install DESTDIR=` goes to; gone with the value.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("install-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        // What is installed is a program of any kind.
        let program = root.join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self(root)
    }

    /// Runs `make install` or `make uninstall`; what it says.
    fn make(&self, target: &str, variables: &[&str]) -> String {
        let folder = env!("CARGO_MANIFEST_DIR");
        let ran = Command::new("make")
            .args(["-s", "-C", folder, target])
            .arg(format!("RELEASE={}", self.0.join("program").display()))
            .arg(format!("DESTDIR={}", self.0.join("tree").display()))
            .args(variables)
            .env_remove("MAKEFLAGS")
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(String::from_utf8(ran.stderr).unwrap(), "");
        String::from_utf8(ran.stdout)
            .unwrap()
            .replace(&self.0.join("tree").display().to_string(), "")
    }

    /// A file or link in the tree.
    fn path(&self, place: &str) -> PathBuf {
        self.0.join("tree").join(place.trim_start_matches('/'))
    }

    /// Puts a file there.
    fn put(&self, place: &str, text: &str) {
        fs::create_dir_all(self.path(place).parent().unwrap()).unwrap();
        fs::write(self.path(place), text).unwrap();
    }

    /// All that is no folder, with its mode, or where it leads.
    fn listing(&self) -> BTreeSet<String> {
        let (mut found, mut folders) = (BTreeSet::new(), vec![self.0.join("tree")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let place = path.strip_prefix(self.0.join("tree")).unwrap().display();
                if meta.is_dir() {
                    folders.push(path.clone());
                } else if meta.is_symlink() {
                    let target = fs::read_link(&path).unwrap();
                    found.insert(format!("/{place} -> {}", target.display()));
                } else {
                    let mode = meta.permissions().mode() & 0o7777;
                    found.insert(format!("{mode:04o} /{place}"));
                }
            }
        }
        found
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

const INSTALLED: &[&str] = &[
    "/usr/bin/mailq -> ../sbin/minimta",
    "/usr/bin/newaliases -> ../sbin/minimta",
    "/usr/lib/sendmail -> ../sbin/minimta",
    "/usr/sbin/sendmail -> minimta",
    "/usr/share/man/man8/mailq.8 -> minimta.8",
    "/usr/share/man/man8/newaliases.8 -> minimta.8",
    "/usr/share/man/man8/sendmail.8 -> minimta.8",
    "0640 /etc/minimta/minimta.toml",
    "0644 /etc/cron.d/minimta",
    "0644 /usr/lib/systemd/system/minimta-home.socket",
    "0644 /usr/lib/systemd/system/minimta-home@.service",
    "0644 /usr/lib/systemd/system/minimta-queue.path",
    "0644 /usr/lib/systemd/system/minimta-queue.service",
    "0644 /usr/lib/systemd/system/minimta-queue.timer",
    "0644 /usr/lib/systemd/system/minimta.service",
    "0644 /usr/lib/systemd/system/minimta.socket",
    "0644 /usr/lib/tmpfiles.d/minimta.conf",
    "0644 /usr/share/man/man5/minimta-aliases.5",
    "0644 /usr/share/man/man5/minimta-queue.5",
    "0644 /usr/share/man/man5/minimta.toml.5",
    "0644 /usr/share/man/man8/minimta.8",
    "0755 /usr/sbin/minimta",
];

#[test]
fn all_is_put_where_it_belongs_and_taken_out_again() {
    let tree = Tree::new("whole");
    assert_eq!(tree.make("install", &["PREFIX=/usr"]), "");
    let expected: BTreeSet<String> = INSTALLED.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(tree.listing(), expected);
    for place in INSTALLED.iter().filter_map(|l| l.strip_prefix("0644 ")) {
        let text = fs::read_to_string(tree.path(place)).unwrap();
        assert!(!text.contains("@SBINDIR@"), "{place}");
    }
    let unit = fs::read_to_string(tree.path("/usr/lib/systemd/system/minimta.service")).unwrap();
    assert!(
        unit.contains("\nExecStart=/usr/sbin/minimta -bD\n"),
        "{unit}"
    );
    let said = tree.make("uninstall", &["PREFIX=/usr"]);
    assert_eq!(
        said,
        "left where they are: /etc/minimta, /var/spool/minimta with the mail in it, the user and group minimta\n"
    );
    assert_eq!(
        tree.listing(),
        BTreeSet::from(["0640 /etc/minimta/minimta.toml".to_owned()])
    );
}

#[test]
fn other_places_are_kept_together() {
    let tree = Tree::new("places");
    let places = [
        "PREFIX=/opt/mail",
        "SYSCONFDIR=/opt/etc",
        "SBINDIR=/opt/sbin",
    ];
    assert_eq!(
        tree.make("install", &places),
        "this program does not look for /opt/etc/minimta/minimta.toml: build one that does (make all SYSCONFDIR=/opt/etc), or call it with -C\n"
    );
    // One that was built for it.
    fs::write(tree.0.join("program"), "\0/opt/etc/minimta/minimta.toml\0").unwrap();
    let said = tree.make("install", &places);
    assert_eq!(
        said,
        "/opt/etc/minimta/minimta.toml is there already and stays\n"
    );
    let listing = tree.listing();
    for line in [
        "0755 /opt/sbin/minimta",
        "/opt/sbin/sendmail -> minimta",
        "/opt/mail/bin/mailq -> /opt/sbin/minimta",
        "0640 /opt/etc/minimta/minimta.toml",
        // Where cron looks.
        "0644 /etc/cron.d/minimta",
    ] {
        assert!(listing.contains(line), "{line}: {listing:?}");
    }
    // Manuals, units and the sample speak of the place where it is.
    let (mut spoken, texts) = (0, listing.iter().filter_map(|l| l.split_once(" /")));
    for (_, place) in texts.filter(|(mode, _)| mode.starts_with('0')) {
        let text = fs::read_to_string(tree.path(place)).unwrap();
        spoken += text.matches("/opt/etc/minimta").count();
        let other = text.replace("/opt/etc/minimta", "");
        assert!(!other.contains("/etc/minimta"), "{place}");
    }
    assert!(spoken > 10, "{spoken}");
    // Programs look for /usr/lib/sendmail; below another prefix it would be nobody's.
    assert!(!listing.iter().any(|l| l.starts_with("/usr/lib/sendmail")));
}

/// What `make all` tells cargo, and with it the program.
#[test]
fn the_program_is_built_for_where_its_configuration_is() {
    let tree = Tree::new("built");
    for (variable, expected) in [
        (
            "SYSCONFDIR=/usr/local/etc",
            "/usr/local/etc/minimta/minimta.toml\n",
        ),
        ("SYSCONFDIR=/etc", "\n"),
    ] {
        let cargo = "CARGO=printenv MINIMTA_CONFIG_FILE || echo; true";
        assert_eq!(tree.make("all", &[cargo, variable]), expected);
    }
}

#[test]
fn what_was_there_stays() {
    let tree = Tree::new("others");
    let settings = "hostname = \"mine.example\"\n";
    tree.put("/etc/minimta/minimta.toml", settings);
    tree.put("/etc/cron.d/minimta", "# ours\n");
    tree.put("/usr/sbin/sendmail", "another program\n");
    fs::create_dir_all(tree.path("/usr/bin")).unwrap();
    symlink("/usr/sbin/exim4", tree.path("/usr/bin/mailq")).unwrap();
    for _ in 0..2 {
        let said = tree.make("install", &["PREFIX=/usr"]);
        for sentence in [
            "/usr/sbin/sendmail belongs to another program and stays; remove that one first\n",
            "/usr/bin/mailq belongs to another program and stays; remove that one first\n",
            "/etc/minimta/minimta.toml is there already and stays\n",
        ] {
            assert!(said.contains(sentence), "{said}");
        }
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    tree.make("uninstall", &["PREFIX=/usr"]);
    let read = |place: &str| fs::read_to_string(tree.path(place)).unwrap();
    assert_eq!(read("/etc/minimta/minimta.toml"), settings);
    assert_eq!(read("/etc/cron.d/minimta"), "# ours\n");
    assert_eq!(read("/usr/sbin/sendmail"), "another program\n");
    let expected = [
        "/usr/bin/mailq -> /usr/sbin/exim4",
        "0644 /etc/cron.d/minimta",
        "0644 /etc/minimta/minimta.toml",
        "0644 /usr/sbin/sendmail",
    ];
    let listing = tree.listing();
    let kept: Vec<&str> = listing.iter().map(String::as_str).collect();
    // The modes of files that were there are the caller's own.
    let places = |lines: &[&str]| -> Vec<String> {
        let all = lines
            .iter()
            .map(|l| l.trim_start_matches(|c: char| c.is_ascii_digit()));
        all.map(|l| l.trim().to_owned()).collect()
    };
    assert_eq!(places(&kept), places(&expected));
}

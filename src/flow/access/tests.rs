//! Who may send what where, from which address, at which door, and what a wrong password costs.

use super::super::aliases::Aliases;
use super::*;
use crate::config::{Config, System};
use crate::host::spool::Spool;
use crate::proto::sasl::encode_base64;
use crate::proto::session::{Session, Then};
use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Of "secret", cheap to check.
const HASH: &str = "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.";
/// Of "pencil".
const SCRAM: &str = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// A machine: pi.example, with root and without nobody-here.
struct Machine {
    folder: PathBuf,
    context: Context,
    access: Access,
}

impl Machine {
    fn new(name: &str, users: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("minimta-access-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("users");
        std::fs::write(&path, users).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let text = format!(
            "hostname = \"pi.example\"\ndomains = [\"pi.example\", \"routed.example\", \"b\u{fc}cher.example\"]\n\
                 [access]\nrelay_from = [\"192.0.2.0/24\", \"::1\"]\nrelay_to = [\"backup.example\"]\n\
                 users_file = \"{}\"\n[queue]\nspool = \"{}\"\nmin_free = \"0\"\n\
                 [[route]]\ndomain = \"no.example\"\nvia = \"refuse 550 5.7.0 not there\"\n\
                 [[route]]\ndomain = \"more.example\"\nvia = \"local\"\n\
                 [[route]]\ndomain = \"routed.example\"\nvia = \"10.0.0.5\"\n\
                 [[route]]\nsender = \"a@b.example\"\nvia = \"10.0.0.6\"\n",
            path.display(),
            folder.join("spool").display()
        );
        let system = System {
            hostname: &|| "pi.example".to_owned(),
        };
        let config = Config::parse(text.as_bytes(), None, &system).unwrap();
        let spool = Spool::new(&config.queue.spool, 0, 1000);
        Self {
            folder,
            access: Access::new(&config),
            context: Context {
                aliases: Arc::new(Aliases::new(&config.local.aliases)),
                ledger: std::sync::Arc::new(crate::host::ledger::Ledger::new(spool.root())),
                config: Arc::new(config),
                spool,
                srs: Arc::default(),
                program: "minimta".to_owned(),
                verbose: false,
                keeper: None,
                servant: None,
                stopping: Arc::default(),
                uid: std::sync::OnceLock::new(),
                standing: std::sync::OnceLock::new(),
            },
        }
    }

    /// A session of this kind under TLS where there is any, after EHLO and AUTH, and its guest.
    fn session(
        &self,
        kind: Kind,
        peer: Option<&str>,
        login: Option<(&str, &str)>,
    ) -> (Session, Guest<'_>) {
        let peer = peer.map(|p| p.parse().unwrap());
        let settings = self.access.settings(&self.context, kind, true, peer);
        let starttls = settings.starttls;
        let mut session = Session::new(settings);
        let mut guest = self.access.guest(&self.context, kind, peer, None);
        guest.pause = &|_| {};
        if starttls {
            session.tls_started();
        }
        let hello = if kind == Kind::Lmtp {
            "LHLO x"
        } else {
            "EHLO x"
        };
        assert_eq!(say(&mut session, &mut guest, hello).0, 250);
        if let Some((user, password)) = login {
            let plain = encode_base64(format!("\0{user}\0{password}"));
            let reply = say(&mut session, &mut guest, &format!("AUTH PLAIN {plain}"));
            assert_eq!(reply.0, 235, "{user}");
        }
        (session, guest)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn say(session: &mut Session, guest: &mut Guest<'_>, line: &str) -> (u16, String) {
    let (reply, _) = session.command(line.as_bytes(), false, guest);
    (reply.code(), reply.to_string())
}

const RECIPIENTS: [&str; 13] = [
    "root@pi.example",
    "nobody-here@pi.example",
    "PostMaster@Pi.Example",
    "root@more.example", // local by a route
    "nobody-here@more.example",
    "someone@routed.example", // ours, and another machine knows who is there
    "someone@backup.example",
    "someone@sub.backup.example",
    "someone@no.example",
    "bob@other.example",             // C7
    "bob%other.example@pi.example",  // C1
    "root@[127.0.0.1]",              // C8
    "@pi.example:bob@other.example", // C6
];

/// Who comes by which door from where, as whom; and what each of [`RECIPIENTS`] gets: `y` 250, `u` 550 5.1.1,
/// `r` 550 5.7.1, `x` what the route says, `a` 530 to MAIL already.
#[test]
fn mail_goes_only_where_its_sender_may_send() {
    use Kind::{Lmtp, Smtp, Stdio, Submission, Submissions};
    let machine = Machine::new("relay", &format!("alice:{HASH}\n"));
    let alice = Some(("alice", "secret"));
    let stranger = "yuyyuyyrrrurr";
    let trusted = "yuyyuyyyxyuyy";
    let rows = [
        (Smtp, Some("198.51.100.1"), None, stranger),
        (Smtp, Some("2001:db8::1"), None, stranger),
        (Smtp, Some("::ffff:198.51.100.1"), None, stranger),
        (Smtp, Some("127.0.0.1"), None, stranger), // is not listed here
        (Smtp, None, None, stranger),              // a Unix socket shows nobody
        (Smtp, Some("192.0.2.7"), None, trusted),
        (Smtp, Some("::ffff:192.0.2.7"), None, trusted),
        (Smtp, Some("::1"), None, trusted),
        (Smtp, Some("198.51.100.1"), alice, trusted),
        (Lmtp, Some("192.0.2.7"), None, stranger), // it is for mail that stays
        (Lmtp, None, None, stranger),
        (Stdio, None, None, trusted),
        (Submission, Some("198.51.100.1"), alice, trusted),
        (Submissions, Some("198.51.100.1"), alice, trusted),
        (Submission, Some("192.0.2.7"), None, "aaaaaaaaaaaaa"), // D22
        (Submissions, Some("::1"), None, "aaaaaaaaaaaaa"),
    ];
    for (kind, peer, login, expected) in rows {
        let (mut session, mut guest) = machine.session(kind, peer, login);
        let sender = login.map_or("a@b.example", |_| "alice@pi.example");
        let mail = say(&mut session, &mut guest, &format!("MAIL FROM:<{sender}>"));
        let found: String = RECIPIENTS
            .iter()
            .map(|recipient| {
                if mail.0 == 530 {
                    return 'a';
                }
                let line = format!("RCPT TO:<{recipient}>");
                let (code, text) = say(&mut session, &mut guest, &line);
                match (code, text.get(4..9)) {
                    (250, _) => 'y',
                    (550, Some("5.1.1")) => 'u',
                    (550, Some("5.7.1")) => 'r',
                    (550, Some("5.7.0")) => 'x',
                    _ => panic!("{recipient}: {text}"),
                }
            })
            .collect();
        assert_eq!(found, expected, "{kind:?} {peer:?} {login:?}");
    }
}

/// C35: a domain of ours is ours in U-labels and in A-labels, for recipients and for senders.
#[test]
fn a_domain_beyond_ascii_is_ours_in_either_form() {
    let machine = Machine::new("labels", &format!("alice:{HASH}\n"));
    let (mut session, mut guest) = machine.session(Kind::Smtp, Some("198.51.100.1"), None);
    say(&mut session, &mut guest, "MAIL FROM:<a@b.example> SMTPUTF8");
    let rows = [
        ("root@b\u{fc}cher.example", "250 2.1.5"),
        ("root@xn--bcher-kva.example", "250 2.1.5"),
        ("root@XN--Bcher-KVA.example.", "250 2.1.5"),
        ("nobody-here@xn--bcher-kva.example", "550 5.1.1"),
        ("root@bucher.example", "550 5.7.1"),
    ];
    for (to, expected) in rows {
        let (_, text) = say(&mut session, &mut guest, &format!("RCPT TO:<{to}>"));
        assert!(text.starts_with(expected), "{to}: {text}");
    }
    let alice = Some(("alice", "secret"));
    let (mut session, mut guest) = machine.session(Kind::Submission, Some("::1"), alice);
    let line = "MAIL FROM:<alice@xn--bcher-kva.example>";
    assert_eq!(say(&mut session, &mut guest, line).0, 250);
}

/// D23, R171: a user is himself, at each of the machine's domains, and whatever the file says.
#[test]
fn a_user_sends_as_himself() {
    let users = format!(
        "alice:{HASH}\nme@example.org:{HASH}\nshop:{HASH}:info@shop.example,@news.example\nany:{HASH}:*\n"
    );
    let machine = Machine::new("senders", &users);
    let rows = [
        ("alice", "alice@pi.example", 250),
        ("alice", "Alice@routed.example", 250),
        ("alice", "alice", 250), // R169: completed
        ("alice", "", 250),      // reports have no sender
        ("alice", "bob@pi.example", 550),
        ("alice", "postmaster@pi.example", 550),
        ("alice", "alice@other.example", 550),
        ("alice", "alice@more.example", 550),
        ("alice", "alice+tag@pi.example", 550),
        ("me@example.org", "me@example.org", 250),
        ("me@example.org", "ME@example.org", 250),
        ("me@example.org", "me@pi.example", 550),
        ("me@example.org", "\"me@example.org\"@pi.example", 250), // his name, at a domain of ours
        ("shop", "info@shop.example", 250),
        ("shop", "anyone@news.example", 250),
        ("shop", "anyone@sub.news.example", 550),
        ("shop", "other@shop.example", 550),
        ("any", "bob@pi.example", 250),
        ("any", "someone@other.example", 250),
    ];
    for kind in [Kind::Submissions, Kind::Submission, Kind::Smtp] {
        for (user, sender, expected) in rows {
            // On port 25, from a machine that could send as anybody: whoever has said who he is, is that.
            let peer = Some("192.0.2.7");
            let (mut session, mut guest) = machine.session(kind, peer, Some((user, "secret")));
            let (code, text) = say(&mut session, &mut guest, &format!("MAIL FROM:<{sender}>"));
            assert_eq!(code, expected, "{kind:?} {user} as {sender}: {text}");
        }
    }
}

#[test]
fn each_door_offers_what_works_behind_it() {
    let machine = Machine::new("offers", &format!("alice:{HASH}\n"));
    let empty = Machine::new("nobody", "");
    let stranger = Some("198.51.100.1");
    let offered = |machine: &Machine, kind, tls, peer: Option<&str>| {
        let peer = peer.map(|p| p.parse().unwrap());
        let settings = machine.access.settings(&machine.context, kind, tls, peer);
        let mut words = Vec::new();
        let flags = [
            ("starttls", settings.starttls),
            ("tls", settings.tls),
            ("only tls", settings.tls_required),
            ("auth", !settings.mechanisms.is_empty()),
            ("only auth", settings.auth_required),
            ("in clear", settings.auth_in_clear),
            ("lmtp", settings.lmtp),
            ("qualify", settings.qualify),
        ];
        words.extend(flags.iter().filter(|(_, on)| *on).map(|(word, _)| *word));
        words.join(", ")
    };
    use Kind::{Lmtp, Smtp, Stdio, Submission, Submissions};
    let rows = [
        (&machine, Smtp, true, stranger, "starttls, auth"), // R136: nothing is demanded
        (&machine, Smtp, false, stranger, ""),              // D12: no password in the clear
        (
            &machine,
            Smtp,
            true,
            Some("192.0.2.7"),
            "starttls, auth, qualify",
        ),
        (
            &machine,
            Submission,
            true,
            stranger,
            "starttls, only tls, auth, only auth, qualify",
        ),
        (
            &machine,
            Submissions,
            true,
            stranger,
            "tls, only tls, auth, only auth, qualify",
        ),
        (&machine, Lmtp, true, None, "lmtp"),
        (&machine, Stdio, true, None, "qualify"),
        (&empty, Smtp, true, stranger, "starttls"),
        (
            &empty,
            Submission,
            true,
            stranger,
            "starttls, only tls, only auth, qualify",
        ),
    ];
    for (machine, kind, tls, peer, expected) in rows {
        assert_eq!(
            offered(machine, kind, tls, peer),
            expected,
            "{kind:?} {tls} {peer:?}"
        );
    }
}

/// D18, D19, D21, R144: what is wrong costs more time each time, and as much for a user who does not exist.
#[test]
fn wrong_passwords_cost_time() {
    let machine = Machine::new("delays", &format!("alice:{HASH}\n"));
    let (mut session, mut guest) = machine.session(Kind::Submissions, Some("::1"), None);
    let waits = RefCell::new(Vec::new());
    let pause = |time: Duration| waits.borrow_mut().push(time.as_secs());
    guest.pause = &pause;
    let mut attempt = |text: &str| {
        let line = format!("AUTH PLAIN {}", encode_base64(text));
        session.command(line.as_bytes(), false, &mut guest)
    };
    for text in [
        "\0alice\0wrong",
        "\0nobody\0wrong",
        "\0root\0root",
        "\0*)(uid=*\0x",
        "\0../x\0x",
        "\0a:b\0x",
    ] {
        let (reply, then) = attempt(text);
        assert_eq!(
            (reply, then),
            (replies::AUTH_FAILED, Then::Continue),
            "{text}"
        );
    }
    assert_eq!(attempt("root\0alice\0secret").0, replies::AUTH_FAILED);
    assert_eq!(
        attempt("\0x\nNov 1 host sshd: ok\0x").0,
        replies::AUTH_FAILED
    ); // D20
    assert_eq!(*waits.borrow(), [1, 2, 4, 8, 8, 8, 8, 8]);
    for _ in 0..2 {
        assert_eq!(attempt("\0alice\0wrong").1, Then::Continue);
    }
    let (reply, then) = attempt("\0alice\0wrong");
    assert_eq!((reply, then), (replies::TOO_MANY_ERRORS, Then::HangUp));
}

#[test]
fn users_that_cannot_be_told_are_no_wrong_passwords() {
    let machine = Machine::new("unreadable", &format!("alice:{HASH}\n"));
    let path = machine.folder.join("users");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (mut session, mut guest) = machine.session(Kind::Submissions, Some("::1"), None);
    let plain = encode_base64("\0alice\0secret");
    let line = format!("AUTH PLAIN {plain}");
    assert_eq!(say(&mut session, &mut guest, &line).0, 454);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(say(&mut session, &mut guest, &line).0, 235);
    // He is a user until the file is closed again.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let line = "MAIL FROM:<alice@pi.example>";
    assert_eq!(say(&mut session, &mut guest, line).0, 451);
}

#[test]
fn scram_lets_users_in_and_keeps_others_out() {
    use crate::proto::sasl::{Client, Mechanism};
    let machine = Machine::new("scram", &format!("alice:{SCRAM}\n"));
    for (user, password, expected) in [
        ("alice", "pencil", 235),
        ("alice", "Pencil", 535),
        ("bob", "pencil", 535),
    ] {
        let (mut session, mut guest) = machine.session(Kind::Submissions, Some("::1"), None);
        let mut client = Client::new(
            Mechanism::ScramSha256,
            user,
            password.as_bytes(),
            "rOprNGfwEbeRWgbNEkqO",
        );
        let mut line = client.command();
        let code = loop {
            let (reply, _) = session.command(line.as_bytes(), false, &mut guest);
            if reply.code() != 334 {
                break reply.code();
            }
            line = client.answer(reply.text()).unwrap();
        };
        assert_eq!(code, expected, "{user} {password}");
        assert_eq!(client.finish().is_ok(), expected == 235);
    }
    // The password as it is, for clients that do not know SCRAM.
    machine.session(Kind::Submissions, Some("::1"), Some(("alice", "pencil")));
}

//! What real programs pass to `sendmail`, in their own words: the right people get the right message, from the
//! right sender, and the caller hears 0. The words are those the callers' sources hold.

use crate::harness::system::{HOST, me};
use crate::harness::{System, Talk};

/// A caller: the words, what it writes, and what must wait in the spool then.
struct Caller {
    who: &'static str,
    args: &'static [&'static str],
    stdin: &'static str,
    /// `ME` is the user who runs the tests, `HOST` this host.
    from: &'static str,
    to: &'static [&'static str],
    /// Lines the message must hold; a line beginning with `!` is one it must not hold.
    lines: &'static [&'static str],
}

const TO_AND_BODY: &str =
    "From: app@example.org\nTo: one@example.net\nSubject: x\n\nhello\n.\nafter the dot\n";

const CALLERS: &[Caller] = &[
    Caller {
        who: "Debian cron",
        args: &["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"],
        stdin: "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@pi> /bin/job\n\
                MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
                Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\ngr\u{fc}n\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &[
            "From: root@HOST (Cron Daemon)",
            "To: root@HOST",
            "Subject: Cron <root@pi> /bin/job",
            "X-Cron-Env: <SHELL=/bin/sh>",
            "gr\u{fc}n",
        ],
    },
    Caller {
        who: "cron as its author ships it",
        args: &["-FCronDaemon", "-odi", "-oem", "-or0s", "root"],
        stdin: "From: root (Cron Daemon)\nTo: root\nSubject: Cron\n\nout\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &["out"],
    },
    Caller {
        who: "cronie",
        args: &[
            "-FCronDaemon",
            "-i",
            "-odi",
            "-oem",
            "-oi",
            "-t",
            "-f",
            "root",
        ],
        stdin: "From: \"(Cron Daemon)\" <root>\nTo: admin\nSubject: Cron\n\nout\n",
        from: "<root@HOST>",
        to: &["admin@HOST"],
        lines: &["From: \"(Cron Daemon)\" <root@HOST>", "To: admin@HOST"],
    },
    Caller {
        who: "cronie 1.7 (cronie-crond/cronie 170)",
        args: &[
            "-FCronDaemon",
            "-i",
            "-odi",
            "-oem",
            "-oi",
            "-t",
            "-f",
            "<>",
        ],
        stdin: "From: \"(Cron Daemon)\" <root>\nTo: root\nSubject: Cron\n\nout\n",
        from: "<>",
        to: &["root@HOST"],
        lines: &["out"],
    },
    Caller {
        who: "BusyBox crond",
        args: &["-ti"],
        stdin: "To: root\nSubject: cron: /bin/job\n\nout\n.\nmore\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &["To: root@HOST", ".", "more"],
    },
    Caller {
        who: "at",
        args: &["-i", "root"],
        stdin: "Subject: Output from your job        1\nTo: root\n\nout\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &["Subject: Output from your job        1", "out"],
    },
    Caller {
        who: "bsd-mailx",
        args: &["-i", "-t", "-m"],
        stdin: "To: one@example.net\nSubject: x\n\nhello\n",
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["hello"],
    },
    Caller {
        who: "bsd-mailx -r",
        args: &["-i", "-t", "-f", "me@example.org"],
        stdin: "To: one@example.net\nSubject: x\n\nhello\n",
        from: "<me@example.org>",
        to: &["one@example.net"],
        lines: &["hello"],
    },
    Caller {
        who: "s-nail",
        args: &[
            "-i",
            "-m",
            "-F",
            "Full Name",
            "-f",
            "me@example.org",
            "--",
            "one@example.net",
            "two@example.net",
        ],
        stdin: "Date: Mon, 23 Nov 2026 18:20:00 +0100\nTo: one@example.net\n\nhello\n",
        from: "<me@example.org>",
        to: &["one@example.net", "two@example.net"],
        lines: &[
            "From: Full Name <me@example.org>",
            "Date: Mon, 23 Nov 2026 18:20:00 +0100",
        ],
    },
    Caller {
        who: "GNU mailutils",
        args: &["-oi", "-f", "someone@pi.test.example", "-t"],
        stdin: TO_AND_BODY,
        from: "<someone@pi.test.example>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "mutt",
        args: &[
            "-oem",
            "-oi",
            "-f",
            "me@example.org",
            "-N",
            "failure,delay",
            "-R",
            "hdrs",
            "-B8BITMIME",
            "--",
            "one@example.net",
        ],
        stdin: TO_AND_BODY,
        from: "<me@example.org>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "git send-email",
        args: &["-i", "one@example.net", "two@example.net"],
        stdin: "From: Me <me@example.org>\nTo: one@example.net\nCc: two@example.net\n\
                Subject: [PATCH] x\nMessage-ID: <1@example.org>\n\n---\n",
        from: "<ME>",
        to: &["one@example.net", "two@example.net"],
        lines: &["Message-ID: <1@example.org>", "---"],
    },
    Caller {
        who: "unattended-upgrades",
        args: &["-oi", "-t"],
        stdin: TO_AND_BODY,
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "cron-apt",
        args: &["-t", "-oi"],
        stdin: TO_AND_BODY,
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "logwatch, mdadm",
        args: &["-t"],
        stdin: "To: root\nFrom: Logwatch <logwatch>\nSubject: x\n\nall is well\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &["From: Logwatch <logwatch@HOST>", "all is well"],
    },
    Caller {
        who: "fail2ban, whose text may hold a lone dot: it ends the message, as with sendmail",
        args: &["-f", "fail2ban@example.org", "root@example.net"],
        stdin: "Subject: [Fail2Ban] sshd\nFrom: Fail2Ban <fail2ban@example.org>\n\
                To: root@example.net\n\nHi,\n.\nRCPT TO:<x@example.net>\n",
        from: "<fail2ban@example.org>",
        to: &["root@example.net"],
        lines: &["Hi,", "!RCPT TO:<x@example.net>"],
    },
    Caller {
        who: "rkhunter, smartd",
        args: &["root@example.net"],
        stdin: "Subject: x\n\nwarning\n",
        from: "<ME>",
        to: &["root@example.net"],
        lines: &["warning"],
    },
    Caller {
        who: "PHP mail() with its fifth argument",
        args: &["-t", "-i", "-fwww@example.org"],
        stdin: "To: one@example.net\nSubject: x\nX-PHP-Originating-Script: 33:a.php\n\nhello\n",
        from: "<www@example.org>",
        to: &["one@example.net"],
        lines: &["hello"],
    },
    Caller {
        who: "PHP mail() on Windows line ends",
        args: &["-t", "-i"],
        stdin: "To: one@example.net\r\nSubject: x\r\nFrom: www@example.org\r\n\r\nhello\nTo: two@example.net\n",
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["To: two@example.net"],
    },
    Caller {
        who: "PHPMailer in sendmail mode",
        args: &["-oi", "-fwww@example.org", "-t"],
        stdin: TO_AND_BODY,
        from: "<www@example.org>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "Symfony with -t, which stuffs dots when there is no -i",
        args: &["-t", "-fapp@example.org"],
        stdin: "From: app@example.org\r\nTo: one@example.net\r\nSubject: x\r\n\r\nhello\r\n..\r\nmore\r\n",
        from: "<app@example.org>",
        to: &["one@example.net"],
        lines: &[".", "!..", "more"],
    },
    Caller {
        who: "Rails",
        args: &[
            "-i",
            "-f",
            "app@example.org",
            "--",
            "one@example.net",
            "two@example.net",
        ],
        stdin: TO_AND_BODY,
        from: "<app@example.org>",
        to: &["one@example.net", "two@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "nodemailer, which leaves Bcc in",
        args: &[
            "-i",
            "-f",
            "app@example.org",
            "one@example.net",
            "hidden@example.net",
        ],
        stdin: "From: app@example.org\nTo: one@example.net\nBcc: hidden@example.net,\n \
                unnamed@example.net\nSubject: x\n\nhello\n",
        from: "<app@example.org>",
        to: &["one@example.net", "hidden@example.net"],
        lines: &[
            "Subject: x",
            "!Bcc: hidden@example.net,",
            "! unnamed@example.net",
        ],
    },
    Caller {
        who: "Gitea, with CRLF",
        args: &["-f", "git@example.org", "-i", "one@example.net"],
        stdin: "From: git@example.org\r\nTo: one@example.net\r\nSubject: x\r\n\r\nhello\r\n.\r\nmore\r\n",
        from: "<git@example.org>",
        to: &["one@example.net"],
        lines: &["hello", ".", "more"],
    },
    Caller {
        who: "the idiom of the Python documentation",
        args: &["-t", "-oi"],
        stdin: TO_AND_BODY,
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "Perl, queue only",
        args: &["-t", "-oi", "-oem", "-odq"],
        stdin: TO_AND_BODY,
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "Perl, interactive",
        args: &["-odi", "-fapp@example.org", "-oem", "one@example.net"],
        stdin: "Subject: x\n\nhello\n",
        from: "<app@example.org>",
        to: &["one@example.net"],
        lines: &["hello"],
    },
    Caller {
        who: "Proxmox",
        args: &[
            "-bm",
            "-N",
            "never",
            "-f",
            "root@pve.example.org",
            "--",
            "one@example.net",
        ],
        stdin: "From: root@pve.example.org\nTo: one@example.net\nSubject: vzdump\n\nok\n",
        from: "<root@pve.example.org>",
        to: &["one@example.net"],
        lines: &["ok"],
    },
    Caller {
        who: "Proxmox without -bm",
        args: &[
            "-N",
            "never",
            "-f",
            "root@pve.example.org",
            "--",
            "one@example.net",
        ],
        stdin: "From: root@pve.example.org\nTo: one@example.net\nSubject: vzdump\n\nok\n",
        from: "<root@pve.example.org>",
        to: &["one@example.net"],
        lines: &["ok"],
    },
    Caller {
        who: "a content filter as Postfix documents it",
        args: &[
            "-G",
            "-i",
            "-f",
            "sender@example.org",
            "--",
            "one@example.net",
        ],
        stdin: TO_AND_BODY,
        from: "<sender@example.org>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "a content filter with a null sender",
        args: &["-G", "-i", "-f", "", "--", "one@example.net"],
        stdin: TO_AND_BODY,
        from: "<>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "Emacs",
        args: &["-oi", "-f", "me", "-oem", "-odb", "-t"],
        stdin: TO_AND_BODY,
        from: "<me@HOST>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "scripts",
        args: &["-odi", "-i", "-t"],
        stdin: TO_AND_BODY,
        from: "<ME>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
    Caller {
        who: "the ZFS event daemon, no blank line (openzfs/zfs 16656)",
        args: &["root"],
        stdin: "Subject: ZFS pool tank is DEGRADED\nZFS has detected a fault.\nhost: pi\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &[
            "Subject: ZFS pool tank is DEGRADED",
            "ZFS has detected a fault.",
            "host: pi",
        ],
    },
    Caller {
        who: "illumos cron, an mbox line first",
        args: &["-oi", "root"],
        stdin: "From root Mon Nov 23 18:20:00 2026\nTo: root\nSubject: Output from \"cron\"\n\nout\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &[
            "Subject: Output from \"cron\"",
            "!From root Mon Nov 23 18:20:00 2026",
        ],
    },
    Caller {
        who: "the same, quoted by another mailer",
        args: &["-oi", "root"],
        stdin: ">From root Mon Nov 23 18:20:00 2026\nTo: root\nSubject: x\n\nout\n",
        from: "<ME>",
        to: &["root@HOST"],
        lines: &["Subject: x", "!>From root Mon Nov 23 18:20:00 2026"],
    },
    Caller {
        who: "options after the recipient",
        args: &["one@example.net", "-f", "me@example.org", "-i"],
        stdin: TO_AND_BODY,
        from: "<me@example.org>",
        to: &["one@example.net"],
        lines: &["after the dot"],
    },
];

#[test]
fn each_caller_is_understood() {
    for caller in CALLERS {
        let who = caller.who;
        let named = |text: &str| text.replace("ME", &me()).replace("HOST", HOST);
        let system = System::offline("caller");
        let ran = system.run(caller.args, caller.stdin);
        let said = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
        assert_eq!(said, (0, "", ""), "{who}");
        let queued = system.queued();
        assert_eq!(queued.sender(), named(caller.from), "{who}");
        let to: Vec<String> = caller.to.iter().map(|t| named(t)).collect();
        assert_eq!(queued.recipients(), to, "{who}");
        let mail = queued.mail();
        for line in caller.lines {
            let (line, wanted) = match line.strip_prefix('!') {
                Some(line) => (named(line), false),
                None => (named(line), true),
            };
            let found = mail.text().lines().any(|l| l == line);
            assert_eq!(found, wanted, "{who}: {line}\n{}", mail.text());
        }
        // What every message has in the end (RFC 5322 3.6).
        for name in ["Date", "From", "Message-ID", "Received"] {
            assert_eq!(mail.all(name).len(), 1, "{who}: {name}\n{}", mail.text());
        }
        assert!(mail.header().is_ascii(), "{who}");
    }
}

/// Symfony and Laravel by default, alpine as it is set up: SMTP on standard input and output.
#[test]
fn frameworks_speak_smtp_to_it() {
    let rows: &[(&[&str], &str)] = &[
        (&["-bs"], "[127.0.0.1]"),
        (&["-bs", "-i"], "[127.0.0.1]"),
        (&["-bs", "-odb", "-oem"], "pi.test.example"),
    ];
    for (args, name) in rows {
        let system = System::offline("bs");
        let mut talk = Talk::start(&system, args);
        talk.steps(&[
            (&format!("EHLO {name}"), "250"),
            ("MAIL FROM:<app@example.org>", "250"),
            ("RCPT TO:<one@example.net>", "250"),
            ("RCPT TO:<two@example.net>", "250"),
            ("DATA", "354"),
            (
                "From: app@example.org\r\nTo: one@example.net\r\nBcc: two@example.net\r\n\
                 Subject: x\r\n\r\nhello\r\n..dot\r\n.",
                "250",
            ),
            ("QUIT", "221"),
        ]);
        let ran = talk.end();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        let queued = system.queued();
        assert_eq!(queued.sender(), "<app@example.org>");
        assert_eq!(queued.recipients(), ["one@example.net", "two@example.net"]);
        assert_eq!(queued.mail().body(), "hello\n.dot\n");
        assert_eq!(queued.mail().field("Bcc"), None, "{}", queued.mail().text());
    }
}

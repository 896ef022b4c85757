//! What root's process knows while others work: a handful of words, by which it begins anew.
//!
//! Whoever has read a configuration has touched half of the program, and holds what was in it; root's process stays for
//! as long as the daemon does, and needs nearly nothing of that. So it starts itself once more, with these words in the
//! place of a configuration. They come from nobody but root, and are read as strictly as if they did not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::ends::Place;
use super::super::{Context, helper};
use crate::config::{Log, LogTo};
use crate::host::children::Worker;

/// What root's process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The name of the user of the spool.
    pub user: String,
    /// In whose right files and commands of the alias file are.
    pub alias_user: String,
    /// The configuration, for helpers.
    pub config: Option<PathBuf>,
    /// Where log lines go.
    pub log: Log,
    /// Where mail for root is kept.
    pub root_mailbox: Place,
    /// The words it was started with, to begin as then after a fault of its worker; none: somebody else does that.
    pub started: Vec<OsString>,
}

impl Charge {
    /// What of all that is known here it needs.
    pub fn of(context: &Context) -> Self {
        let config = &context.config;
        Self {
            user: config.user.clone(),
            alias_user: config.local.alias_user.clone(),
            config: config.file.clone(),
            log: config.log.clone(),
            root_mailbox: helper::root_mailbox(context),
            started: Vec::new(),
        }
    }

    /// In words, with the one that works.
    pub fn words(&self, worker: &Worker) -> Vec<OsString> {
        let to: &OsStr = match &self.log.to {
            LogTo::Auto => "auto".as_ref(),
            LogTo::Syslog => "syslog".as_ref(),
            LogTo::Stderr => "stderr".as_ref(),
            LogTo::File(path) => path.as_ref(),
        };
        let (kind, path): (&str, &Path) = match &self.root_mailbox {
            Place::Maildir(path) => ("maildir", path),
            Place::Mbox(path) => ("mbox", path),
            // Mail for root ends in a file, always.
            Place::Command(_) | Place::Lmtp(_) | Place::Nowhere => ("mbox", Path::new("/dev/null")),
        };
        let word = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            word
        };
        let mut words = vec![
            word("worker", worker.to_string().as_ref()),
            word("user", self.user.as_ref()),
            word("alias-user", self.alias_user.as_ref()),
            word("log", to),
            word("level", self.log.level.as_str().as_ref()),
            word(kind, path.as_ref()),
        ];
        words.extend(self.config.iter().map(|c| word("config", c.as_ref())));
        words.extend(self.started.iter().map(|was| word("started", was)));
        words
    }

    /// Reads these words; `None`: they are others.
    pub fn parse(words: impl Iterator<Item = OsString>) -> Option<(Self, Worker)> {
        let (mut worker, mut user, mut alias_user) = (None, None, None);
        let (mut to, mut level, mut root_mailbox, mut config) = (None, None, None, None);
        let mut started = Vec::new();
        for word in words {
            let at = word.as_bytes().iter().position(|octet| *octet == b'=')?;
            let (name, value) = word.as_bytes().split_at_checked(at)?;
            let value = value.get(1..).filter(|value| !value.is_empty())?;
            let text = || String::from_utf8(value.to_vec()).ok();
            let path = || {
                let path = PathBuf::from(OsString::from_vec(value.to_vec()));
                path.is_absolute().then_some(path)
            };
            let was_known = match name {
                b"worker" => worker.replace(Worker::parse(&text()?)?).is_some(),
                b"user" => user.replace(text()?).is_some(),
                b"alias-user" => alias_user.replace(text()?).is_some(),
                b"log" => to
                    .replace(match value {
                        b"auto" => LogTo::Auto,
                        b"syslog" => LogTo::Syslog,
                        b"stderr" => LogTo::Stderr,
                        _ => LogTo::File(path()?),
                    })
                    .is_some(),
                b"level" => level.replace(text()?.parse().ok()?).is_some(),
                b"maildir" => root_mailbox.replace(Place::Maildir(path()?)).is_some(),
                b"mbox" => root_mailbox.replace(Place::Mbox(path()?)).is_some(),
                b"started" => {
                    started.push(OsString::from_vec(value.to_vec()));
                    false
                }
                b"config" => config.replace(path()?).is_some(),
                _ => return None,
            };
            if was_known {
                return None;
            }
        }
        let charge = Self {
            user: user?,
            alias_user: alias_user?,
            config,
            log: Log {
                to: to?,
                level: level?,
            },
            root_mailbox: root_mailbox?,
            started,
        };
        Some((charge, worker?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(to: LogTo, config: Option<PathBuf>, root_mailbox: Place) -> Charge {
        Charge {
            user: "minimta".to_owned(),
            alias_user: "nobody".to_owned(),
            config,
            log: Log {
                to,
                level: "INFO".parse().unwrap(),
            },
            root_mailbox,
            started: ["-bd", "-C", "/etc/x=y"].map(OsString::from).to_vec(),
        }
    }

    #[test]
    fn what_it_knows_comes_back_from_its_words() {
        let worker = Worker::parse("4711").unwrap();
        let odd = PathBuf::from(OsString::from_vec(b"/a = \xff\n b".to_vec()));
        let rows = [
            charge(LogTo::Auto, None, Place::Mbox("/var/mail/root".into())),
            charge(
                LogTo::Syslog,
                Some("/m.toml".into()),
                Place::Maildir("/m/root/".into()),
            ),
            charge(
                LogTo::File(odd.clone()),
                Some(odd),
                Place::Mbox("/m=n".into()),
            ),
            charge(LogTo::Stderr, None, Place::Mbox("/m".into())),
        ];
        for row in rows {
            let words = row.words(&worker);
            let back = Charge::parse(words.clone().into_iter());
            assert_eq!(
                back,
                Some((row, Worker::parse("4711").unwrap())),
                "{words:?}"
            );
            // None of them may be missing but the name of a configuration, and none said twice; but for the words by which
            // it was started, which may be any.
            let is_free = |word: &OsString| word.as_bytes().starts_with(b"started=");
            for at in (0..words.len()).filter(|at| !is_free(&words[*at])) {
                let mut fewer = words.clone();
                let gone = fewer.remove(at).into_vec();
                let read = Charge::parse(fewer.into_iter());
                assert_eq!(read.is_some(), gone.starts_with(b"config="), "{gone:?}");
                let mut more = words.clone();
                more.push(words[at].clone());
                assert_eq!(Charge::parse(more.into_iter()), None);
            }
        }
    }

    #[test]
    fn other_words_are_refused() {
        let good = "worker=4711 user=minimta alias-user=nobody log=auto level=INFO mbox=/m";
        let read = |line: &str| Charge::parse(line.split(' ').map(OsString::from));
        assert!(read(good).is_some());
        for (from, to) in [
            ("worker=4711", "worker=0"),
            ("worker=4711", "worker=-1"),
            ("worker=4711", "worker=1"),
            ("worker=4711", "worker=99999999999"),
            ("worker=4711", "worker=x"),
            ("user=minimta", "user="),
            ("user=minimta", "user"),
            ("user=minimta", "User=minimta"),
            ("log=auto", "log=file"),
            ("level=INFO", "level=loud"),
            ("mbox=/m", "mbox=m"),
            ("mbox=/m", "mbox=/m maildir=/m"),
            ("mbox=/m", "mbox=/m config=m.toml"),
            ("mbox=/m", "mbox=/m -bd"),
        ] {
            let line = good.replacen(from, to, 1);
            assert_eq!(read(&line), None, "{line}");
        }
    }
}

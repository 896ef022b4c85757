//! What root starts: this process keeps root's rights and does next to nothing; another one does the work.
//!
//! ```text
//! root's process     one thread; opens ports, makes folders, starts the others; reads no mail, speaks to no network
//!   worker           the user of the spool, with no rights but his: SMTP, TLS, DNS, the queue
//!   helper           one for each user whose mail waits, as him: his mailbox, his commands; gone when it is done
//! ```
//!
//! 1. find the user of the spool; see that its folders are there and his
//! 2. open the ports; go into the background, if that is wanted
//! 3. start the worker with the words of our own command line, and hand it the ports
//! 4. until it ends: pass on signals, and answer one kind of request, "a helper for somebody"
//! 5. end as it has ended; what it was, a supervisor may start again
//!
//! A request is one packet of a few words ([`crate::proto::handover::Whom`]). A worker that says anything else is ended:
//! it is not ours any more.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use super::doors::Doors;
use super::ends::Place;
use super::{Context, helper};
use crate::cli::{Invocation, Mode};
use crate::config::LogTo;
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::channel::Channel;
use crate::host::children::{self, Ear, Heard};
use crate::host::{estate, logging, presence, privilege, words};
use crate::proto::handover::Whom;

/// Helpers at once. The worker wants fewer; some are just ending.
const HELPERS: usize = 32;
/// How long helpers may take to end what they have begun when the worker has ended.
const GRACE: Duration = Duration::from_secs(10);
/// Folders of minimta: their group passes through, and sees nothing.
const FOLDER: u32 = 0o710;
/// A log file is the worker's, and its group's.
const LOG: u32 = 0o660;
/// Exit code of sysexits.h for a fault within.
const SOFTWARE: u8 = 70;

/// The user of the spool, when there is work to be done as him: root has started this process, and is not that user
/// himself.
///
/// # Errors
/// `Config` when there is no such user, with the remedy.
pub fn servant(context: &Context) -> Result<Option<Account>> {
    let name = &context.config.user;
    // Who root's other names are need not be asked to know this one.
    if name == "root" || !privilege::is_root() {
        return Ok(None);
    }
    let found = accounts::find(name).map_err(Error::Os)?;
    match found {
        Some(account) if account.uid == 0 => Ok(None),
        Some(account) if account.gid != 0 => Ok(Some(account)),
        Some(_) => Err(Error::Config(format!(
            "the user {name} has the group of root, which is too much for the one that minimta works as; give the user a group of its own"
        ))),
        None => Err(Error::Config(format!(
            "there is no user {name}, whom minimta works as when root starts it; make one: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}, or name another with the key user"
        ))),
    }
}

/// Has `-bd`, `-q15m` or `-q` done.
///
/// # Errors
/// What keeps it from beginning.
pub fn run(context: &Context, call: &Invocation, servant: &Account) -> Result<ExitCode> {
    let words = std::env::args_os().skip(1);
    let words: Vec<OsString> = words.map(|word| settled(word, call)).collect();
    let doors = Doors::open(&context.config, call.listen, true)?;
    if call.mode == Mode::Daemon {
        presence::see_that_it_is_free(&context.config.queue.run)?;
        if call.detach && !doors.handed_over {
            privilege::detach().map_err(Error::Os)?;
        }
    }
    Household::start(context, servant, &words, &doors)?.keep()
}

/// A word of our command line for a process that stands elsewhere: a configuration that is named relative to where
/// this one stands gets its whole path.
fn settled(word: OsString, call: &Invocation) -> OsString {
    let Some(config) = &call.config else {
        return word;
    };
    let is_it = |path: &str| std::path::absolute(path).is_ok_and(|p| p == *config);
    match word.to_str() {
        Some(path) if is_it(path) => config.into(),
        Some(joined) => match joined.split_once('C') {
            Some((letters, path)) if letters.starts_with('-') && is_it(path) => {
                let mut word = OsString::from(format!("{letters}C"));
                word.push(config);
                word
            }
            _ => word,
        },
        None => word,
    }
}

/// Has these messages tried, or all that are due, by a worker that does nothing else.
///
/// # Errors
/// As for [`run`].
pub fn run_queue(context: &Context, servant: &Account, ids: &[String]) -> Result<ExitCode> {
    let mut words: Vec<OsString> = vec!["-q".into()];
    if let Some(config) = &context.config.file {
        words.extend(["-C".into(), config.into()]);
    }
    if context.verbose {
        words.push("-v".into());
    }
    if ids.is_empty() {
        words.push("--due".into());
    }
    words.extend(ids.iter().map(|id| format!("--only={id}").into()));
    Household::start(context, servant, &words, &Doors::none())?.keep()
}

/// Sees that the folders of the spool and of a daemon are there and this user's, and that he can write the log.
///
/// # Errors
/// `Config` when they are somebody else's, with the remedy; `CannotCreate`.
pub fn make_folders(context: &Context, servant: &Account) -> Result<()> {
    let queue = &context.config.queue;
    estate::folder(&queue.spool, servant, FOLDER)?;
    estate::folder(&queue.run, servant, FOLDER)?;
    if let LogTo::File(path) = &context.config.log.to {
        estate::file(path, servant, LOG)?;
    }
    Ok(())
}

/// Root's process, with those it has started.
struct Household<'a> {
    context: &'a Context,
    servant: Account,
    ear: Ear,
    line: Channel,
    worker: Child,
    helpers: Vec<Child>,
}

impl<'a> Household<'a> {
    fn start(
        context: &'a Context,
        servant: &Account,
        words: &[OsString],
        doors: &Doors,
    ) -> Result<Self> {
        let failed = |e: std::io::Error| {
            let why = crate::host::words(&e);
            Error::Os(format!("cannot start a process to work: {why}"))
        };
        let ear = Ear::new().map_err(failed)?;
        let (line, end) = Channel::pair().map_err(failed)?;
        let worker =
            children::start_worker(servant, &context.program, words, end).map_err(failed)?;
        let household = Self {
            context,
            servant: servant.clone(),
            ear,
            line,
            worker,
            helpers: Vec::new(),
        };
        // When it has ended already, its exit code says more than the packet that it did not take.
        let _ = doors.hand_over(&household.line);
        Ok(household)
    }

    /// Until the worker ends; returned is the exit code for this process.
    fn keep(mut self) -> Result<ExitCode> {
        let mut trusted = true;
        let status = loop {
            if let Some(status) = self.worker.try_wait().map_err(|e| cannot_wait(&e))? {
                break status;
            }
            let channel = trusted.then_some(&self.line);
            let heard = self.ear.wait(channel, None).map_err(|e| cannot_wait(&e))?;
            for heard in heard {
                match heard {
                    Heard::Signal(signal) => {
                        if children::is_hangup(signal) {
                            self.turn_over_log();
                        }
                        children::pass_on(signal, &self.worker);
                    }
                    Heard::Child => self
                        .helpers
                        .retain_mut(|h| matches!(h.try_wait(), Ok(None))),
                    Heard::Packet => trusted = self.answer(),
                }
            }
        };
        // Its lines to the helpers are closed now; they end what they have whole, and nothing else.
        let until = Instant::now() + GRACE;
        while !self.helpers.is_empty() && Instant::now() < until {
            let heard = self
                .ear
                .wait(None, Some(100))
                .map_err(|e| cannot_wait(&e))?;
            self.helpers
                .retain_mut(|h| matches!(h.try_wait(), Ok(None)));
            if heard.iter().any(|h| matches!(h, Heard::Signal(_))) {
                break;
            }
        }
        Ok(code(status))
    }

    /// Goes on in a new log file, where one was put away. The worker is told only then: it must not be the first one
    /// there, nor find a file that is not its own.
    fn turn_over_log(&self) {
        let log = &self.context.config.log;
        let made = match &log.to {
            LogTo::File(path) => estate::file(path, &self.servant, LOG).map_err(|e| e.to_string()),
            LogTo::Auto | LogTo::Stderr | LogTo::Syslog => Ok(()),
        };
        let renewed = made.and_then(|()| logging::renew(log, &self.context.program));
        if let Err(sentence) = renewed {
            events::trouble("-", &sentence);
        }
    }

    /// Answers a request. False: there will be no more, for the worker has hung up, or is not ours any more.
    fn answer(&mut self) -> bool {
        let whom = match self.line.receive() {
            Ok(None) => return false,
            Ok(Some(packet)) if packet.descriptor.is_none() => Whom::parse(&packet.text),
            Ok(Some(_)) | Err(_) => None,
        };
        let Some(whom) = whom else {
            events::trouble("-", &"the worker asks for what is no request, and is ended");
            // It is our child, and has not been waited for.
            let _ = self.worker.kill();
            return false;
        };
        let told = match self.make_helper(&whom) {
            Ok(channel) => self.line.send("ok", Some(channel.as_fd())),
            Err(why) => self.line.send(&format!("no {why}"), None),
        };
        told.is_ok()
    }

    fn make_helper(&mut self, whom: &Whom) -> Result<Channel, String> {
        if self.helpers.len() >= HELPERS {
            return Err("too many processes deliver already".to_owned());
        }
        let account = helper::account(self.context, whom)?;
        if *whom == Whom::Root {
            let made = match helper::root_mailbox(self.context) {
                Place::Maildir(path) => estate::maildir(&path, &account),
                Place::Mbox(path) => estate::file(&path, &account, 0o600),
                Place::Command(_) | Place::Lmtp(_) | Place::Nowhere => Ok(()),
            };
            made.map_err(|e| e.to_string())?;
        }
        let failed =
            |e: std::io::Error| format!("cannot start a process to deliver: {}", words(&e));
        let (here, there) = Channel::pair().map_err(failed)?;
        let config = self.context.config.file.as_deref();
        let child = children::start_helper(&whom.text(), config, there);
        self.helpers.push(child.map_err(failed)?);
        Ok(here)
    }
}

/// The worker's own, or that of a fault within.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or_else(|| {
        let signal = status.signal().unwrap_or_default();
        events::trouble("-", &format!("the worker was ended by signal {signal}"));
        SOFTWARE
    }))
}

fn cannot_wait(error: &std::io::Error) -> Error {
    Error::Os(format!(
        "cannot wait for the process that works: {}",
        words(error)
    ))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::cli;
    use crate::config::{Config, System};

    /// A household whose worker does nothing, and the worker's end of the line.
    fn household(context: &Context) -> (Household<'_>, Channel) {
        let (line, end) = Channel::pair().unwrap();
        let household = Household {
            context,
            servant: accounts::caller(),
            ear: Ear::new().unwrap(),
            line,
            worker: Command::new("sleep").arg("60").spawn().unwrap(),
            helpers: Vec::new(),
        };
        (household, end)
    }

    fn context() -> Context {
        let system = System {
            hostname: &String::new,
        };
        let config = Config::parse(b"user = \"root\"", None, &system).unwrap();
        Context::new(config, "minimta", &cli::parse(std::iter::empty()).unwrap())
    }

    #[test]
    fn a_worker_that_sends_garbage_is_ended_and_nobody_else() {
        let context = context();
        let mut rows: Vec<Vec<u8>> = [
            "",
            "user ",
            "user a b",
            "root ",
            "nobody\n",
            "helper",
            "user ../x",
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
        rows.remove(0);
        let mut state = 4711_u64;
        for length in [1, 7, 64, 500, 4000] {
            let random = (0..length).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                b'!' + (state >> 56) as u8 % 90
            });
            rows.push(random.collect());
        }
        for row in rows {
            let (mut household, end) = household(&context);
            end.send(&String::from_utf8_lossy(&row), None).unwrap();
            assert!(!household.answer(), "{row:?}");
            let status = household.worker.wait().unwrap();
            assert_eq!(status.signal(), Some(9), "{row:?}");
            assert!(household.helpers.is_empty());
        }
        // A good request with something in its hands is none.
        let (mut household, end) = household(&context);
        end.send("nobody", Some(end.as_fd())).unwrap();
        assert!(!household.answer());
        assert_eq!(household.worker.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_request_that_cannot_be_met_is_answered() {
        let context = context();
        let (mut household, end) = household(&context);
        for (request, answer) in [
            ("user no-such-user", "no there is no user no-such-user"),
            (
                "user root",
                "no the account root is not a person's, so that nothing is delivered in its right",
            ),
            (
                "user daemon",
                "no the account daemon is not a person's, so that nothing is delivered in its right",
            ),
        ] {
            end.send(request, None).unwrap();
            assert!(household.answer());
            let packet = end.receive().unwrap().unwrap();
            assert!(packet.descriptor.is_none());
            assert_eq!(packet.text, answer);
        }
        drop(end);
        assert!(!household.answer());
        household.worker.kill().unwrap();
        household.worker.wait().unwrap();
    }

    #[test]
    fn a_configuration_keeps_its_place_for_those_who_stand_elsewhere() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let here = std::path::absolute("m.toml").unwrap();
        let rows = [
            ("-C m.toml -bD", format!("-C {} -bD", here.display())),
            ("-Cm.toml -bD", format!("-C{} -bD", here.display())),
            ("-vCm.toml -q", format!("-vC{} -q", here.display())),
            ("-C /m.toml -q", "-C /m.toml -q".to_owned()),
            ("-q", "-q".to_owned()),
        ];
        for (typed, expected) in rows {
            let line = std::iter::once("minimta".into()).chain(words(typed));
            let mut call = crate::cli::parse(line).unwrap();
            call.config = call.config.map(|path| std::path::absolute(path).unwrap());
            let settled: Vec<OsString> = words(typed)
                .into_iter()
                .map(|word| settled(word, &call))
                .collect();
            assert_eq!(settled, words(&expected), "{typed}");
        }
    }
}

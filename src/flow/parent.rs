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
//! 4. begin anew, with a few words in the place of a configuration ([`charge`]), and so with little memory
//! 5. until it ends: pass on signals, and answer one kind of request, "a helper for somebody"
//! 6. end as it has ended; what it was, a supervisor may start again
//!
//! A request is one packet of a few words ([`crate::proto::handover::Whom`]). A worker that says anything else is ended:
//! it is not ours any more.
//!
//! A supervisor may keep the two apart: then it has started the worker, as the user of the spool, and starts root's
//! process when the worker connects to a socket that only this user can open ([`serve`]). It ends when it has nothing to
//! do.

mod charge;
mod staff;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use self::charge::Charge;
use self::staff::Staff;
use super::doors::Doors;
use super::ends::Place;
use super::{Context, fault, helper};
use crate::cli::{Invocation, Mode, complain};
use crate::config::{Log, LogTo};
use crate::error::{Error, Result};
use crate::events;
use crate::host::accounts::{self, Account};
use crate::host::channel::Channel;
use crate::host::children::{self, Ear, Ended, Heard, Worker};
use crate::host::signals::{self, Signal};
use crate::host::spool::Folder;
use crate::host::{estate, logging, presence, privilege, words};
use crate::proto::handover::Whom;

/// How long helpers may take to end what they have begun when the worker has ended, which has waited for them itself: with
/// its time (flow/daemon.rs) that is less than systemd grants (TimeoutStopSec).
const GRACE: Duration = Duration::from_secs(4);
/// The same when it is not the worker that has ended, but this process that is told to: as long as a worker waits for them
/// that is told so at the same time.
const GRACE_APART: Duration = Duration::from_secs(15);
/// How long root's process waits for the next request of a worker that it has not started, milliseconds.
const IDLE: u16 = 15_000;
/// How long a worker may leave an answer unread that finds no room.
const HASTE: Duration = Duration::from_secs(5);
/// The word by which it begins anew. No option: nothing else is to be read before this is known.
const ANEW: &str = "--as-parent";
/// Folders of minimta: their group passes through, and sees nothing.
const FOLDER: u32 = 0o710;
/// Those in the spool, where the program makes files for its group, and reads those of others.
const SPOOL_FOLDER: u32 = 0o770;
/// A log file is the worker's, and its group's.
const LOG: u32 = 0o660;

/// The user of the spool, when there is work to be done as him: root has started this process, and is not that user
/// himself.
///
/// # Errors
/// `Config` when there is no such user, with the remedy.
pub fn servant(context: &Context) -> Result<Option<Account>> {
    let name = &context.config.user;
    // Who root's other names are need not be asked to know this one.
    if name == "root" || context.caller_uid() != 0 || !privilege::is_root() {
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
    let mut household = Household::start(context, servant, &words, &doors)?;
    // A word that is empty is none that can be passed on.
    if !doors.handed_over && !words.iter().any(|word| word.is_empty()) {
        household.charge.started.clone_from(&words);
    }
    if let Some(worker) = &household.worker {
        let mut words = household.charge.words(worker);
        words.insert(0, ANEW.into());
        let why = children::begin_anew(&context.program, words, &household.line);
        // It goes on as it is, with more memory than it needs.
        events::trouble(
            "-",
            &format!("cannot begin anew: {}", crate::host::words(&why)),
        );
    }
    household.keep()
}

/// Goes on in the place of the process that has begun anew as this one; `None`: that is not so.
pub fn go_on(program: &str) -> Option<Result<ExitCode>> {
    let mut words = std::env::args_os().skip(1);
    (words.next()? == ANEW).then(|| {
        let refused = || {
            Error::NoPermission(
                "what root starts begins anew by itself, and nobody else can".to_owned(),
            )
        };
        if !privilege::is_root() {
            privilege::drop_group().map_err(Error::NoPermission)?;
            return Err(refused());
        }
        // Signals go on to wait; and its standard input is the line to the worker.
        privilege::close_from(3);
        privilege::call_it(program);
        let (charge, worker) = Charge::parse(words).ok_or_else(refused)?;
        let ear = Ear::new().map_err(cannot_start)?;
        let line = Channel::on_standard_input().map_err(cannot_start)?;
        // What is against it was told before it has begun anew.
        let _ = logging::start(&charge.log, program, false);
        let household = Household {
            program: program.to_owned(),
            charge,
            ear,
            line,
            worker: Some(worker),
            passed_on: None,
            staff: Staff::default(),
        };
        household.keep()
    })
}

/// Makes helpers for a worker that has connected: its end is our standard input. Ends when it has hung up, or has wanted
/// nothing for a while.
///
/// # Errors
/// `NoPermission` when it is not root who was asked, or not the user of the spool who asks.
pub fn serve(context: &Context) -> Result<ExitCode> {
    let refused = |why: &str| Error::NoPermission(format!("this makes helpers {why}"));
    let Some(servant) = &context.servant else {
        return Err(refused(
            "when root starts it, and minimta works as another user (the key user)",
        ));
    };
    let line = Channel::on_standard_input().map_err(cannot_start)?;
    if line.peer().ok() != Some(servant.uid) {
        return Err(refused(&format!(
            "for the user {} alone, over a socket that is its standard input",
            servant.name
        )));
    }
    let household = Household {
        program: context.program.clone(),
        charge: Charge::of(context),
        ear: Ear::new().map_err(cannot_start)?,
        line,
        worker: None,
        passed_on: None,
        staff: Staff::default(),
    };
    // The worker may not have found a place for its log yet; it must not be root's.
    let made = household.make_log();
    if let Err(sentence) =
        made.and_then(|()| logging::start(&household.charge.log, &household.program, false))
    {
        complain(&household.program, &sentence);
    }
    household.keep()
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
    if estate::folder(&queue.spool, servant, FOLDER)? {
        // Users, who may hand in the next message, cannot make what is in it.
        for folder in Folder::ALL {
            estate::folder(&queue.spool.join(folder.name()), servant, SPOOL_FOLDER)?;
        }
    }
    estate::folder(&queue.run, servant, FOLDER)?;
    // What is against it is told when it is opened, and stops no mail.
    let _ = make_log(&context.config.log, servant);
    Ok(())
}

/// Sees that there is a log file, if there is to be one, that this user may write, and the program for others.
///
/// # Errors
/// The sentence to show.
pub fn make_log(log: &Log, servant: &Account) -> std::result::Result<(), String> {
    let LogTo::File(path) = &log.to else {
        return Ok(());
    };
    estate::file(&logging::end_of(path)?, servant, LOG).map_err(|e| e.to_string())
}

/// Root's process, with those it has started.
struct Household {
    program: String,
    charge: Charge,
    ear: Ear,
    line: Channel,
    /// `None`: somebody else has started it.
    worker: Option<Worker>,
    /// The last signal that was passed on to it.
    passed_on: Option<Signal>,
    staff: Staff,
}

impl Household {
    fn start(
        context: &Context,
        servant: &Account,
        words: &[OsString],
        doors: &Doors,
    ) -> Result<Self> {
        let ear = Ear::new().map_err(cannot_start)?;
        let (line, end) = Channel::pair().map_err(cannot_start)?;
        let worker = children::start_worker(servant, &context.program, words, end);
        let household = Self {
            program: context.program.clone(),
            charge: Charge::of(context),
            ear,
            line,
            worker: Some(worker.map_err(cannot_start)?),
            passed_on: None,
            staff: Staff::default(),
        };
        // When it has ended already, its exit code says more than the packet that it did not take.
        let _ = doors.hand_over(&household.line);
        Ok(household)
    }

    /// Until the worker ends, or hangs up if it is none of ours; returned is the exit code for this process.
    fn keep(mut self) -> Result<ExitCode> {
        let (mut trusted, mut asked) = (true, false);
        self.line.set_haste(HASTE).map_err(cannot_start)?;
        let ended = loop {
            match &self.worker {
                Some(worker) => {
                    if let Some(ended) = worker.try_wait().map_err(cannot_wait)? {
                        break Some(ended);
                    }
                }
                None if trusted && !asked => {}
                None => break None,
            }
            let channel = trusted.then_some(&self.line);
            let most = self.worker.is_none().then_some(IDLE);
            let heard = self.ear.wait(channel, most).map_err(cannot_wait)?;
            let is_idle = most.is_some() && heard.is_empty();
            for heard in heard {
                match heard {
                    Heard::Signal(signal) => {
                        if children::is_hangup(signal) {
                            self.turn_over_log();
                        }
                        match &self.worker {
                            Some(worker) => {
                                worker.signal(signal);
                                self.passed_on = Some(signal);
                            }
                            None => asked |= !children::is_hangup(signal),
                        }
                    }
                    Heard::Child => self.staff.bury(),
                    Heard::Packet => trusted &= self.answer(),
                }
            }
            if is_idle {
                self.staff.end_all_told();
                trusted &= !self.staff.is_empty();
            }
        };
        self.end_helpers(asked)?;
        if ended == Some(Ended::Code(fault::BEGIN_ANEW)) {
            return Err(self.begin_over());
        }
        if let Some(Ended::Signal(number)) = ended
            && let Some(signal) = self.passed_on.filter(|s| *s as i32 == number)
        {
            // It was not its own doing.
            signals::end_by(signal);
        }
        Ok(ended.map_or(ExitCode::SUCCESS, code))
    }

    /// Begins as it was started, for its worker has met a fault and has put off what it met it over. Comes back if that
    /// cannot be.
    fn begin_over(&self) -> Error {
        let words = &self.charge.started;
        let why = match words.is_empty() {
            true => "whoever has started it may do so again".to_owned(),
            false => crate::host::words(&children::begin_over(&self.program, words)),
        };
        Error::Internal(format!("minimta ends after a fault: {why}"))
    }

    /// Their lines to the worker are closed now, or soon; they end what they have whole, and nothing else. Where the
    /// worker has only gone to another process for its next ones, and this one was not `asked` to end, they have all the
    /// time that it gives them.
    fn end_helpers(&mut self, asked: bool) -> Result<()> {
        let (grace, may_work) = match self.worker {
            Some(_) => (GRACE, false),
            None => (GRACE_APART, !asked),
        };
        let mut until = Instant::now() + grace;
        while !self.staff.is_empty() && Instant::now() < until {
            let heard = self.ear.wait(None, Some(100)).map_err(cannot_wait)?;
            self.staff.bury();
            let is_request = |h: &Heard| matches!(h, Heard::Signal(s) if !children::is_hangup(*s));
            if heard.iter().any(is_request) {
                break;
            }
            if may_work && self.staff.is_at_work() {
                until = Instant::now() + grace;
            }
        }
        self.staff.end_all();
        Ok(())
    }

    /// Goes on in a new log file, where one was put away. The worker is told only then: it must not be the first one
    /// there, nor find a file that is not its own.
    fn turn_over_log(&self) {
        let log = &self.charge.log;
        let renewed = self
            .make_log()
            .and_then(|()| logging::renew(log, &self.program, false));
        if let Err(sentence) = renewed {
            events::trouble("-", &sentence);
        }
    }

    fn make_log(&self) -> std::result::Result<(), String> {
        let log = &self.charge.log;
        if !matches!(log.to, LogTo::File(_)) {
            return Ok(());
        }
        let user = &self.charge.user;
        let servant = accounts::find(user)?.ok_or_else(|| format!("there is no user {user}"))?;
        make_log(log, &servant)
    }

    /// Answers a request. False: there will be no more, for the worker has hung up, or is not ours any more.
    fn answer(&mut self) -> bool {
        let whom = match self.line.receive() {
            Ok(None) => return false,
            Ok(Some(packet)) if packet.descriptor.is_none() => Whom::parse(&packet.text),
            Ok(Some(_)) | Err(_) => None,
        };
        let Some(whom) = whom else {
            return self.distrust("asks for what is no request");
        };
        let told = match self.make_helper(&whom) {
            Ok(channel) => self.line.send("ok", Some(channel.as_fd())),
            Err(why) => self.line.send(&format!("no {why}"), None),
        };
        let is_late = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        if told.as_ref().is_err_and(is_late) {
            return self.distrust("does not hear the answers to what it asks for");
        }
        told.is_ok()
    }

    /// Ends a worker that does what ours would not.
    fn distrust(&self, what: &str) -> bool {
        events::trouble("-", &format!("the worker {what}, and is ended"));
        if let Some(worker) = &self.worker {
            worker.kill();
        }
        false
    }

    fn make_helper(&mut self, whom: &Whom) -> std::result::Result<Channel, String> {
        self.staff.make_place(whom)?;
        let charge = &self.charge;
        let account = helper::account(whom, &charge.user, &charge.alias_user)?;
        if *whom == Whom::Root {
            let made = match &charge.root_mailbox {
                Place::Maildir(path) => estate::maildir(path, &account),
                Place::Mbox(path) => estate::file(path, &account, 0o600),
                Place::Command(_) | Place::Lmtp(_) | Place::Nowhere => Ok(()),
            };
            made.map_err(|e| e.to_string())?;
        }
        let failed = |e: io::Error| format!("cannot start a process to deliver: {}", words(&e));
        let (here, there) = Channel::pair().map_err(failed)?;
        let line = there.another().map_err(failed)?;
        let child = children::start_helper(&whom.text(), charge.config.as_deref(), there);
        self.staff.add(whom.clone(), child.map_err(failed)?, line);
        Ok(here)
    }
}

/// The worker's own, or that of a fault within.
fn code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Code(code) => ExitCode::from(code),
        Ended::Signal(signal) => {
            events::trouble("-", &format!("the worker was ended by signal {signal}"));
            ExitCode::from(fault::SOFTWARE)
        }
    }
}

fn cannot_start(error: io::Error) -> Error {
    Error::Os(format!("cannot start a process to work: {}", words(&error)))
}

fn cannot_wait(error: io::Error) -> Error {
    Error::Os(format!(
        "cannot wait for the process that works: {}",
        words(&error)
    ))
}

#[cfg(test)]
mod tests;

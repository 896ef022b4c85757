//! minimta: a small, complete mail transfer agent. This file is the menu: a command line becomes one verb, and
//! its result an exit code (sysexits.h).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod config;
mod error;
mod events;
mod flow;
#[cfg(test)]
#[path = "../tests/fuzz/targets/mod.rs"]
mod fuzz;
mod host;
mod json;
mod parts;
mod proto;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use cli::{Invocation, Mode, Part, complain, say};
use config::{Config, System};
use error::{Error, Result};
use flow::helpers::Keeper;
use flow::{
    Context, admin, attend, check, daemon, deliver, dkim_key, fault, helper, import, jail,
    newaliases, parent, password, probe, queue, status, stdio, submit, verify,
};
use host::channel::Channel;
use host::{accounts, children, guard, logging, other, privilege};

fn main() -> ExitCode {
    let program = program();
    fault::watch(&program);
    match run(&program) {
        Ok(code) => code,
        Err(error) => {
            complain(&program, &error.to_string());
            ExitCode::from(error.code())
        }
    }
}

/// The name this program was called by, as it stands before its lines on standard error.
fn program() -> String {
    let first = std::env::args_os()
        .next()
        .map(|a| a.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name: String = first
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    if name.is_empty() {
        "minimta".to_owned()
    } else {
        name
    }
}

/// The order counts: each step may take rights away, and none is given back.
fn run(program: &str) -> Result<ExitCode> {
    if std::env::args_os().nth(1).is_some_and(|w| w == guard::WORD) {
        privilege::drop_group().map_err(Error::NoPermission)?;
        guard::stand();
        return Ok(ExitCode::SUCCESS);
    }
    if std::env::args_os().nth(1).is_some_and(|w| w == other::WORD) {
        let (code, sentence) = other::become_it(std::env::args_os().skip(2));
        complain(program, &sentence);
        std::process::exit(code);
    }
    privilege::fix_umask();
    privilege::outlive_file_limit();
    if let Some(ended) = parent::go_on(program) {
        return ended;
    }
    let call =
        cli::parse(std::env::args_os()).inspect_err(|error| log_too(program, None, error))?;
    act(program, call.clone()).inspect_err(|error| log_too(program, Some(&call), error))
}

/// What was said on standard error, for whoever looks for a message that did not come: at(1) throws away what it is told,
/// and cron(8) keeps no more of it than the exit code.
fn log_too(program: &str, call: Option<&Invocation>, error: &Error) {
    let is_seen = std::io::stderr().is_terminal();
    let is_of_mail = call.map_or(!is_seen, |call| {
        matches!(
            call.mode,
            Mode::Submit | Mode::Smtp | Mode::Queue | Mode::Daemon
        )
    });
    if !is_of_mail || !logging::is_apart(program) {
        return;
    }
    let words = error.to_string();
    // Below stands the line of the configuration, which may be one with a secret.
    let words = words.lines().next().unwrap_or_default();
    match call {
        Some(call) if call.mode == Mode::Submit => {
            let client = format!("uid {}", accounts::caller().uid);
            let from = call.sender.as_deref().unwrap_or_default();
            events::not_taken(&client, from, &call.arguments, &words);
        }
        _ => events::trouble("-", &words),
    }
}

/// Does what the command line asks for.
fn act(program: &str, mut call: Invocation) -> Result<ExitCode> {
    // Those who are started to work do not stand where this process stands.
    if let Some(absolute) = call
        .config
        .as_deref()
        .and_then(|p| std::path::absolute(p).ok())
    {
        call.config = Some(absolute);
    }
    if !parts::SERVER && matches!(call.mode, Mode::Daemon | Mode::Password) {
        return Err(Error::Usage(parts::NO_SERVER.to_owned()));
    }
    if needs_nothing(&call)? {
        return Ok(ExitCode::SUCCESS);
    }
    if call.part == Part::Whole && call.mode == Mode::Daemon {
        children::begin_sparing();
    }
    if call.part != Part::Whole || matches!(call.mode, Mode::Daemon | Mode::Queue) {
        begin_alone(program);
    }
    if call.config.is_some() {
        privilege::drop_group().map_err(Error::NoPermission)?;
    }
    let system = System {
        hostname: &accounts::system_name,
    };
    if call.mode == Mode::Import {
        // Files of the caller's choice are read with his rights.
        privilege::drop_group().map_err(Error::NoPermission)?;
        return import::run(&call, &system).map(|()| ExitCode::SUCCESS);
    }
    let config = Config::load(call.config.as_deref(), &system)?;
    if call.part == Part::Whole && matches!(call.mode, Mode::Submit | Mode::Smtp) {
        // A process may go on in the background, and hold the locks and pipes of a caller who is done. By now a
        // configuration that is one of them (`-C /dev/fd/3`) was read.
        privilege::close_from(3);
    }
    let needs_group = call.mode == Mode::Queue || works_on_mail(&call.mode);
    if !needs_group && privilege::has_group() {
        // All else that a user may want to know or make he can know and make himself.
        privilege::drop_group().map_err(Error::NoPermission)?;
    }
    if let Part::Helper(whom) = &call.part {
        helper::run(&Context::new(config, program, &call), whom)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut context = Context::new(config, program, &call);
    find_others(&mut context, &call)?;
    if call.part == Part::Home {
        return parent::serve(&context);
    }
    let is_work = matches!(call.mode, Mode::Daemon | Mode::Queue);
    if is_work && context.keeper.is_none() {
        context.keeper = keeper_apart(&context);
    }
    let hands_in = matches!(call.mode, Mode::Submit | Mode::Smtp);
    if let Some(servant) = &context.servant {
        if is_work || hands_in && !context.spool.root().exists() {
            parent::make_folders(&context, servant)?;
        } else if hands_in && logging::is_missing(&context.config.log) {
            // What is against it is told when it is opened.
            let _ = parent::make_log(&context.config.log, servant);
        }
        // Others look over what root has, or make what is root's.
        if call.mode == Mode::Status || works_on_mail(&call.mode) {
            privilege::act_as(servant).map_err(Error::Os)?;
        }
    }
    let only_asks =
        asks(&call.mode) || matches!(call.mode, Mode::Status | Mode::List | Mode::Show(_));
    // A file of one who only asks, of root or of a user who was lent the group would be nobody's who works.
    let is_file = matches!(context.config.log.to, config::LogTo::File(_));
    let make_log = is_file && !only_asks && context.servant.is_none() && !privilege::has_group();
    if let Err(sentence) = logging::start(&context.config.log, program, make_log)
        && !only_asks
    {
        complain(program, &sentence);
    }
    if context.keeper.is_some() {
        jail::enter(&context.config, call.mode == Mode::Daemon);
    }
    if let (true, Some(servant)) = (is_work, &context.servant) {
        return parent::run(&context, &call, servant);
    }
    do_it(context, &call)
}

/// The verbs, once this process is who it is to be.
fn do_it(context: Context, call: &Invocation) -> Result<ExitCode> {
    match &call.mode {
        Mode::Submit => submit::run(&context, call)?,
        Mode::Smtp => stdio::run(&context, call)?,
        Mode::Queue => queue::run(&context, call)?,
        Mode::List => return Ok(late(admin::list(&context, call)?)),
        Mode::Status => return Ok(late(status::run(&context, call)?)),
        Mode::Verify => verify::run(&context, call)?,
        Mode::Show(id) => admin::show(&context, id)?,
        Mode::Remove => admin::remove(&context, &call.arguments)?,
        Mode::Hold => admin::hold(&context, &call.arguments)?,
        Mode::Release => admin::release(&context, &call.arguments)?,
        Mode::DkimKey(domain) => dkim_key::run(&context, domain)?,
        Mode::Check => return check::run(&context, call),
        Mode::Test(address) => probe::test(&context, call, address)?,
        Mode::Aliases => return newaliases::run(&context),
        Mode::Daemon => return daemon::run(context, call).map(|()| ExitCode::SUCCESS),
        Mode::Help | Mode::Version | Mode::Password | Mode::Import => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What lists say when a message has waited for too long: EX_TEMPFAIL.
fn late(is_late: bool) -> ExitCode {
    ExitCode::from(if is_late { 75 } else { 0 })
}

/// Does what needs no configuration and no rights; false for all else.
fn needs_nothing(call: &Invocation) -> Result<bool> {
    match &call.mode {
        Mode::Help => {
            let file = config::DEFAULT_FILE;
            say(&format!("{}Configuration: {file}\n", cli::HELP))?;
        }
        Mode::Version => say(concat!("minimta ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Mode::Password => password::run(call)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether a verb reads or writes messages of the queue, which belong to the program's group.
fn works_on_mail(mode: &Mode) -> bool {
    let by_id = matches!(
        mode,
        Mode::Show(_) | Mode::Remove | Mode::Hold | Mode::Release
    );
    by_id || matches!(mode, Mode::Submit | Mode::Smtp | Mode::List)
}

/// Whether a verb asks how things are, which must be told of a machine that is not ready, too.
fn asks(mode: &Mode) -> bool {
    matches!(
        mode,
        Mode::Check | Mode::Test(_) | Mode::Verify | Mode::Aliases | Mode::DkimKey(_)
    )
}

/// Who does what this process may not: root's process, for a worker; the user of the spool, for root.
fn find_others(context: &mut Context, call: &Invocation) -> Result<()> {
    if call.part == Part::Worker {
        context.keeper = Some(worker(context, call)?);
        return Ok(());
    }
    context.servant = match parent::servant(context) {
        Err(_) if asks(&call.mode) => None,
        servant => servant?,
    };
    if call.part == Part::Whole && context.servant.is_none() {
        prepare_certificate(context, call);
    }
    Ok(())
}

/// What is not to be inherited from whoever started a process that stays: descriptors, but those that are handed over
/// by their number, and signals that wait.
fn begin_alone(program: &str) {
    privilege::call_it(program);
    let handed_over: i32 = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    privilege::close_from(handed_over.clamp(0, 1000).saturating_add(3));
    privilege::hear_signals();
}

/// A daemon that makes its certificate at its first start begins anew after it.
fn prepare_certificate(context: &Context, call: &Invocation) {
    if call.mode == Mode::Daemon && attend::prepare_certificate(&context.config, call.listen) {
        children::begin_again(&[]);
    }
}

/// The way to root's process when a supervisor keeps it apart, and this one is the user of the spool, with no rights but
/// his.
fn keeper_apart(context: &Context) -> Option<Arc<Keeper>> {
    let caller = accounts::caller();
    if caller.uid == 0 || deliver::owner(context) != Some(caller.uid) || privilege::has_group() {
        return None;
    }
    let keeper = Keeper::at_socket(&context.config.queue.run)?;
    privilege::forswear();
    Some(Arc::new(keeper))
}

/// The way to root's process, which has started this one.
fn worker(context: &Context, call: &Invocation) -> Result<Arc<Keeper>> {
    let refused =
        |why: &str| Error::NoPermission(format!("workers are started by minimta itself{why}"));
    let account = accounts::find(&context.config.user).map_err(Error::Os)?;
    if !account.is_some_and(|account| privilege::is_bare(&account)) {
        privilege::drop_group().map_err(Error::NoPermission)?;
        return Err(refused(", as the user of the spool"));
    }
    prepare_certificate(context, call);
    privilege::forswear();
    privilege::end_with_parent();
    let line = Channel::on_standard_input().map_err(|_| refused(""))?;
    Ok(Arc::new(Keeper::new(line)))
}

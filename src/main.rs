//! minimta: a small, complete mail transfer agent. This file is the menu: a command line becomes one verb, and
//! its result an exit code (sysexits.h).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cli;
mod config;
mod error;
mod events;
mod flow;
mod host;
mod json;
mod proto;

use std::process::ExitCode;

use cli::{Invocation, Mode, complain, say};
use config::{Config, System};
use error::{Error, Result};
use flow::{Context, admin, check, daemon, dkim_key, password, queue, stdio, submit};
use host::spool::Spool;
use host::{accounts, logging, privilege};

fn main() -> ExitCode {
    let program = program();
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

fn run(program: &str) -> Result<ExitCode> {
    privilege::fix_umask();
    let call = cli::parse(std::env::args_os())?;
    match &call.mode {
        Mode::Help => {
            say(cli::HELP);
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Version => {
            say(concat!(
                "minimta ",
                env!("CARGO_PKG_VERSION"),
                "
"
            ));
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Password => {
            password::run(&call)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    if call.config.is_some() {
        privilege::drop_group().map_err(Error::NoPermission)?;
    }
    let system = System {
        hostname: &accounts::system_name,
    };
    let context = context(
        program,
        &call,
        Config::load(call.config.as_deref(), &system)?,
    );
    match &call.mode {
        Mode::Submit => submit::run(&context, &call)?,
        Mode::Smtp => stdio::run(&context, &call)?,
        Mode::Queue => queue::run(&context, &call)?,
        Mode::List => {
            return Ok(ExitCode::from(if admin::list(&context, &call)? {
                75
            } else {
                0
            }));
        }
        Mode::Verify => admin::verify(&context, &call)?,
        Mode::Show(id) => admin::show(&context, id)?,
        Mode::Remove => admin::remove(&context, &call.arguments)?,
        Mode::Hold => admin::hold(&context, &call.arguments)?,
        Mode::Release => admin::release(&context, &call.arguments)?,
        Mode::DkimKey(domain) => dkim_key::run(&context, domain)?,
        Mode::Check => return check::run(&context, &call),
        Mode::Test(address) => check::test(&context, address)?,
        Mode::Aliases => {
            say("there is no alias file in this version, so there is nothing to check\n")
        }
        Mode::Daemon => return daemon::run(context, &call).map(|()| ExitCode::SUCCESS),
        Mode::Help | Mode::Version | Mode::Password => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn context(program: &str, call: &Invocation, config: Config) -> Context {
    if let Err(sentence) = logging::start(&config.log, program) {
        complain(program, &sentence);
    }
    let spool = Spool::new(
        &config.queue.spool,
        config.queue.min_free,
        config.queue.max_messages,
    );
    Context {
        config,
        spool,
        program: program.to_owned(),
        verbose: call.verbose,
    }
}

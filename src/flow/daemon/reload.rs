//! What a daemon does when it is told to read its configuration again.

use std::sync::Arc;
use std::time::Instant;

use super::{Care, Daemon, PARKED};
use crate::config::{Config, System};
use crate::events;
use crate::flow::attend::Service;
use crate::host::{accounts, logging};

impl Daemon<'_> {
    /// SIGHUP: the configuration is read again, and taken if it can be; sessions that run keep theirs.
    pub(super) fn reload(&mut self) {
        let system = System {
            hostname: &accounts::system_name,
        };
        let old = &self.service.context;
        let was = &old.config;
        let renew = |log| {
            // Whoever turns log files over tells so with this signal.
            if let Err(sentence) = logging::renew(log, &old.program, true) {
                events::trouble("-", &format!("the log stays where it was: {sentence}"));
            }
        };
        let stays = |why: &dyn std::fmt::Display| {
            renew(&was.log);
            events::trouble("-", &format!("the configuration stays as it was: {why}"));
        };
        let mut config = match Config::load(self.call.config.as_deref(), &system) {
            Ok(config) => config,
            Err(error) => return stays(&error),
        };
        if let Some(why) = lost(&config, was) {
            return stays(&why);
        }
        keep_places(&mut config, was);
        self.pool.set_limit(config.listen.max_connections + PARKED);
        let context = old.renewed(config);
        renew(&context.config.log);
        self.service = Arc::new(Service::new(context));
        self.service.look_at_certificate();
        self.certificate = Care::new(Instant::now());
        self.runner.renew(Arc::clone(&self.service));
        events::daemon(&"has read its configuration again");
    }
}

/// What a daemon has begun with stays: it holds its place in the folders, may have shut itself up with them, and cannot
/// become another user.
fn keep_places(config: &mut Config, old: &Config) {
    if config.listen.places() != old.listen.places() {
        events::trouble(
            "-",
            &"[listen] names other places now: they need a new start",
        );
    }
    let (queue, was) = (&mut config.queue, &old.queue);
    let folders = [
        ("spool", &mut queue.spool, &was.spool),
        ("run", &mut queue.run, &was.run),
    ];
    for (key, folder, was) in folders {
        if folder != was {
            folder.clone_from(was);
            events::trouble(
                "-",
                &format!("[queue] {key} names another place now: that needs a new start"),
            );
        }
    }
    if config.user != old.user {
        config.user.clone_from(&old.user);
        events::trouble(
            "-",
            &"the key user names another user now: that needs a new start",
        );
    }
}

/// What is said of a file that is gone or empty by now. An editor may be about to put another one in its place; that it is
/// to be so is told by a new start.
fn lost(config: &Config, old: &Config) -> Option<String> {
    match (&config.file, &old.file) {
        (None, Some(file)) => Some(format!("there is no {} any more", file.display())),
        (Some(file), Some(_)) if config.is_empty && !old.is_empty => {
            Some(format!("{} is empty", file.display()))
        }
        _ => None,
    }
}

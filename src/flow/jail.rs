//! The worker's jail: of the file system it keeps its own folders to write in, and to read what names, users, times and
//! trust are looked up in, and what the configuration names; of the kernel's calls, those that mail needs.
//!
//! Helpers are in none: what they run is a user's own, which may need anything, and nothing that it starts may lose its
//! set-user-id bit, as all do in a jail.

use std::path::{Path, PathBuf};

use crate::config::{Config, LogTo, Password};
use crate::events;
use crate::host::jail::{self, Holds};
use crate::host::{calls, listed, logging};
use crate::proto::alias::{Table, Target};

/// Where systems keep what is looked up: users, hosts, zones, roots, and the libraries that look.
const LOOKED_UP: &[&str] = &[
    "/etc", "/usr", "/lib", "/lib64", "/dev", "/proc", "/run", "/nix",
];

/// What names a list in the alias file.
const INCLUDE: &str = ":include:";

/// Shuts this process in, as far as the kernel can, and tells what holds: of one that stays; a queue run of cron(8) would
/// say it every five minutes. Before there are threads.
pub fn enter(config: &Config, stays: bool) {
    let told = |what: &str| match stays {
        true => events::daemon(&what),
        false => events::run(&what),
    };
    if !config.jail {
        return told("works without a jail, as the key jail says");
    }
    let runs = |s: &crate::config::Smarthost| matches!(&s.login, Some(login) if matches!(login.password, Password::Command(_)));
    let may_run = config.smarthosts.iter().any(runs);
    let files = match may_run {
        true => "it reaches all files, for a password_command may need any".to_owned(),
        false => files(config),
    };
    let calls = match calls::enter(may_run) {
        Ok(true) => "calls of the kernel that mail does not need are refused (seccomp)".to_owned(),
        Ok(false) => "no call is refused: there is no seccomp here".to_owned(),
        Err(why) => format!("no call is refused: {why}"),
    };
    told(&format!("has shut itself in: {files}; {calls}"));
}

/// What of the file system is left.
fn files(config: &Config) -> String {
    let queue = &config.queue;
    let mut write = vec![queue.spool.clone(), queue.run.clone()];
    if let LogTo::File(path) = &config.log.to {
        // A link of root's may lead elsewhere, and a new file may be wanted there.
        let end = logging::end_of(path).unwrap_or_default();
        let folders = [path, &end].into_iter().filter_map(|path| path.parent());
        write.extend(folders.map(Path::to_owned));
    }
    for endpoint in &config.listen.lmtp {
        if let crate::config::Endpoint::Unix(path) = endpoint {
            write.extend(path.parent().map(Path::to_owned));
        }
    }
    let mut read: Vec<PathBuf> = LOOKED_UP.iter().map(PathBuf::from).collect();
    read.extend(named(config).filter_map(|path| path.parent().map(Path::to_owned)));
    read.extend(lists(config));
    // To connect to a socket, such as that of a server of mailboxes, none of these rights is asked for.
    match jail::enter(&read, &write) {
        Ok(Holds::All) => "it reaches its own files alone (Landlock)".to_owned(),
        Ok(Holds::Some) => {
            "it reaches its own files alone, as far as this kernel's Landlock goes".to_owned()
        }
        Ok(Holds::Nothing) => "it reaches all files, for this kernel has no Landlock".to_owned(),
        Err(why) => format!("it reaches all files: {why}"),
    }
}

/// The files that the configuration names. What will be put in the place of one is beside it, so that the folders count.
fn named(config: &Config) -> impl Iterator<Item = &PathBuf> {
    let smarthosts = config.smarthosts.iter().flat_map(|s| {
        let password = s.login.iter().filter_map(|login| match &login.password {
            Password::File(path) => Some(path),
            Password::Command(_) => None,
        });
        s.ca_file.iter().chain(password)
    });
    let pair = config
        .tls
        .iter()
        .flat_map(|pair| [&pair.certificate, &pair.key]);
    let keys = config.dkim.iter().map(|dkim| &dkim.key);
    smarthosts
        .chain(pair)
        .chain(keys)
        .chain(&config.file)
        .chain([&config.access.users_file, &config.local.aliases])
        .chain(&config.remote.ca_file)
}

/// The folders of the lists that the alias file names by now.
fn lists(config: &Config) -> Vec<PathBuf> {
    let octets = listed::read(&config.local.aliases).ok().flatten();
    let octets = octets.unwrap_or_default();
    let text = String::from_utf8_lossy(&octets);
    // Most have none, and are not looked through.
    if !text.to_ascii_lowercase().contains(INCLUDE) {
        return Vec::new();
    }
    let table = Table::parse(text.into_owned());
    let entries = table.names().filter_map(|name| table.get(name)?.ok());
    let folder = |target| match target {
        Target::Include(path) => listed::folder_of(Path::new(&path)),
        _ => None,
    };
    entries
        .flat_map(|(_, targets)| targets)
        .filter_map(folder)
        .collect()
}

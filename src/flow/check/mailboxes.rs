//! What `--check` finds where the mail of this machine ends: the mailbox of whoever asks, or the server that has all of
//! them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Finding, Grade, add};
use crate::flow::ends::Place;
use crate::flow::links::Shared;
use crate::flow::send::Connection;
use crate::flow::{Context, deliver, parent};
use crate::host::accounts::{self, Account};
use crate::host::mailbox::making;
use crate::host::{privilege, words};
use crate::proto::end::Mailboxes;
use crate::proto::route::{Hop, Peer};

/// Looks at them.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    if let Mailboxes::Lmtp(peer) = &context.config.local.mailbox {
        server(context, peer, findings);
    }
    // Where there is no user to work as, nothing is delivered yet; that is said already.
    if privilege::is_root() && parent::servant(context).is_err() {
        return;
    }
    without(context, findings);
    let account = accounts::caller();
    let thing = format!("mailbox of {}", account.name);
    if accounts::name_of(account.uid).is_none() {
        let text = "there is no user of this id, so no mail is for whoever runs this, and reports to him cannot arrive";
        return add(findings, Grade::Warning, thing, text);
    }
    let path = match deliver::place(context, &account) {
        Place::Maildir(path) | Place::Mbox(path) => path,
        place => return add(findings, Grade::Ok, thing, place.to_string()),
    };
    let parent = path.parent().unwrap_or(Path::new("/"));
    match std::fs::metadata(if path.exists() { &path } else { parent }) {
        Ok(_) => add(findings, Grade::Ok, thing, path.display().to_string()),
        Err(e) => {
            let text = format!(
                "{}: {}; mail for {} is deferred until it is there",
                parent.display(),
                words(&e),
                account.name
            );
            add(findings, Grade::Warning, thing, text);
        }
    }
}

/// People who have no mailbox, and who may not make one in a folder that all share.
fn without(context: &Context, findings: &mut Vec<Finding>) {
    if context.servant.is_none() {
        return;
    }
    let lacks = |account: &Account| {
        let Place::Mbox(path) = deliver::place(context, account) else {
            return None;
        };
        let folder = path.parent()?.metadata().ok()?;
        let is_his = folder.uid() == account.uid && folder.mode() & 0o200 != 0;
        let is_his_groups = folder.gid() == account.gid && folder.mode() & 0o020 != 0;
        let may_make = is_his || is_his_groups || folder.mode() & 0o002 != 0;
        (!may_make && !path.exists()).then(|| making(&path, account.uid, folder.gid()))
    };
    let lacking: Vec<String> = accounts::people().iter().filter_map(lacks).collect();
    if let Some(first) = lacking.first() {
        let n = lacking.len();
        let (people, have) = if n == 1 {
            ("person", "has")
        } else {
            ("people", "have")
        };
        let text = format!(
            "{n} {people} of this machine {have} none and may not make one there, so that mail for them waits; as root: {first}"
        );
        add(findings, Grade::Warning, "mailboxes", text);
    }
}

/// Whether the server takes mail from whoever will bring it: root, who asks, may connect to any socket.
fn server(context: &Context, peer: &Peer, findings: &mut Vec<Finding>) {
    let servant = parent::servant(context).ok().flatten();
    let shared = Shared::new(context);
    let outgoing = shared.outgoing();
    let hop = Hop::Lmtp(peer.clone());
    let stations = shared.stations(&hop, &[]);
    let open = || {
        let station = stations.into_iter().next();
        station.map(|station| Connection::open(station.target, &outgoing))
    };
    let opened = match &servant {
        None => open(),
        Some(servant) => match privilege::act_as(servant) {
            Ok(()) => {
                let opened = open();
                if let Err(why) = privilege::be_root() {
                    add(findings, Grade::Error, "user", why);
                }
                opened
            }
            Err(why) => return add(findings, Grade::Error, "user", why),
        },
    };
    let thing = format!("mailboxes at LMTP {peer}");
    match opened {
        Some(Ok(connection)) => {
            connection.close();
            add(findings, Grade::Ok, thing, "the server takes mail");
        }
        Some(Err(outcome)) => {
            let whom = servant.map_or_else(|| accounts::caller().name, |s| s.name);
            let text = format!(
                "{}; mail for people here waits until the user {whom} can connect",
                outcome.words()
            );
            add(findings, Grade::Error, thing, text);
        }
        None => {}
    }
}

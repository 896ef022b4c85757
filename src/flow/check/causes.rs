//! What `--check` looks at because it so often is why mail does not flow: the program's own rights, another program at
//! the port, a provider that takes no mail from this sender, what strangers find about this machine in DNS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;

use super::sts::is_public;
use super::{Finding, Grade, add, places, spool};
use crate::config::{Endpoint, Smarthost, Tls};
use crate::flow::probe::leaving;
use crate::flow::send::Connection;
use crate::flow::{Context, parent};
use crate::host::dns::Dns;
use crate::host::holder::{self, Holder};
use crate::host::spool::{Folder, Item};
use crate::host::{accounts, presence, privilege, tls, words};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::mx::NoAnswer;

/// The program itself: only with the group of the queue can others than root hand in mail.
pub fn program(context: &Context, findings: &mut Vec<Finding>) {
    let (true, Ok(Some(servant))) = (privilege::is_root(), parent::servant(context)) else {
        return;
    };
    let Ok((exe, about)) =
        std::env::current_exe().and_then(|path| Ok((path.clone(), path.metadata()?)))
    else {
        return;
    };
    let path = exe.display();
    let thing = format!("program {path}");
    if about.mode() & 0o4000 != 0 {
        let text = format!("it is set-user-id, which it must never be; chmod u-s {path}");
        add(findings, Grade::Error, thing, text);
    } else if about.mode() & 0o2000 == 0 || about.gid() != servant.gid {
        let name = &servant.name;
        let text = format!(
            "it is not set-group-id {name}, so only root can hand in mail; chown root:{name} {path}; chmod 2755 {path}"
        );
        add(findings, Grade::Warning, thing, text);
    } else if privilege::is_nosuid(&exe) {
        let text = "its file system is mounted nosuid, where set-group-id does not count, so only root can hand in mail; mount it \
                    without, or put the program elsewhere";
        add(findings, Grade::Warning, thing, text);
    } else if let Some((folder, remedy)) = spool::closed(context, &servant) {
        let (shown, name) = (folder.display(), &servant.name);
        let text = format!(
            "its group {name} has not the rights in {shown} that it needs there, so only root can hand in mail; chgrp {name} {shown}; chmod {remedy} {shown}"
        );
        add(findings, Grade::Warning, thing, text);
    } else if !spool::is_made(context)
        || context
            .config
            .file
            .as_deref()
            .is_some_and(|file| places::closed(context, file).is_some())
    {
        let text = format!("it is set-group-id {}, as it has to be", servant.name);
        add(findings, Grade::Ok, thing, text);
    } else {
        add(findings, Grade::Ok, thing, "all users can hand in mail");
    }
}

/// Mail that has been due for longer than any of the shipped timers lets it be: nobody runs the queue.
pub fn idle_queue(context: &Context, now: i64, findings: &mut Vec<Finding>) {
    /// In seconds. The shipped ones come every five minutes.
    const LATE: i64 = 3600;
    let scan = |folder| context.spool.scan(folder).unwrap_or_default();
    let is_late = |item: &Item| match item.due {
        // Nobody has tried all of it yet, or it was released: it is due at once.
        _ if item.has_no_time() => {
            let seen = context.spool.look(item);
            seen.is_some_and(|(parsed, _)| now - parsed.envelope.received_at > LATE)
        }
        due => now - due > LATE,
    };
    let waiting = [Folder::New, Folder::Cur].into_iter().flat_map(scan);
    let n = waiting.filter(is_late).count();
    if n > 0 {
        let (plural, are) = if n == 1 { ("", "is") } else { ("s", "are") };
        let text = format!(
            "{n} message{plural} {are} due for more than an hour, and nobody has tried: nothing runs the queue; enable minimta-queue.timer \
             or minimta.service, or have cron call minimta -q --due every five minutes"
        );
        add(findings, Grade::Error, "queue", text);
    }
}

/// The places to listen at: they are ours, or free.
pub fn ports(context: &Context, findings: &mut Vec<Finding>) {
    let run = &context.config.queue.run;
    if presence::find(run).is_some() {
        let Some(other) = presence::other_queue(run, context.spool.root()) else {
            return add(findings, Grade::Ok, "daemon", "one runs");
        };
        let text = format!(
            "the one that runs in {} has another queue, {}: it delivers nothing of this one; give this one a folder of its own \
             with [queue] run",
            run.display(),
            other.display()
        );
        return add(findings, Grade::Warning, "daemon", text);
    }
    for place in context.config.listen.places().into_iter().flatten() {
        let Endpoint::Tcp(address) = place else {
            continue;
        };
        let thing = format!("port {}", address.port());
        // Nobody comes in: it is closed at once.
        let refused = TcpListener::bind(address).err().map(|e| e.kind());
        // A machine without IPv6 does without.
        if refused == Some(io::ErrorKind::AddrNotAvailable) && address.is_ipv4() {
            let text = format!(
                "no interface of this machine has {} now, so minimta -bd cannot listen there; name another place in [listen]",
                address.ip()
            );
            add(findings, Grade::Warning, thing, text);
        } else if refused == Some(io::ErrorKind::AddrInUse) {
            let holder = holder::of(address);
            if matches!(&holder, Holder::Process(1, name) if name == "systemd") {
                let text = "systemd listens there for a unit; systemctl list-sockets says whether it is minimta.socket";
                add(findings, Grade::Ok, thing, text);
                continue;
            }
            let text = format!(
                "{holder} listens at {address}, so minimta -bd cannot; stop it, or name another place in [listen]"
            );
            add(findings, Grade::Warning, thing, text);
        }
    }
}

/// The authorities that a smarthost's certificate is checked by: those that the configuration names, or the system's.
pub fn authorities(smarthost: &Smarthost, findings: &mut Vec<Finding>) {
    if let Some(file) = &smarthost.ca_file
        && let Err(e) = std::fs::File::open(file)
    {
        let text = format!(
            "{}: no certificate of {} can be checked; put the authority's there, in PEM, or remove ca_file for those of the system",
            words(&e),
            smarthost.host
        );
        let thing = format!("ca_file {}", file.display());
        return add(findings, Grade::Error, thing, text);
    }
    let is_checked = smarthost.verify
        && smarthost.fingerprint.is_none()
        && smarthost.ca_file.is_none()
        && matches!(smarthost.tls, Tls::Implicit | Tls::Starttls);
    if is_checked && let Err(sentence) = tls::has_system_roots() {
        add(findings, Grade::Error, "certificate authorities", sentence);
    }
}

/// Whether a provider that lets us in takes mail from whom it would come.
pub fn sender(
    context: &Context,
    smarthost: &Smarthost,
    connection: &mut Connection<'_>,
    findings: &mut Vec<Finding>,
) {
    let own = Mailbox::new(accounts::caller().name, context.config.hostname.clone()).ok();
    let Some(sender) = leaving(context, smarthost.from.as_ref(), own.as_ref()) else {
        return;
    };
    let Err(outcome) = connection.offer(&sender) else {
        return;
    };
    let login = smarthost.login.as_ref().map(|l| l.user.as_str());
    let remedy = match login.filter(|user| user.contains('@')) {
        Some(user) => format!("set from = \"{user}\" in [smarthost]"),
        None => "set from in [smarthost] to the address it knows you by, or senders in [rewrite]"
            .to_owned(),
    };
    add(
        findings,
        Grade::Error,
        format!("sender {sender}"),
        format!(
            "{} does not take mail from it: {}; {remedy}",
            smarthost.host,
            outcome.words()
        ),
    );
}

/// What servers look up before they take mail straight from here.
pub fn repute(context: &Context, dns: &Dns, findings: &mut Vec<Finding>) {
    let own = Mailbox::new(accounts::caller().name, context.config.hostname.clone()).ok();
    let config = &context.config;
    // For domains whose keys are here, trust.rs looks closer, and at the addresses as others see them.
    let looked_at = |domain: &Domain| {
        config.smarthosts.is_empty() && config.dkim.iter().any(|dkim| dkim.domain == *domain)
    };
    if let Some(sender) = leaving(context, None, own.as_ref())
        && !looked_at(sender.domain())
        && is_public(sender.domain())
    {
        let domain = sender.domain().to_string();
        let (grade, text) = spf(&domain, dns.txt(&domain));
        add(findings, grade, format!("SPF of {domain}"), text);
    }
    if (config.dkim.is_empty() || !config.smarthosts.is_empty())
        && let Some(address) = outward()
    {
        let (grade, text) = reverse(dns.pointer(address));
        add(findings, grade, format!("reverse name of {address}"), text);
    }
}

fn spf(domain: &str, records: Result<Vec<String>, NoAnswer>) -> (Grade, String) {
    match records {
        Ok(records) if records.iter().any(|r| r.starts_with("v=spf1")) => {
            (Grade::Ok, "there is a record".to_owned())
        }
        Ok(_) | Err(NoAnswer::NoData | NoAnswer::NoSuchDomain) => (
            Grade::Warning,
            format!(
                "there is no record, and many servers refuse mail without; publish a TXT record at {domain} such as \"v=spf1 a mx -all\""
            ),
        ),
        Err(NoAnswer::Temporary(why)) => (Grade::Warning, format!("it cannot be told: {why}")),
    }
}

fn reverse(names: Result<Vec<String>, NoAnswer>) -> (Grade, String) {
    match names {
        Ok(names) if !names.is_empty() => (Grade::Ok, names.join(", ")),
        Ok(_) | Err(NoAnswer::NoData | NoAnswer::NoSuchDomain) => (
            Grade::Warning,
            "it has none, and many servers refuse mail from such an address; who gives you the address can set it, or a [smarthost] sends for you"
                .to_owned(),
        ),
        Err(NoAnswer::Temporary(why)) => (Grade::Warning, format!("it cannot be told: {why}")),
    }
}

/// The address that others see, when it is this machine's own: behind a router that translates it, it cannot be told.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // The system chooses the way; nothing is sent to the address, which is for examples.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if ip.is_private() || ip.is_loopback() || ip.is_link_local() => None,
        ip => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_look_up_is_told_with_a_remedy() {
        let rows = [
            (
                spf("a.example", Ok(vec!["v=spf1 -all".into()])),
                Grade::Ok,
                "there is a record",
            ),
            (
                spf("a.example", Ok(vec!["other".into()])),
                Grade::Warning,
                "publish a TXT record at a.example",
            ),
            (
                reverse(Ok(vec!["pi.example".into()])),
                Grade::Ok,
                "pi.example",
            ),
            (
                reverse(Ok(Vec::new())),
                Grade::Warning,
                "who gives you the address can set it",
            ),
        ];
        for ((grade, text), expected, part) in rows {
            assert_eq!(grade, expected, "{text}");
            assert!(text.contains(part), "{text}");
        }
    }
}

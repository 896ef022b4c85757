//! ssmtp: `ssmtp.conf` has a line `key=value` each, `revaliases` a line `user:address[:mailhub[:port]]`.

use std::path::Path;

use super::{Host, Plan, Reader, Secret, Tls, at, beside, is_of_system, quote, settings};
use crate::proto::address::{Domain, Mailbox};

/// Reads `ssmtp.conf`, on a machine of this name. It is long because it has an arm for each setting, in which it is read
/// like a table.
pub fn plan(path: &Path, text: &str, read: Reader<'_>, own_name: &str) -> Plan {
    // Nothing is delivered here, but what an alias of root may lead elsewhere.
    let mut plan = Plan {
        nothing_local: true,
        ..Plan::default()
    };
    // By this name ssmtp looks for a host when nobody names one.
    let mut host = Host::new("mailhub");
    let (mut tls, mut starttls, mut from_line) = (false, false, false);
    let mut root = "";
    for (number, line) in settings(text) {
        let Some((name, value)) = line.split_once('=') else {
            plan.note(format!("{} is no setting", at(number, path)));
            continue;
        };
        let value = value.trim();
        let yes = value.eq_ignore_ascii_case("yes");
        match name.trim().to_ascii_lowercase().as_str() {
            "mailhub" => {
                let (name, port) = split_port(value);
                host.host = name.to_owned();
                if let Some(port) = port {
                    host.set_port(port);
                }
            }
            "port" | "remoteport" => host.set_port(value),
            "root" => root = value,
            "rewritedomain" => plan.set_masquerade(value),
            "hostname" => plan.set_hostname(value),
            "fromlineoverride" => from_line = yes,
            "usetls" => tls = yes,
            "usestarttls" => starttls = yes,
            "addheader" => plan.no_counterpart(name, "minimta adds no fields of one's own"),
            "tls_ca_file" if !is_of_system(value) => host.ca_file = Some(value.to_owned()),
            "tls_ca_file" => {}
            "debug" if yes => plan.no_counterpart(name, "see level in [log]"),
            "debug" => {}
            "authuser" => host.user = Some(value.to_owned()),
            "authpass" => host.password = Secret::At(at(number, path)),
            "authmethod" => host.set_auth(value),
            "usetlscert" | "tlscert" | "tlskey" => {
                plan.no_counterpart(
                    name,
                    "minimta shows no certificate of its own to a smarthost",
                );
            }
            _ => plan.no_counterpart(name, ""),
        }
    }
    if !root.is_empty() {
        mail_of_root(root, own_name, &mut plan);
    }
    host.tls = match (tls, starttls) {
        (_, true) => Tls::Starttls,
        (true, false) => Tls::Implicit,
        (false, false) => Tls::None,
    };
    host.port = host.port.or(Some(25));
    if host.tls != Tls::None {
        host.notes.push(
            "ssmtp did not check the certificate, minimta does; verify = false would take any"
                .to_owned(),
        );
    }
    if !from_line {
        plan.note("without FromLineOverride=YES ssmtp replaced From by the user who had called it; minimta keeps what the message says");
    }
    senders(&beside(path, "revaliases"), &host.host, read, &mut plan);
    plan.hosts.push(host);
    plan
}

/// What becomes of mail for names of this machine. ssmtp put one domain behind names without any, which the mailhub had
/// the mailboxes of, and `root` in place of those of root and of services.
fn mail_of_root(root: &str, own_name: &str, plan: &mut Plan) {
    let own = plan.hostname.as_deref().unwrap_or(own_name).to_owned();
    let domain = plan.masquerade.as_deref().unwrap_or(&own).to_owned();
    let address = match root.contains('@') {
        true => root.to_owned(),
        false => format!("{root}@{domain}"),
    };
    let went = format!("mail for root, and all users with a number below 1000, went to {address}");
    let own_domain = Domain::parse(&own).ok();
    let is_elsewhere = |a: Mailbox| Some(a.domain()) != own_domain.as_ref();
    match Mailbox::parse(&address).map(is_elsewhere) {
        Ok(true) => {
            plan.nothing_local = false;
            plan.note(format!(
                "{went}: write the line \"root: {address}\" into /etc/aliases"
            ));
            let rest = "mail for any other name without a domain went through the mailhub to NAME@";
            plan.note(match Domain::parse(&domain).ok() == own_domain {
                true => format!(
                    "{rest}{domain}; minimta delivers it here, and refuses it for unknown names: with domains = [] all of it would leave, but that for root too, for no alias counts then"
                ),
                false => format!(
                    "{rest}{domain}; minimta delivers it here, and refuses it for unknown names: write a line \"NAME: NAME@{domain}\" into /etc/aliases for each whose mail is to go there"
                ),
            });
        }
        // An alias that leads to this machine would lead nowhere.
        Ok(false) => plan.note(format!(
            "{went}, which only the mailhub knows; with domains = [] it goes there under its own names, such as root@{own}: to have it elsewhere, write the line \"root: ADDRESS\" into /etc/aliases, ADDRESS being one at another domain than {own}, and take the line domains = [] out"
        )),
        Err(_) => plan.note(format!(
            "mail for root, and all users with a number below 1000, went to {root}, which is no address; with domains = [] it goes to the mailhub under its own names: to have it elsewhere, write the line \"root: ADDRESS\" into /etc/aliases, and take the line domains = [] out"
        )),
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Who leaves as whom.
fn senders(path: &Path, mailhub: &str, read: Reader<'_>, plan: &mut Plan) {
    let text = match read(path) {
        Ok(text) => text.unwrap_or_default(),
        Err(why) => return plan.note(why),
    };
    let mut pairs = Vec::new();
    for (number, line) in settings(&text) {
        let mut fields = line.splitn(3, ':').map(str::trim);
        let (user, address) = (fields.next(), fields.next());
        match (user, address.filter(|a| Mailbox::parse(a).is_ok())) {
            (Some(user), Some(address)) if !user.is_empty() => {
                pairs.push(format!("{} = {}", quote(user), quote(address)));
            }
            _ => plan.note(format!("{} is no sender", at(number, path))),
        }
        let other = fields.next().filter(|other| split_port(other).0 != mailhub);
        if let (Some(other), Some(address)) = (other, address) {
            plan.note(format!(
                "mail of {address} went through {other}, by {}: see sender and via in [[route]]",
                at(number, path)
            ));
        }
    }
    if !pairs.is_empty() {
        let value = format!("{{ {} }}", pairs.join(", "));
        plan.lines.push(("rewrite", "senders", value));
    }
}

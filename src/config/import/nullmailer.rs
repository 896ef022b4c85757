//! nullmailer: a folder with a file for each setting; `remotes` has a smarthost a line, its options behind it.

use std::path::Path;

use super::{Host, Plan, Reader, Secret, Tls, at, beside, is_of_system, quote, settings};

/// Reads `remotes`, and the file of each other setting beside it.
pub fn plan(path: &Path, text: &str, read: Reader<'_>, own_name: &str) -> Plan {
    let mut plan = Plan {
        nothing_local: true,
        ..Plan::default()
    };
    for (number, line) in settings(text) {
        let words = words(line);
        let Some((name, rest)) = words.split_first() else {
            continue;
        };
        let host = remote(name, rest, &at(number, path));
        if !host.is_usable {
            plan.no_counterpart(
                name,
                "it takes mail by QMQP, which minimta does not speak; without another smarthost mail goes straight to the \
                 servers of its recipients",
            );
        }
        plan.hosts.push(host);
    }
    let mut first_line = |path: &Path| match read(path) {
        Ok(text) => text
            .and_then(|t| t.lines().next().map(|l| l.trim().to_owned()))
            .filter(|line| !line.is_empty()),
        Err(why) => {
            plan.notes.push(why);
            None
        }
    };
    // That of Debian reads this, and passes over `me`.
    let is_installed = path.parent() == Some(Path::new("/etc/nullmailer"));
    let mailname = is_installed.then(|| first_line(Path::new("/etc/mailname")));
    let mut file = |name: &str| first_line(&beside(path, name));
    let me = mailname.flatten().or_else(|| file("me"));
    let (admin, from) = (file("adminaddr"), file("allmailfrom"));
    let (default, domain) = (file("defaulthost"), file("defaultdomain"));
    let helo = file("helohost");
    let times = [
        ("pausetime", "retry_first"),
        ("maxpause", "retry_max"),
        ("queuelifetime", "give_up_after"),
    ]
    .map(|(name, key)| (key, file(name)));
    // What minimta does otherwise, and who has to know.
    let others = [
        (
            "sendtimeout",
            "see command_timeout and data_timeout in [limits]",
        ),
        (
            "bounceto",
            "a report goes to the sender of the message; see from in [smarthost]",
        ),
        (
            "doublebounceto",
            "what cannot be reported either is set aside, where mailq shows it",
        ),
        ("idhost", "a Message-ID has the host name"),
    ]
    .map(|(name, why)| (name, why, file(name).is_some()));
    let greets_else = me.is_some() && helo.is_some() && helo != me;
    if let Some(name) = me.as_deref().or(helo.as_deref()) {
        plan.set_hostname(name);
    }
    if let Some(admin) = admin {
        plan.nothing_local = false;
        plan.note(format!(
            "mail for all people of this machine went to {admin}: write lines such as \"root: {admin}\" into /etc/aliases"
        ));
    }
    if let Some(from) = from {
        for host in &mut plan.hosts {
            host.set_from(
                &from,
                "nullmailer put this into the envelope alone, minimta into From as well",
            );
        }
    }
    let seen = default.as_deref().or(me.as_deref()).unwrap_or(own_name);
    match domain {
        Some(domain) if !seen.contains('.') => plan.set_masquerade(&format!("{seen}.{domain}")),
        _ if default.is_some() => plan.set_masquerade(seen),
        _ => {}
    }
    for (key, value) in times {
        if let Some(value) = value {
            set_time(&mut plan, key, &value);
        }
    }
    for (name, why, is_there) in others {
        if is_there {
            plan.no_counterpart(name, why);
        }
    }
    if greets_else {
        plan.no_counterpart(
            "helohost",
            "minimta greets servers with its hostname, that of me",
        );
    }
    plan.note("what waits in the queue of nullmailer is not taken over: let it send that before it is removed");
    plan
}

/// A time of the queue, in seconds.
fn set_time(plan: &mut Plan, key: &'static str, value: &str) {
    match value.parse::<u32>() {
        Ok(seconds) if seconds > 0 => {
            let time = quote(&format!("{seconds}s"));
            plan.lines.push(("queue", key, time));
        }
        _ => plan.note(format!("its time for {key} is none that minimta knows")),
    }
}

/// One line of `remotes`: options have two hyphens before them or, in newer versions, none.
fn remote(name: &str, options: &[String], place: &str) -> Host {
    let mut host = Host::new(name);
    for option in options {
        let option = option.trim_start_matches('-');
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "smtp" => {}
            "qmqp" => host.is_usable = false,
            "port" => host.set_port(value),
            "ssl" | "tls" => host.tls = Tls::Implicit,
            "starttls" => host.tls = Tls::Starttls,
            "user" => host.user = Some(value.to_owned()),
            "pass" => host.password = Secret::At(place.to_owned()),
            "auth-login" => host.auth = Some("login"),
            "insecure" => host.verify = false,
            "x509cafile" if !is_of_system(value) => host.ca_file = Some(value.to_owned()),
            "x509cafile" => {}
            "source" => host.notes.push(format!(
                "it was connected to from {value}: see bind in [remote]"
            )),
            _ => host.notes.push(format!("{key}: has no counterpart")),
        }
    }
    // Its ports are those of minimta only with TLS from the first octet.
    host.port = host.port.or((host.tls != Tls::Implicit).then_some(25));
    host
}

/// The words of a line; quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), None, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (c, quoted) {
            (c, Some(q)) if c == q => quoted = None,
            ('"' | '\'', None) => (quoted, begun) = (Some(c), true),
            ('\\', q) if q != Some('\'') => word.extend(rest.next()),
            (c, None) if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

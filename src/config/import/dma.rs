//! dma: `dma.conf` has a word and perhaps a value a line, `auth.conf` a line `user|host:password` for each login.

use std::path::Path;

use super::{Host, Plan, Reader, Secret, Tls, at, beside, fingerprint, quote, settings};

/// Reads `dma.conf`. It is long because it has an arm for each setting, in which it is read like a table.
pub fn plan(path: &Path, text: &str, read: Reader<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut host = Host::new("");
    let mut auth = beside(path, "auth.conf");
    let mut masquerade = None;
    let (mut secure, mut starttls, mut opportunistic, mut verify) = (false, false, false, false);
    for (_, line) in settings(text) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (word, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        match word {
            "SMARTHOST" => host.host = value.to_owned(),
            "PORT" => host.set_port(value),
            "AUTHPATH" => auth = Path::new(value).to_owned(),
            "SECURETRANSFER" => secure = true,
            "STARTTLS" => starttls = true,
            "OPPORTUNISTIC_TLS" => opportunistic = true,
            "VERIFYCERT" => verify = true,
            "FINGERPRINT" => match fingerprint(value) {
                Some(good) => host.fingerprint = Some(good),
                None => host
                    .notes
                    .push("its FINGERPRINT is none of SHA-256".to_owned()),
            },
            "MASQUERADE" => masquerade = Some(value),
            "MAILNAME" | "MAILNAMEFILE" => mailname(value, read, &mut plan),
            "NULLCLIENT" => plan.nothing_local = true,
            "ALIASES" if value == "/etc/aliases" => {}
            "ALIASES" => plan.lines.push(("local", "aliases", quote(value))),
            "SPOOLDIR" if value.is_empty() || value == "/var/spool/dma" => {}
            // Words of old that dma itself takes and leaves.
            "SECURE" | "" => {}
            _ => plan.no_counterpart(word, instead(word)),
        }
    }
    host.tls = match (secure, starttls, opportunistic) {
        (true, false, _) => Tls::Implicit,
        (true, true, false) => Tls::Starttls,
        (_, true, true) => Tls::Opportunistic,
        (false, ..) => Tls::None,
    };
    // Whatever the way there is protected by, dma takes port 25.
    host.port = host.port.or(Some(25));
    if matches!(host.tls, Tls::Implicit | Tls::Starttls) && !verify && host.fingerprint.is_none() {
        host.notes.push(
            "dma did not check the certificate, minimta does; verify = false would take any"
                .to_owned(),
        );
    }
    if !plan.nothing_local {
        plan.lines.push(("local", "mailbox", quote("/var/mail/%u")));
    }
    if let Some(value) = masquerade {
        leave_as(value, &mut host, &mut plan);
    }
    if host.host.is_empty() && (secure || opportunistic || host.port.is_some_and(|p| p != 25)) {
        plan.note("PORT and the settings of TLS were for the mail servers of recipients: see port and tls in [remote]");
    }
    if !host.host.is_empty() {
        login(&auth, &mut host, read);
        plan.hosts.push(host);
    }
    plan.note("what waits in the queue of dma is not taken over: dma -q sends it while dma is still there");
    plan
}

/// What is there in the place of a setting without a counterpart.
fn instead(word: &str) -> &'static str {
    match word {
        "SPOOLDIR" => "minimta has a queue of its own; see spool in [queue]",
        "INSECURE" => {
            "without TLS minimta logs in by methods that hide the password; see tls and auth in [smarthost]"
        }
        "DEFER" => "call sendmail with -odq, or have it in the programs that call it",
        "CERTFILE" => "minimta shows no certificate of its own to a smarthost",
        "FULLBOUNCE" => "reports return small messages whole anyway; sendmail -R full asks for it",
        _ => "",
    }
}

/// MASQUERADE: an address, a user with `@` behind it, or a domain with or without one before it.
fn leave_as(value: &str, host: &mut Host, plan: &mut Plan) {
    match value {
        "" => {}
        whole if whole.contains('@') && !whole.ends_with('@') && !whole.starts_with('@') => {
            if host.host.is_empty() {
                plan.no_counterpart("MASQUERADE", "without a smarthost only single senders are rewritten; see senders in [rewrite]");
            } else {
                host.set_from(
                    whole,
                    "dma put this into the envelope alone, minimta into From as well",
                );
            }
        }
        user if user.ends_with('@') => plan.no_counterpart(
            "MASQUERADE",
            "a user without a domain; see senders in [rewrite]",
        ),
        domain => plan.set_masquerade(domain.trim_start_matches('@')),
    }
}

/// The name itself, or a file with it.
fn mailname(value: &str, read: Reader<'_>, plan: &mut Plan) {
    if !value.starts_with('/') {
        plan.set_hostname(value);
        return;
    }
    match read(Path::new(value)) {
        Ok(Some(text)) => plan.set_hostname(text.lines().next().unwrap_or_default().trim()),
        // Without the file dma takes the host name, as minimta does.
        Ok(None) => {}
        Err(why) => plan.note(format!("MAILNAME: {why}")),
    }
}

fn login(auth: &Path, host: &mut Host, read: Reader<'_>) {
    let text = match read(auth) {
        Ok(text) => text.unwrap_or_default(),
        Err(why) => return host.notes.push(why),
    };
    for (number, line) in settings(&text) {
        let Some((user, rest)) = line.split_once('|') else {
            continue;
        };
        if rest.split(':').next() == Some(host.host.as_str()) {
            host.user = Some(user.trim().to_owned());
            host.password = Secret::At(format!("{}, behind the last colon", at(number, auth)));
            return;
        }
    }
}

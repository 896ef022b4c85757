//! What `--check` looks at for others to hand over mail safely here: for each domain of this host, its policy (MTA-STS,
//! RFC 8461), as others find it, and whether this host keeps to it.

use super::{Finding, Grade, add};
use crate::config::Config;
use crate::flow::judge::Asker;
use crate::flow::policies::{LIMIT, fetch};
use crate::flow::{Context, exchange};
use crate::host::clock;
use crate::host::dns::Dns;
use crate::host::tls::{Clients, Server, Trust};
use crate::proto::address::Domain;
use crate::proto::mx::NoAnswer;
use crate::proto::names::Names;
use crate::proto::sts::{self, Mode, Policy};

/// Domains that are looked at.
const MOST: usize = 10;

/// Adds what it finds.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    let config = &context.config;
    let dns = exchange::resolver(config);
    let domains = config.domains.iter();
    let public = domains.filter(|domain| is_public(domain));
    for domain in public.take(MOST) {
        let own = Own {
            config,
            dns: &dns,
            domain,
        };
        if let Some((grade, text)) = own.finding() {
            add(findings, grade, format!("MTA-STS of {domain}"), text);
        }
    }
}

/// Whether DNS can say anything about a domain.
pub fn is_public(domain: &Domain) -> bool {
    let name = domain.as_str();
    name.contains('.') && !name.starts_with('[')
}

/// A domain whose mail is for here.
struct Own<'a> {
    config: &'a Config,
    dns: &'a Dns,
    domain: &'a Domain,
}

impl Own<'_> {
    /// `None`: no mail of others comes here for it, so there is nothing to say.
    fn finding(&self) -> Option<(Grade, String)> {
        let name = self.domain.ascii();
        let mut names = Asker::new(self.dns);
        let servers: Vec<String> = match names.mx(name) {
            Ok(found) => found.into_iter().map(|mx| mx.name).collect(),
            // The default is the host's own name, which need not be in DNS at all.
            Err(NoAnswer::Temporary(why)) if *self.domain != self.config.hostname => {
                let text = format!("it could not be looked up: the mail servers of {name}: {why}");
                return Some((Grade::Warning, text));
            }
            Err(_) => Vec::new(),
        };
        if servers.iter().all(String::is_empty) {
            return None;
        }
        let texts = match names.txt(&format!("_mta-sts.{name}")) {
            Ok(texts) => texts,
            Err(NoAnswer::Temporary(why)) => {
                let text = format!("whether it has a policy could not be looked up: {why}");
                return Some((Grade::Warning, text));
            }
            Err(_) => Vec::new(),
        };
        let Some(id) = sts::record_id(&texts) else {
            return Some(without(name, &texts));
        };
        Some(
            match fetch(
                self.config,
                self.dns,
                &Clients::new(),
                name,
                &id,
                clock::now(),
                LIMIT,
            ) {
                Ok(policy) => self.judge(&policy, &servers, &mut names),
                Err(missing) => (
                    Grade::Error,
                    format!(
                        "DNS says that it has a policy, and others cannot have it: {}; it must be at \
                         https://mta-sts.{name}/.well-known/mta-sts.txt, or the record _mta-sts.{name} must go",
                        missing.why
                    ),
                ),
            },
        )
    }

    /// Whether this host keeps to the policy.
    fn judge(&self, policy: &Policy, servers: &[String], names: &mut Asker<'_>) -> (Grade, String) {
        let mode = policy.mode.word();
        let (bad, hurts) = match policy.mode {
            Mode::Enforce => (Grade::Error, "others hand over no mail"),
            Mode::Testing => (
                Grade::Warning,
                "others would hand over no mail if it were enforced",
            ),
            Mode::Off => {
                let text = format!(
                    "its policy has the mode {mode}, which is as good as having none; mode: enforce protects its mail"
                );
                return (Grade::Ok, text);
            }
        };
        let names_of = servers.iter().map(String::as_str);
        let left_out: Vec<&str> = names_of.filter(|name| !policy.names(name)).collect();
        if !left_out.is_empty() {
            let text = format!(
                "its policy (mode {mode}) does not name {}, which DNS names as its mail server, so {hurts} there; add to it: mx: {}",
                left_out.join(", "),
                left_out.join(", mx: ")
            );
            return (bad, text);
        }
        let ours = self.ours(servers, names);
        for server in &ours {
            if let Some(why) = self.certificate(server) {
                let text = format!(
                    "its policy (mode {mode}) asks for a certificate that is good for {server}, so {hurts}: {why}"
                );
                return (bad, text);
            }
        }
        let (name, hostname) = (self.domain.ascii(), &self.config.hostname);
        let (grade, kept, remedy) = match ours.is_empty() {
            // Where its mail goes, and where it is taken for, are then two things.
            true => (
                Grade::Warning,
                format!("none of its mail servers is {hostname}"),
                format!(
                    "; set hostname to the name that {name} has for this host, or take it out of domains"
                ),
            ),
            false => (
                Grade::Ok,
                format!("our certificate is good for {}", ours.join(", ")),
                String::new(),
            ),
        };
        let tested = match policy.mode {
            Mode::Testing => "; others only tell of what is wrong: mode: enforce protects its mail",
            _ => "",
        };
        let text = format!(
            "its policy (mode {mode}) names {}, and {kept}{tested}{remedy}",
            servers.join(", ")
        );
        (grade, text)
    }

    /// Those of its mail servers that are this host, by name or by address.
    fn ours(&self, servers: &[String], names: &mut Asker<'_>) -> Vec<String> {
        let own = self.config.hostname.ascii();
        let mut addresses = |name: &str| {
            [true, false]
                .map(|v6| names.addresses(name, v6).unwrap_or_default())
                .concat()
        };
        let here = addresses(own);
        let is_here = |server: &&String| {
            server.as_str() == own || addresses(server).iter().any(|ip| here.contains(ip))
        };
        servers.iter().filter(is_here).cloned().collect()
    }

    /// What is wrong with our certificate, and what to do about it.
    fn certificate(&self, server: &str) -> Option<String> {
        let Some(pair) = &self.config.tls else {
            return Some(
                "this host makes its own, which nobody trusts; set certificate and key in [tls]"
                    .to_owned(),
            );
        };
        let ca_file = self.config.remote.ca_file.clone();
        let trust = ca_file.map_or(Trust::System, Trust::File);
        let shown = pair.certificate.display();
        Some(
            match Server::fault(&pair.certificate, &trust, server, clock::now()) {
                Ok(None) => return None,
                Err(sentence) => sentence,
                Ok(Some("certificate-expired")) => format!("{shown} is not valid today; renew it"),
                Ok(Some("certificate-host-mismatch")) => {
                    format!("{shown} is for other names; have one made that has this one, too")
                }
                Ok(Some("certificate-not-trusted")) => format!(
                    "{shown} is signed by nobody whom others trust; get one from a public authority, and put its chain behind it"
                ),
                Ok(Some(_)) => format!("{shown} cannot be checked; see openssl verify"),
            },
        )
    }
}

/// A domain without a record of a policy, or with one that is of no use.
fn without(name: &str, texts: &[String]) -> (Grade, String) {
    if texts.iter().any(|text| text.starts_with("v=STSv1")) {
        let text = format!(
            "the record of its policy cannot be used, so others find none; there must be just one TXT record _mta-sts.{name}, \
             such as \"v=STSv1; id=20261125\""
        );
        return (Grade::Error, text);
    }
    let text = format!(
        "it has no policy, so whoever sits on the way can have its mail without TLS; a TXT record _mta-sts.{name} and a text at \
         https://mta-sts.{name}/.well-known/mta-sts.txt would forbid it (RFC 8461)"
    );
    (Grade::Ok, text)
}

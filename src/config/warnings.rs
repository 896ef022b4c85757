//! What is legal but probably not meant.

use std::net::IpAddr;

use super::value::{KIB, show_duration, show_size};
use super::{Config, Limits, Queue, Smarthost, Tls, UNKNOWN_HOST};
use crate::parts;
use crate::proto::route::{Route, Via};

impl Config {
    /// Everything in this configuration that is legal but probably not meant, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.hostname.as_str() == UNKNOWN_HOST {
            warnings.push(format!(
                "hostname is {UNKNOWN_HOST}: no other machine can answer mail from it; set hostname"
            ));
        }
        if !parts::MX && self.smarthosts.is_empty() {
            warnings.push(format!("mail for other systems waits: {}", parts::NO_MX));
        }
        for smarthost in &self.smarthosts {
            if smarthost.host == self.hostname.as_str() {
                warnings.push(format!(
                    "the smarthost {} is this machine itself: its mail would come back until it has too many hops",
                    smarthost.host
                ));
            }
            smarthost.warn(&mut warnings);
        }
        for route in &self.routes {
            if let Via::Host(host, None | Some(25)) = &route.via
                && host == self.hostname.as_str()
            {
                warnings.push(format!(
                    "the [[route]] via {host} leads to this machine itself: its mail would come back until it has too \
                     many hops"
                ));
            }
        }
        for domain in &self.access.relay_to {
            if self.domains.contains(domain) {
                warnings.push(format!(
                    "relay_to has {domain}, whose mail is delivered here: it is not passed on; take it out of one of the two"
                ));
            }
        }
        self.warn_of_own_name(&mut warnings);
        self.queue.warn(&mut warnings);
        self.limits.warn(&mut warnings);
        warnings
    }

    /// Names without a domain get the host name, and programs of this machine send from it.
    fn warn_of_own_name(&self, warnings: &mut Vec<String>) {
        let hostname = &self.hostname;
        let takes_mail = self.domains.iter().any(|d| d.as_str() != "localhost");
        let leads = |r: &Route| r.domain.as_ref().is_some_and(|d| d.matches(hostname, true));
        if takes_mail && !self.domains.contains(hostname) && !self.routes.iter().any(leads) {
            warnings.push(format!(
                "domains has not {hostname}, the host name: mail for root and other users of this machine, and what comes back to its programs, is sent elsewhere; add it, or lead it away with a [[route]]"
            ));
        }
    }
}

impl Smarthost {
    fn warn(&self, warnings: &mut Vec<String>) {
        let in_the_clear = matches!(self.tls, Tls::None | Tls::Opportunistic);
        if self.login.is_some() && in_the_clear && !is_this_machine(&self.host) {
            let how = match self.tls {
                Tls::None => "always",
                _ => "whenever TLS fails",
            };
            warnings.push(format!(
                "the password for {} can be read on the way, {how}: set tls = \"starttls\" or \"implicit\"",
                self.host
            ));
        }
        if !self.verify && !in_the_clear {
            warnings.push(format!(
                "verify = false: anyone on the way can pretend to be {}; set fingerprint or ca_file instead",
                self.host
            ));
        }
    }
}

/// Whether what is sent there stays on this machine.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Queue {
    fn warn(&self, warnings: &mut Vec<String>) {
        let (first, max) = (self.retry_first, self.retry_max);
        let (warn, give_up) = (self.warn_after, self.give_up_after);
        if first > max {
            warnings.push(format!(
                "retry_first ({}) is longer than retry_max ({}), which will decide",
                show_duration(first),
                show_duration(max)
            ));
        }
        if warn > give_up {
            warnings.push(format!(
                "warn_after ({}) is longer than give_up_after ({}): no sender is ever told of a delay; make them equal if that is meant",
                show_duration(warn),
                show_duration(give_up)
            ));
        }
        if first > give_up {
            warnings.push(format!(
                "retry_first ({}) is longer than give_up_after ({}): each message is tried once only",
                show_duration(first),
                show_duration(give_up)
            ));
        }
        if self.per_destination > self.workers {
            warnings.push(format!(
                "per_destination ({}) is more than workers ({}), which will decide",
                self.per_destination, self.workers
            ));
        }
        if VOLATILE.iter().any(|folder| self.spool.starts_with(folder)) {
            warnings.push(format!(
                "the spool {} is in memory on most systems: a restart loses the mail in it",
                self.spool.display()
            ));
        }
    }
}

/// Folders that are emptied by a restart.
const VOLATILE: &[&str] = &["/tmp", "/run", "/var/run", "/dev/shm"];

impl Limits {
    fn warn(&self, warnings: &mut Vec<String>) {
        // What any client may count on (RFC 5321 4.5.3.1.7 and 4.5.3.1.8).
        let (least_size, least_recipients) = (64 * KIB, 100);
        if self.message_size < least_size {
            warnings.push(format!(
                "message_size ({}) is below the {} that every client may count on",
                show_size(self.message_size),
                show_size(least_size)
            ));
        }
        if self.recipients < least_recipients {
            warnings.push(format!(
                "recipients ({}) is below the {least_recipients} that every client may count on",
                self.recipients
            ));
        }
    }
}

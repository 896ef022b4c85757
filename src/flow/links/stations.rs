//! Where the mail of a next hop can be handed over, and what a server there has to prove first: DANE before MTA-STS
//! before nothing (RFC 8461 2).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::lock;
use super::shared::Shared;
use crate::config::Tls;
use crate::flow::connect::{Proof, Target, UNPROVEN};
use crate::flow::send::Connection;
use crate::host::tls::{Remedy, Trust};
use crate::proto::address::{Domain, Mailbox};
use crate::proto::dane::{self, Dane, Tlsa};
use crate::proto::mx::{Host, NoAnswer};
use crate::proto::outcome::Outcome;
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, Protection};
use crate::proto::sts::Mode;
use crate::proto::tlsrpt::{self, Applied};

/// Status of a directory that does not answer (RFC 3463 3.5).
const UNKNOWN: Enhanced = Enhanced(4, 4, 3);

/// Which server a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// By its number in the configuration: two logins at one host are two.
    Smarthost(usize),
    /// By name, port and protection: domains with the same exchanger share its connection.
    /// What it has to prove belongs to it, too: a connection that proves less must not carry other mail.
    Host(String, u16, Protection, Proof),
}

/// A connection, for reports about TLS: what the server had to prove, its name, and what was wrong.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub proof: &'a Proof,
    pub server: &'a str,
    pub fault: Option<&'static str>,
}

/// A server where mail can be handed over.
pub struct Station<'a> {
    pub(super) place: Place,
    /// How to reach it.
    pub target: Target<'a>,
    /// The address all mail leaves as there.
    pub from: Option<&'a Mailbox>,
    /// Who has named it.
    pub(super) listed: Option<Listed>,
}

/// A mail server that the MX records of a domain have named.
pub(super) struct Listed {
    domain: Domain,
    /// Where its TLSA records may stand.
    names: Vec<String>,
}

impl Place {
    /// Whether a server has to prove its name.
    pub(super) fn is_named(&self) -> bool {
        matches!(self, Self::Host(_, _, _, Proof::Name))
    }
}

impl Station<'_> {
    /// What it has to prove, as far as anybody has to; `domain` is that of the recipient.
    pub fn duty(&self, domain: &Domain) -> Option<String> {
        let words = self.target.proof.words(domain.as_str());
        let nothing = "has nothing to prove: neither DANE nor MTA-STS speaks of it";
        words.or_else(|| self.listed.as_ref().map(|_| nothing.to_owned()))
    }

    /// For mail with `TLS-Required: No`: what the recipient's domain demands is passed over, what this system's
    /// configuration says is not.
    pub(super) fn ask_for_nothing(&mut self) {
        if let Place::Host(_, _, protection, proof) = &mut self.place {
            (*proof, self.target.proof) = (Proof::Nothing, Proof::Nothing);
            self.target.tls = protection_of(*protection);
        }
    }

    /// For mail with REQUIRETLS (RFC 8689 4.2.1): a server that has nothing to prove has to show a good certificate of
    /// its name. One that the configuration names is reached as it says.
    pub(super) fn prove_its_name(&mut self) {
        let target = &mut self.target;
        if let Place::Host(_, _, _, proof) = &mut self.place
            && matches!(target.proof, Proof::Nothing | Proof::Encryption)
            && target.tls != Tls::None
        {
            (*proof, target.proof) = (Proof::Name, Proof::Name);
            target.tls = Tls::Starttls;
        }
    }
}

impl Shared<'_> {
    /// Where the mail of a hop can be handed over, best first; `hosts` are those of its domain.
    pub fn stations(&self, hop: &Hop, hosts: &[Host]) -> Vec<Station<'_>> {
        match hop {
            Hop::Smarthost => (0..)
                .zip(&self.context.config.smarthosts)
                .map(|(number, smarthost)| Station {
                    place: Place::Smarthost(number),
                    target: smarthost.into(),
                    from: smarthost.from.as_ref(),
                    listed: None,
                })
                .collect(),
            Hop::Host(peer, protection) => {
                vec![self.station(&peer.host, peer.port, *protection, None)]
            }
            Hop::Lmtp(peer) => {
                let mut station = self.station(&peer.host, peer.port, Protection::None, None);
                station.target.lmtp = true;
                vec![station]
            }
            Hop::Mx(domain, protection) => {
                let port = self.context.config.remote.port;
                let of = |host: &Host| {
                    let mut station = self.station(&host.name, port, *protection, Some(host));
                    station.listed = (*protection != Protection::None).then(|| Listed {
                        domain: domain.clone(),
                        names: host.secure_names.clone(),
                    });
                    station
                };
                hosts.iter().map(of).collect()
            }
            Hop::Local | Hop::Refuse(_) => Vec::new(),
        }
    }

    fn station(
        &self,
        name: &str,
        port: u16,
        protection: Protection,
        host: Option<&Host>,
    ) -> Station<'_> {
        Station {
            place: Place::Host(name.to_owned(), port, protection, Proof::Nothing),
            target: Target {
                host: Cow::Owned(name.to_owned()),
                port,
                lmtp: false,
                addresses: host.map(|host| {
                    let of = |ip: &IpAddr| SocketAddr::new(*ip, port);
                    host.addresses.iter().map(of).collect()
                }),
                turn: 0,
                bind: &self.context.config.remote.bind,
                tls: protection_of(protection),
                // Nobody has told us whose certificate it should be.
                verify: false,
                ca_file: None,
                fingerprint: None,
                login: None,
                proof: Proof::Nothing,
                remedy: Remedy::Theirs,
            },
            from: None,
            listed: None,
        }
    }

    /// Finds out what a mail server has to prove, which is done only when it is about to be connected to.
    ///
    /// # Errors
    /// Nobody can tell now: it is passed over (RFC 7672 2.1.2).
    pub fn demand(&self, station: &mut Station<'_>) -> Result<(), Outcome> {
        let Some(listed) = &station.listed else {
            return Ok(());
        };
        // What DANE says goes first, and a policy must not soften it (RFC 8461 2). Records that cannot be used say
        // nothing of the certificate, and must not soften a policy either.
        let proof = match self.dane(listed, &station.target)? {
            vague @ (Proof::Nothing | Proof::Encryption) => {
                match self.sts(listed, &station.target)? {
                    Proof::Nothing => vague,
                    proof => proof,
                }
            }
            proof => proof,
        };
        if proof != Proof::Nothing {
            station.target.tls = Tls::Starttls;
        }
        if let Place::Host(_, _, _, demanded) = &mut station.place {
            demanded.clone_from(&proof);
        }
        station.target.proof = proof;
        Ok(())
    }

    /// What its TLSA records say: those of the name it is an alias of, or those of its own (RFC 7672 2.2.2).
    fn dane(&self, listed: &Listed, target: &Target<'_>) -> Result<Proof, Outcome> {
        for name in &listed.names {
            let records = self.tlsa(name, target.port).map_err(|why| {
                let why = match why {
                    NoAnswer::Temporary(why) => why,
                    NoAnswer::NoData | NoAnswer::NoSuchDomain => String::new(),
                };
                let text = format!(
                    "cannot tell which certificate the server should have (TLSA records of {name}): {why}"
                );
                target.deferred(UNKNOWN, &text)
            })?;
            if records.is_empty() {
                continue;
            }
            let records = dane::usable(records);
            if records.is_empty() {
                return Ok(Proof::Encryption);
            }
            let names = vec![name.clone(), listed.domain.ascii().to_owned()];
            return Ok(Proof::Dane(Dane { records, names }));
        }
        Ok(Proof::Nothing)
    }

    /// What the domain's policy says of it.
    fn sts(&self, listed: &Listed, target: &Target<'_>) -> Result<Proof, Outcome> {
        let (config, domain) = (&self.context.config, &listed.domain);
        let policy = self.policies.of(config, &self.dns, &self.tls, domain);
        let Some(policy) = policy.filter(|policy| policy.mode == Mode::Enforce) else {
            return Ok(Proof::Nothing);
        };
        if policy.names(&target.host) {
            return Ok(Proof::Sts(config.remote.ca_file.clone()));
        }
        let counted = Counted {
            proof: &Proof::Sts(None),
            server: &target.host,
            fault: Some(tlsrpt::NOT_NAMED),
        };
        self.count(listed, &counted, None);
        let text = format!("the policy of {domain} (MTA-STS) does not name this server");
        Err(target.deferred(UNPROVEN, &text))
    }

    /// Counts a connection for reports about TLS, if anybody wants them. Under a policy that is only being tested
    /// (RFC 8461 5) mail went out whatever its certificate was, but what is wrong with it is counted.
    pub(super) fn count(
        &self,
        listed: &Listed,
        counted: &Counted<'_>,
        connection: Option<&Connection<'_>>,
    ) {
        let Counted {
            proof,
            server,
            fault,
        } = *counted;
        let config = &self.context.config;
        if !self.counter.is_wanted() {
            return;
        }
        let domain = listed.domain.ascii();
        let (mut kind, mut text, mut fault) = ("no-policy-found", Vec::new(), fault);
        if let Proof::Dane(dane) = proof {
            (kind, text) = ("tlsa", dane.records.iter().map(Tlsa::text).collect());
        } else if let Some(policy) = self
            .policies
            .of(config, &self.dns, &self.tls, &listed.domain)
        {
            (kind, text) = ("sts", policy.lines());
            if !policy.names(server) {
                fault = fault.or(Some(tlsrpt::NOT_NAMED));
            }
            if policy.mode == Mode::Testing && fault.is_none() {
                let ca_file = config.remote.ca_file.clone();
                let trust = ca_file.map_or(Trust::System, Trust::File);
                fault = connection.and_then(|c| c.certificate_fault(&trust));
            }
        } else if let Some(trouble) = self.policies.trouble(domain) {
            (kind, fault) = ("sts", Some(trouble));
        }
        self.counter
            .count(domain, &Applied { kind, text }, server, fault);
    }

    fn tlsa(&self, name: &str, port: u16) -> Result<Vec<Tlsa>, NoAnswer> {
        if let Some(known) = lock(&self.tlsa).get(name) {
            return known.clone();
        }
        let found = self.dns.tlsa(name, port);
        lock(&self.tlsa).insert(name.to_owned(), found.clone());
        found
    }
}

fn protection_of(protection: Protection) -> Tls {
    match protection {
        Protection::Opportunistic => Tls::Opportunistic,
        Protection::Require => Tls::Starttls,
        Protection::None => Tls::None,
    }
}

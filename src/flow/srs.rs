//! Senders of other domains whose mail is sent on from here to another domain: they leave as addresses of ours, and
//! reports to these go on to them ([`crate::proto::srs`]).
//!
//! - who has handed in the message here, by whatever way, is no stranger, and stays as he is; so does a sender of a
//!   domain of ours, one that `[rewrite]` or a smarthost's `from` changes, the owner of a list, and a report's none
//! - the address is made of the domain by which the message came: mail for it comes here
//! - the secret is made when the first address is, in the folder `state` of the spool; of several lines in that file
//!   the first makes addresses, and all are good

use std::path::PathBuf;
use std::sync::OnceLock;

use super::exchange::own_domains;
use super::{Context, hops, signing};
use crate::config::Config;
use crate::host::{clock, state, words};
use crate::proto::address::{Domain, Mailbox, ReversePath};
use crate::proto::envelope::{Envelope, Recipient};
use crate::proto::route::Hop;
use crate::proto::srs::{self, Refusal, Secret};

/// A message that others refuse for more than a week is no reason for an address that ends before its reports come.
const AGE: i64 = 7 * 24 * 60 * 60;

/// What addresses are made with, read when the first one is made.
#[derive(Debug, Default)]
pub struct Maker(OnceLock<Secret>);

impl Maker {
    fn secret(&self, config: &Config) -> Result<&Secret, String> {
        if let Some(secret) = self.0.get() {
            return Ok(secret);
        }
        let folder = folder(config);
        let text = state::secret(&folder, &folder.join("srs"));
        let text = text.map_err(|e| cannot(config, &e))?;
        let first = secrets(&text).into_iter().next();
        let first = first.ok_or_else(|| cannot(config, &std::io::ErrorKind::InvalidData.into()))?;
        Ok(self.0.get_or_init(|| first))
    }
}

/// All that are good. Where there is none yet, no address is.
fn known(config: &Config) -> Result<Vec<Secret>, String> {
    match state::read(&folder(config).join("srs")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(cannot(config, &e)),
        Ok(text) => Ok(secrets(&text)),
    }
}

fn folder(config: &Config) -> PathBuf {
    config.queue.spool.join("state")
}

fn secrets(text: &[u8]) -> Vec<Secret> {
    let lines = text.split(|c| *c == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|l| l.len() >= 16).map(Secret::new).collect()
}

fn cannot(config: &Config, error: &std::io::Error) -> String {
    let path = folder(config).join("srs");
    format!(
        "the secret of forwarding {} cannot be read or made: {}; or say srs = false in [local]",
        path.display(),
        words(error)
    )
}

/// Who is said to have sent a message to one of its recipients, where nothing replaces all senders.
///
/// # Errors
/// Why that cannot be told now.
pub fn sender(
    context: &Context,
    envelope: &Envelope,
    recipient: &Recipient,
) -> Result<ReversePath, String> {
    let config = &context.config;
    let (sender, own) = (envelope.sender_for(recipient), own_domains(config));
    let leaves = config.rewrite.leaving.sender(&sender, &own);
    let Some(stranger) = leaves.mailbox().filter(|_| leaves == envelope.sender) else {
        return Ok(leaves);
    };
    if !config.local.srs
        || recipient.origin.is_none()
        || is_own(config, recipient.address.domain())
        || is_own(config, stranger.domain())
        || hops::of(context, stranger) == Hop::Local
        || signing::whose(config, envelope) == signing::Whose::Ours
    {
        return Ok(leaves);
    }
    let secret = context.srs.secret(config)?;
    let came = envelope.received_at.max(clock::now() - AGE);
    // One that would be too long for others goes as it is.
    let made = secret.forward(stranger, by(context, envelope, recipient), came);
    Ok(made.map_or(leaves, ReversePath::Mailbox))
}

/// Whether a domain is this machine's, or it answers for its mail.
fn is_own(config: &Config, domain: &Domain) -> bool {
    config.domains.contains(domain)
        || config.access.relay_to.contains(domain)
        || config.dkim.iter().any(|d| d.domain == *domain)
}

/// The domain by which a message came for whom a recipient was made of.
fn by<'a>(context: &'a Context, envelope: &'a Envelope, recipient: &'a Recipient) -> &'a Domain {
    let mut first = recipient;
    // Each is made of an earlier one.
    while let Some(parent) = first
        .origin
        .as_ref()
        .and_then(|o| envelope.recipients.get(o.of))
    {
        first = parent;
    }
    let domain = first.address.domain();
    match domain.as_str() {
        "localhost" => &context.config.hostname,
        _ => domain,
    }
}

/// Whose address an address of this system is instead, when it has the form of those that are made here.
///
/// # Errors
/// A sentence when that cannot be told now.
pub fn original(
    context: &Context,
    address: &Mailbox,
) -> Result<Option<Result<Mailbox, Refusal>>, String> {
    if !context.config.local.srs || !srs::is_one(address.local()) {
        return Ok(None);
    }
    let mut found = Err(Refusal::Foreign);
    for secret in known(&context.config)? {
        match secret.reverse(address.local(), clock::now()) {
            Err(Refusal::Foreign) => {}
            other => {
                found = other;
                break;
            }
        }
    }
    Ok(Some(found))
}

//! Next hops: where mail for an address goes, by what the configuration says of this system, its routes and its
//! smarthosts.

use super::Context;
use crate::proto::address::Mailbox;
use crate::proto::envelope::Envelope;
use crate::proto::route::{Hop, Router};

/// The next hop of an address; whether it is of this system depends on nothing else.
pub fn of(context: &Context, address: &Mailbox) -> Hop {
    of_mail_from(context, None, address)
}

/// The next hop of an address, for mail of this sender.
pub fn of_mail_from(context: &Context, sender: Option<&Mailbox>, address: &Mailbox) -> Hop {
    let config = &context.config;
    let router = Router {
        routes: &config.routes,
        domains: &config.domains,
        hostname: &config.hostname,
        smarthost: !config.smarthosts.is_empty(),
        port: config.remote.port,
        tls: config.remote.tls,
    };
    router.route(sender, address)
}

/// Whether this is the postmaster of a domain of ours. Everybody must be able to reach him, above all those whose mail
/// is refused (RFC 5321 4.5.1): nothing that is asked of strangers holds for mail to him.
pub fn is_postmaster(context: &Context, address: &Mailbox) -> bool {
    let (config, domain) = (&context.config, address.domain());
    let is_ours = || {
        *domain == config.hostname
            || config.domains.contains(domain)
            || of(context, address) == Hop::Local
    };
    address.local().eq_ignore_ascii_case("postmaster") && is_ours()
}

/// The next hop of each recipient.
pub fn of_message(context: &Context, envelope: &Envelope) -> Vec<Hop> {
    envelope
        .recipients
        .iter()
        .map(|r| of_mail_from(context, envelope.sender_for(r).mailbox(), &r.address))
        .collect()
}

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

/// The next hop of each recipient.
pub fn of_message(context: &Context, envelope: &Envelope) -> Vec<Hop> {
    envelope
        .recipients
        .iter()
        .map(|r| of_mail_from(context, envelope.sender_for(r).mailbox(), &r.address))
        .collect()
}

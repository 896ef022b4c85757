//! What is known of a message before its first octet: who sends it, from where, to whom.

use super::address::ReversePath;
use super::authenticate::Mechanism;
use super::command::ClientName;
use super::envelope::{Envelope, Recipient};
use super::parameters::MailParameters;

/// A message on its way: what is known before its first octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Who sends it.
    pub client: Client,
    /// MAIL.
    pub sender: ReversePath,
    /// MAIL's parameters.
    pub parameters: MailParameters,
    /// RCPT, the accepted ones, each address once.
    pub recipients: Vec<Recipient>,
    /// How often RCPT was accepted, the same address again included: LMTP answers each.
    pub accepted: usize,
}

/// What a client said and showed of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The name it gave; nobody checked it.
    pub name: ClientName,
    /// EHLO or LHLO, not HELO.
    pub extended: bool,
    /// LMTP.
    pub lmtp: bool,
    /// TLS is on.
    pub tls: bool,
    /// Who authenticated.
    pub user: Option<String>,
    /// How.
    pub mechanism: Option<Mechanism>,
}

impl Transaction {
    /// The word after `with` in the Received field (RFC 3848, RFC 6531 4.3).
    pub fn protocol(&self) -> String {
        let utf8 = self.parameters.smtputf8;
        let client = &self.client;
        let base = match (client.lmtp, utf8) {
            (true, true) => "UTF8LMTP",
            (true, false) => "LMTP",
            (false, true) => "UTF8SMTP",
            (false, false) if client.extended => "ESMTP",
            (false, false) => return "SMTP".to_owned(),
        };
        let tls = if client.tls { "S" } else { "" };
        let auth = if client.user.is_some() { "A" } else { "" };
        format!("{base}{tls}{auth}")
    }

    /// What the spool keeps of it; `address`: where the client is, as the flow knows it.
    pub fn envelope(&self, received_at: i64, address: &str) -> Envelope {
        Envelope {
            sender: self.sender.clone(),
            recipients: self.recipients.clone(),
            received_at,
            client: address.to_owned(),
            protocol: self.protocol(),
            auth: self.client.user.clone(),
            smtputf8: self.parameters.smtputf8,
            requiretls: self.parameters.requiretls,
            ret: self.parameters.ret,
            envid: self.parameters.envid.clone(),
        }
    }
}

//! AUTH (RFC 4954): from its first line, by way of challenges, to what the [`Policy`] says of the credentials.

use super::super::authenticate::{Exchange, Turn, challenge};
use super::super::replies::{self, Reply};
use super::{Policy, Session, Then, say};

impl Session {
    pub(super) fn begin_auth(
        &mut self,
        mechanism: &str,
        initial: Option<&str>,
        policy: &mut dyn Policy,
    ) -> (Reply, Then) {
        let mut offered = self.settings.mechanisms.iter();
        match offered.find(|m| m.name() == mechanism) {
            Some(&mechanism) => {
                self.mechanism = Some(mechanism);
                self.authenticate(Exchange::begin(mechanism, initial), policy)
            }
            None => say(replies::UNKNOWN_MECHANISM),
        }
    }

    pub(super) fn authenticate(
        &mut self,
        turn: Result<Turn, Reply>,
        policy: &mut dyn Policy,
    ) -> (Reply, Then) {
        match turn {
            Err(reply) => say(reply),
            Ok(Turn::Ask(challenge, exchange)) => {
                self.exchange = Some(exchange);
                say(replies::CHALLENGE.with_text(challenge))
            }
            Ok(Turn::LookUp(first)) => {
                let found = policy.verifier(&first.user);
                let turn = found.map(|(kept, nonce)| challenge(first, kept, &nonce));
                self.authenticate(turn, policy) // which asks, and comes here once
            }
            Ok(Turn::Check(credentials)) => {
                let verdict = policy.authenticate(&credentials);
                self.authenticated(credentials.user, verdict)
            }
            Ok(Turn::Proved(user, right)) => {
                let verdict = policy.proved(&user, right);
                self.authenticated(user, verdict)
            }
        }
    }

    fn authenticated(&mut self, user: String, verdict: Result<(), Reply>) -> (Reply, Then) {
        match verdict {
            Err(reply) => say(reply),
            Ok(()) => {
                self.user = Some(user);
                say(replies::AUTHENTICATED)
            }
        }
    }
}

//! AUTH: the mechanism that is chosen, the password as it is now, and what the server may hear and quote of it.

use super::super::dialogue::{Dialogue, Trouble};
use super::{NO_PASSWORD, SECURITY, Target};
use crate::config::{Login, Password, Tls};
use crate::host::{clock, password};
use crate::proto::letter::Capabilities;
use crate::proto::outcome::{Outcome, one_line};
use crate::proto::sasl;

pub(super) fn log_in(
    dialogue: &mut Dialogue<'_>,
    target: &Target<'_>,
    login: &Login,
    capabilities: &Capabilities,
) -> Result<(), Outcome> {
    let deferred = |text: &str| target.deferred(SECURITY, text);
    // TLS with just anybody keeps no password safe.
    let authentic = dialogue.wire.is_tls() && target.tls != Tls::Opportunistic;
    let protected = authentic || dialogue.wire.is_local();
    let mechanism =
        sasl::choose(login.mechanism, &capabilities.auth, protected).map_err(|why| {
            deferred(&format!(
                "cannot log in as {}: the server {why}",
                login.user
            ))
        })?;
    let secret = match &login.password {
        Password::File(path) => password::from_file(path),
        Password::Command(command) => {
            password::from_command(command, dialogue.outgoing.timeouts.password)
        }
    };
    let secret = secret.map_err(|sentence| target.deferred(NO_PASSWORD, &sentence))?;
    let nonce = format!("{:016x}{:016x}", clock::random(), clock::random());
    let mut client = sasl::Client::new(mechanism, &login.user, &secret, &nonce);
    let step = format!("AUTH {}", mechanism.name());
    let broken =
        |trouble: Trouble| target.deferred(trouble.enhanced, &format!("{step}: {}", trouble.text));
    let wrong = |refused: sasl::Refused| deferred(&format!("{step}: the server {}", refused.0));
    let said = client.command();
    // Whatever is said counts as one, and what a server quotes of it is shown to nobody.
    let mut secrets = vec![
        one_line(&String::from_utf8_lossy(&secret))
            .trim()
            .to_owned(),
        sasl::encode_base64(&secret),
    ];
    secrets.extend(said.split(' ').nth(2).map(str::to_owned));
    let mut reply = dialogue
        .ask_secretly(&said, &format!("{step} ..."), &secrets)
        .map_err(broken)?;
    // However often the server asks, the client has an answer three times at most (K12).
    while reply.class() == 3 {
        let challenge = reply.lines.last().map(String::as_str).unwrap_or_default();
        let said = match client.answer(challenge) {
            Ok(said) => said,
            Err(refused) => {
                give_up(dialogue, &secrets);
                return Err(wrong(refused));
            }
        };
        secrets.push(said.clone());
        reply = dialogue
            .ask_secretly(&said, "...", &secrets)
            .map_err(broken)?;
    }
    if reply.class() != 2 {
        let step = format!("{step} as {}", login.user);
        return Err(target.refused(&step, &reply.without(&secrets)));
    }
    client.finish().map_err(wrong)
}

/// Ends an exchange that has no further answer: until it has ended, the server takes QUIT for one (RFC 4954 4).
fn give_up(dialogue: &mut Dialogue<'_>, secrets: &[String]) {
    // It has failed already, whatever is said to this.
    let _ = dialogue.ask_secretly("*", "*", secrets);
}

//! What `--check` looks at for those who come in: the users who may log in, and the certificate they are shown.

use std::fs::File;
use std::io;

use super::{Finding, Grade, add};
use crate::flow::Context;
use crate::host::clock;
use crate::host::tls::Server;
use crate::host::users::Users;

/// Adds what it finds.
pub fn look(context: &Context, findings: &mut Vec<Finding>) {
    users(context, findings);
    certificate(context, findings);
}

fn users(context: &Context, findings: &mut Vec<Finding>) {
    let config = &context.config;
    let path = &config.access.users_file;
    let thing = format!("users_file {}", path.display());
    let is_closed =
        matches!(File::open(path), Err(e) if e.kind() == io::ErrorKind::PermissionDenied);
    let service = !config.listen.submission.is_empty() || !config.listen.submissions.is_empty();
    // What root asks is asked in the right of those who listen, who must be able to read it.
    let is_his = context.caller_uid() == 0 || service && context.is_private();
    if is_closed && !is_his {
        // It is that of another configuration, or of those who listen; and closed to others, as it should be.
        return;
    }
    let list = match Users::new(path).list() {
        Ok(list) => list,
        Err(sentence) => return add(findings, Grade::Error, thing, sentence),
    };
    for flaw in list.flaws() {
        add(findings, Grade::Warning, &thing, flaw);
    }
    match list.len() {
        0 if service => {
            let text = "nobody can log in, and no mail is taken for submission; add a line made by \
                        minimta --password NAME";
            add(findings, Grade::Warning, thing, text);
        }
        0 => {}
        1 => add(findings, Grade::Ok, thing, "one user can log in"),
        n => add(findings, Grade::Ok, thing, format!("{n} users can log in")),
    }
}

fn certificate(context: &Context, findings: &mut Vec<Finding>) {
    let Some(pair) = &context.config.tls else {
        return;
    };
    let thing = format!("certificate {}", pair.certificate.display());
    match Server::load(&pair.certificate, &pair.key) {
        Err(sentence) => add(findings, Grade::Error, thing, sentence),
        Ok(server) => match server.warning(clock::now()) {
            Some(sentence) => add(findings, Grade::Warning, thing, sentence),
            None => add(findings, Grade::Ok, thing, "it and its key belong together"),
        },
    }
}

//! `--dkim-key DOMAIN`: the keys of a domain, made where there are none, and what DNS is to say of them.

use std::io;
use std::path::{Path, PathBuf};

use super::Context;
use super::signing;
use crate::cli::say;
use crate::config::{Config, Dkim};
use crate::error::{Error, Result};
use crate::host::accounts::{self, Account};
use crate::host::{durable, estate, words};
use crate::proto::address::Domain;
use crate::proto::dkim::key::{Algorithm, SigningKey};

/// Makes the key files that `[dkim]` names for this domain and that are not there, and prints the DNS records of all.
/// A domain that is not in the configuration gets a first key beside the configuration, and the lines to add.
///
/// # Errors
/// `Usage` for what is no domain; `Config` for a key that cannot be used; `CannotCreate` for one that cannot be written.
pub fn run(context: &Context, domain: &str) -> Result<()> {
    let domain = Domain::parse(domain)
        .map_err(|why| Error::Usage(format!("{domain} is no domain: {}", why.0)))?;
    let config = &context.config;
    let mut keys: Vec<Dkim> = config
        .dkim
        .iter()
        .filter(|d| d.domain == domain)
        .cloned()
        .collect();
    let mut text = String::new();
    if keys.is_empty() {
        let new = first_key(config, &domain);
        text.push_str(&format!(
            "# add this to the configuration:\n\n[[dkim]]\ndomain = \"{domain}\"\nselector = \"{}\"\nkey = \"{}\"\n\n",
            new.selector,
            new.key.display()
        ));
        keys.push(new);
    }
    let mut has_rsa = false;
    for dkim in &keys {
        let key = read_or_make(&dkim.key, context.servant.as_ref())?;
        has_rsa |= key.algorithm() == Algorithm::Rsa;
        text.push_str(&format!(
            "# in DNS, for {} ({}):\n\n",
            dkim.key.display(),
            key.algorithm().name()
        ));
        text.push_str(&record(dkim, &key.record()));
        text.push('\n');
    }
    if !has_rsa {
        text.push_str(&advice(context, &domain));
    }
    say(&text)
}

fn first_key(config: &Config, domain: &Domain) -> Dkim {
    Dkim {
        domain: domain.clone(),
        selector: "ed25519".to_owned(),
        key: beside(config, &format!("dkim-{domain}.pem")),
    }
}

/// A file beside the configuration.
fn beside(config: &Config, name: &str) -> PathBuf {
    let file = config.file.as_deref();
    let folder = file
        .unwrap_or(Path::new(crate::config::DEFAULT_FILE))
        .parent();
    folder.unwrap_or(Path::new("/")).join(name)
}

/// What is still to be done: some who check know RSA only, and making such a key is beyond this program.
fn advice(context: &Context, domain: &Domain) -> String {
    let file = beside(&context.config, &format!("dkim-{domain}-rsa.pem"));
    let file = file.display();
    let shared = context.servant.as_ref().map(|servant| {
        let group = accounts::group_name(servant.gid);
        format!("; chmod 0640 {file}; chgrp {group} {file}")
    });
    let shared = shared.unwrap_or_default();
    format!(
        "# Some of the largest providers check RSA signatures only. For a second one, by such a key, run\n#\n\
         #   openssl genrsa -out {file} 2048{shared}\n#\n\
         # add a [[dkim]] with selector = \"rsa\" and key = \"{file}\", and ask again for its record.\n"
    )
}

/// Who signs is not root: a new key is root's, and for the group of that user to read.
fn read_or_make(path: &Path, servant: Option<&Account>) -> Result<SigningKey> {
    let shown = path.display();
    match durable::create(path, 0o640) {
        Ok(file) => {
            let cannot =
                |why: &str| Error::CannotCreate(format!("cannot make the key {shown}: {why}"));
            let pem = SigningKey::generate().ok_or_else(|| cannot("there is no randomness"))?;
            let written = servant
                .map_or(Ok(()), |servant| estate::share(&file, servant))
                .and_then(|()| durable::write(&file, pem.as_bytes()))
                .and_then(|()| durable::sync(&file));
            if let Err(error) = written {
                let _ = durable::remove(path);
                return Err(cannot(&words(&error)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(Error::CannotCreate(format!(
                "cannot make the key {shown}: {}",
                words(&error)
            )));
        }
    }
    signing::read(path).map_err(Error::Config)
}

/// As a zone file has it: a record's strings have at most 255 octets each.
fn record(dkim: &Dkim, text: &str) -> String {
    let strings = text.as_bytes().chunks(200);
    let strings: Vec<String> = strings
        .map(|s| format!("\"{}\"", String::from_utf8_lossy(s)))
        .collect();
    format!(
        "{}._domainkey.{}. IN TXT ( {} )\n",
        dkim.selector,
        dkim.domain,
        strings.join("\n    ")
    )
}

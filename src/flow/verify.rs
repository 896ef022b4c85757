//! Where mail for an address would go: through which aliases, lists and ~/.forward files, and to whom in the end; as
//! whose it would leave, and what its mail servers would have to prove.

use super::admin::place;
use super::ends::Place;
use super::exchange::in_words;
use super::links::Shared;
use super::policies::Asking;
use super::probe::leaving;
use super::submit;
use super::{Context, deliver, expand, hops, lmtp};
use crate::cli::{Invocation, say};
use crate::error::{Error, Result};
use crate::host::accounts;
use crate::json::Json;
use crate::proto::address::Mailbox;
use crate::proto::addrlist::addresses;
use crate::proto::end::End;
use crate::proto::expand::{Found, Leaf, Trouble};
use crate::proto::outcome::{Outcome, Verdict};
use crate::proto::reply::Enhanced;
use crate::proto::route::{Hop, Peer};

/// One of those whom an address stands for.
pub struct Goal {
    /// The aliases and files on the way.
    pub path: Vec<String>,
    /// The address in the end.
    pub address: String,
    /// What becomes of the mail, in words.
    pub route: String,
    /// Of the mail on its way there: as whose it leaves, and what each mail server has to prove.
    pub details: Vec<String>,
    /// The server that has the mailbox, and what it calls it.
    pub server: Option<(Peer, Mailbox)>,
    /// What keeps it from going there.
    pub fault: Option<Error>,
}

impl Goal {
    /// The way, and what becomes of the mail in the end.
    pub fn in_words(&self) -> String {
        match self.path.as_slice() {
            [] => self.route.clone(),
            path => format!("{} > {}", path.join(" > "), self.route),
        }
    }
}

/// `-bv`: where the mail of each address would go. No mail server is connected to.
///
/// # Errors
/// `NoUser` or `Data` when there is an address that mail cannot go to; `Io` when it cannot be said.
pub fn run(context: &Context, call: &Invocation) -> Result<()> {
    if call.arguments.is_empty() {
        return Err(Error::Usage("-bv needs addresses to verify".to_owned()));
    }
    let (mut result, mut found) = (Ok(()), Vec::new());
    let sender = sender(context, call)?;
    for text in &call.arguments {
        let goals = goals(context, sender.as_ref(), text);
        if call.json {
            found.push(as_json(text, &goals));
        } else {
            for goal in &goals {
                say(&format!("{text}: {}\n", goal.in_words()))?;
                for detail in &goal.details {
                    say(&format!("    {detail}\n"))?;
                }
            }
        }
        result = goals
            .into_iter()
            .filter_map(|g| g.fault)
            .fold(result, |_, fault| Err(fault));
    }
    if call.json {
        say(&format!("{}\n", Json::Array(found)))?;
    }
    result
}

fn as_json(text: &str, goals: &[Goal]) -> Json {
    let truth = |is: bool| if is { Json::True } else { Json::False };
    let routes: Vec<&str> = goals.iter().map(|g| g.route.as_str()).collect();
    let goal = |g: &Goal| {
        let path = g.path.iter().map(|step| Json::text(step)).collect();
        Json::Object(vec![
            ("address", Json::text(&g.address)),
            ("path", Json::Array(path)),
            ("deliverable", truth(g.fault.is_none())),
            ("route", Json::text(&g.route)),
            (
                "details",
                Json::Array(g.details.iter().map(|d| Json::text(d)).collect()),
            ),
        ])
    };
    Json::Object(vec![
        ("address", Json::text(&text)),
        (
            "deliverable",
            truth(goals.iter().all(|g| g.fault.is_none())),
        ),
        ("route", Json::text(&routes.join("; "))),
        ("goals", Json::Array(goals.iter().map(goal).collect())),
    ])
}

/// Whose mail it would be: `-f`, or the caller's.
///
/// # Errors
/// `Usage` for a `-f` that is no address.
pub fn sender(context: &Context, call: &Invocation) -> Result<Option<Mailbox>> {
    let sender = submit::sender(context, call.sender.as_deref(), &accounts::caller());
    match (sender, &call.sender) {
        (Err(error), Some(_)) => Err(error),
        // Whoever asks can be somebody whose name is no address.
        (Err(_), None) => Ok(None),
        (Ok(sender), _) => Ok(sender.mailbox().cloned()),
    }
}

/// Whom mail for an address is for in the end; at least one, of whom it may be said why he gets nothing.
pub fn goals(context: &Context, sender: Option<&Mailbox>, text: &str) -> Vec<Goal> {
    let bare = bare(text);
    let text = bare.as_str();
    let one = |route: String, fault: Option<Error>| Goal {
        path: Vec::new(),
        address: text.to_owned(),
        route,
        details: Vec::new(),
        server: None,
        fault,
    };
    let address = match Mailbox::qualify(text, &context.config.hostname) {
        Ok(address) => address,
        Err(why) => {
            let why = format!("not a valid address: {why}");
            let error = Error::Data(format!("{text} is {why}"));
            return vec![one(why, Some(error))];
        }
    };
    if hops::of(context, &address) != Hop::Local {
        let (route, fault) = elsewhere(context, sender, &address);
        let details = details(context, sender, &address, &fault);
        return vec![Goal {
            details,
            ..one(route, fault)
        }];
    }
    match expand::look(context, &address) {
        Ok(Found::Leaves(leaves)) if leaves.is_empty() => {
            vec![one("thrown away".to_owned(), None)]
        }
        Ok(Found::Leaves(leaves)) => leaves
            .into_iter()
            .map(|l| goal(context, sender, l))
            .collect(),
        Ok(Found::Nobody) => {
            let why = nobody(&address);
            vec![one(why.clone(), Some(Error::NoUser(why)))]
        }
        Err(Trouble { enhanced, sentence }) => {
            let error = match enhanced {
                Enhanced(5, ..) => Error::Unavailable(sentence.clone()),
                _ => Error::TempFail(sentence.clone()),
            };
            vec![one(sentence, Some(error))]
        }
    }
}

/// An address as sendmail takes it: also in `<>`, and with a name before them.
fn bare(text: &str) -> String {
    let mut list = addresses(text.as_bytes());
    match (list.next().map(|a| a.spec), list.next()) {
        (Some(Ok(spec)), None) if !text.chars().any(char::is_control) => spec,
        _ => text.to_owned(),
    }
}

fn nobody(address: &Mailbox) -> String {
    format!("there is no user {} here", address.local())
}

/// One of those whom an address of this system stands for.
fn goal(context: &Context, sender: Option<&Mailbox>, leaf: Leaf) -> Goal {
    let local = &context.config.local;
    let user = leaf.user.as_deref();
    let (mut server, mut remarks) = (None, Vec::new());
    let (route, fault) = match (&leaf.end, user) {
        (Some(End::Mailbox), Some(user)) => match expand::named(user) {
            Ok(Some(account)) => {
                let place = deliver::place(context, &account);
                let route = format!("local user {user}, {place}");
                if let Place::Lmtp(peer) = place {
                    let mailbox = lmtp::address(&account, &leaf.address, local.delimiter);
                    server = Some((peer, mailbox));
                }
                (route, None)
            }
            Ok(None) => (
                nobody(&leaf.address),
                Some(Error::NoUser(nobody(&leaf.address))),
            ),
            Err(why) => (why.clone(), Some(Error::TempFail(why))),
        },
        (Some(End::Mailbox), None) => (nobody(&leaf.address), None),
        (Some(End::File(path)), user) => {
            let user = user.unwrap_or(&local.alias_user);
            (format!("file {path}, as {user}"), None)
        }
        (Some(End::Pipe(line)), user) => {
            let user = user.unwrap_or(&local.alias_user);
            (format!("command {line}, as {user}"), None)
        }
        (None, Some(user)) => {
            let route = format!("local user {user}, whose ~/.forward only he and root can tell of");
            (route, None)
        }
        (None, None) if hops::of(context, &leaf.address) == Hop::Local => (
            nobody(&leaf.address),
            Some(Error::NoUser(nobody(&leaf.address))),
        ),
        (None, None) => {
            let (route, fault) = elsewhere(context, sender, &leaf.address);
            remarks = details(context, sender, &leaf.address, &fault);
            (format!("{}: {route}", leaf.address), fault)
        }
    };
    Goal {
        path: leaf.path,
        address: leaf.address.to_string(),
        route,
        details: remarks,
        server,
        fault,
    }
}

/// Where mail leaves this system.
fn elsewhere(
    context: &Context,
    sender: Option<&Mailbox>,
    address: &Mailbox,
) -> (String, Option<Error>) {
    match hops::of_mail_from(context, sender, address) {
        Hop::Local => (nobody(address), None),
        Hop::Smarthost => {
            let hosts = context
                .config
                .smarthosts
                .iter()
                .map(|s| format!("{}:{}", s.host, s.port));
            let hosts = hosts.collect::<Vec<_>>().join(", then ");
            (format!("smarthost {hosts}"), None)
        }
        Hop::Host(peer, _) => (format!("{}:{}", peer.host, peer.port), None),
        Hop::Lmtp(peer) => (format!("LMTP at {}", place(&peer.host, peer.port)), None),
        Hop::Mx(domain, _) => match Shared::new(context).hosts(&domain) {
            Ok(hosts) => (format!("mail server {}", in_words(&hosts)), None),
            Err(outcome) => (outcome.text.clone(), Some(no_route(address, &outcome))),
        },
        Hop::Refuse(why) => {
            let why = format!("refused by a [[route]]: {}", why.text);
            let sentence = format!("{address}: {why}");
            (why, Some(Error::Unavailable(sentence)))
        }
    }
}

/// As whose the mail leaves, and what each mail server of its domain has to prove. Name servers are asked, and nobody
/// else.
fn details(
    context: &Context,
    sender: Option<&Mailbox>,
    address: &Mailbox,
    fault: &Option<Error>,
) -> Vec<String> {
    if fault.is_some() {
        return Vec::new();
    }
    let shared = Shared::new(context).asking(Asking::Never);
    let hop = hops::of_mail_from(context, sender, address);
    let hosts = match &hop {
        Hop::Mx(domain, _) => shared.hosts(domain).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut stations = shared.stations(&hop, &hosts);
    let from = stations.first().and_then(|station| station.from);
    let mut found = Vec::new();
    let seen = leaving(context, from, sender);
    if let (Some(sender), Some(seen)) = (sender, seen)
        && *sender != seen
    {
        found.push(format!("mail of {sender} leaves as {seen}"));
    }
    for station in &mut stations {
        let host = station.target.host.to_string();
        match shared.demand(station) {
            Ok(()) => found.extend(
                station
                    .duty(address.domain())
                    .map(|d| format!("{host} {d}")),
            ),
            Err(outcome) => found.push(format!("{host}: {}", outcome.text)),
        }
    }
    found
}

/// Why mail would not go out, as an error of this program.
fn no_route(address: &Mailbox, outcome: &Outcome) -> Error {
    let sentence = format!("{address}: {}", outcome.text);
    match (outcome.verdict, outcome.enhanced) {
        (Verdict::Deferred, _) => Error::TempFail(sentence),
        // There is no such domain (RFC 3463 3.2).
        (_, Enhanced(5, 1, 2)) => Error::NoHost(sentence),
        _ => Error::Unavailable(sentence),
    }
}

//! One route as a whole: whom it is for and where it leads must fit together before it is one.

use std::ops::Range;

use super::document::Entry;
use super::report::Problem;
use crate::proto::address::Mailbox;
use crate::proto::route::{Pattern, Protection, Route, Via};

/// What a `[[route]]` table said, a field a key; `None`: it is not there, or its value was refused.
#[derive(Debug, Default)]
pub struct RouteDraft {
    pub domain: Option<Pattern>,
    pub sender: Option<Mailbox>,
    pub via: Option<Via>,
    pub tls: Option<Protection>,
}

impl RouteDraft {
    /// The route, or why it cannot be one. `table` and `at` are where the keys and the table's head stand.
    pub fn finish(self, table: &[Entry], at: Range<usize>) -> Result<Route, Vec<Problem>> {
        let place = |name: &str| table.iter().find(|entry| entry.name == name);
        let has = |name: &str| place(name).is_some();
        let problem = |key: &str, finding: &str, remedy: &str| Problem {
            // What is missing is missing at the table's head.
            at: place(key).map_or(at.clone(), |entry| entry.name_at.clone()),
            key: key.to_owned(),
            finding: finding.to_owned(),
            remedy: remedy.to_owned(),
        };
        let mut problems = Vec::new();
        if !has("domain") && !has("sender") {
            let remedy = "add a line such as: domain = \"lan.example\"";
            problems.push(problem(
                "domain",
                "missing in this [route], and so is sender",
                remedy,
            ));
        }
        if !has("via") {
            let remedy = "add a line such as: via = \"10.0.0.5:2525\"";
            problems.push(problem("via", "missing in this [route]", remedy));
        }
        if self.via == Some(Via::Local) && !has("domain") {
            let finding = "by its sender alone mail for anybody would be delivered here";
            problems.push(problem(
                "via",
                finding,
                "add the domain whose mail is meant",
            ));
        }
        // Others may send to a domain that is routed; nobody may to all.
        if self.domain == Some(Pattern::Others) && !matches!(self.via, None | Some(Via::Refuse(_)))
        {
            let finding = "all domains there are can be refused, and not led anywhere";
            problems.push(problem(
                "domain",
                finding,
                "set host in [smarthost] for the way of all mail, or via = \"refuse\" here",
            ));
        }
        if has("tls") && matches!(self.via, Some(Via::Local | Via::Lmtp(_) | Via::Refuse(_))) {
            let finding = "there is no TLS on this way";
            problems.push(problem("tls", finding, "remove it"));
        }
        match self.via {
            Some(via) if problems.is_empty() => Ok(Route {
                domain: self.domain,
                sender: self.sender,
                via,
                tls: self.tls,
            }),
            // Without a via the table has a problem that is told already.
            _ => Err(problems),
        }
    }
}

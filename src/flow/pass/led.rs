//! Whom an address of this system stands for, as far as the aliases alone say: one user with many names has no more
//! places than one with a single name.
//!
//! It only divides places, so it may err, and asks nobody: where a name leads to several, to a command or a list, or by
//! a ~/.forward or `[local] unknown_user` to somebody, the name itself counts. So does every name when the aliases
//! cannot be read.

use crate::flow::{Context, hops};
use crate::proto::alias::Target;
use crate::proto::expand::without_detail;
use crate::proto::route::{Hop, is_role};

/// How many aliases are followed; in a circle, the way ends anywhere.
const MAX_STEPS: usize = 10;

/// The name to which aliases lead a name, one to one; `None`: it has no alias, or none that leads to one name. The
/// delivery asks for the alias file as well, mostly within the second for which a look at it holds.
pub fn by_aliases(context: &Context, name: &str) -> Option<String> {
    let table = context.aliases.table().ok()?;
    let mut led = None;
    for _ in 0..MAX_STEPS {
        let at = led.as_deref().unwrap_or(name);
        let base = without_detail(at, context.config.local.delimiter);
        let root = is_role(at).then_some("root");
        let mut names = std::iter::once(at).chain(base).chain(root);
        let Some(Ok((_, targets))) = names.find_map(|name| table.get(name)) else {
            break;
        };
        let mut here = targets.into_iter().filter(|t| !is_elsewhere(context, t));
        match (here.next(), here.next()) {
            (Some(Target::Name(name)), None) => led = Some(name),
            (Some(Target::Address(address)), None) => led = Some(address.local().to_owned()),
            (Some(Target::Own(name)), None) => return Some(name),
            _ => break,
        }
    }
    led
}

/// Whether a target takes no place where mailboxes are written.
fn is_elsewhere(context: &Context, target: &Target) -> bool {
    match target {
        Target::Address(address) => hops::of(context, address) != Hop::Local,
        Target::Nothing => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::config::{Config, System};
    use crate::host::mailbox::scratch::Scratch;

    #[test]
    fn one_user_is_one_by_all_his_names() {
        let scratch = Scratch::new("led");
        let path = scratch.path("aliases");
        let text = "root: alice, me@example.net\nops: root\nsales: Alice@pi.example.org\nalice: \\alice\n\
                    many: alice, bob\ncommand: \"|cat\"\nboth: alice, \"|cat\"\nfar: me@example.net\n\
                    gone: /dev/null\na: b\nb: a\nwrong: \"\n";
        std::fs::write(&path, text).unwrap();
        // It has been left alone.
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let system = System {
            hostname: &String::new,
        };
        let config = format!(
            "hostname = 'pi.example.org'\n[local]\naliases = '{}'\ndelimiter = '+'\n",
            path.display()
        );
        let config = Config::parse(config.as_bytes(), None, &system).unwrap();
        let call = cli::parse(std::iter::empty()).unwrap();
        let context = Context::new(config, "minimta", &call);
        let rows = [
            ("root", Some("alice")),
            ("Root+x", Some("alice")),
            ("ops", Some("alice")),
            ("sales", Some("alice")),
            ("alice", Some("alice")),
            ("postmaster", Some("alice")),
            ("bob", None),
            ("many", None),
            ("command", None),
            ("both", None),
            ("far", None),
            ("gone", None),
            ("wrong", None),
        ];
        for (name, led) in rows {
            let found = by_aliases(&context, name).map(|name| name.to_lowercase());
            assert_eq!(found.as_deref(), led, "{name}");
        }
        assert!(by_aliases(&context, "a").is_some_and(|name| name == "a" || name == "b"));
    }
}

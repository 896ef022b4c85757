//! The grammar of aliases(5), the faults people make in it, and the line that is named for each.

use super::*;
use crate::proto::below;

fn show(targets: &[Target]) -> String {
    let mark = |t: &Target| match t {
        Target::Name(_) => format!("name {t}"),
        Target::Address(_) => format!("mail {t}"),
        _ => t.to_string(),
    };
    targets.iter().map(mark).collect::<Vec<_>>().join(" + ")
}

fn shows(list: Result<Vec<Target>, Fault>) -> String {
    list.map_or_else(|fault| fault.to_string(), |targets| show(&targets))
}

#[test]
fn lists_are_read() {
    let rows = [
        ("", ""),
        ("\n# nothing\n   # at all\n\r\n", ""),
        ("alice", "name alice"),
        ("alice, bob ,,carol,", "name alice + name bob + name carol"),
        ("alice\nbob\r\n", "name alice + name bob"),
        ("a@B.example # mine\nb", "mail a@b.example + name b"),
        ("a#b@c.example", "mail a#b@c.example"),
        ("\\alice, me@example.org", "\\alice + mail me@example.org"),
        ("Bob B. <bob@x.example>", "mail bob@x.example"),
        (
            "\"Bob, B.\" <bob@x.example>, <carol>",
            "mail bob@x.example + name carol",
        ),
        (
            "bob (of, course) , (so) carol@x.example",
            "name bob + mail carol@x.example",
        ),
        ("\"a b\"@x.example", "mail \"a b\"@x.example"),
        ("\"alice\"", "name alice"),
        ("\"a b\"", "name a b"),
        (r#""\"a b\"@x.example""#, "mail \"a b\"@x.example"),
        (
            r#""\"a\\\"b\"@x.example", c"#,
            r#"mail "a\"b"@x.example + name c"#,
        ),
        (
            "\"bob@x.example\", \"Bob <bob@y.example>\"",
            "mail bob@x.example + mail bob@y.example",
        ),
        (r#""\\alice""#, "\\alice"),
        ("|/bin/x -a", "|/bin/x -a"),
        ("|\"/bin/x -a, -b\"", "|/bin/x -a, -b"),
        (
            "\"|/bin/x \\\"-a\\\", -b (c) #d\"",
            "|/bin/x \"-a\", -b (c) #d",
        ),
        (
            "\"|IFS=' ' && exec /usr/bin/procmail || exit 75 #bob\"",
            "|IFS=' ' && exec /usr/bin/procmail || exit 75 #bob",
        ),
        ("/var/a, \"/var/b c/\"", "/var/a + /var/b c/"),
        ("/dev/null", "/dev/null"),
        (
            ":include:/etc/list, :INCLUDE:\"/a b\", \":include:/c,d\"",
            ":include:/etc/list + :include:/a b + :include:/c,d",
        ),
        ("josé@exämple.example", "mail josé@exämple.example"),
    ];
    for (text, expected) in rows {
        assert_eq!(shows(read_list(text, Place::Forward)), expected, "{text:?}");
    }
}

#[test]
fn what_is_wrong_in_a_list_is_said_with_its_line() {
    let rows = [
        (
            "alice bob",
            "line 1: \"alice bob\" is not one address; put a comma between two",
        ),
        (
            "\n\na@@b",
            "line 3: \"a@@b\" is no address: the part before its @ has a character or a dot that would need quotes",
        ),
        (
            "a@b..c",
            "line 1: \"a@b..c\" is no address: its domain has an empty label",
        ),
        (
            "\"open",
            "line 1: a quote, bracket or parenthesis is not closed on its line; close it",
        ),
        (
            "a (b\nc",
            "line 1: a quote, bracket or parenthesis is not closed on its line; close it",
        ),
        (
            "<a@b.example> c",
            "line 1: something follows the > of \"<a@b.example> c\"; put a comma between",
        ),
        (
            r#""a b"@"#,
            r#"line 1: "a b"@ is no address: its domain is empty"#,
        ),
        (
            r#""\"a b\"@x@y""#,
            r#"line 1: "a b"@x@y is no address: its domain has a character that no domain may have"#,
        ),
        ("|", "line 1: no command follows the |; name one"),
        (
            ":include:etc/x",
            "line 1: \"etc/x\" is no absolute path; begin it with a slash",
        ),
        (
            ":fail: x",
            "line 1: \":fail: x\" is not known; of these words there is only :include:/file",
        ),
        (
            "\\a@b.example",
            "line 1: \"\\a@b.example\" is no user: it has a character that stands for something else; behind a backslash stands a user's name",
        ),
        (
            "a\0b",
            "line 1: \"a?b\" holds a control character; take it away",
        ),
        (
            "jos\u{fffd}@x.example",
            "line 1: \"jos\u{fffd}@x.example\" is not UTF-8; write it so",
        ),
        (
            "~/file",
            "line 1: \"~/file\" is no address: it has a character that stands for something else",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(shows(read_list(text, Place::Forward)), expected, "{text:?}");
    }
    let long = format!("|/bin/{}", "x".repeat(MAX_TEXT));
    assert!(shows(read_list(&long, Place::Forward)).contains("longer than 1000 octets"));
    assert_eq!(
        shows(read_list("alice\n|/bin/x", Place::Include)),
        "line 2: \"|/bin/x\" is no address; only the alias file itself and a ~/.forward may lead to commands and files"
    );
    assert_eq!(shows(read_list("/dev/null", Place::Include)), "/dev/null");
}

const FILE: &str = "# our aliases\n\
        Root: alice\n\
        \n\
        staff : alice,\n  # but not carol\n  bob,\n\tdan@x.example # far\n\
        \"odd name\": bob\n\
        broken: a b\n\
        ROOT: mallory\n\
        no colon here\n\
        far@x.example: bob\n\
        empty:\n\
        last: \"|/bin/x: y\"";

#[test]
fn a_file_is_split_into_entries_and_each_fault_stays_with_its_own() {
    let table = Table::parse(FILE.to_owned());
    let get = |name: &str| match table.get(name) {
        None => "-".to_owned(),
        Some(Ok((line, targets))) => format!("{line} {}", show(&targets)),
        Some(Err(fault)) => fault.to_string(),
    };
    assert_eq!(get("rOOt"), "2 name alice");
    assert_eq!(get("Staff"), "4 name alice + name bob + mail dan@x.example");
    assert_eq!(get("odd name"), "8 name bob");
    assert_eq!(get("last"), "14 |/bin/x: y");
    assert_eq!(get("nobody"), "-");
    assert!(table.has("BROKEN") && !table.has("no"));
    assert!(table.is_doubtful());
    let faults: Vec<String> = table.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "line 9: \"a b\" is not one address; put a comma between two",
            "line 10: there is an alias root in line 2 already, which counts; take one of them away",
            "line 11: there is no colon; an alias is a name, a colon, and where its mail goes",
            "line 12: \"far@x.example\" is an address; an alias is a bare name, which counts for every domain of this machine",
            "line 13: nothing follows the colon; name where the mail goes, or /dev/null to throw it away",
        ]
    );
}

#[test]
fn nothing_makes_it_panic_or_read_for_ever() {
    let pieces = [
        "\"", "\\", "(", ")", "<", ">", ",", "\n", " ", "#", ":", "|", "/", "a", "@", "é", "\0",
        "\r",
    ];
    // Every text of three pieces, and some longer ones.
    let three = pieces.len().pow(3);
    for number in below(three + 3000) {
        let (mut rest, count) = match number < three {
            true => (number, 3),
            false => (number.wrapping_mul(0x9e37_79b9), 14),
        };
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(pieces[rest % pieces.len()]);
            rest /= pieces.len();
        }
        let _ = read_list(&text, Place::Forward);
        let table = Table::parse(format!("x: {text}"));
        let _ = (table.get("x"), table.faults());
        let _ = Table::parse(text).faults();
    }
}

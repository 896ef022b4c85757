//! Signatures of the RFCs' examples and our own: whole, changed, and with every kind of key record.

use super::*;
use crate::proto::dkim::key::SigningKey;
use crate::proto::dkim::sign::{Signer, Signing};
use crate::proto::header_reader::HeaderReader;

/// RFC 8463 A: the message, its two signatures, their keys.
const MESSAGE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\nDKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\nFrom: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

const KEYS: &[(&str, &str)] = &[
    (
        "brisbane._domainkey.football.example.com",
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ),
    (
        "test._domainkey.football.example.com",
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
    ),
];

/// The words of all signatures of a message whose keys are these.
fn check_with(message: &str, keys: &[(&str, &str)], now: i64) -> Vec<String> {
    let mut reader = HeaderReader::new(100_000);
    let taken = reader.push(message.as_bytes()).unwrap().unwrap();
    let (header, rest) = reader.finish();
    let mut verifier = Verifier::new(&header, now);
    verifier.feed(&rest);
    verifier.feed(&message.as_bytes()[taken..]);
    let mut text = |name: &str| {
        let found = keys.iter().filter(|(n, _)| *n == name);
        let found: Vec<String> = found.map(|(_, record)| (*record).to_owned()).collect();
        match found.as_slice() {
            [] => Err(NoAnswer::NoSuchDomain),
            [only] if only == "?" => Err(NoAnswer::Temporary("silence".to_owned())),
            _ => Ok(found),
        }
    };
    let found = verifier.finish(&mut text);
    let words = |f: &Found| format!("{} {}", f.word, f.why).trim().to_owned();
    found.iter().map(words).collect()
}

fn check(message: &str) -> Vec<String> {
    check_with(message, KEYS, 1_528_637_909)
}

const CHANGED: &str = "fail the signature is wrong, or the header was changed";

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn the_example_of_the_rfc_passes_and_no_changed_one_does() {
    assert_eq!(check(MESSAGE), ["pass", "pass"]);
    // What is replaced by what, and what becomes of both signatures.
    let rows = [
        ("Joe.\r\n", "Joe.  \r\n\r\n\r\n", ["pass", "pass"]),
        (
            "Is dinner ready?",
            "Is  dinner\r\n\tready? ",
            ["pass", "pass"],
        ),
        ("Subject: Is", "SUBJECT : Is", ["pass", "pass"]),
        ("Joe.\r\n", "Jo.\r\n", ["fail the body was changed"; 2]),
        (
            "Joe.\r\n",
            "\r\n Joe.\r\n",
            ["fail the body was changed"; 2],
        ),
        ("Is dinner", "Isdinner", [CHANGED; 2]),
        ("From: Joe", "From: Jo", [CHANGED; 2]),
        // Oversigned: one more of a name that was signed not to be there.
        (
            "From: Joe",
            "From: me <me@evil.example>\r\nFrom: Joe",
            [CHANGED; 2],
        ),
        ("Date: Fri", "Subject: one more\r\nDate: Fri", [CHANGED; 2]),
        (
            "Date: Fri",
            "X-More: one more\r\nDate: Fri",
            ["pass", "pass"],
        ),
        (
            "s=brisbane",
            "s=elsewhere",
            [
                "permerror there is no key at elsewhere._domainkey.football.example.com",
                "pass",
            ],
        ),
        (
            "s=brisbane",
            "s=test",
            [
                "permerror the key is of another kind than the signature",
                "pass",
            ],
        ),
        (
            "a=ed25519-sha256",
            "a=rsa-sha1",
            [
                "permerror the signature's algorithm (a=) is not known, or not safe",
                "pass",
            ],
        ),
        (
            "v=1; a=ed",
            "v=2; a=ed",
            ["permerror the signature is of another version", "pass"],
        ),
        (
            "h=from : to :\r\n subject : date : message-id : from",
            "h=to :\r\n subject",
            ["permerror the signature leaves out From", "pass"],
        ),
        (
            "i=@football.example.com",
            "i=@example.com",
            ["permerror the signature is for somebody else (i=)", "pass"],
        ),
        (
            "i=@football.example.com",
            "i=joe@a.football.example.com",
            [CHANGED, "pass"],
        ),
        (
            "t=1528637909;",
            "t=1528637909; x=1528637908;",
            ["permerror the signature expired before it was made", "pass"],
        ),
        (
            "t=1528637909;",
            "t=1; x=1528637908;",
            ["fail the signature has expired", "pass"],
        ),
        (
            "t=1528637909;",
            "t=1528638500;",
            ["permerror the signature is of the future", "pass"],
        ),
        (
            "t=1528637909;",
            "t=x;",
            ["permerror the signature has a number that is none", "pass"],
        ),
        (
            "t=1528637909;",
            "t=1; t=2;",
            ["permerror the signature cannot be read", "pass"],
        ),
        (
            "c=relaxed/relaxed",
            "c=relaxed/strict",
            ["permerror the signature has an unknown form (c=)", "pass"],
        ),
        (
            "q=dns/txt",
            "q=http",
            [
                "permerror the signature's key is not to be had from DNS (q=)",
                "pass",
            ],
        ),
        (
            "b=/gCrin",
            "b=;z=",
            ["permerror the signature has no value (b=)", "pass"],
        ),
    ];
    for (from, to, expected) in rows {
        assert_eq!(
            check(&MESSAGE.replacen(from, to, 1)),
            expected,
            "{from:?} as {to:?}"
        );
    }
    let bare = MESSAGE.split_once("From: Joe").unwrap();
    assert_eq!(check(&format!("From: Joe{}", bare.1)), [""; 0]);
    let many = format!("{}{MESSAGE}", "DKIM-Signature: x\r\n".repeat(20));
    assert_eq!(check(&many).len(), MAX_SIGNATURES);
}

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn a_key_decides_as_its_record_says() {
    let key = KEYS[0].1;
    let rows: &[(&str, &str)] = &[
        (key, "pass"),
        (
            "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=; k=ed25519",
            "pass",
        ),
        (
            "v=DKIM1; k=ed25519; t=y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            "pass its owner only tries",
        ),
        (
            "v=DKIM1; k=ed25519; t=s:y; h=sha1:sha256; s=email; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            "pass its owner only tries",
        ),
        ("v=DKIM1; k=ed25519; p=", "permerror the key was revoked"),
        ("v=DKIM1; k=ed25519", "permerror the record has no key"),
        ("v=DKIM1; k=ed25519; p=!", "permerror the key is not base64"),
        (
            "v=DKIM1; k=ed25519; p=AAAA",
            "permerror the key has a wrong length",
        ),
        (
            "v=DKIM1; k=dsa; p=AAAA",
            "permerror the key is of an unknown kind",
        ),
        (
            "v=DKIM1; h=sha1; k=ed25519; p=AAAA",
            "permerror the key is for other hashes",
        ),
        (
            "v=DKIM1; s=chat; k=ed25519; p=AAAA",
            "permerror the key is not for mail",
        ),
        (
            "v=DKIM1; k=ed25519; p=21qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            CHANGED,
        ),
        (
            "v=spf1 -all",
            "permerror there is no key at brisbane._domainkey.football.example.com",
        ),
        (
            "v=DKIM2; p=AAAA",
            "permerror there is no key at brisbane._domainkey.football.example.com",
        ),
        ("?", "temperror its key is not to be had: silence"),
    ];
    for (record, expected) in rows {
        let found = check_with(MESSAGE, &[(KEYS[0].0, record)], 1_528_637_909);
        assert_eq!(found[0], *expected, "{record}");
    }
    // RFC 8301 3.2: 512 bits are no key.
    let short = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMGmL/rBE8PldmDmrDwRyqyQP3JeLr2SkOJJGJrWqGnZzYJjsYOJgHzZzoCJYTgVfXmrZWCmEZnQ0R7bXYBPMOECAwEAAQ==";
    let found = check_with(MESSAGE, &[(KEYS[1].0, short)], 1_528_637_909);
    assert_eq!(found[1], "permerror the key has less than 1024 bits");
}

/// As the program does: the message passes by, and its signatures are put before it.
fn signed(message: &str, signers: &[Signer]) -> String {
    let mut signing = Signing::new(100_000);
    for octet in message.as_bytes().chunks(1) {
        signing.feed(octet).unwrap();
    }
    let fields = signing.finish().signatures(signers, 1_528_637_909).unwrap();
    format!("{}{message}", String::from_utf8(fields).unwrap())
}

const MAIL: &str = "From: Me <me@lists.example.org>\r\nTo: you@example.net\r\nSubject: hello\r\nReceived: x\r\nReceived: y\r\n\r\nBody\r\n\r\n";

#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn what_is_signed_can_be_checked_and_not_changed() {
    let pem = SigningKey::generate().unwrap();
    let signer = |domain: &str| Signer {
        domain: Domain::parse(domain).unwrap(),
        selector: "pi".to_owned(),
        key: SigningKey::from_pem(pem.as_bytes()).unwrap(),
    };
    let signers = [
        "example.org",
        "org",
        "example.net",
        "sts.example.org",
        "xn--bcher-kva.example",
    ]
    .map(signer);
    let record = signers[0].key.record();
    let keys = [("pi._domainkey.example.org", record.as_str())];
    let check = |message: &str| check_with(message, &keys, 1_528_637_909);
    let sent = signed(MAIL, &signers);
    assert_eq!(check(&sent), ["pass"], "{sent}");
    assert!(sent.lines().all(|line| line.len() < 100), "{sent}");
    for (from, to) in [
        ("From: Me", "From: x@evil.example\r\nFrom: Me"),
        ("From: Me", "To: one@more.example\r\nFrom: Me"),
        ("From: Me", "Reply-To: one@more.example\r\nFrom: Me"),
        ("From: Me", "Cc: one@more.example\r\nFrom: Me"),
        ("From: Me", "Subject: more\r\nFrom: Me"),
        ("hello", "hell"),
    ] {
        assert_eq!(check(&sent.replace(from, to)), [CHANGED], "{to}");
    }
    assert_eq!(
        check(&sent.replace("Body", "Body\r\nand more")),
        ["fail the body was changed"]
    );
    assert_eq!(check(&sent.replace("Received: x", "Received: z")), ["pass"]);
    // A domain is the same in either form.
    let wide = MAIL.replace("me@lists.example.org", "me@b\u{fc}cher.example");
    assert!(signed(&wide, &signers).contains("d=xn--bcher-kva.example;"));
    // Nobody answers for this author.
    let other = MAIL.replace("me@lists.example.org", "me@elsewhere.example");
    assert_eq!(signed(&other, &signers), other);
    assert_eq!(signed("To: x\r\n\r\n", &signers), "To: x\r\n\r\n");
}

/// RFC 6376 A.2, with its errata 3192 (one space in the body) and 4926 (how its lines begin): simple/simple, for a name
/// below the one that signs.
#[test]
#[cfg_attr(miri, ignore = "ring is C and assembly")]
fn the_first_example_passes_with_its_errata() {
    let message = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n      h=Received : From : To : Subject : Date : Message-ID;\r\n      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n        4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n        KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n        4bmp/YzhwvcubU4=;\r\nReceived: from client1.football.example.com  [192.0.2.1]\r\n      by submitserver.example.com with SUBMISSION;\r\n      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\nFrom: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";
    // As in appendix C, in the lines of a zone file.
    let keys = &[(
        "brisbane._domainkey.example.com",
        "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v /RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
    )];
    let check = |message: &str| check_with(message, keys, 1_528_637_909);
    assert_eq!(check(message), ["pass"]);
    let rows = [
        ("Are you", "Are  you", "fail the body was changed"),
        ("Joe.\r\n", "Joe.\r\n\r\n", "pass"),
        ("Subject: Is", "Subject:  Is", CHANGED),
        ("Subject: Is", "subject: Is", CHANGED),
        ("\r\n      bh=", "\r\n bh=", CHANGED),
    ];
    for (from, to, expected) in rows {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message);
        assert_eq!(check(&changed), [expected], "{from:?} as {to:?}");
    }
}

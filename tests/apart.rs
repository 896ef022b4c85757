//! Root's process kept apart from the worker by a supervisor, as with systemd: the worker is started as the user of the
//! spool, and each connection to the socket `home` in the run folder starts a process of root's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

use crate::harness::house::{ALICE, BOB, House, SPOOL, processes};
use crate::harness::system::finish;
use crate::harness::{Daemon, until};

const MESSAGE: &str = "Subject: for you alone\n\nthe secret of the message\n";

/// What minimta-home.socket does: each connection starts `minimta --as-home`. These are the processes so far.
fn supervise(house: &House) -> Arc<Mutex<Vec<Child>>> {
    let path = house.path("run/home");
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let listener = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    let (uid, gid) = house.id(SPOOL);
    chown(&path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    listen(&listener, 8).unwrap();
    let started: Arc<Mutex<Vec<Child>>> = Arc::default();
    let (book, program) = (Arc::clone(&started), house.program("minimta"));
    let config = house.path("minimta.toml");
    std::thread::spawn(move || {
        while let Ok(connection) = accept_with(&listener, SocketFlags::CLOEXEC) {
            let child = Command::new(&program)
                .arg("-C")
                .arg(&config)
                .arg("--as-home")
                .env_clear()
                .stdin(Stdio::from(connection))
                .spawn();
            book.lock().unwrap().push(child.unwrap());
        }
    });
    started
}

/// The whole way, with nobody but a helper in anybody's right, and root's process gone when the worker has no more.
#[test]
fn mail_for_others_goes_over_the_socket() {
    let Some(house) = House::open("apart") else {
        return;
    };
    let house = house.telling_all();
    house.submit("root", &["-odq", "mt-alice", "mt-bob", "root"], MESSAGE);
    // Without the socket it waits.
    assert_eq!(house.call(SPOOL, &["-q"], "").code, 0);
    assert_eq!(house.names("cur").len(), 1, "{}", house.log());
    let started = supervise(&house);
    assert_eq!(house.call(SPOOL, &["-q"], "").code, 0);
    for user in [ALICE, BOB, "root"] {
        assert_eq!(house.mail_of(user).len(), 1, "{user}: {}", house.log());
    }
    assert_eq!(house.names("cur").len(), 0, "{}", house.log());
    assert!(house.log().contains("has shut itself in: it reaches "));
    let mut children = started.lock().unwrap();
    assert_eq!(children.len(), 1);
    let child = children.pop().unwrap();
    assert_eq!(finish(child).code, 0, "{}", house.log());
}

/// Root's process is there when it is wanted, and may go whenever it likes.
#[test]
fn a_daemon_finds_a_new_one_when_the_old_one_has_gone() {
    let Some(house) = House::open("apart-anew") else {
        return;
    };
    let started = supervise(&house);
    let daemon = Daemon::logging_to(house.path("log"), || house.start(SPOOL, &["-bD"]));
    // The one to send signals to is the daemon itself.
    let written = fs::read_to_string(house.path("run/pid")).unwrap();
    assert_eq!(written.trim(), daemon.id().to_string());
    for round in 1..=3 {
        house.submit(BOB, &["mt-alice"], MESSAGE);
        until("it has arrived", || house.mail_of(ALICE).len() == round);
        let mut children = started.lock().unwrap();
        // A pass that still has its connection may have kept the old one.
        for mut child in children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    assert_eq!(daemon.stop().code, 0);
    assert!(house.names("cur").is_empty() && house.names("new").is_empty());
}

/// Nobody but the user of the spool is served, and nobody but root is believed.
#[test]
fn both_ends_are_known() {
    let Some(house) = House::open("apart-known") else {
        return;
    };
    let started = supervise(&house);
    // Alice could not open the socket; if she could, it would be of no use to her.
    fs::set_permissions(house.path("run"), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = house.path("run/home");
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let script = format!(
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(\"{}\"); s.send(b\"user mt-bob\"); print(s.recv(100))'",
        socket.display()
    );
    let ran = house.shell(ALICE, &script);
    assert!(!ran.stdout.contains("ok"), "{ran:?}");
    if let Some(child) = started.lock().unwrap().pop() {
        assert_eq!(finish(child).code, 77);
    }
    // A socket of the user of the spool's own leads to nobody who is believed.
    fs::remove_file(&socket).unwrap();
    let planted = format!(
        "exec python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(\"{}\"); s.listen(); s.accept()[0].recv(100)'",
        socket.display()
    );
    if house.shell(SPOOL, "command -v python3").code != 0 {
        return println!("skipped: there is no python3 to listen in the right of another user");
    }
    let mut listener = Command::new("setpriv")
        .args([
            &format!("--reuid={SPOOL}"),
            &format!("--regid={SPOOL}"),
            "--clear-groups",
        ])
        .args(["sh", "-c", &planted])
        .spawn()
        .unwrap();
    until("it listens", || socket.exists());
    house.submit("root", &["-odq", "mt-alice"], MESSAGE);
    assert_eq!(house.call(SPOOL, &["-q"], "").code, 0);
    let _ = listener.kill();
    let _ = listener.wait();
    assert!(house.mail_of(ALICE).is_empty() && house.names("cur").len() == 1);
    let said = "the process of minimta that makes helpers does not answer: permission denied";
    assert!(house.log().contains(said), "{}", house.log());
}

/// A worker that is not ours any more is not answered.
#[test]
fn garbage_ends_its_own_line_only() {
    let Some(house) = House::open("apart-garbage") else {
        return;
    };
    let started = supervise(&house);
    let script = format!(
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(\"{}\"); s.send(b\"user mt-bob mt-alice\"); print(s.recv(100))'",
        house.path("run/home").display()
    );
    let ran = house.shell(SPOOL, &script);
    if ran.stderr.contains("not found") {
        return println!("skipped: there is no python3 to connect in the right of another user");
    }
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "b''\n"), "{ran:?}");
    let child = started.lock().unwrap().pop().unwrap();
    let _ = finish(child);
    assert!(
        house
            .log()
            .contains("the worker asks for what is no request")
    );
    assert!(processes(std::process::id(), "--as-helper").is_empty());
    house.submit("root", &["-odq", "mt-alice"], MESSAGE);
    assert_eq!(house.call(SPOOL, &["-q"], "").code, 0);
    assert_eq!(house.mail_of(ALICE).len(), 1, "{}", house.log());
}

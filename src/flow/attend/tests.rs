//! Sessions on real sockets, with the time passed in: who is sent away when it gets tight, and how he hears of it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::*;
use crate::config::System;
use crate::flow::aliases::Aliases;
use crate::flow::connections::Connections;
use crate::host::ledger::Ledger;
use crate::host::spool::Spool;
use crate::host::wire::Socket;

const PLACES: usize = 5;

/// A machine of its own, with so many places.
fn service(folder: &std::path::Path) -> Service {
    let text = format!(
        "hostname = \"pi.example\"\n[listen]\nmax_connections = {PLACES}\n\
         [queue]\nspool = \"{}\"\nmin_free = \"0\"\n[dns]\nservers = [\"127.0.0.1:1\"]\n",
        folder.display()
    );
    let system = System {
        hostname: &|| "pi.example".to_owned(),
    };
    let config = Config::parse(text.as_bytes(), None, &system).unwrap();
    let spool = Spool::new(&config.queue.spool, 0, 1000);
    Service::new(Context {
        aliases: Arc::new(Aliases::new(&config.local.aliases)),
        ledger: Arc::new(Ledger::new(spool.root())),
        config: Arc::new(config),
        spool,
        program: "minimta".to_owned(),
        verbose: false,
        keeper: None,
        servant: None,
        stopping: Arc::default(),
        uid: std::sync::OnceLock::new(),
        standing: std::sync::OnceLock::new(),
        srs: Arc::default(),
    })
}

/// A client, served by a thread.
fn client(
    service: &Arc<Service>,
    connections: &Arc<Connections>,
    listener: &TcpListener,
) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, peer) = listener.accept().unwrap();
    let socket = Arc::new(Socket::Tcp(socket));
    let visit = connections.admit(socket, None, bounds(service.config()));
    let (visit, service) = (visit.unwrap(), Arc::clone(service));
    thread::spawn(move || attend(&service, &visit, Kind::Smtp, Some(peer), &mut |_| {}));
    let mut client = BufReader::new(stream);
    assert!(line(&mut client).starts_with("220 "));
    client
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

fn say(client: &mut BufReader<TcpStream>, text: &str) -> String {
    client.get_mut().write_all(text.as_bytes()).unwrap();
    line(client)
}

fn until_all_wait(connections: &Connections) {
    for _ in 0..1_000_000 {
        if connections.all_wait() {
            return;
        }
        thread::yield_now();
    }
    panic!("somebody never waits");
}

/// At four of five places, whoever is silent for ten seconds is told to come again and goes, whatever he has begun;
/// below, nobody is.
#[test]
fn the_silent_go_when_four_of_five_places_are_taken() {
    let folder = std::env::temp_dir().join(format!("minimta-thin-{}", std::process::id()));
    let service = Arc::new(service(&folder));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let later = Instant::now() + TIGHT + Duration::from_secs(1);
    for count in [PLACES * 4 / 5 - 1, PLACES * 4 / 5] {
        let connections = Arc::new(Connections::default());
        let mut clients: Vec<_> = (0..count)
            .map(|_| client(&service, &connections, &listener))
            .collect();
        assert!(say(&mut clients[0], "HELO x\r\n").starts_with("250 "));
        assert!(say(&mut clients[0], "MAIL FROM:<>\r\n").starts_with("250 "));
        assert_eq!(connections.are_tight(), count == PLACES * 4 / 5);
        connections.thin_out(Instant::now());
        for client in &mut clients {
            assert!(
                say(client, "NOOP\r\n").starts_with("250 "),
                "{count}: too soon"
            );
        }
        if !connections.are_tight() {
            until_all_wait(&connections);
            connections.thin_out(later);
            for client in &mut clients {
                assert!(
                    say(client, "NOOP\r\n").starts_with("250 "),
                    "{count}: there is room"
                );
            }
            continue;
        }
        // A session has answered a moment before it waits again.
        until_all_wait(&connections);
        connections.thin_out(later);
        for client in &mut clients {
            assert_eq!(line(client), "421 4.4.2 timed out; closing\r\n");
            assert_eq!(line(client), "", "closed");
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

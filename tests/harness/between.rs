//! Somebody between the program and a server: what the program says passes, and what the server answers passes up to
//! some octet; then something else happens.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens behind the last octet that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed.
    Closes,
    /// Nothing comes any more.
    Silence,
    /// The rest comes an octet at a time.
    Trickles,
    /// These come without an end.
    Floods(&'static [u8]),
}

/// Of all connections since [`Between::let_pass`]: how many octets still pass, and what comes then.
type Plan = Arc<Mutex<(u64, Then)>>;

/// Somebody on a port of his own.
pub struct Between {
    /// Where he listens.
    pub address: SocketAddr,
    plan: Plan,
    passed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Between {
    /// Before this server.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).unwrap();
        Self::on(listener, server)
    }

    /// Before this name server: what it says in datagrams is cut at the same octet, each by itself, or with `by_tcp`
    /// only says that it is to be asked by TCP.
    pub fn names(server: SocketAddr, by_tcp: bool) -> Self {
        let (udp, tcp) = super::dns::sockets();
        let between = Self::on(tcp, server);
        let (plan, stop) = (Arc::clone(&between.plan), Arc::clone(&between.stop));
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((count, client)) = udp.recv_from(&mut packet) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let own = UdpSocket::bind("127.0.0.1:0").unwrap();
                own.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                own.send_to(&packet[..count], server).unwrap();
                let Ok((count, _)) = own.recv_from(&mut packet) else {
                    continue;
                };
                let most = usize::try_from(plan.lock().unwrap().0).unwrap_or(usize::MAX);
                let mut answer = packet[..count.min(most)].to_vec();
                if by_tcp {
                    answer = packet[..count].to_vec();
                    // The bit that says that there is more (RFC 1035 4.1.1).
                    answer[2] |= 2;
                }
                let _ = udp.send_to(&answer, client);
            }
        });
        between
    }

    fn on(listener: TcpListener, server: SocketAddr) -> Self {
        let between = Self {
            address: listener.local_addr().unwrap(),
            plan: Arc::new(Mutex::new((u64::MAX, Then::Closes))),
            passed: Arc::default(),
            stop: Arc::default(),
        };
        let plan = Arc::clone(&between.plan);
        let (passed, stop) = (Arc::clone(&between.passed), Arc::clone(&between.stop));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let ways = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || up(ways.0, ways.1));
                let (plan, passed) = (Arc::clone(&plan), Arc::clone(&passed));
                std::thread::spawn(move || down(server, client, &plan, &passed));
            }
        });
        between
    }

    /// So many octets pass from now on, over all connections; then this happens.
    pub fn let_pass(&self, octets: u64, then: Then) {
        *self.plan.lock().unwrap() = (octets, then);
        self.passed.store(0, Ordering::SeqCst);
    }

    /// How many octets a client was sent since then.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// The lines of a configuration's `[smarthost]`, in the clear.
    pub fn smarthost(&self) -> String {
        let port = self.address.port();
        format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"none\"")
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"", self.address));
    }
}

/// From the client to the server, until one of them goes.
fn up(mut client: TcpStream, mut server: TcpStream) {
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

fn down(mut server: TcpStream, mut client: TcpStream, plan: &Plan, passed: &AtomicU64) {
    let mut block = [0; 16384];
    let ended = loop {
        let Ok(count @ 1..) = server.read(&mut block) else {
            break Then::Closes;
        };
        // A server's answer passes as a whole, or a part of it does.
        let (pass, then) = {
            let mut plan = plan.lock().unwrap();
            let pass = plan.0.min(count as u64);
            if plan.0 != u64::MAX {
                plan.0 -= pass;
            }
            (usize::try_from(pass).unwrap(), plan.1)
        };
        if client.write_all(&block[..pass]).is_err() {
            break Then::Closes;
        }
        passed.fetch_add(pass as u64, Ordering::SeqCst);
        if pass == count {
            continue;
        }
        if then != Then::Trickles {
            break then;
        }
        for octet in &block[pass..count] {
            std::thread::sleep(Duration::from_millis(200));
            if client.write_all(&[*octet]).is_err() {
                break;
            }
        }
    };
    match ended {
        Then::Floods(text) => {
            let text = text.repeat(65536 / text.len());
            client
                .set_write_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            for _ in 0..1 << 14 {
                if client.write_all(&text).is_err() {
                    break;
                }
                passed.fetch_add(text.len() as u64, Ordering::SeqCst);
            }
        }
        // Until the client has had enough of it.
        Then::Silence => while matches!(server.read(&mut block), Ok(1..)) {},
        Then::Closes | Then::Trickles => {}
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

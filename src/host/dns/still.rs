//! The runtime of a program that has none. The library that checks signatures is written for any runtime; ours waits
//! in the system call (exchange.rs), so that each of its futures is ready when it is looked at. Of a runtime only the
//! clock is used; sockets and timers have types, and no values.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures_io::{AsyncRead, AsyncWrite};
use hickory_net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};

/// What a future that waits for nothing comes to. `None`: it does wait, and for what nobody knows.
pub fn result<T>(future: impl Future<Output = T>) -> Option<T> {
    /// Some futures ask to be looked at once more.
    const LOOKS: usize = 1000;
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..LOOKS).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// The runtime.
#[derive(Clone)]
pub struct Still;

/// A socket that is never made.
#[derive(Clone, Copy)]
pub enum Never {}

type Connecting<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Still {
    type Handle = Self;
    type Timer = Self;
    type Udp = Never;
    type Tcp = Never;

    fn create_handle(&self) -> Self::Handle {
        Self
    }

    fn connect_tcp(
        &self,
        _: SocketAddr,
        _: Option<SocketAddr>,
        _: Option<Duration>,
    ) -> Connecting<Never> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn bind_udp(&self, _: SocketAddr, _: SocketAddr) -> Connecting<Never> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

impl Spawn for Still {
    fn spawn_bg(&mut self, _: impl Future<Output = ()> + Send + 'static) {}
}

#[async_trait]
impl Time for Still {
    async fn delay_for(_: Duration) {}

    async fn timeout<F: 'static + Future + Send>(
        _: Duration,
        future: F,
    ) -> Result<F::Output, io::Error> {
        Ok(future.await)
    }

    fn current_time() -> u64 {
        crate::host::clock::since_1970().as_secs()
    }
}

impl DnsUdpSocket for Never {
    type Time = Still;

    fn poll_recv_from(
        &self,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        match *self {}
    }

    fn poll_send_to(
        &self,
        _: &mut Context<'_>,
        _: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl DnsTcpStream for Never {
    type Time = Still;
}

impl AsyncRead for Never {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match *self {}
    }
}

impl AsyncWrite for Never {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

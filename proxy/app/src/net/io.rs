//! One type for every connection that the proxy carries.

use crate::telemetry::transport::{Meter, Transport as Counted};
use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use std::cell::RefCell;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::{client, server};

/// Octets that are peeked at once.
const CHUNK_BYTES: usize = 2048;
/// Octets that are read ahead, at most.
const AHEAD_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; AHEAD_BYTES]);
}

/// Held by a connection that is carried, one of as many as there is room for.
pub type Seat = OwnedSemaphorePermit;

/// A socket whose first bytes were read already and come again.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    prefix: Bytes,
    /// More is read at once than was asked for; it waits in `prefix`.
    ahead: bool,
    /// Given up when the connection ends.
    _seat: Option<Seat>,
}

impl Socket {
    /// Puts `prefix` in front of what the socket has yet to deliver.
    pub fn new(tcp: TcpStream, prefix: Bytes) -> Self {
        Self {
            tcp,
            prefix,
            ahead: false,
            _seat: None,
        }
    }

    /// An accepted connection, which holds its seat until it ends.
    pub fn seated(tcp: TcpStream, seat: Seat) -> Self {
        Self {
            tcp,
            prefix: Bytes::new(),
            ahead: false,
            _seat: Some(seat),
        }
    }

    /// Lets a reader that asks for little at a time, as TLS does, have it with fewer calls.
    pub fn read_ahead(mut self) -> Self {
        self.ahead = true;
        self
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if replay(&mut self.prefix, buf) {
            return Poll::Ready(Ok(()));
        }
        if !self.ahead || buf.remaining() >= AHEAD_BYTES {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut more = ReadBuf::new(&mut scratch);
            std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut more))?;
            let (now, later) = more
                .filled()
                .split_at(more.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                self.prefix = Bytes::copy_from_slice(later);
            }
            Poll::Ready(Ok(()))
        })
    }
}

/// Moves as much of `prefix` into `buf` as fits; false when there was none.
fn replay(prefix: &mut Bytes, buf: &mut ReadBuf<'_>) -> bool {
    if prefix.is_empty() {
        return false;
    }
    let n = prefix.len().min(buf.remaining());
    buf.put_slice(&prefix[..n]);
    prefix.advance(n);
    if prefix.is_empty() {
        // Lets go of the memory as soon as it is used up.
        *prefix = Bytes::new();
    }
    true
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    Server(Box<server::TlsStream<Socket>>),
    Client(Box<client::TlsStream<Socket>>),
}

/// A connection in either direction, plain or TLS, with what was peeked and its byte counters.
pub struct Io {
    transport: Transport,
    prefix: Bytes,
    meter: Option<Meter>,
    /// What its bytes count for at the other end of the stream that carries them.
    mirror: Option<Counted>,
}

impl From<Transport> for Io {
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            prefix: Bytes::new(),
            meter: None,
            mirror: None,
        }
    }
}

impl From<Socket> for Io {
    fn from(socket: Socket) -> Self {
        Transport::Plain(socket).into()
    }
}

impl From<TcpStream> for Io {
    fn from(tcp: TcpStream) -> Self {
        Socket::new(tcp, Bytes::new()).into()
    }
}

impl From<server::TlsStream<Socket>> for Io {
    fn from(tls: server::TlsStream<Socket>) -> Self {
        Transport::Server(Box::new(tls)).into()
    }
}

impl From<client::TlsStream<Socket>> for Io {
    fn from(tls: client::TlsStream<Socket>) -> Self {
        Transport::Client(Box::new(tls)).into()
    }
}

impl Io {
    /// Counts bytes, those that were peeked too, and the connection's end.
    pub fn metered(mut self, meter: Meter) -> Self {
        meter.read(self.prefix.len());
        self.meter = Some(meter);
        self
    }

    /// Counts its bytes also as those of the stream that carries them.
    pub fn mirrored(mut self, stream: Counted) -> Self {
        stream.wrote(self.prefix.len());
        self.mirror = Some(stream);
        self
    }

    /// Changes whose bytes those that follow also count as.
    pub fn mirror(&mut self, stream: Option<Counted>) {
        self.mirror = stream;
    }

    fn count_read(&self, n: usize) {
        if let Some(meter) = &self.meter {
            meter.read(n);
        }
        if let Some(mirror) = &self.mirror {
            mirror.wrote(n);
        }
    }

    /// Makes the end of the connection a reset, where it is not encrypted.
    pub fn break_off(&self) {
        if let Transport::Plain(socket) = &self.transport {
            // When it fails, the connection is broken already.
            let _ = SockRef::from(&socket.tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// Reads until `decide` has an answer, the peer is done, `limit` bytes are there, or time is up.
    ///
    /// The bytes stay in front of the stream. `decide` gets all of them and returns `None` for more.
    ///
    /// # Errors
    /// The transport's.
    pub async fn peek_within<T>(
        &mut self,
        timeout: Duration,
        limit: usize,
        decide: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Peeked<T>> {
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        if let Some(answer) = decide(&self.prefix) {
            return Ok(Peeked::Answer(answer));
        }
        loop {
            let n = tokio::select! {
                biased;
                read = self.read_more() => read?,
                () = &mut deadline => return Ok(Peeked::TimedOut),
            };
            if n == 0 {
                return Ok(Peeked::End);
            }
            if let Some(answer) = decide(&self.prefix) {
                return Ok(Peeked::Answer(answer));
            }
            if self.prefix.len() >= limit {
                return Ok(Peeked::End);
            }
        }
    }

    /// Reads from the transport to the end of the prefix.
    async fn read_more(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            // Not part of the future, which would carry it around for the connection's life.
            let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut buf = ReadBuf::uninit(&mut chunk);
            std::task::ready!(poll_transport(&mut self.transport, cx, &mut buf))?;
            Poll::Ready(Ok(self.append(buf.filled())))
        })
        .await
    }

    /// Takes what has arrived on a plain connection, without waiting for the reactor to tell.
    pub fn read_now(&mut self) {
        let Transport::Plain(socket) = &self.transport else {
            return;
        };
        if !socket.prefix.is_empty() {
            return;
        }
        let mut chunk = [0; CHUNK_BYTES];
        // Whatever is wrong with it, the next read tells.
        if let Ok(n) = (&*SockRef::from(&socket.tcp)).read(&mut chunk) {
            self.append(&chunk[..n]);
        }
    }

    fn append(&mut self, chunk: &[u8]) -> usize {
        let mut all = BytesMut::with_capacity(self.prefix.len() + chunk.len());
        all.extend_from_slice(&self.prefix);
        all.extend_from_slice(chunk);
        self.prefix = all.freeze();
        self.count_read(chunk.len());
        chunk.len()
    }

    /// How many peeked bytes wait.
    pub fn peeked(&self) -> usize {
        self.prefix.len()
    }

    /// Drops the first `n` peeked bytes.
    pub fn consume(&mut self, n: usize) {
        self.prefix.advance(n.min(self.prefix.len()));
    }

    /// Takes a plain connection apart again, so that TLS can start on it; `None` if it is TLS.
    pub fn into_socket(self) -> Option<Socket> {
        match self.transport {
            Transport::Plain(socket) => Some(Socket {
                prefix: self.prefix,
                ..socket
            }),
            Transport::Server(_) | Transport::Client(_) => None,
        }
    }
}

impl AsMut<Io> for Io {
    fn as_mut(&mut self) -> &mut Io {
        self
    }
}

/// Outcome of looking at the first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Peeked<T> {
    /// The decision.
    Answer(T),
    /// The peer finished, or sent too much, without a decision.
    End,
    /// No decision in time.
    TimedOut,
}

fn poll_transport(
    transport: &mut Transport,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    match transport {
        Transport::Plain(s) => Pin::new(s).poll_read(cx, buf),
        Transport::Server(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        Transport::Client(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
    }
}

/// Peers often close without TLS's goodbye; HTTP and the relay only care that it is over.
fn forgive_eof(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other,
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if replay(&mut this.prefix, buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = std::task::ready!(poll_transport(&mut this.transport, cx, buf));
        this.count_read(buf.filled().len() - before);
        if let (Some(meter), Err(error)) = (&mut this.meter, &result) {
            meter.failed(error);
        }
        Poll::Ready(forgive_eof(result))
    }
}

macro_rules! delegate {
    ($self:ident, $s:ident => $call:expr) => {
        match &mut $self.transport {
            Transport::Plain($s) => $call,
            Transport::Server(boxed) => {
                let $s = boxed.as_mut();
                $call
            }
            Transport::Client(boxed) => {
                let $s = boxed.as_mut();
                $call
            }
        }
    };
}

impl Io {
    fn wrote(&mut self, result: &io::Result<usize>) {
        if let (Some(mirror), Ok(n)) = (&self.mirror, result) {
            mirror.read(*n);
        }
        if let Some(meter) = &mut self.meter {
            match result {
                Ok(n) => meter.wrote(*n),
                Err(error) => meter.failed(error),
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = std::task::ready!(delegate!(self, s => Pin::new(s).poll_write(cx, buf)));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result =
            std::task::ready!(delegate!(self, s => Pin::new(s).poll_write_vectored(cx, bufs)));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(s) => s.is_write_vectored(),
            Transport::Server(s) => s.is_write_vectored(),
            Transport::Client(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}

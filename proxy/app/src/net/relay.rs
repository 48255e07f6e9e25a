//! Copies bytes both ways between two connections.
//!
//! One scratch buffer per thread serves all connections; memory is held per connection only while
//! a peer does not take what the other sent.

use super::io::Io;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SCRATCH_BYTES: usize = 32 * 1024;
/// How many reads one direction may do before others get their turn.
const READS_PER_TURN: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// One direction's state.
#[derive(Default)]
struct Direction {
    /// Read but not yet written.
    pending: Vec<u8>,
    written: usize,
    eof: bool,
    dirty: bool,
    done: bool,
}

/// Copies until both sides have finished; a half-close is passed on.
///
/// # Errors
/// The first error of either side ends both.
pub async fn relay<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut forth, mut back) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let one = forth.poll(cx, &mut *a, &mut *b)?;
        let two = back.poll(cx, &mut *b, &mut *a)?;
        match (one, two) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The common case, spelled out so that it is compiled once.
///
/// # Errors
/// As [`relay`].
pub async fn relay_io(mut a: Io, mut b: Io) -> io::Result<()> {
    relay(&mut a, &mut b).await
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.step(cx, reader, writer) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn step<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..READS_PER_TURN {
            ready!(self.drain(cx, writer))?;
            if self.eof {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match self.fill(cx, reader, writer) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.dirty {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.dirty = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let n = ready!(Pin::new(&mut *writer).poll_write(cx, &self.pending[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.dirty = true;
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once into the scratch buffer and writes what the peer takes right away.
    fn fill<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with(|scratch| {
            let mut scratch = scratch.borrow_mut();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(reader).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            if read.is_empty() {
                self.eof = true;
                return Poll::Ready(Ok(()));
            }
            let mut at = 0;
            while at < read.len() {
                match Pin::new(&mut *writer).poll_write(cx, &read[at..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => {
                        at += n;
                        self.dirty = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.pending = read[at..].to_vec();
                        self.written = 0;
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::relay;
    use tokio::io::{duplex, AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn copies_both_ways_and_passes_half_close_on() {
        let (mut client, mut left) = duplex(1000);
        let (mut right, mut server) = duplex(10);
        let copy = async { relay(&mut left, &mut right).await };
        let payload: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
        let talk = async {
            let send = async {
                client.write_all(&payload).await.expect("write");
                client.shutdown().await.expect("shutdown");
                let mut reply = Vec::new();
                client.read_to_end(&mut reply).await.expect("read");
                reply
            };
            let answer = async {
                let mut got = Vec::new();
                server.read_to_end(&mut got).await.expect("read");
                server.write_all(b"bye").await.expect("write");
                drop(server);
                got
            };
            tokio::join!(send, answer)
        };
        let (result, (reply, got)) = tokio::join!(copy, talk);
        result.expect("a clean end");
        assert_eq!(b"bye".to_vec(), reply);
        assert_eq!(payload, got);
    }
}

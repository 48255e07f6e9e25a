//! A one-hop relay on the engine: `engine_relay LISTEN TARGET FRONT BACK`, protocols h1, h2 or raw.
//!
//! It shows the least that a driver is, and is what h2spec, wrk and h2load are pointed at: one task
//! reads per connection, one task flushes, and both share an engine, all on one thread.
#![allow(missing_docs, clippy::print_stdout)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{ready, Poll};
use std::time::Instant;

use linkerd_proxy_core::engine::{
    ConnId, Engine, Event, HeadEdit, Io, Limits, Protocol, Role, StreamId,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{spawn_local, LocalSet};

struct Link {
    id: ConnId,
    io: OwnedWriteHalf,
    /// Wakes the reader when it may read again.
    reader: Notify,
}

struct Relay {
    engine: RefCell<Engine>,
    links: RefCell<Vec<Option<Rc<Link>>>>,
    idle: RefCell<Vec<ConnId>>,
    waiting: RefCell<VecDeque<StreamId>>,
    buffer: RefCell<Vec<u8>>,
    flush: Notify,
    target: SocketAddr,
    back: Protocol,
}

impl Relay {
    fn add(self: &Rc<Self>, io: TcpStream, role: Role, protocol: Protocol) -> ConnId {
        let id = self
            .engine
            .borrow_mut()
            .open(role, protocol, Instant::now());
        let (input, output) = io.into_split();
        let link = Rc::new(Link {
            id,
            io: output,
            reader: Notify::new(),
        });
        let mut links = self.links.borrow_mut();
        if links.len() <= id.index() {
            links.resize_with(id.index() + 1, || None);
        }
        links[id.index()] = Some(link.clone());
        spawn_local(self.clone().read(link, input));
        id
    }

    async fn read(self: Rc<Self>, link: Rc<Link>, mut input: OwnedReadHalf) {
        loop {
            if !self.engine.borrow().wants_read(link.id) {
                if self.engine.borrow().io(link.id) == Io::Abort {
                    break;
                }
                link.reader.notified().await;
                continue;
            }
            // Reading by `poll_read` tells tokio of a short read, which spares the call that finds
            // the socket empty.
            let result = poll_fn(|cx| {
                let mut buffer = self.buffer.borrow_mut();
                let mut buffer = ReadBuf::new(&mut buffer);
                let result = ready!(Pin::new(&mut input).poll_read(cx, &mut buffer));
                let now = Instant::now();
                let mut engine = self.engine.borrow_mut();
                Poll::Ready(result.map(|()| match buffer.filled() {
                    [] => engine.recv_end(link.id, now),
                    bytes => engine.recv(link.id, bytes, now),
                }))
            });
            if result.await.is_err() {
                break;
            }
            self.decide();
        }
        self.end(&link);
        self.decide();
    }

    fn end(&self, link: &Link) {
        self.engine.borrow_mut().close(link.id, Instant::now());
        self.idle.borrow_mut().retain(|id| *id != link.id);
        let mut links = self.links.borrow_mut();
        let slot = &mut links[link.id.index()];
        if slot.as_ref().is_some_and(|held| held.id == link.id) {
            *slot = None;
        }
    }

    fn shutdown(&self, link: &Link, how: Shutdown) -> Result<(), Error> {
        socket2::SockRef::from(link.io.as_ref()).shutdown(how)
    }

    fn decide(self: &Rc<Self>) {
        loop {
            let event = self.engine.borrow_mut().poll_event();
            let Some(event) = event else { break };
            match event {
                Event::Request { stream, .. } => self.send(stream),
                Event::Response { stream } => {
                    let edit = HeadEdit::default();
                    let _ = self.engine.borrow_mut().forward_response(stream, &edit);
                }
                Event::Failed { stream, .. } => {
                    let _ = self.engine.borrow_mut().respond(stream, 502, &[], b"");
                }
                Event::Ready { conn } => {
                    if self.back == Protocol::H1 {
                        self.idle.borrow_mut().push(conn);
                    }
                    self.retry();
                }
                Event::Draining { conn } => self.idle.borrow_mut().retain(|id| *id != conn),
                Event::Body { .. } | Event::Trailers { .. } | Event::Finished { .. } => {}
            }
        }
        if self.engine.borrow().has_dirty() {
            self.flush.notify_one();
        }
    }

    fn retry(self: &Rc<Self>) {
        let stream = self.waiting.borrow_mut().pop_front();
        if let Some(stream) = stream {
            self.send(stream);
        }
    }

    fn send(self: &Rc<Self>, stream: StreamId) {
        let edit = HeadEdit {
            authority: (self.back == Protocol::H2).then_some(&b"relay"[..]),
            ..HeadEdit::default()
        };
        loop {
            let target = match self.back {
                Protocol::H2 => self.idle.borrow().last().copied(),
                Protocol::H1 | Protocol::Raw => self.idle.borrow_mut().pop(),
            };
            let Some(target) = target else { break };
            let mut engine = self.engine.borrow_mut();
            if engine.capacity(target) > 0 {
                let edit = match engine.request(stream) {
                    Some(head) if !head.authority().is_empty() => HeadEdit::default(),
                    _ => edit,
                };
                if engine.forward(stream, target, &edit).is_err() {
                    let _ = engine.respond(stream, 503, &[], b"");
                }
                return;
            }
            if self.back == Protocol::H2 {
                self.waiting.borrow_mut().push_back(stream);
                return;
            }
        }
        self.waiting.borrow_mut().push_back(stream);
        let relay = self.clone();
        spawn_local(async move {
            match TcpStream::connect(relay.target).await {
                Ok(io) => {
                    let _ = io.set_nodelay(true);
                    let id = relay.add(io, Role::Client, relay.back);
                    relay.idle.borrow_mut().push(id);
                }
                Err(_) => {
                    if let Some(stream) = relay.waiting.borrow_mut().pop_front() {
                        let _ = relay.engine.borrow_mut().respond(stream, 502, &[], b"");
                    }
                }
            }
            let count = match relay.back {
                Protocol::H2 => relay.waiting.borrow().len(),
                Protocol::H1 | Protocol::Raw => 1,
            };
            for _ in 0..count {
                relay.retry();
            }
            relay.decide();
        });
    }

    async fn flusher(self: Rc<Self>) {
        loop {
            self.flush.notified().await;
            // Let every connection that is ready have its turn first.
            tokio::task::yield_now().await;
            loop {
                let dirty = self.engine.borrow_mut().poll_dirty();
                let Some(id) = dirty else { break };
                let link = self.links.borrow().get(id.index()).cloned().flatten();
                if let Some(link) = link.filter(|link| link.id == id) {
                    self.write(&link);
                }
            }
            // What was sent may have let streams go on.
            self.decide();
        }
    }

    fn write(self: &Rc<Self>, link: &Rc<Link>) {
        loop {
            let mut engine = self.engine.borrow_mut();
            let out = engine.out(link.id);
            if out.is_empty() {
                break;
            }
            match link.io.try_write(out) {
                Ok(count) => engine.sent(link.id, count, Instant::now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    drop(engine);
                    let (relay, link) = (self.clone(), link.clone());
                    spawn_local(async move {
                        if link.io.writable().await.is_ok() {
                            relay.write(&link);
                            relay.decide();
                        }
                    });
                    return;
                }
                Err(_) => break,
            }
        }
        let io = self.engine.borrow().io(link.id);
        match io {
            Io::Open => {}
            Io::Shutdown => {
                let _ = self.shutdown(link, Shutdown::Write);
            }
            Io::Close | Io::Abort => {
                // Wakes the reader, if it is still there, with the end of its input.
                let _ = self.shutdown(link, Shutdown::Both);
                self.end(link);
                self.flush.notify_one();
            }
        }
        link.reader.notify_one();
    }
}

fn protocol(name: &str) -> Result<Protocol, Error> {
    match name {
        "h1" => Ok(Protocol::H1),
        "h2" => Ok(Protocol::H2),
        "raw" => Ok(Protocol::Raw),
        other => Err(Error::other(format!("unknown protocol {other:?}"))),
    }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, front, back] = args.as_slice() else {
        return Err(Error::other("usage: engine_relay LISTEN TARGET FRONT BACK"));
    };
    let (front, back) = (protocol(front)?, protocol(back)?);
    let target = target.parse().map_err(Error::other)?;
    let relay = Rc::new(Relay {
        engine: RefCell::new(Engine::new(Limits::default(), Instant::now())),
        links: RefCell::default(),
        idle: RefCell::default(),
        waiting: RefCell::default(),
        buffer: RefCell::new(vec![0; 64 * 1024]),
        flush: Notify::new(),
        target,
        back,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen.as_str()).await?;
        println!("listening on {}", listener.local_addr()?);
        spawn_local(relay.clone().flusher());
        spawn_local(timers(relay.clone()));
        loop {
            let (io, _) = listener.accept().await?;
            io.set_nodelay(true)?;
            relay.add(io, Role::Server, front);
            relay.decide();
        }
    })
}

async fn timers(relay: Rc<Relay>) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tick.tick().await;
        relay.engine.borrow_mut().handle_timeout(Instant::now());
        relay.decide();
    }
}

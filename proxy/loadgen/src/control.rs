//! `loadgen control`: many gRPC calls over a few HTTP/2 connections, for benches of a control plane.
//!
//! With `--unary N` it makes N calls, `--streams` at a time, and prints their latencies. Without, it
//! opens streams, prints a line when each has its first message, then answers commands from its
//! standard input, one JSON line each, so that a runner can change the world in between:
//!
//! * `messages K`: when every stream has had K messages;
//! * `members N`: when every stream's view has N endpoints (the messages must be destination updates);
//! * `quiet MS`: when no message came for that long;
//! * `report`: at once.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC, which every process of the machine shares.

mod call;
mod members;
mod options;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{spawn_local, LocalSet};

use call::Call;
pub(crate) use options::parse;
use options::Options;

const WINDOW_BYTES: u32 = 65_535;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(120);

/// Monotonic nanoseconds, as `time.monotonic_ns()` of other processes.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What one stream has seen.
#[derive(Default)]
pub(crate) struct Seen {
    messages: u64,
    first_ns: u64,
    last_ns: u64,
    members: HashSet<u64>,
    ended: Option<String>,
}

/// What a command waits for.
#[derive(Debug, Clone, Copy)]
enum Goal {
    None,
    Messages(u64),
    Members(usize),
}

impl Goal {
    fn met(self, seen: &Seen) -> bool {
        match self {
            Goal::None => false,
            Goal::Messages(count) => seen.messages >= count,
            Goal::Members(count) => seen.members.len() == count,
        }
    }
}

/// The streams, and how many of them have met the goal.
pub(crate) struct Board {
    streams: RefCell<Vec<Seen>>,
    goal: Cell<Goal>,
    met: Cell<usize>,
    track_members: bool,
    changed: Notify,
}

impl Board {
    fn new(streams: usize, track_members: bool) -> Self {
        Self {
            streams: RefCell::new((0..streams).map(|_| Seen::default()).collect()),
            goal: Cell::new(Goal::Messages(1)),
            met: Cell::new(0),
            track_members,
            changed: Notify::new(),
        }
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Seen)) {
        let mut streams = self.streams.borrow_mut();
        let seen = &mut streams[index];
        let goal = self.goal.get();
        let before = seen.ended.is_some() || goal.met(seen);
        change(seen);
        let after = seen.ended.is_some() || goal.met(seen);
        match (before, after) {
            (false, true) => self.met.set(self.met.get() + 1),
            (true, false) => self.met.set(self.met.get() - 1),
            _ => {}
        }
        if self.met.get() == streams.len() {
            self.changed.notify_one();
        }
    }

    /// Notes a message that arrived on a stream.
    pub(crate) fn message(&self, index: usize, body: &[u8]) {
        let now = now_ns();
        let track = self.track_members;
        self.update(index, |seen| {
            seen.messages += 1;
            if seen.messages == 1 {
                seen.first_ns = now;
            }
            seen.last_ns = now;
            if track {
                members::apply(&mut seen.members, body);
            }
        });
    }

    /// Notes the end of a stream.
    pub(crate) fn ended(&self, index: usize, why: String) {
        self.update(index, |seen| seen.ended = Some(why));
    }

    fn aim(&self, goal: Goal) {
        self.goal.set(goal);
        let streams = self.streams.borrow();
        let met = streams
            .iter()
            .filter(|seen| seen.ended.is_some() || goal.met(seen))
            .count();
        self.met.set(met);
    }

    /// Waits until every stream has met the goal or ended; false when patience ran out.
    async fn reached(&self, goal: Goal) -> bool {
        self.aim(goal);
        let all = self.streams.borrow().len();
        let wait = async {
            while self.met.get() < all {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.is_ok()
    }

    async fn quiet(&self, pause: Duration) {
        loop {
            let last = self.last_ns();
            let since = Duration::from_nanos(now_ns().saturating_sub(last));
            if since >= pause {
                return;
            }
            tokio::time::sleep(pause - since).await;
        }
    }

    fn last_ns(&self) -> u64 {
        let streams = self.streams.borrow();
        streams.iter().map(|seen| seen.last_ns).max().unwrap_or(0)
    }

    fn report(&self, complete: bool) -> Value {
        let streams = self.streams.borrow();
        let mut lasts: Vec<u64> = streams.iter().map(|seen| seen.last_ns).collect();
        lasts.sort_unstable();
        let at = |share: f64| lasts[((lasts.len() - 1) as f64 * share).round() as usize];
        let ends: Vec<&str> = streams
            .iter()
            .filter_map(|seen| seen.ended.as_deref())
            .collect();
        let sizes: HashSet<usize> = streams.iter().map(|seen| seen.members.len()).collect();
        json!({
            "complete": complete,
            "streams": streams.len(),
            "messages": streams.iter().map(|seen| seen.messages).sum::<u64>(),
            "ended": ends.len(),
            "why": ends.first(),
            "sizes": sizes,
            "first_ns": streams.iter().map(|seen| seen.first_ns).max(),
            "last_ns": {"min": lasts.first(), "p50": at(0.5), "p99": at(0.99), "max": lasts.last()},
        })
    }
}

/// Runs until its work is done or its input ends; prints as it goes.
pub(crate) fn run(options: &Options, print: &dyn Fn(&str)) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        let mut connections = Vec::new();
        for _ in 0..options.connections {
            connections.push(connect(options).await?);
        }
        match options.unary {
            Some(calls) => unary(options, &connections, calls, print).await,
            None => streams(options, &connections, print).await,
        }
    }))
}

async fn connect(options: &Options) -> Result<SendRequest<Bytes>, String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", options.address);
    let socket = TcpStream::connect(options.address)
        .await
        .map_err(|error| describe(&error))?;
    socket.set_nodelay(true).map_err(|error| describe(&error))?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_max_send_streams(options.streams)
        .handshake(socket)
        .await
        .map_err(|error| describe(&error))?;
    spawn_local(connection);
    Ok(sender)
}

async fn streams(
    options: &Options,
    connections: &[SendRequest<Bytes>],
    print: &dyn Fn(&str),
) -> Result<(), String> {
    let board = Rc::new(Board::new(options.streams, options.members));
    let started = now_ns();
    for index in 0..options.streams {
        let call = Call::new(options, index)?;
        let (sender, board) = (
            connections[index % connections.len()].clone(),
            board.clone(),
        );
        spawn_local(async move {
            let why = call.follow(sender, index, &board).await;
            board.ended(index, why);
        });
    }
    let complete = board.reached(Goal::Messages(1)).await;
    let mut opened = board.report(complete);
    opened["started_ns"] = started.into();
    print(&opened.to_string());
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = commands.next_line().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(1).and_then(|word| word.parse::<u64>().ok());
        let complete = match (words.first().copied(), number) {
            (Some("messages"), Some(count)) => board.reached(Goal::Messages(count)).await,
            (Some("members"), Some(count)) => {
                board
                    .reached(Goal::Members(usize::try_from(count).unwrap_or(usize::MAX)))
                    .await
            }
            (Some("quiet"), Some(pause)) => {
                board.aim(Goal::None);
                board.quiet(Duration::from_millis(pause)).await;
                true
            }
            (Some("report"), None) => true,
            _ => return Err(format!("{line}: no such command")),
        };
        print(&board.report(complete).to_string());
    }
    Ok(())
}

async fn unary(
    options: &Options,
    connections: &[SendRequest<Bytes>],
    calls: usize,
    print: &dyn Fn(&str),
) -> Result<(), String> {
    let left = Rc::new(Cell::new(calls));
    let samples = Rc::new(RefCell::new(Vec::with_capacity(calls)));
    let failure = Rc::new(RefCell::new(None));
    let started = now_ns();
    let workers: Vec<_> = (0..options.streams)
        .map(|index| {
            let sender = connections[index % connections.len()].clone();
            let (left, samples, failure) = (left.clone(), samples.clone(), failure.clone());
            let requests: Result<Vec<Call>, String> = (0..options.requests.len())
                .map(|request| Call::new(options, request))
                .collect();
            spawn_local(async move {
                let requests = requests?;
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let call = &requests[left.get() % requests.len()];
                    let before = now_ns();
                    match call.once(sender.clone()).await {
                        Ok(()) => samples.borrow_mut().push(now_ns() - before),
                        Err(why) => *failure.borrow_mut() = Some(why),
                    }
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await.map_err(|error| error.to_string())??;
    }
    let line = json!({
        "calls": calls,
        "seconds": (now_ns() - started) as f64 / 1e9,
        "failure": *failure.borrow(),
        "samples_ns": *samples.borrow(),
    });
    print(&line.to_string());
    Ok(())
}

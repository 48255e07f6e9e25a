//! `loadgen bytes`: load that is no request: streams one way, connections that come and go, and
//! connections that are held.
//!
//! * `serve`: the server of the others. The first octet of a connection says what it wants: `u` sends
//!   octets and is told in the end how many arrived, `d` gets octets until it leaves, anything else is
//!   answered with [`ANSWER`], and closed unless it is `k`.
//! * `up`, `down`: one stream per connection, as fast as it goes.
//! * `churn`: connect, ask, read to the end, again.
//! * `hold`: connect, ask, read an answer; prints a line when all have theirs, and ends with its
//!   standard input.
//!
//! With `--get HOST` the last two ask with an HTTP/1 request.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, JoinHandle, LocalSet};
use tokio::time::timeout_at;

/// What a question gets.
const ANSWER: &[u8] = b"thirty-six bytes, as in other tables";
/// What one call reads or writes at most.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long one connection may take to be answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Serve,
    Up,
    Down,
    Churn,
    Hold,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    action: Action,
    address: SocketAddr,
    connections: u32,
    duration: Duration,
    /// The host of HTTP/1 requests.
    host: Option<String>,
}

const USAGE: &str = "usage: loadgen bytes serve|up|down|churn|hold --to IP:PORT \
                     [--connections N] [--seconds S] [--get HOST]";

/// Parses the words after `bytes`.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let action = match words.next().as_deref() {
        Some("serve") => Action::Serve,
        Some("up") => Action::Up,
        Some("down") => Action::Down,
        Some("churn") => Action::Churn,
        Some("hold") => Action::Hold,
        _ => return Err(USAGE.to_owned()),
    };
    let (mut address, mut connections, mut host) = (None, 1, None);
    let mut duration = Duration::from_secs(5);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value; {USAGE}"))?;
        let bad = || format!("{flag}={value}: not understood; {USAGE}");
        match flag.as_str() {
            "--to" => address = Some(value.parse().map_err(|_| bad())?),
            "--connections" => {
                let count = value.parse().ok();
                connections = count.filter(|n| (1..=50_000).contains(n)).ok_or_else(bad)?;
            }
            "--seconds" => {
                let seconds = value.parse().ok();
                let seconds = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
                duration = seconds.ok_or_else(bad)?;
            }
            "--get" => host = Some(value),
            _ => return Err(bad()),
        }
    }
    Ok(Options {
        action,
        address: address.ok_or(USAGE)?,
        connections,
        duration,
        host,
    })
}

/// What all connections count together.
#[derive(Default)]
struct Counts {
    completed: Cell<u64>,
    failed: Cell<u64>,
    octets: Cell<u64>,
}

fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get() + more);
}

/// Does it; `print` gets a line of JSON.
pub(crate) fn run(options: &Options, print: &dyn Fn(&str)) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let tasks = LocalSet::new();
    let work = async {
        match options.action {
            Action::Serve => serve(options.address).await,
            Action::Up | Action::Down | Action::Churn => load(options, print).await,
            Action::Hold => hold(options, print).await,
        }
    };
    let done = runtime.block_on(tasks.run_until(work));
    done.map_err(|error| format!("{}: {error}", options.address))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        // A client that breaks off is its own affair.
        spawn_local(async move { drop(answer(socket).await) });
    }
}

async fn answer(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut wish = [0];
    socket.read_exact(&mut wish).await?;
    match &wish {
        b"u" => {
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut total: u64 = 0;
            loop {
                match socket.read(&mut buffer).await? {
                    0 => break,
                    count => total += count as u64,
                }
            }
            socket.write_all(&total.to_be_bytes()).await
        }
        b"d" => {
            let buffer = vec![0x55; CHUNK_BYTES];
            loop {
                socket.write_all(&buffer).await?;
            }
        }
        b"k" => {
            socket.write_all(ANSWER).await?;
            // Until the client leaves.
            socket.read(&mut wish).await.map(|_| ())
        }
        _ => socket.write_all(ANSWER).await,
    }
}

async fn load(options: &Options, print: &dyn Fn(&str)) -> io::Result<()> {
    let counts: Rc<Counts> = Rc::default();
    let began = Instant::now();
    let until = began + options.duration;
    let mut tasks: Vec<JoinHandle<io::Result<()>>> = Vec::new();
    for _ in 0..options.connections {
        let (options, counts) = (options.clone(), counts.clone());
        tasks.push(spawn_local(async move {
            match options.action {
                Action::Up => up(options.address, until, &counts).await,
                Action::Down => down(options.address, until, &counts).await,
                Action::Churn | Action::Serve | Action::Hold => {
                    churn(&options, until, &counts).await;
                    Ok(())
                }
            }
        }));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let report = json!({
        "completed": counts.completed.get(), "failed": counts.failed.get(),
        "octets": counts.octets.get(), "seconds": seconds,
    });
    print(&report.to_string());
    Ok(())
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn up(address: SocketAddr, until: Instant, counts: &Counts) -> io::Result<()> {
    let mut socket = connect(address).await?;
    socket.write_all(b"u").await?;
    let buffer = vec![0x55; CHUNK_BYTES];
    while Instant::now() < until {
        socket.write_all(&buffer).await?;
    }
    socket.shutdown().await?;
    let mut total = [0; 8];
    socket.read_exact(&mut total).await?;
    add(&counts.octets, u64::from_be_bytes(total));
    add(&counts.completed, 1);
    Ok(())
}

async fn down(address: SocketAddr, until: Instant, counts: &Counts) -> io::Result<()> {
    let mut socket = connect(address).await?;
    socket.write_all(b"d").await?;
    let mut buffer = vec![0; CHUNK_BYTES];
    while Instant::now() < until {
        match socket.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => add(&counts.octets, count as u64),
        }
    }
    add(&counts.completed, 1);
    Ok(())
}

/// What a connection asks; `last` when it wants no more.
fn question(options: &Options, last: bool) -> Vec<u8> {
    match (&options.host, last) {
        (None, true) => b"e".to_vec(),
        (None, false) => b"k".to_vec(),
        (Some(host), _) => {
            let close = if last { "connection: close\r\n" } else { "" };
            format!("GET / HTTP/1.1\r\nhost: {host}\r\n{close}\r\n").into_bytes()
        }
    }
}

async fn churn(options: &Options, until: Instant, counts: &Counts) {
    let question = question(options, true);
    let mut buffer = vec![0; 4096];
    while Instant::now() < until {
        let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        match timeout_at(deadline, ask_once(options.address, &question, &mut buffer)).await {
            Ok(Ok(())) => add(&counts.completed, 1),
            Ok(Err(_)) | Err(_) => add(&counts.failed, 1),
        }
    }
}

/// Reads to the end; an answer without [`ANSWER`] is none.
async fn ask_once(address: SocketAddr, question: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    let mut socket = connect(address).await?;
    socket.write_all(question).await?;
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]).await? {
            0 if buffer[..filled].ends_with(ANSWER) => return Ok(()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
}

async fn hold(options: &Options, print: &dyn Fn(&str)) -> io::Result<()> {
    let question = question(options, false);
    let mut held = Vec::new();
    for _ in 0..options.connections {
        let mut socket = connect(options.address).await?;
        socket.write_all(&question).await?;
        let mut seen = Vec::new();
        while !seen.ends_with(ANSWER) {
            if socket.read_buf(&mut seen).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        held.push(socket);
    }
    print(&json!({ "held": held.len() }).to_string());
    let mut nothing = [0; 64];
    while tokio::io::stdin().read(&mut nothing).await? > 0 {}
    drop(held);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Options, String> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_what_to_do_and_refuses_the_rest() {
        let options = line("churn --to 127.0.0.1:80 --connections 16 --get web").expect("valid");
        assert_eq!((Action::Churn, 16), (options.action, options.connections));
        assert!(question(&options, true).starts_with(b"GET / HTTP/1.1\r\nhost: web\r\nconnection"));
        for text in [
            "",
            "fly --to 127.0.0.1:80",
            "up",
            "up --to web:80",
            "up --what 1",
        ] {
            assert!(line(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn every_wish_is_served() {
        let tasks = LocalSet::new();
        let served = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
            let address = listener.local_addr().expect("bound");
            drop(listener);
            spawn_local(serve(address));
            tokio::task::yield_now().await;
            let counts = Counts::default();
            let soon = Instant::now() + Duration::from_millis(20);
            up(address, soon, &counts).await.expect("up");
            let sent = counts.octets.get();
            down(address, Instant::now() + Duration::from_millis(20), &counts)
                .await
                .expect("down");
            assert!(sent > 0 && counts.octets.get() > sent);
            ask_once(address, b"e", &mut [0; 100])
                .await
                .expect("answer");
            assert_eq!(2, counts.completed.get());
        };
        tasks.run_until(served).await;
    }
}

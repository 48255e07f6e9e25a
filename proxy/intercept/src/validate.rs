//! `linkerd-proxy validate`: proves that a pod's outgoing traffic is redirected, before it runs.
//!
//! It listens where the proxy will, connects to an address outside, and must meet itself.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::settings::{self, LogFormat, LogLevel};
use crate::Error;

/// What the container exits with when the traffic is not redirected; the CNI repair looks for it.
///
/// Source: linkerd/linkerd2-proxy-init validator/src/main.rs.
pub const UNREDIRECTED: u8 = 95;

const TOKEN_CHARACTERS: usize = 63;
const HELP: &str = "\
Proves that outgoing connections are redirected; exits 95 when they are not.

Usage:
  linkerd-proxy validate [flags]

Flags:
  --listen-addr ADDRESS   where redirected connections arrive (default 0.0.0.0:4140)
  --connect-addr ADDRESS  where to connect to; nothing has to listen there (default 1.1.1.1:20001)
  --timeout DURATION      how long it may take, as in 10s or 500ms (default 10s)
  --log-format FORMAT     plain or json
  --log-level LEVEL       panic, fatal, error, warn, info, debug or trace
";

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    listen: SocketAddr,
    connect: SocketAddr,
    timeout: Duration,
    format: LogFormat,
    level: LogLevel,
}

/// Runs the validator; `args` are the words after `validate`.
///
/// Exits 0 when a connection to `--connect-addr` arrives at `--listen-addr`, [`UNREDIRECTED`] when it
/// does not within the timeout, 1 for unusable arguments.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let settings = match parse(args) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            // A closed standard output is the reader's choice, not a failure.
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return Log::default().fail(&error),
    };
    let log = Log {
        format: settings.format,
        level: settings.level,
    };
    match validate(&settings) {
        Ok(()) => {
            log.info("outgoing connections are redirected", &[]);
            ExitCode::SUCCESS
        }
        Err(error) => {
            log.fail(&error);
            ExitCode::from(UNREDIRECTED)
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Result<Option<Settings>, Error> {
    let mut settings = Settings {
        listen: SocketAddr::from(([0, 0, 0, 0], 4140)),
        connect: SocketAddr::from(([1, 1, 1, 1], 20001)),
        timeout: Duration::from_secs(10),
        format: LogFormat::Plain,
        level: LogLevel::Info,
    };
    let mut args = args;
    while let Some(word) = args.next() {
        if matches!(word.as_str(), "-h" | "--help") {
            return Ok(None);
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), args.next()),
        };
        let value = value.ok_or_else(|| Error(format!("flag {name} needs a value")))?;
        let wrong = |expected| Error(format!("{name}={value}: expected {expected}"));
        let address = || value.parse().map_err(|_| wrong("an address with a port"));
        match name.as_str() {
            "--listen-addr" => settings.listen = address()?,
            "--connect-addr" => settings.connect = address()?,
            "--timeout" => settings.timeout = duration(&value).ok_or_else(|| wrong("as in 10s"))?,
            "--log-format" => settings.format = settings::log_format(&value).map_err(wrong)?,
            "--log-level" => settings.level = settings::log_level(&value).map_err(wrong)?,
            _ => {
                return Err(Error(format!(
                    "unknown flag {name:?}, see linkerd-proxy validate --help"
                )))
            }
        }
    }
    Ok(Some(settings))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

fn validate(settings: &Settings) -> Result<(), Error> {
    let deadline = Instant::now() + settings.timeout;
    let listener = TcpListener::bind(settings.listen)
        .map_err(|error| Error(format!("cannot listen on {}: {error}", settings.listen)))?;
    let token = token()?;
    let answer = token.clone();
    // The thread ends with the process; a connection that fails is no business of this check.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(answer.as_bytes()));
        }
    });
    let connect = settings.connect;
    let unmet = |what: String| {
        Error(format!(
            "outgoing connections are not redirected to the proxy: {what}; is the CNI plugin \
             linkerd-cni on this node?"
        ))
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&connect, left)
        .map_err(|error| unmet(format!("connect to {connect}: {error}")))?;
    let mut received = [0; TOKEN_CHARACTERS];
    let left = deadline.saturating_duration_since(Instant::now());
    stream
        .set_read_timeout(Some(left.max(Duration::from_millis(1))))
        .and_then(|()| stream.read_exact(&mut received))
        .map_err(|error| {
            if error.kind() == ErrorKind::WouldBlock {
                unmet(format!("{connect} accepts but does not answer"))
            } else {
                unmet(format!("read from {connect}: {error}"))
            }
        })?;
    if received != token.as_bytes() {
        return Err(unmet(format!("another server answers at {connect}")));
    }
    Ok(())
}

fn token() -> Result<String, Error> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0; TOKEN_CHARACTERS];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|error| Error(format!("cannot read /dev/urandom: {error}")))?;
    let character = |byte: u8| char::from(ALPHABET[usize::from(byte % 64)]);
    Ok(random.into_iter().map(character).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> + '_ {
        line.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn flags_are_those_of_the_container() {
        let line = "--log-format plain --log-level debug --connect-addr 1.1.1.1:20001 \
                    --listen-addr=0.0.0.0:4140 --timeout 10s";
        let expected = Settings {
            listen: "0.0.0.0:4140".parse().expect("an address"),
            connect: "1.1.1.1:20001".parse().expect("an address"),
            timeout: Duration::from_secs(10),
            format: LogFormat::Plain,
            level: LogLevel::Debug,
        };
        assert_eq!(Ok(Some(expected)), parse(words(line)));
    }

    #[test]
    fn unusable_flags_are_named() {
        for (line, expected) in [
            ("--timeout", "flag --timeout needs a value"),
            ("--timeout ten", "--timeout=ten: expected as in 10s"),
            (
                "--listen-addr x",
                "--listen-addr=x: expected an address with a port",
            ),
            (
                "--what 1",
                "unknown flag \"--what\", see linkerd-proxy validate --help",
            ),
        ] {
            assert_eq!(Err(Error(expected.into())), parse(words(line)), "{line}");
        }
    }

    #[test]
    fn meeting_itself_is_success_and_anything_else_is_not() {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
            listener.local_addr().expect("bound")
        };
        let at = |listen, connect| Settings {
            listen,
            connect,
            timeout: Duration::from_secs(20),
            format: LogFormat::Plain,
            level: LogLevel::Error,
        };
        let listen = free();
        assert_eq!(Ok(()), validate(&at(listen, listen)));

        let refused = validate(&at(free(), free())).expect_err("nothing listens there");
        assert!(refused.0.contains("not redirected"), "{refused}");

        let other = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = other.local_addr().expect("bound");
        std::thread::spawn(move || {
            let (mut stream, _) = other.accept().expect("one connection");
            let _ = stream.write_all(&[b'x'; 100]);
        });
        let foreign = validate(&at(free(), address)).expect_err("a foreign server");
        assert!(foreign.0.contains("another server"), "{foreign}");
    }
}

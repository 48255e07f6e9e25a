//! `linkerd-await`: holds a pod's application back until its proxy is ready.
//!
//! Source: linkerd/linkerd-await src/main.rs (flags, environment variables).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const HELP: &str = "\
Waits until the proxy beside this container is ready, then runs COMMAND if there is one.

Usage: linkerd-await [--port PORT] [--timeout DURATION] [--verbose] [-- COMMAND...]

The environment variable LINKERD_AWAIT_DISABLED, set to anything, leaves the waiting out.
";
const POLL: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(2);
/// What linkerd-await exits with when the proxy was not ready in time.
const EXIT_TIMEOUT: u8 = 69;

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    port: u16,
    timeout: Option<Duration>,
    verbose: bool,
    command: Vec<String>,
}

/// Runs `linkerd-await`; `args` are its words.
///
/// Exits 0 or becomes the command when the proxy is ready, 69 after the timeout, 64 for unusable
/// arguments.
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let settings = match parse(args) {
        Ok(Some(settings)) => settings,
        Ok(None) => return crate::say(HELP),
        Err(error) => {
            crate::complain(&format!("{error}\n\n{HELP}"));
            return ExitCode::from(crate::EXIT_SETTINGS);
        }
    };
    if std::env::var_os("LINKERD_AWAIT_DISABLED").is_none() && !wait(&settings) {
        crate::complain(&format!(
            "the proxy on port {} was not ready in time\n",
            settings.port
        ));
        return ExitCode::from(EXIT_TIMEOUT);
    }
    let Some((program, words)) = settings.command.split_first() else {
        return ExitCode::SUCCESS;
    };
    let error = Command::new(program).args(words).exec();
    crate::complain(&format!("cannot run {program}: {error}\n"));
    ExitCode::FAILURE
}

fn parse(args: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let mut settings = Settings {
        port: 4191,
        timeout: None,
        verbose: false,
        command: Vec::new(),
    };
    let mut args = args.peekable();
    while let Some(word) = args.next() {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let value = attached.clone().or_else(|| args.next());
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "-h" | "--help" => return Ok(None),
            "-v" | "--verbose" => settings.verbose = true,
            "-p" | "--port" => {
                let text = value()?;
                settings.port = text
                    .parse()
                    .map_err(|_| format!("{name}={text}: no port"))?;
            }
            "-t" | "--timeout" => {
                let text = value()?;
                let parsed = crate::settings::parse::parse_duration(&text);
                settings.timeout = Some(parsed.map_err(|error| format!("{name}={text}: {error}"))?);
            }
            "--" => {
                settings.command = args.collect();
                break;
            }
            other if other.starts_with('-') => return Err(format!("unknown flag {other:?}")),
            _ => {
                settings.command = std::iter::once(word).chain(args).collect();
                break;
            }
        }
    }
    Ok(Some(settings))
}

fn wait(settings: &Settings) -> bool {
    let started = Instant::now();
    loop {
        match ready(settings.port) {
            Ok(()) => return true,
            Err(reason) if settings.verbose => crate::complain(&format!("{reason}\n")),
            Err(_) => {}
        }
        if settings
            .timeout
            .is_some_and(|timeout| started.elapsed() >= timeout)
        {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

fn ready(port: u16) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status)
    };
    match ask() {
        Ok(status) if &status == b"HTTP/1.1 200" => Ok(()),
        Ok(status) => Err(format!("{address}: {}", String::from_utf8_lossy(&status))),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Settings>, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_go_before_the_command() {
        let settings = |port, timeout, command: &[&str]| {
            Ok(Some(Settings {
                port,
                timeout,
                verbose: false,
                command: command.iter().map(ToString::to_string).collect(),
            }))
        };
        let two_minutes = Some(Duration::from_secs(120));
        for (line, expected) in [
            ("", settings(4191, None, &[])),
            ("--timeout=2m --port=4192", settings(4192, two_minutes, &[])),
            ("-p 1 -- web -p 2", settings(1, None, &["web", "-p", "2"])),
            ("web --port=3", settings(4191, None, &["web", "--port=3"])),
            ("--port", Err("--port needs a value".to_owned())),
            ("--port x", Err("--port=x: no port".to_owned())),
            ("--what", Err("unknown flag \"--what\"".to_owned())),
        ] {
            assert_eq!(expected, parsed(line), "{line}");
        }
    }

    #[test]
    fn only_a_ready_proxy_counts() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 No\r\n\r\n", false),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
            let port = listener.local_addr().expect("bound").port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("one connection");
                let _ = stream.read(&mut [0; 256]);
                let _ = stream.write_all(answer.as_bytes());
            });
            assert_eq!(expected, ready(port).is_ok(), "{answer}");
            server.join().expect("the server ends");
        }
    }
}

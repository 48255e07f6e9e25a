//! An HTTP/1.1 worker: one connection, one request after the other.

use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::args::Args;
use crate::pace::Pace;
use crate::tally::Tally;

const HEADERS_MAX: usize = 64;
const BUFFER_BYTES: usize = 64 * 1024;
/// A target that breaks this many connections in a row is not worth measuring.
const RECONNECTS_MAX: u32 = 100;

/// Sends requests until the tally closes; connects anew when the target breaks the connection.
pub(crate) async fn work(args: Args, tally: Rc<Tally>, mut pace: Pace) -> Result<(), String> {
    let request = request(&args);
    let mut broken = 0;
    while tally.open(Instant::now()) {
        match connection(&args, &request, &tally, &mut pace, &mut broken).await {
            Ok(()) => {}
            Err(error) => {
                tally.reconnected();
                broken += 1;
                if broken > RECONNECTS_MAX {
                    return Err(format!(
                        "{}: {error}, {broken} times in a row",
                        args.address
                    ));
                }
            }
        }
    }
    Ok(())
}

fn request(args: &Args) -> Vec<u8> {
    let mut text = format!("GET {} HTTP/1.1\r\nhost: {}\r\n", args.path, args.authority);
    for (name, value) in &args.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

async fn connection(
    args: &Args,
    request: &[u8],
    tally: &Tally,
    pace: &mut Pace,
    broken: &mut u32,
) -> io::Result<()> {
    let mut socket = TcpStream::connect(args.address).await?;
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    while tally.open(Instant::now()) {
        let intended = pace.turn().await?;
        socket.write_all(request).await?;
        let answer = loop {
            let read = socket.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(answer) = parse(&buffer[..filled])? {
                break answer;
            }
        };
        let mut missing = answer.body_end.saturating_sub(filled);
        while missing > 0 {
            match socket.read(&mut buffer[..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => missing = missing.saturating_sub(read),
            }
        }
        filled = 0;
        tally.answered(intended, Instant::now(), answer.ok);
        *broken = 0;
        if answer.closes {
            break;
        }
    }
    Ok(())
}

/// A response head and where its body ends, counted from the head's first byte.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    ok: bool,
    closes: bool,
    body_end: usize,
}

/// Reads a head; `None` when it is incomplete. Chunked bodies are complete when their last chunk is in
/// the same bytes, so they must fit the buffer.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() == BUFFER_BYTES => {
            return Err(io::Error::other("head is too long"))
        }
        httparse::Status::Partial => return Ok(None),
    };
    let code = response.code.unwrap_or_default();
    let value = |name: &str| {
        let header = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).to_lowercase())
    };
    let closes = value("connection").is_some_and(|value| value.contains("close"));
    let ok = (200..300).contains(&code);
    let body_end = if code == 204 || code == 304 {
        head
    } else if value("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        if !bytes.ends_with(b"0\r\n\r\n") {
            return Ok(None);
        }
        bytes.len()
    } else {
        let length =
            value("content-length").ok_or_else(|| io::Error::other("response has no length"))?;
        head + length.trim().parse::<usize>().map_err(io::Error::other)?
    };
    Ok(Some(Answer {
        ok,
        closes,
        body_end,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_where_the_body_ends() {
        let answer = |ok, closes, body_end| {
            Some(Answer {
                ok,
                closes,
                body_end,
            })
        };
        for (text, expected) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
                answer(true, false, 41),
            ),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                answer(false, true, 57),
            ),
            ("HTTP/1.1 204 No\r\n\r\n", answer(true, false, 19)),
            ("HTTP/1.1 200 OK\r\ncontent-le", None),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
                None,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                answer(true, false, 58),
            ),
        ] {
            assert_eq!(
                expected,
                parse(text.as_bytes()).expect("no error"),
                "{text}"
            );
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}

//! Writing HTTP/1 heads and body frames.

use super::super::head::{Head, HeadEdit};
use super::super::names;

/// How a body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Outgoing {
    /// No message is being written.
    Idle,
    /// There is no body to write.
    None,
    /// Octets that are left of the announced length.
    Length(u64),
    Chunked,
    /// The end of the connection, or of its writing half, ends the body.
    Close,
}

/// How much body follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Expect {
    /// Nothing: the message ends with its head.
    End,
    /// So many octets.
    Length(u64),
    /// Unknown until it ends.
    Stream,
}

/// Writes a request head for a server that is reached in origin form.
pub(in crate::engine) fn request(
    out: &mut Vec<u8>,
    head: &Head,
    edit: &HeadEdit<'_>,
    body: Expect,
) -> Outgoing {
    let authority = edit.authority.unwrap_or_else(|| head.authority());
    let connect = head.is_method(b"CONNECT");
    out.extend_from_slice(head.method());
    out.push(b' ');
    out.extend_from_slice(if connect {
        authority
    } else {
        edit.path.unwrap_or_else(|| head.path())
    });
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(authority);
    out.extend_from_slice(b"\r\n");
    fields(out, head, edit);
    if let Some(upgrade) = head.upgrade() {
        offer(out, upgrade);
    }
    let outgoing = match body {
        _ if connect => Outgoing::Close,
        Expect::End => {
            // A method that usually has content says that it has none (RFC 9110 §8.6).
            let usual = [&b"POST"[..], b"PUT", b"PATCH"].contains(&head.method());
            if head.length.is_some() || usual {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            Outgoing::None
        }
        Expect::Length(length) => announce(out, length),
        Expect::Stream => chunked(out),
    };
    out.extend_from_slice(b"\r\n");
    settle(outgoing)
}

/// What the reader of a response can do.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Reader {
    /// It speaks HTTP/1.0: no chunks.
    pub(in crate::engine) http10: bool,
    /// It wants to keep the connection.
    pub(in crate::engine) keep: bool,
    /// It sent HEAD.
    pub(in crate::engine) head: bool,
    /// It sent CONNECT.
    pub(in crate::engine) connect: bool,
}

/// Writes a response head; the flag says whether the connection may be kept.
pub(in crate::engine) fn response(
    out: &mut Vec<u8>,
    head: &Head,
    edit: &HeadEdit<'_>,
    body: Expect,
    reader: Reader,
) -> (Outgoing, bool) {
    let status = edit.status.unwrap_or(head.status);
    status_line(out, status);
    fields(out, head, edit);
    let mut keep = reader.keep;
    let outgoing = if status == 101 {
        if let Some(upgrade) = head.upgrade() {
            offer(out, upgrade);
        }
        out.extend_from_slice(b"\r\n");
        return (Outgoing::Close, false);
    } else if reader.connect && (200..300).contains(&status) {
        out.extend_from_slice(b"\r\n");
        return (Outgoing::Close, false);
    } else if status < 200 || status == 204 {
        Outgoing::None
    } else if reader.head || status == 304 {
        if let Some(length) = head.length {
            announce(out, length);
        }
        Outgoing::None
    } else {
        match body {
            Expect::End => announce(out, 0),
            Expect::Length(length) => announce(out, length),
            Expect::Stream if reader.http10 => {
                keep = false;
                Outgoing::Close
            }
            Expect::Stream => chunked(out),
        }
    };
    if status >= 200 {
        if !keep {
            out.extend_from_slice(b"connection: close\r\n");
        } else if reader.http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    (settle(outgoing), keep)
}

/// A body of length zero is none.
fn settle(outgoing: Outgoing) -> Outgoing {
    if outgoing == Outgoing::Length(0) {
        return Outgoing::None;
    }
    outgoing
}

fn announce(out: &mut Vec<u8>, length: u64) -> Outgoing {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
    Outgoing::Length(length)
}

fn chunked(out: &mut Vec<u8>) -> Outgoing {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    Outgoing::Chunked
}

fn offer(out: &mut Vec<u8>, upgrade: &[u8]) {
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    out.extend_from_slice(upgrade);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields; several `cookie` fields become one (RFC 9113 §8.2.3).
fn fields(out: &mut Vec<u8>, head: &Head, edit: &HeadEdit<'_>) {
    let mut cookies = false;
    head.each(edit, |field| {
        if field.id != names::COOKIE {
            line(out, field.name, field.value);
        } else if !std::mem::replace(&mut cookies, true) {
            join_cookies(out, head, edit);
        }
    });
}

fn join_cookies(out: &mut Vec<u8>, head: &Head, edit: &HeadEdit<'_>) {
    let mut before: &[u8] = b"cookie: ";
    head.each(edit, |field| {
        if field.id == names::COOKIE {
            out.extend_from_slice(std::mem::replace(&mut before, b"; "));
            out.extend_from_slice(field.value);
        }
    });
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a piece of a chunked body; `data` is not empty.
pub(in crate::engine) fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    hexadecimal(out, data.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body, with trailers when there are some.
pub(in crate::engine) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Head>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(head) = trailers {
        fields(out, head, &HeadEdit::default());
    }
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn hexadecimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[value & 15];
        value >>= 4;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

pub(in crate::engine) fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The usual phrase for a status (RFC 9110 §15 and the IANA registry); empty for others.
pub(in crate::engine) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

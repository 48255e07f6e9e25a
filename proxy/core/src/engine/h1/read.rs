//! Strict reading of HTTP/1 heads (RFC 9112): what two readers could take differently is refused.
//!
//! httparse finds the parts; this module decides. Refused although some servers take it: a bare
//! line feed, a folded line, a body length given twice or in two ways, `transfer-encoding` other
//! than `chunked` or in HTTP/1.0, no or several `host`, a target that is not a valid URI.

use std::mem::MaybeUninit;

use httparse::{Error, Header, ParserConfig, Status};

use super::super::head::{self, is_authority, is_target, Head, Kind, Span};
use super::super::names::{self, UNKNOWN};

/// Most fields that a head may have, whatever the limits say.
pub(in crate::engine) const MAX_FIELDS: usize = 512;

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Framing {
    /// There is no body.
    None,
    /// After this many octets; not 0.
    Length(u64),
    /// With a chunk of size 0.
    Chunked,
    /// With the connection, or never (tunnels).
    Close,
}

/// What a head says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Message {
    /// Octets of the head, its blank line included.
    pub(in crate::engine) size: usize,
    pub(in crate::engine) framing: Framing,
    /// The connection may carry another message afterwards.
    pub(in crate::engine) keep: bool,
    pub(in crate::engine) http10: bool,
}

/// The head cannot be accepted; requests are answered with this status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Refused(pub(crate) u16);

const BAD: Refused = Refused(400);

type Found = Result<Option<Message>, Refused>;

/// Reads a request head from the start of `input`; `Ok(None)` when it is not complete.
pub(in crate::engine) fn request(input: &[u8], head: &mut Head) -> Found {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let config = ParserConfig::default();
    let size = match config.parse_request_with_uninit_headers(&mut parsed, input, &mut fields) {
        Ok(Status::Complete(size)) => size,
        Ok(Status::Partial) => return Ok(None),
        // Which refusal it is shows at the end of the line.
        Err(Error::Version) if !input.contains(&b'\n') => return Ok(None),
        Err(Error::Version) if other_version(input) => return Err(Refused(505)),
        Err(error) => return Err(refusal(error)),
    };
    let text = &input[..size];
    let http10 = parsed.version == Some(0);
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(BAD);
    };
    copy(text, head)?;
    head.method = Some(span(text, method.as_bytes()));
    let connection = fields_of(text, parsed.headers, head)?;
    let host = connection.host;
    place_target(text, target.as_bytes(), host, http10, head)?;
    let framing = match (connection.chunked, head.length) {
        (true, Some(_)) => return Err(BAD),
        (true, None) if http10 => return Err(BAD),
        (true | false, _) if head.is_method(b"CONNECT") => {
            // What follows is the tunnel, if the answer opens one; a body has no meaning.
            if connection.chunked || head.length.is_some() {
                return Err(BAD);
            }
            Framing::Close
        }
        (true, None) => Framing::Chunked,
        (false, None | Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
    };
    if connection.upgrade && !http10 && framing == Framing::None {
        keep_upgrade(connection.offer, head);
    }
    if http10 {
        head.expects_continue = false;
    }
    Ok(Some(Message {
        size,
        framing,
        keep: connection.keep(http10) && framing != Framing::Close,
        http10,
    }))
}

/// What the request was decides how its response is read (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine) struct Asked {
    pub(in crate::engine) head: bool,
    pub(in crate::engine) connect: bool,
    pub(in crate::engine) upgrade: bool,
}

/// Reads a response head from the start of `input`; `Ok(None)` when it is not complete.
pub(in crate::engine) fn response(input: &[u8], asked: Asked, head: &mut Head) -> Found {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let size = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut fields) {
        Ok(Status::Complete(size)) => size,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error)),
    };
    let text = &input[..size];
    let http10 = parsed.version == Some(0);
    let status = parsed.code.filter(|code| *code >= 100).ok_or(BAD)?;
    copy(text, head)?;
    head.status = status;
    let connection = fields_of(text, parsed.headers, head)?;
    if connection.chunked && (head.length.is_some() || http10) {
        return Err(BAD);
    }
    if status == 101 && !asked.upgrade {
        return Err(BAD);
    }
    let switched = status == 101;
    let framing = if switched || (asked.connect && (200..300).contains(&status)) {
        head.length = None;
        Framing::Close
    } else if status < 200 || status == 204 {
        head.length = None;
        Framing::None
    } else if asked.head || status == 304 {
        Framing::None
    } else {
        match (connection.chunked, head.length) {
            (true, _) => Framing::Chunked,
            (false, Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
        }
    };
    if switched {
        keep_upgrade(connection.offer, head);
    }
    Ok(Some(Message {
        size,
        framing,
        keep: connection.keep(http10) && framing != Framing::Close,
        http10,
    }))
}

/// Reads a trailer section, its blank line included; `Ok(None)` when it is not complete.
pub(in crate::engine) fn trailers(input: &[u8], head: &mut Head) -> Result<Option<usize>, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let (size, fields) = match httparse::parse_headers(input, &mut fields) {
        Ok(Status::Complete(found)) => found,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error)),
    };
    let text = &input[..size];
    copy(text, head)?;
    for field in fields {
        let (id, name, value) = take(text, field, head)?;
        // What frames or routes a message, or belongs to the connection, has no place here.
        if !head::is_framing(id) && id != names::TRAILER && id != names::AUTHORIZATION {
            head.push(id, name, value);
        }
    }
    Ok(Some(size))
}

/// What the fields say about the connection and the body.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    chunked: bool,
    host: Option<Span>,
    offer: Option<Span>,
}

impl Connection {
    fn keep(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep_alive)
    }
}

fn refusal(error: Error) -> Refused {
    match error {
        Error::TooManyHeaders => Refused(431),
        Error::HeaderName
        | Error::HeaderValue
        | Error::NewLine
        | Error::Status
        | Error::Token
        | Error::Version => BAD,
    }
}

/// True when `input` starts with a request line of three parts whose version is not ours.
fn other_version(input: &[u8]) -> bool {
    let line = input.split(|&byte| byte == b'\r').next().unwrap_or(b"");
    let mut parts = line.split(|&byte| byte == b' ').skip(2);
    let version = parts.next().unwrap_or(b"");
    let form = |(at, byte): (usize, &u8)| match at {
        5 | 7 => byte.is_ascii_digit(),
        _ => b"HTTP/0.0".get(at) == Some(byte),
    };
    parts.next().is_none() && version.len() == 8 && version.iter().enumerate().all(form)
}

/// Copies the text of a head, which spans then refer to, when every line ends with CR LF.
fn copy(text: &[u8], head: &mut Head) -> Result<(), Refused> {
    let pairs = text.iter().zip(text.iter().skip(1));
    // Without an early exit, so that the compiler can use wide registers.
    let bare = pairs.fold(false, |bare, (&before, &byte)| {
        bare | ((byte == b'\n') & (before != b'\r'))
    });
    if bare || text.first() == Some(&b'\n') {
        return Err(BAD);
    }
    head.bytes_mut().extend_from_slice(text);
    Ok(())
}

/// Where `part`, a slice of `text`, is.
fn span(text: &[u8], part: &[u8]) -> Span {
    let at = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if part.is_empty() || at > text.len() {
        return Span::EMPTY;
    }
    Span::new(at, part.len())
}

/// Lower-cases and numbers a field's name, and counts the field.
fn take(
    text: &[u8],
    field: &Header<'_>,
    head: &mut Head,
) -> Result<(names::NameId, Span, Span), Refused> {
    let name = span(text, field.name.as_bytes());
    let at = (field.name.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    let lower = head
        .bytes_mut()
        .get_mut(at..at + field.name.len())
        .ok_or(BAD)?;
    lower.make_ascii_lowercase();
    let id = names::lookup(lower);
    // httparse has refused control characters in values.
    let value = span(text, field.value);
    if !head.charge(id, name, value) {
        return Err(Refused(431));
    }
    Ok((id, name, value))
}

fn fields_of(text: &[u8], fields: &[Header<'_>], head: &mut Head) -> Result<Connection, Refused> {
    let mut found = Connection::default();
    let mut nominated = false;
    for field in fields {
        let (id, name, value) = take(text, field, head)?;
        match id {
            UNKNOWN => head.push(id, name, value),
            names::CONTENT_LENGTH => {
                let length = head::length(field.value).ok_or(BAD)?;
                if head.length.replace(length).is_some() {
                    return Err(BAD);
                }
            }
            names::TRANSFER_ENCODING => {
                if found.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BAD);
                }
                found.chunked = true;
            }
            names::HOST if head.kind == Kind::Request => {
                if found.host.replace(value).is_some() || !is_authority(field.value) {
                    return Err(BAD);
                }
            }
            names::CONNECTION => nominated |= options(field.value, &mut found)?,
            names::UPGRADE => found.offer = Some(value),
            names::TE => {
                head.te_trailers |= tokens(field.value).any(|token| is(token, b"trailers"));
            }
            names::KEEP_ALIVE | names::PROXY_CONNECTION | names::HTTP2_SETTINGS => {}
            names::EXPECT if head.kind == Kind::Request => {
                if !is(field.value, b"100-continue") {
                    return Err(Refused(417));
                }
                head.expects_continue = true;
                head.push(id, name, value);
            }
            _ => head.push(id, name, value),
        }
    }
    if nominated {
        drop_nominated(fields, head);
    }
    Ok(found)
}

/// Reads the options of a `connection` field; true when one of them names another field.
fn options(value: &[u8], found: &mut Connection) -> Result<bool, Refused> {
    let mut nominated = false;
    for token in tokens(value) {
        if is(token, b"close") {
            found.close = true;
        } else if is(token, b"keep-alive") {
            found.keep_alive = true;
        } else if is(token, b"upgrade") {
            found.upgrade = true;
        } else if is(token, b"te") {
        } else {
            if !names::is_all_token(token) {
                return Err(BAD);
            }
            nominated = true;
        }
    }
    Ok(nominated)
}

fn drop_nominated(fields: &[Header<'_>], head: &mut Head) {
    for field in fields {
        if is(field.name.as_bytes(), b"connection") {
            for token in tokens(field.value) {
                head.remove(token);
            }
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn is(text: &[u8], other: &[u8]) -> bool {
    text.eq_ignore_ascii_case(other)
}

/// Passes an offer on, unless it is HTTP/2 in the clear, with which a request could reach the next
/// server unseen.
fn keep_upgrade(offer: Option<Span>, head: &mut Head) {
    let Some(span) = offer else { return };
    let text = head.bytes(span);
    if !tokens(text).any(|token| token.len() >= 2 && is(&token[..2], b"h2")) {
        head.upgrade = Some(span);
    }
}

/// Sets scheme, authority and path from the target and `host` (RFC 9112 §3.2, §3.3).
fn place_target(
    text: &[u8],
    target: &[u8],
    host: Option<Span>,
    http10: bool,
    head: &mut Head,
) -> Result<(), Refused> {
    if host.is_none() && !http10 {
        return Err(BAD);
    }
    if !is_target(target) {
        return Err(BAD);
    }
    if head.is_method(b"CONNECT") {
        if !is_authority(target) || !target.contains(&b':') {
            return Err(BAD);
        }
        head.authority = Some(span(text, target));
        return Ok(());
    }
    if target[0] == b'/' || (target == b"*" && head.is_method(b"OPTIONS")) {
        head.authority = host;
        head.path = Some(span(text, target));
        return Ok(());
    }
    let scheme = [&b"http"[..], b"https"]
        .into_iter()
        .find(|scheme| {
            target.len() > scheme.len() + 3
                && is(&target[..scheme.len()], scheme)
                && &target[scheme.len()..scheme.len() + 3] == b"://"
        })
        .ok_or(BAD)?;
    let rest = &target[scheme.len() + 3..];
    let end = rest
        .iter()
        .position(|&byte| byte == b'/' || byte == b'?')
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority) {
        return Err(BAD);
    }
    head.scheme = Some(span(text, &target[..scheme.len()]));
    head.authority = Some(span(text, authority));
    head.path = Some(match path.first() {
        Some(b'/') => span(text, path),
        None if head.is_method(b"OPTIONS") => head.append(b"*"),
        None => head.append(b"/"),
        Some(_) => {
            let slash = head.append(b"/");
            head.append(path);
            slash.join(path.len())
        }
    });
    Ok(())
}

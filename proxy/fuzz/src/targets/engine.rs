//! The HTTP engine: any bytes from both ends, any split, and what it writes as others read it.

use std::time::{Duration, Instant};

use linkerd_proxy_core::engine::{Engine, Event, HeadEdit, Io, Limits, Protocol, Role};

const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PROTOCOLS: [Protocol; 3] = [Protocol::H1, Protocol::H2, Protocol::Raw];

/// Two peers that send anything, at both ends of any pair of protocols: when the connections are gone
/// so are the streams.
pub fn bytes(input: &[u8]) {
    let Some((&pair, mut rest)) = input.split_first() else {
        return;
    };
    let mut now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let front = engine.open(Role::Server, PROTOCOLS[usize::from(pair % 3)], now);
    let back = engine.open(Role::Client, PROTOCOLS[usize::from(pair / 3 % 3)], now);
    if pair % 3 == 1 && pair < 128 {
        engine.recv(front, HELLO, now);
    }
    // A step is a byte that says who sends how much, then what is sent.
    while let Some((&step, after)) = rest.split_first() {
        let (bytes, later) = after.split_at((usize::from(step) >> 1).min(after.len()));
        rest = later;
        let conn = if step & 1 == 0 { front } else { back };
        match step {
            0xfe => engine.recv_end(front, now),
            0xff => engine.recv_end(back, now),
            0xfc => {
                now += Duration::from_secs(20);
                engine.handle_timeout(now);
            }
            0xfd => engine.drain(front, now),
            _ if engine.wants_read(conn) => engine.recv(conn, bytes, now),
            _ => {}
        }
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Request { stream, .. } => {
                    let edit = HeadEdit {
                        authority: Some(b"a:1"),
                        ..HeadEdit::default()
                    };
                    if engine.forward(stream, back, &edit).is_err() {
                        let _ = engine.respond(stream, 503, &[], b"busy");
                    }
                }
                Event::Response { stream } => {
                    let _ = engine.forward_response(stream, &HeadEdit::default());
                }
                Event::Failed { stream, .. } => {
                    let _ = engine.respond(stream, 502, &[], b"");
                }
                _ => {}
            }
        }
        while let Some(conn) = engine.poll_dirty() {
            let count = engine.out(conn).len();
            engine.sent(conn, count, now);
        }
    }
    engine.close(front, now);
    engine.close(back, now);
    while engine.poll_event().is_some() {}
    assert_eq!(0, engine.streams());
}

fn run(protocol: Protocol, bytes: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>, Io) {
    let now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let front = engine.open(Role::Server, protocol, now);
    let back = engine.open(Role::Client, Protocol::H2, now);
    let (mut written, mut paths) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        engine.recv(front, piece, now);
        while let Some(event) = engine.poll_event() {
            if let Event::Request { stream, .. } = event {
                let path = engine.request(stream).map(|head| head.path().to_vec());
                paths.extend(path);
                let edit = HeadEdit::default();
                if engine.forward(stream, back, &edit).is_err() {
                    let _ = engine.respond(stream, 503, &[], b"");
                }
            }
        }
        while let Some(conn) = engine.poll_dirty() {
            if conn == front {
                written.extend_from_slice(engine.out(conn));
            }
            let count = engine.out(conn).len();
            engine.sent(conn, count, now);
        }
    }
    (written, paths, engine.io(front))
}

/// One peer's bytes, whole and cut into pieces of a size that the input chooses: the engine writes the
/// same and ends the same. Heads end with a blank line, so that both ways see their end.
pub fn split(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let (protocol, mut all) = if choice & 1 == 0 {
        (Protocol::H1, bytes.to_vec())
    } else {
        (Protocol::H2, [HELLO, bytes].concat())
    };
    if protocol == Protocol::H1 {
        all.extend(b"\r\n\r\n\r\n\r\n");
    }
    let whole = run(protocol, &all, all.len());
    assert_eq!(
        whole,
        run(protocol, &all, usize::from(choice >> 1) % 17 + 1)
    );
}

/// An HTTP/1 request on its way to an HTTP/1 server: what the engine writes, httparse reads as the one
/// plain form, with the length given once.
pub fn h1(input: &[u8]) {
    let written = forwarded(Protocol::H1, Protocol::H1, input);
    let mut rest = written.as_slice();
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 512];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(size)) = request.parse(rest) else {
            panic!("not a head: {:?}", String::from_utf8_lossy(rest));
        };
        let head = &rest[..size];
        assert!(head
            .iter()
            .zip(head.iter().skip(1))
            .all(|(&before, &octet)| (octet == b'\n') == (before == b'\r')));
        let of = |name: &str| {
            let named = request
                .headers
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect::<Vec<_>>()
        };
        let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1 && of("host").len() <= 1);
        rest = &rest[size..];
        if let [length] = lengths.as_slice() {
            let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
            rest = &rest[length.min(rest.len())..];
        } else if let [coding] = codings.as_slice() {
            assert_eq!(b"chunked", coding);
            rest = after_chunks(rest);
        } else if request.method == Some("CONNECT") || !of("upgrade").is_empty() {
            return;
        }
    }
}

/// What follows a chunked body; nothing when its end has not come.
fn after_chunks(mut rest: &[u8]) -> &[u8] {
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return &[];
        };
        let digits = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(digits, 16).unwrap();
        rest = &rest[line + 2..];
        if size == 0 {
            while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
                rest = &rest[end + 2..];
                if end == 0 {
                    return rest;
                }
            }
            return &[];
        }
        let Some(after) = rest.get(size..) else {
            return &[];
        };
        if after.is_empty() {
            return &[];
        }
        assert!(after.starts_with(b"\r\n") || after.len() < 2);
        rest = after.get(2..).unwrap_or(&[]);
    }
}

/// What the engine writes towards a server for one client's bytes.
fn forwarded(front: Protocol, back: Protocol, bytes: &[u8]) -> Vec<u8> {
    let now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let client = engine.open(Role::Server, front, now);
    let server = engine.open(Role::Client, back, now);
    let mut written = Vec::new();
    engine.recv(client, bytes, now);
    loop {
        while let Some(event) = engine.poll_event() {
            if let Event::Request { stream, .. } = event {
                if engine
                    .forward(stream, server, &HeadEdit::default())
                    .is_err()
                {
                    let _ = engine.respond(stream, 503, &[], b"");
                }
            }
        }
        let Some(conn) = engine.poll_dirty() else {
            return written;
        };
        if conn == server {
            written.extend_from_slice(engine.out(conn));
        }
        let count = engine.out(conn).len();
        engine.sent(conn, count, now);
    }
}

/// Frames with right lengths: the first octet of a record is the kind, then flags, stream and length.
pub fn h2_frames(input: &[u8]) {
    let mut all = HELLO.to_vec();
    let mut rest = input;
    while let [kind, flags, stream, length, after @ ..] = rest {
        let (payload, later) = after.split_at(usize::from(*length).min(after.len()));
        all.extend([
            0,
            0,
            payload.len() as u8,
            kind % 12,
            *flags,
            0,
            0,
            0,
            stream % 16,
        ]);
        all.extend(payload);
        rest = later;
    }
    let written = forwarded(Protocol::H2, Protocol::H2, &all);
    // What one engine writes, another takes as it is.
    assert!(well_formed(&written));
    let _ = forwarded(Protocol::H2, Protocol::H1, &all);
}

/// A header block of requests: what is read, written and read again stays the same.
pub fn hpack(input: &[u8]) {
    let mut all = HELLO.to_vec();
    // GET http / with whatever the input says after it.
    let block = [&[0x82, 0x86, 0x84][..], input].concat();
    let block = &block[..block.len().min(16_000)];
    let length = (block.len() as u32).to_be_bytes();
    all.extend([length[1], length[2], length[3], 1, 5, 0, 0, 0, 1]);
    all.extend(block);
    let first = heads(&all);
    let second = heads(
        &[
            HELLO,
            after_hello(&forwarded(Protocol::H2, Protocol::H2, &all)),
        ]
        .concat(),
    );
    assert_eq!(first, second);
}

/// Method, authority, path and fields of every request.
fn heads(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let now = Instant::now();
    let mut engine = Engine::new(Limits::default(), now);
    let client = engine.open(Role::Server, Protocol::H2, now);
    engine.recv(client, bytes, now);
    let mut found = Vec::new();
    while let Some(event) = engine.poll_event() {
        if let Event::Request { stream, .. } = event {
            if let Some(head) = engine.request(stream) {
                let mut parts = vec![
                    head.method().to_vec(),
                    head.authority().to_vec(),
                    head.path().to_vec(),
                ];
                for (name, value) in head.fields() {
                    parts.push([name, b": ", value].concat());
                }
                found.push(parts);
            }
        }
    }
    found
}

/// What an engine wrote as a client, without its preface.
fn after_hello(written: &[u8]) -> &[u8] {
    written.get(24..).unwrap_or(&[])
}

/// True when the octets are a preface and whole frames.
fn well_formed(written: &[u8]) -> bool {
    let mut rest = after_hello(written);
    while let [a, b, c, _, _, _, _, _, _, after @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(later) = after.get(length..) else {
            return false;
        };
        rest = later;
    }
    rest.is_empty()
}

//! HTTP/2 frames as a scripted peer writes and reads them.
#![allow(dead_code, missing_docs)]

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const END: u8 = 1;
pub const HEADERS_END: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;

pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without indexing.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                bytes.push(length as u8);
            } else {
                bytes.push(127);
                length -= 127;
                while length >= 128 {
                    bytes.push((length % 128) as u8 | 128);
                    length /= 128;
                }
                bytes.push(length as u8);
            }
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

pub fn request(method: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ])
}

/// HEADERS with the given fields; `flags` besides END_HEADERS.
pub fn headers(id: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, HEADERS_END | flags, id, &block(fields))
}

pub fn get(id: u32) -> Vec<u8> {
    frame(1, HEADERS_END | END, id, &request("GET"))
}

pub fn post(id: u32) -> Vec<u8> {
    frame(1, HEADERS_END, id, &request("POST"))
}

pub fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, flags, id, payload)
}

pub fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(3, 0, id, &code.to_be_bytes())
}

pub fn window(id: u32, increment: u32) -> Vec<u8> {
    frame(8, 0, id, &increment.to_be_bytes())
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, value) in values {
        payload.extend(key.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(4, 0, 0, &payload)
}

/// What a client sends before its first request.
pub fn hello() -> Vec<u8> {
    [PREFACE, &settings(&[])[..], &frame(4, 1, 0, b"")].concat()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number in the payload of RST_STREAM, or the code of GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == 7 { 4 } else { 0 };
        self.payload[at..at + 4]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
    }
}

/// The frames in `bytes`, which end with one.
pub fn read(mut bytes: &[u8]) -> Vec<Frame> {
    if bytes.starts_with(PREFACE) {
        bytes = &bytes[PREFACE.len()..];
    }
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = bytes[..3]
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let id = bytes[5..9]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        frames.push(Frame {
            kind: bytes[3],
            flags: bytes[4],
            id,
            payload: bytes[9..9 + length].to_vec(),
        });
        bytes = &bytes[9 + length..];
    }
    frames
}

/// The frames of one kind.
pub fn of(bytes: &[u8], kind: u8) -> Vec<Frame> {
    let mut frames = read(bytes);
    frames.retain(|frame| frame.kind == kind);
    frames
}

//! Frames of HTTP/2 (RFC 9113 §4, §6): numbers, and writing them.

/// Octets of a frame's header.
pub(in crate::engine) const HEADER: usize = 9;
/// Largest payload that we accept and, whatever the peer allows, send.
pub(in crate::engine) const MAX_PAYLOAD: usize = 16_384;
/// Largest piece of body that we send: with its header it fills one TLS record, so that who receives
/// it finds no frame that goes on in the next.
pub const DATA_PAYLOAD: usize = MAX_PAYLOAD - HEADER;
/// What a client sends first.
pub(in crate::engine) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(in crate::engine) const DATA: u8 = 0;
pub(in crate::engine) const HEADERS: u8 = 1;
pub(in crate::engine) const PRIORITY: u8 = 2;
pub(in crate::engine) const RST_STREAM: u8 = 3;
pub(in crate::engine) const SETTINGS: u8 = 4;
pub(in crate::engine) const PUSH_PROMISE: u8 = 5;
pub(in crate::engine) const PING: u8 = 6;
pub(in crate::engine) const GOAWAY: u8 = 7;
pub(in crate::engine) const WINDOW_UPDATE: u8 = 8;
pub(in crate::engine) const CONTINUATION: u8 = 9;

pub(in crate::engine) const END_STREAM: u8 = 1;
pub(in crate::engine) const ACK: u8 = 1;
pub(in crate::engine) const END_HEADERS: u8 = 4;
pub(in crate::engine) const PADDED: u8 = 8;
pub(in crate::engine) const WITH_PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113 §7).
pub mod code {
    /// No error: a graceful end.
    pub const NO_ERROR: u32 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Something failed here.
    pub const INTERNAL_ERROR: u32 = 2;
    /// The peer sent more than its window.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: u32 = 5;
    /// A frame has a size that its type forbids.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// The request was not processed at all.
    pub const REFUSED_STREAM: u32 = 7;
    /// The stream is no longer wanted.
    pub const CANCEL: u32 = 8;
    /// The compression state is lost.
    pub const COMPRESSION_ERROR: u32 = 9;
    /// The connection that a CONNECT asked for could not be made, or broke.
    pub const CONNECT_ERROR: u32 = 10;
    /// The peer behaves as if it wanted to exhaust us.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct FrameHead {
    pub(in crate::engine) length: usize,
    pub(in crate::engine) kind: u8,
    pub(in crate::engine) flags: u8,
    pub(in crate::engine) id: u32,
}

/// Reads a frame's header from the start of `input`.
pub(in crate::engine) fn head(input: &[u8]) -> Option<FrameHead> {
    let bytes: &[u8; HEADER] = input.first_chunk()?;
    Some(FrameHead {
        length: usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]),
        kind: bytes[3],
        flags: bytes[4],
        id: number(&bytes[5..]) & 0x7fff_ffff,
    })
}

/// The first four octets of `bytes` as a number; 0 when there are fewer.
pub(in crate::engine) fn number(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Writes a frame's header.
pub(in crate::engine) fn put(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) {
    let id = id.to_be_bytes();
    out.extend_from_slice(&[
        (length >> 16) as u8,
        (length >> 8) as u8,
        length as u8,
        kind,
        flags,
        id[0],
        id[1],
        id[2],
        id[3],
    ]);
}

pub(in crate::engine) fn data(out: &mut Vec<u8>, id: u32, payload: &[u8], end: bool) {
    put(
        out,
        payload.len(),
        DATA,
        if end { END_STREAM } else { 0 },
        id,
    );
    out.extend_from_slice(payload);
}

pub(in crate::engine) fn reset(out: &mut Vec<u8>, id: u32, code: u32) {
    put(out, 4, RST_STREAM, 0, id);
    out.extend_from_slice(&code.to_be_bytes());
}

pub(in crate::engine) fn window_update(out: &mut Vec<u8>, id: u32, increment: u32) {
    put(out, 4, WINDOW_UPDATE, 0, id);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(in crate::engine) fn ping(out: &mut Vec<u8>, payload: &[u8], ack: bool) {
    put(out, 8, PING, if ack { ACK } else { 0 }, 0);
    out.extend_from_slice(payload);
}

pub(in crate::engine) fn goaway(out: &mut Vec<u8>, last: u32, code: u32) {
    put(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
}

pub(in crate::engine) fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    put(out, 6 * values.len(), SETTINGS, 0, 0);
    for (key, value) in values {
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes a header block by `write` as HEADERS, and CONTINUATION when it is longer than a frame.
pub(in crate::engine) fn block(
    out: &mut Vec<u8>,
    id: u32,
    end: bool,
    max_payload: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let end_stream = if end { END_STREAM } else { 0 };
    put(out, 0, HEADERS, END_HEADERS | end_stream, id);
    write(out);
    let length = out.len() - start - HEADER;
    if length <= max_payload {
        let bytes = (length as u32).to_be_bytes();
        out[start..start + 3].copy_from_slice(&bytes[1..]);
        return;
    }
    let long = out.split_off(start + HEADER);
    out.truncate(start);
    let mut pieces = long.chunks(max_payload).peekable();
    let mut kind = HEADERS;
    let mut flags = end_stream;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        put(out, piece.len(), kind, flags, id);
        out.extend_from_slice(piece);
        kind = CONTINUATION;
        flags = 0;
    }
}

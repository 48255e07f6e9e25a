//! What a proxy says at the start of a direct connection to another proxy's inbound port.
//!
//! `transport.l5d.io/v1\r\n\r\n`, a big-endian u32 length, and a protobuf message of three fields
//! that is small enough to read and write by hand.
//! Source: linkerd2-proxy linkerd/transport-header (wire format).

/// The ALPN protocol that announces the header.
pub const ALPN: &[u8] = b"transport.l5d.io/v1";
/// The ALPN protocol of a connection whose streams are opaque connections: HTTP/2 in which every
/// request is a CONNECT to a port of the peer's pod. Only our own proxies offer or take it.
pub const STREAMS_ALPN: &[u8] = b"streams.l5dx.io/v1";
const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";
/// Longest message that is accepted.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The protocol of the bytes after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Session {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The decoded header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Target port, never 0 once decoded.
    pub port: u16,
    /// Target name for gateways; `None` when the target is the local pod.
    pub name: Option<String>,
    /// `None` for opaque bytes.
    pub session: Option<Session>,
}

/// Outcome of decoding a prefix of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed.
    Incomplete,
    /// The header and how many bytes it took.
    Header(Header, usize),
    /// Not a header, with the reason.
    Invalid(&'static str),
}

impl Header {
    /// The bytes to send right after the handshake.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(16);
        if self.port != 0 {
            message.push(0x08);
            varint(&mut message, u64::from(self.port));
        }
        if let Some(name) = &self.name {
            message.push(0x12);
            varint(&mut message, name.len() as u64);
            message.extend_from_slice(name.as_bytes());
        }
        match self.session {
            Some(Session::Http1) => message.extend_from_slice(&[0x1a, 2, 0x0a, 0]),
            Some(Session::Http2) => message.extend_from_slice(&[0x1a, 2, 0x12, 0]),
            None => {}
        }
        let mut out = Vec::with_capacity(PREFACE.len() + 4 + message.len());
        out.extend_from_slice(PREFACE);
        out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        out.extend_from_slice(&message);
        out
    }

    /// Reads a header from the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Decoded {
        let n = bytes.len().min(PREFACE.len());
        if bytes[..n] != PREFACE[..n] {
            return Decoded::Invalid("preface does not match");
        }
        let Some(size) = bytes.get(PREFACE.len()..PREFACE.len() + 4) else {
            return Decoded::Incomplete;
        };
        let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
        if size > MESSAGE_BYTES_MAX {
            return Decoded::Invalid("message is too long");
        }
        let start = PREFACE.len() + 4;
        let Some(message) = bytes.get(start..start + size) else {
            return Decoded::Incomplete;
        };
        match decode_message(message) {
            Some(header) if header.port != 0 => Decoded::Header(header, start + size),
            Some(_) => Decoded::Invalid("port is not 1..65535"),
            None => Decoded::Invalid("message is malformed"),
        }
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// One protobuf field: number and, for length-delimited ones, its bytes; else its value.
enum Field<'a> {
    Value(u64, u64),
    Bytes(u64, &'a [u8]),
}

fn read_field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = read_varint(bytes)?;
    let skip = |bytes: &mut &'a [u8], n: usize| -> Option<&'a [u8]> {
        let head = bytes.get(..n)?;
        *bytes = &bytes[n..];
        Some(head)
    };
    match key & 7 {
        0 => Some(Field::Value(key >> 3, read_varint(bytes)?)),
        1 => skip(bytes, 8).map(|b| Field::Bytes(u64::MAX, b)),
        2 => {
            let n = usize::try_from(read_varint(bytes)?).ok()?;
            skip(bytes, n).map(|b| Field::Bytes(key >> 3, b))
        }
        5 => skip(bytes, 4).map(|b| Field::Bytes(u64::MAX, b)),
        _ => None,
    }
}

fn decode_message(mut bytes: &[u8]) -> Option<Header> {
    let mut header = Header::default();
    while !bytes.is_empty() {
        match read_field(&mut bytes)? {
            Field::Value(1, port) => header.port = u16::try_from(port).ok()?,
            Field::Bytes(2, name) => {
                let name = std::str::from_utf8(name).ok()?;
                header.name = (!name.is_empty()).then(|| name.to_owned());
            }
            Field::Bytes(3, mut session) => {
                while !session.is_empty() {
                    match read_field(&mut session)? {
                        Field::Bytes(1, _) => header.session = Some(Session::Http1),
                        Field::Bytes(2, _) => header.session = Some(Session::Http2),
                        Field::Value(..) | Field::Bytes(..) => {}
                    }
                }
            }
            Field::Value(..) | Field::Bytes(..) => {}
        }
    }
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_linkerds_test_vector() {
        let header = Header {
            port: 8080,
            name: None,
            session: Some(Session::Http2),
        };
        let mut expected = PREFACE.to_vec();
        expected.extend([0, 0, 0, 7, 0x08, 0x90, 0x3f, 0x1a, 0x02, 0x12, 0x00]);
        assert_eq!(expected, header.encode());
    }

    proptest! {
        #[test]
        fn round_trips_at_any_split(
            port in 1u16..,
            name in proptest::option::of("[a-z.]{1,40}"),
            session in prop_oneof![Just(None), Just(Some(Session::Http1)), Just(Some(Session::Http2))],
            cut in 0usize..200,
        ) {
            let header = Header { port, name, session };
            let mut bytes = header.encode();
            let n = bytes.len();
            if cut < n {
                prop_assert_eq!(Decoded::Incomplete, Header::decode(&bytes[..cut]));
            }
            bytes.extend(b"payload");
            prop_assert_eq!(Decoded::Header(header, n), Header::decode(&bytes));
        }

        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = PREFACE.to_vec();
            bytes.extend((message.len() as u32).to_be_bytes());
            bytes.extend(message);
            let _ = Header::decode(&bytes);
        }
    }
}

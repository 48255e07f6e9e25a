//! DNS messages: just enough to ask for A, AAAA and SRV records.
//!
//! Source: RFC 1035 §4, RFC 2782, RFC 3596.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Record types that we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Service: name and port.
    Srv,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// One useful record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Ip(IpAddr),
    /// A service's host and port.
    Srv {
        /// Host name without trailing dot.
        name: String,
        /// Port.
        port: u16,
    },
}

/// A parsed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 is success, 3 is NXDOMAIN.
    pub code: u8,
    /// Whether the answer did not fit a datagram.
    pub truncated: bool,
    /// Records of the answer section that we understand.
    pub records: Vec<Record>,
    /// Smallest TTL among them, in seconds.
    pub ttl_s: u32,
}

/// Encodes a query; `None` when the name is not a valid DNS name.
pub fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(32 + name.len());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.code().to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    (out.len() <= 12 + 255 + 4).then_some(out)
}

/// Parses a response to the query `id`; `None` when it is not one.
pub fn parse(bytes: &[u8], id: u16) -> Option<Answer> {
    let mut at = 12;
    let head = bytes.get(..12)?;
    if head[..2] != id.to_be_bytes() || head[2] & 0x80 == 0 {
        return None;
    }
    let count = |i: usize| u16::from_be_bytes([head[i], head[i + 1]]);
    for _ in 0..count(4) {
        at = skip_name(bytes, at)? + 4;
    }
    let mut answer = Answer {
        code: head[3] & 0x0f,
        truncated: head[2] & 0x02 != 0,
        records: Vec::new(),
        ttl_s: u32::MAX,
    };
    for _ in 0..count(6) {
        at = skip_name(bytes, at)?;
        let fixed = bytes.get(at..at + 10)?;
        let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let len = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let start = at + 10;
        let data = bytes.get(start..start + len)?;
        let record = match kind {
            1 => <[u8; 4]>::try_from(data)
                .ok()
                .map(|b| Record::Ip(Ipv4Addr::from(b).into())),
            28 => <[u8; 16]>::try_from(data)
                .ok()
                .map(|b| Record::Ip(Ipv6Addr::from(b).into())),
            33 if len >= 7 => Some(Record::Srv {
                port: u16::from_be_bytes([data[4], data[5]]),
                name: read_name(bytes, start + 6)?,
            }),
            _ => None,
        };
        if let Some(record) = record {
            answer.records.push(record);
            answer.ttl_s = answer.ttl_s.min(ttl);
        }
        at = start + len;
    }
    Some(answer)
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            0 => return Some(at + 1),
            n if n & 0xc0 == 0xc0 => return Some(at + 2),
            n => at += 1 + usize::from(*n),
        }
    }
}

fn read_name(bytes: &[u8], mut at: usize) -> Option<String> {
    let mut name = String::new();
    // A compressed name of 255 bytes has fewer jumps than this.
    for _ in 0..128 {
        let n = usize::from(*bytes.get(at)?);
        if n == 0 {
            return Some(name);
        }
        if n & 0xc0 == 0xc0 {
            at = (n & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
            continue;
        }
        let label = std::str::from_utf8(bytes.get(at + 1..at + 1 + n)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(label);
        if name.len() > 255 {
            return None;
        }
        at += 1 + n;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(id: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut out = query(id, "a.b", Kind::A).expect("valid name");
        out[2] = 0x81;
        out[7] = records.len() as u8;
        for (kind, data) in records {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1, 0, 0, 0, 30]);
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn reads_addresses_and_services() {
        let srv = [&[0, 0, 0, 0, 0x1f, 0x96, 3][..], b"pod", &[0xc0, 12]].concat();
        let bytes = response(7, &[(1, vec![10, 0, 0, 1]), (5, vec![0]), (33, srv)]);
        let answer = parse(&bytes, 7).expect("an answer");
        let expected = vec![
            Record::Ip("10.0.0.1".parse().expect("ip")),
            Record::Srv {
                name: "pod.a.b".into(),
                port: 8086,
            },
        ];
        assert_eq!(
            (expected, 30, 0),
            (answer.records, answer.ttl_s, answer.code)
        );
        assert_eq!(None, parse(&bytes, 8));
    }

    #[test]
    fn refuses_names_that_dns_cannot_carry() {
        assert_eq!(None, query(1, "a..b", Kind::A));
        assert_eq!(None, query(1, &"x".repeat(64), Kind::Srv));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if bytes.len() > 12 {
                bytes[2] |= 0x80;
                let id = u16::from_be_bytes([bytes[0], bytes[1]]);
                let _ = parse(&bytes, id);
            }
        }
    }
}

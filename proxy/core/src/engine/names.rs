//! Numbers for well-known field names, so that the hot path compares bytes instead of strings.
//!
//! Identifiers 1..=61 are the positions of HPACK's static table (the first of several equal
//! names), which makes re-encoding a field whose name was recognised once a table index.
//!
//! # Source
//! RFC 7541 Appendix A (static table); RFC 9113 §8.2.2 (connection-specific fields).

use crate::octets::same;

/// Number of a well-known name; [`UNKNOWN`] stands for every other.
pub type NameId = u8;

/// Any name without a number.
pub const UNKNOWN: NameId = 0;
pub(super) const AUTHORITY: NameId = 1;
pub(super) const METHOD: NameId = 2;
pub(super) const PATH: NameId = 4;
pub(super) const SCHEME: NameId = 6;
pub(super) const STATUS: NameId = 8;
/// `authorization`
pub(super) const AUTHORIZATION: NameId = 23;
/// `content-length`
pub const CONTENT_LENGTH: NameId = 28;
pub(super) const COOKIE: NameId = 32;
pub(super) const EXPECT: NameId = 35;
pub(super) const HOST: NameId = 38;
pub(super) const TRANSFER_ENCODING: NameId = 57;
pub(super) const CONNECTION: NameId = 62;
pub(super) const KEEP_ALIVE: NameId = 63;
pub(super) const PROXY_CONNECTION: NameId = 64;
pub(super) const TE: NameId = 65;
pub(super) const TRAILER: NameId = 66;
pub(super) const UPGRADE: NameId = 67;
pub(super) const HTTP2_SETTINGS: NameId = 68;
pub(super) const PROTOCOL: NameId = 69;

/// One row of the static table.
pub(super) type Entry = (&'static [u8], &'static [u8]);

/// HPACK's static table at 1..=61, then the names that HTTP gives a meaning of their own.
pub(super) static TABLE: [Entry; 74] = [
    (b"", b""),
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
    (b"connection", b""),
    (b"keep-alive", b""),
    (b"proxy-connection", b""),
    (b"te", b""),
    (b"trailer", b""),
    (b"upgrade", b""),
    (b"http2-settings", b""),
    (b":protocol", b""),
    (b"grpc-status", b""),
    (b"grpc-message", b""),
    (b"grpc-timeout", b""),
    (b"grpc-encoding", b""),
];

/// The number of each row's name: that of the first row which has it.
pub(super) static FIRST: [NameId; 62] = first();

const fn first() -> [NameId; 62] {
    let mut ids = [UNKNOWN; 62];
    let mut index = 1;
    while index < ids.len() {
        ids[index] = if equal(TABLE[index - 1].0, TABLE[index].0) {
            ids[index - 1]
        } else {
            index as NameId
        };
        index += 1;
    }
    ids
}

const SLOTS: usize = 512;

const fn slot(name: &[u8]) -> usize {
    let last = name.len() - 1;
    let mut hash = name.len() as u32;
    hash = hash.wrapping_mul(31).wrapping_add(name[0] as u32);
    hash = hash.wrapping_mul(31).wrapping_add(name[last] as u32);
    hash = hash.wrapping_mul(31).wrapping_add(name[last / 2] as u32);
    hash = hash.wrapping_mul(31).wrapping_add(name[last / 3] as u32);
    (hash ^ (hash >> 9)) as usize % SLOTS
}

const fn build() -> [NameId; SLOTS] {
    let mut slots = [UNKNOWN; SLOTS];
    let mut index = TABLE.len() - 1;
    // Downwards, so that of equal names (":method" GET and POST) the first is found first.
    while index > 0 {
        let name = TABLE[index].0;
        let first = index == 1 || !equal(TABLE[index - 1].0, name);
        if first {
            let mut at = slot(name);
            while slots[at] != UNKNOWN {
                at = (at + 1) % SLOTS;
            }
            slots[at] = index as NameId;
        }
        index -= 1;
    }
    slots
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

static INDEX: [NameId; SLOTS] = build();

/// The number of a lower-case `name`.
pub(super) fn lookup(name: &[u8]) -> NameId {
    if name.is_empty() {
        return UNKNOWN;
    }
    let mut at = slot(name);
    loop {
        let id = INDEX[at];
        if id == UNKNOWN || same(TABLE[id as usize].0, name) {
            return id;
        }
        at = (at + 1) % SLOTS;
    }
}

/// The lower-case name of `id`; empty for [`UNKNOWN`] and numbers that are not in use.
pub(super) fn name(id: NameId) -> &'static [u8] {
    TABLE.get(usize::from(id)).map_or(b"", |entry| entry.0)
}

/// True for a byte that a field name or method may have (RFC 9110 §5.6.2 `tchar`).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// True when every byte may stand in a field name or method.
pub(super) fn is_all_token(text: &[u8]) -> bool {
    text.iter().fold(true, |good, &byte| good & is_token(byte))
}

/// True for a byte that the host and port of a URI may have (RFC 3986 §3.2); no list has it.
pub(super) fn is_of_authority(byte: u8) -> bool {
    AUTHORITIES[usize::from(byte)]
}

/// Letters, digits and `extra`.
const fn alphanumeric_and(extra: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < extra.len() {
        table[extra[index] as usize] = true;
        index += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        if ascii.is_ascii_alphanumeric() {
            table[byte] = true;
        }
        byte += 1;
    }
    table
}

static TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");
static AUTHORITIES: [bool; 256] = alphanumeric_and(b"-._~%!$&'()*+;=:[]");

/// True when every byte may stand in a field value: no control character but the tab.
pub(super) fn is_value(value: &[u8]) -> bool {
    // Without an early exit, so that the compiler can use wide registers.
    !value.iter().fold(false, |bad, &byte| {
        bad | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f)
    })
}

/// True when `name` is a lower-case token, as HTTP/2 demands (RFC 9113 §8.2.1).
pub(super) fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().fold(true, |good, &byte| {
            good & is_token(byte) & !byte.is_ascii_uppercase()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_under_its_first_number() {
        for (id, (text, _)) in TABLE.iter().enumerate().skip(1) {
            let found = lookup(text);
            assert_eq!(*text, name(found));
            assert!(usize::from(found) <= id);
            assert!(FIRST.get(id).is_none_or(|first| *first == found));
        }
        assert_eq!(AUTHORITY, lookup(b":authority"));
        assert_eq!(METHOD, lookup(b":method"));
        assert_eq!(PATH, lookup(b":path"));
        assert_eq!(SCHEME, lookup(b":scheme"));
        assert_eq!(STATUS, lookup(b":status"));
        assert_eq!(CONTENT_LENGTH, lookup(b"content-length"));
        assert_eq!(TRANSFER_ENCODING, lookup(b"transfer-encoding"));
        assert_eq!(CONNECTION, lookup(b"connection"));
        assert_eq!(PROTOCOL, lookup(b":protocol"));
    }

    #[test]
    fn other_names_have_no_number() {
        for name in [&b""[..], b"x-request-id", b"Host", b"hos", b"hostt"] {
            assert_eq!(UNKNOWN, lookup(name));
        }
    }
}

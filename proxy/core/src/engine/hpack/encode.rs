//! Writes header blocks without a dynamic table.

use crate::engine::names::{self, NameId};
use crate::octets::same;

/// Announces a dynamic table of size zero: the first octet of a connection's first block, so that
/// no later setting of the peer can require another announcement (RFC 7541 §4.2).
pub const TABLE_SIZE_ZERO: u8 = 0x20;

/// An integer with a prefix of `bits` bits under the pattern `first`.
fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Writes one field. `name` is read only when `id` is not in the static table; `never` marks the
/// field as one that no hop may put into a table.
pub fn field(out: &mut Vec<u8>, id: NameId, name: &[u8], value: &[u8], never: bool) {
    if !never {
        if let Some(index) = exact(id, value) {
            out.push(0x80 | index);
            return;
        }
    }
    let first = if never { 0x10 } else { 0 };
    if (1..=61).contains(&id) {
        integer(out, first, 4, usize::from(id));
    } else {
        out.push(first);
        string(out, name);
    }
    string(out, value);
}

/// The static entry that has both the name and the value.
fn exact(id: NameId, value: &[u8]) -> Option<NameId> {
    let last = match id {
        names::METHOD => names::METHOD + 1,
        names::PATH => names::PATH + 1,
        names::SCHEME => names::SCHEME + 1,
        names::STATUS => names::STATUS + 6,
        16 => 16,
        _ => return None,
    };
    (id..=last).find(|&index| same(names::TABLE[usize::from(index)].1, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::names::{METHOD, PATH, STATUS, UNKNOWN};

    type Row = (NameId, &'static [u8], &'static [u8], &'static [u8]);

    #[test]
    fn known_pairs_take_one_octet_and_known_names_an_index() {
        let table: [Row; 7] = [
            (METHOD, b"", b"GET", b"\x82"),
            (METHOD, b"", b"POST", b"\x83"),
            (METHOD, b"", b"PUT", b"\x02\x03PUT"),
            (PATH, b"", b"/", b"\x84"),
            (STATUS, b"", b"500", b"\x8e"),
            (UNKNOWN, b"x-a", b"b", b"\x00\x03x-a\x01b"),
            (31, b"", b"a", b"\x0f\x10\x01a"),
        ];
        for (id, name, value, expected) in table {
            let mut out = Vec::new();
            field(&mut out, id, name, value, false);
            assert_eq!(expected, out);
        }
    }
}

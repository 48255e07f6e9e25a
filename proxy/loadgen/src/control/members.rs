//! The endpoints that destination updates add and remove, as far as counting them needs.

use std::collections::HashSet;

/// Applies an `io.linkerd.proxy.destination.Update`; what is no such message changes nothing.
///
/// An endpoint is known by a hash of its encoded address.
pub(crate) fn apply(members: &mut HashSet<u64>, update: &[u8]) {
    for (field, value) in Fields(update) {
        match field {
            // add: WeightedAddrSet{addrs: WeightedAddr{addr}}
            1 => {
                for (_, weighted) in Fields(value).filter(|(field, _)| *field == 1) {
                    if let Some((_, address)) = Fields(weighted).find(|(field, _)| *field == 1) {
                        members.insert(hash(address));
                    }
                }
            }
            // remove: AddrSet{addrs}
            2 => {
                for (_, address) in Fields(value).filter(|(field, _)| *field == 1) {
                    members.remove(&hash(address));
                }
            }
            // no_endpoints
            3 => members.clear(),
            _ => {}
        }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The length-delimited fields of a protobuf message; others are passed over.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            match tag & 7 {
                0 => {
                    self.varint()?;
                }
                1 => self.0 = self.0.get(8..)?,
                5 => self.0 = self.0.get(4..)?,
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    let value = self.0.get(..length)?;
                    self.0 = &self.0[length..];
                    return Some((tag >> 3, value));
                }
                _ => return None,
            }
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("short");
        [&[number << 3 | 2, length], value].concat()
    }

    #[test]
    fn adds_and_removes_by_address() {
        let weighted = |address: &[u8]| field(1, &[field(1, address), vec![0x18, 7]].concat());
        let add = field(1, &[weighted(b"one"), weighted(b"two")].concat());
        let mut members = HashSet::new();
        apply(&mut members, &add);
        apply(&mut members, &add);
        assert_eq!(2, members.len());
        apply(&mut members, &field(2, &field(1, b"one")));
        assert_eq!(1, members.len());
        apply(&mut members, &field(3, &[]));
        assert!(members.is_empty());
    }

    #[test]
    fn truncated_bytes_end_the_fields() {
        let add = field(1, &field(1, &field(1, b"one")));
        for end in 0..add.len() {
            apply(&mut HashSet::new(), &add[..end]);
        }
    }
}

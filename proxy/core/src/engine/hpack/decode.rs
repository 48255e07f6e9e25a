//! Reads a header block into a [`Head`].

use super::huffman;
use super::table::Dynamic;
use crate::engine::head::{Head, Span};
use crate::engine::names::{self, NameId, UNKNOWN};

/// The block cannot be decoded: the connection's compression state is lost (COMPRESSION_ERROR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// Decoding state of one connection's receiving side.
#[derive(Debug)]
pub struct Decoder {
    dynamic: Dynamic,
    /// What our SETTINGS_HEADER_TABLE_SIZE allows the peer to choose.
    limit: usize,
}

/// The largest integer that a block may carry: far above any limit, far below overflow.
const MAX_INTEGER: usize = 1 << 24;

impl Decoder {
    /// A decoder whose peer may use a dynamic table of up to `limit` octets.
    pub fn new(limit: usize) -> Self {
        Self {
            dynamic: Dynamic::new(limit),
            limit,
        }
    }

    /// Appends the fields of a complete `block` to `head`.
    ///
    /// Fields beyond the head's limits are decoded, for the table's sake, and dropped; the head
    /// then says that it is too large. A field that HTTP/2 forbids marks the head as malformed.
    ///
    /// # Errors
    /// [`Corrupt`] when the block breaks RFC 7541.
    pub fn decode(&mut self, block: &[u8], head: &mut Head) -> Result<(), Corrupt> {
        let mut input = block;
        let mut fields = false;
        while let Some(&first) = input.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut input, 7)?;
                self.indexed(index, head)?;
            } else if first & 0x40 != 0 {
                let index = integer(&mut input, 6)?;
                self.literal(&mut input, index, head, Keep::Insert)?;
            } else if first & 0x20 != 0 {
                let size = integer(&mut input, 5)?;
                // A change of size stands before the first field (§4.2) and within our setting.
                if fields || size > self.limit {
                    return Err(Corrupt);
                }
                self.dynamic.resize(size);
                continue;
            } else {
                let keep = if first & 0x10 != 0 {
                    Keep::Never
                } else {
                    Keep::No
                };
                let index = integer(&mut input, 4)?;
                self.literal(&mut input, index, head, keep)?;
            }
            fields = true;
        }
        Ok(())
    }

    fn indexed(&mut self, index: usize, head: &mut Head) -> Result<(), Corrupt> {
        let (id, name, value) = self.entry(index)?;
        // An octet can stand for four thousand: what is dropped anyway is not copied first.
        if head.is_closed() {
            return Ok(());
        }
        let name = head.append(name);
        let value = head.append(value);
        head.accept(id, name, value, false);
        Ok(())
    }

    fn literal(
        &mut self,
        input: &mut &[u8],
        index: usize,
        head: &mut Head,
        keep: Keep,
    ) -> Result<(), Corrupt> {
        let (id, name) = if index == 0 {
            let span = string(input, head)?;
            match names::lookup(head.bytes(span)) {
                UNKNOWN => (UNKNOWN, span),
                id => (id, Span::EMPTY),
            }
        } else {
            let (id, name, _) = self.entry(index)?;
            (id, head.append(name))
        };
        let value = string(input, head)?;
        if keep == Keep::Insert {
            self.dynamic.insert(id, head.bytes(name), head.bytes(value));
        }
        head.accept(id, name, value, keep == Keep::Never);
        Ok(())
    }

    /// Number, name (empty when numbered) and value of an entry of either table.
    fn entry(&self, index: usize) -> Result<(NameId, &[u8], &[u8]), Corrupt> {
        match index {
            0 => Err(Corrupt),
            1..=61 => Ok((names::FIRST[index], b"", names::TABLE[index].1)),
            _ => self.dynamic.get(index - 62).ok_or(Corrupt),
        }
    }
}

/// What a literal does to the dynamic table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Insert,
    No,
    /// Not here and not at any later hop (§7.1.3).
    Never,
}

/// An integer with a prefix of `bits` bits (§5.1).
fn integer(input: &mut &[u8], bits: u32) -> Result<usize, Corrupt> {
    let (&first, mut rest) = input.split_first().ok_or(Corrupt)?;
    let mask = (1usize << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Corrupt)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if value > MAX_INTEGER || shift > 28 {
                return Err(Corrupt);
            }
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value)
}

/// A string literal (§5.2), appended to the head's bytes.
fn string(input: &mut &[u8], head: &mut Head) -> Result<Span, Corrupt> {
    let packed = input.first().ok_or(Corrupt)? & 0x80 != 0;
    let length = integer(input, 7)?;
    if length > input.len() {
        return Err(Corrupt);
    }
    let (text, rest) = input.split_at(length);
    *input = rest;
    if packed {
        head.append_with(|bytes| huffman::decode(text, bytes))
            .ok_or(Corrupt)
    } else {
        Ok(head.append(text))
    }
}

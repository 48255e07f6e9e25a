//! The decoder's dynamic table: entries in one byte arena, oldest first.

use std::collections::VecDeque;

use crate::engine::names::{self, NameId, UNKNOWN};

/// Octets that each entry counts beside its text (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: usize,
    name: usize,
    value: usize,
    id: NameId,
}

/// Bounded by `max`, which the owner sets; holds nothing until the first insertion.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    bytes: Vec<u8>,
    /// Octets dropped from the front of `bytes` so far; slots count from the very first octet.
    dropped: usize,
    slots: VecDeque<Slot>,
    size: usize,
    max: usize,
}

impl Dynamic {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// Changes the bound and evicts what no longer fits.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    /// The entry `index` steps before the newest: number, name (empty when numbered) and value.
    pub(super) fn get(&self, index: usize) -> Option<(NameId, &[u8], &[u8])> {
        let newest = self.slots.len().checked_sub(1)?;
        let slot = self.slots.get(newest.checked_sub(index)?)?;
        let at = slot.at - self.dropped;
        let name = self.bytes.get(at..at + slot.name)?;
        let value = self
            .bytes
            .get(at + slot.name..at + slot.name + slot.value)?;
        Some((slot.id, name, value))
    }

    /// Adds an entry; one larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, id: NameId, name: &[u8], value: &[u8]) {
        let name = if id == UNKNOWN { name } else { b"" };
        let cost = Self::cost(id, name.len(), value.len());
        if cost > self.max {
            self.evict(0);
            return;
        }
        self.evict(self.max - cost);
        if self.bytes.len() > 2 * self.max {
            self.compact();
        }
        self.slots.push_back(Slot {
            at: self.dropped + self.bytes.len(),
            name: name.len(),
            value: value.len(),
            id,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += cost;
    }

    fn cost(id: NameId, name: usize, value: usize) -> usize {
        name + names::name(id).len() + value + OVERHEAD
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit {
            let Some(slot) = self.slots.pop_front() else {
                break;
            };
            self.size -= Self::cost(slot.id, slot.name, slot.value);
        }
        if self.slots.is_empty() {
            self.dropped += self.bytes.len();
            self.bytes.clear();
        }
    }

    fn compact(&mut self) {
        let first = self.slots.front().map_or(0, |slot| slot.at - self.dropped);
        self.bytes.drain(..first);
        self.dropped += first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_entries_leave_first_and_text_survives_compaction() {
        let mut table = Dynamic::new(100);
        for round in 0..100u8 {
            table.insert(UNKNOWN, &[b'n', round], &[b'v'; 10]);
            assert_eq!(
                Some((UNKNOWN, &[b'n', round][..], &[b'v'; 10][..])),
                table.get(0)
            );
            assert!(table.get(2).is_none());
            assert!(table.bytes.len() <= 212);
        }
        assert_eq!(Some(&[b'n', 98][..]), table.get(1).map(|entry| entry.1));
        table.resize(50);
        assert!(table.get(1).is_none());
        table.insert(UNKNOWN, &[b'x'; 40], b"");
        assert!(table.get(0).is_none());
    }
}

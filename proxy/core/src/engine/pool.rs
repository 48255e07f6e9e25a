//! Buffers for reuse, as few octets as make reuse worth while.

/// Most buffers that are kept.
const BUFFERS: usize = 64;
/// Octets of all of them together.
const OCTETS: usize = 512 * 1024;

/// Empty buffers that keep their memory.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Vec<Vec<u8>>,
    /// Capacity of all `free`.
    octets: usize,
}

impl Pool {
    /// An empty buffer, of any capacity.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.octets -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer's memory while there is room; frees it else.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let octets = self.octets + buffer.capacity();
        if buffer.capacity() > 0 && octets <= OCTETS && self.free.len() < BUFFERS {
            self.octets = octets;
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_again_up_to_a_number_of_octets() {
        let mut pool = Pool::default();
        for _ in 0..3 {
            pool.give(Vec::with_capacity(OCTETS / 2));
        }
        let kept = [(); 3].map(|()| pool.take().capacity());
        assert_eq!([OCTETS / 2, OCTETS / 2, 0], kept);
        pool.give(Vec::with_capacity(OCTETS));
        assert_eq!(OCTETS, pool.take().capacity());
    }
}

//! A vector with free places, whose keys go stale when their place is given away.
//!
//! Values are boxed, so that they are not moved about, and so that after a burst an empty place
//! holds no more than a pointer. Some boxes are kept for the next values.

/// Most boxes that are kept.
const SPARES_MAX: usize = 64;

/// A place and the generation that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

impl Key {
    /// No slab has this place.
    pub(super) const NOWHERE: Self = Self {
        index: u32::MAX,
        generation: 0,
    };
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<Box<T>>,
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    spares: Vec<Box<T>>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            spares: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let value = Some(match self.spares.pop() {
            Some(mut spare) => {
                *spare = value;
                spare
            }
            None => Box::new(value),
        });
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = value;
            return Key {
                index,
                generation: slot.generation,
            };
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            value,
        });
        Key {
            index,
            generation: 0,
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.value.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.value.as_deref_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Box<T>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Takes back what [`Slab::remove`] gave, when nothing in it is of value any more.
    pub(super) fn recycle(&mut self, spare: Box<T>) {
        if self.spares.len() < SPARES_MAX {
            self.spares.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(Some(Box::new('a')), slab.remove(first));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(None, slab.get(first));
        assert_eq!(None, slab.get_mut(first));
        assert_eq!(None, slab.remove(first));
        assert_eq!(Some(&'b'), slab.get(second));
        assert_eq!(1, slab.len());
    }
}

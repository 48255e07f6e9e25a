//! The process's one source of randomness for picks and jitter; not for keys.

use linkerd_proxy_core::rng::Rng;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    // The standard library seeds RandomState from the kernel.
    static RNG: RefCell<Rng> = RefCell::new(Rng::new(RandomState::new().hash_one(0u8)));
}

/// Runs `use_rng` with this thread's generator.
pub fn with<T>(use_rng: impl FnOnce(&mut Rng) -> T) -> T {
    RNG.with(|rng| use_rng(&mut rng.borrow_mut()))
}

/// Sixteen random bits.
pub fn u16() -> u16 {
    with(|rng| rng.bits() as u16)
}

//! Fuzz targets as functions of bytes: they return, or panic where something is wrong.
//!
//! `make fuzz` explores each with libFuzzer; `tests/corpora.rs` replays the committed corpora with
//! the stable toolchain, so that what was found once stays found.

// A target is right to fail, and to look at nothing but the events that it needs.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

pub mod targets;

/// A target: its name, which is also its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("detect_http", targets::detect::http),
    ("detect_tls", targets::detect::tls),
    ("transport_header", targets::detect::transport_header),
    ("dns", targets::detect::dns),
    ("certificates", targets::detect::certificates),
    ("engine_bytes", targets::engine::bytes),
    ("engine_split", targets::engine::split),
    ("engine_driver", targets::driver::driver),
    ("engine_h1", targets::engine::h1),
    ("engine_h2_frames", targets::engine::h2_frames),
    ("engine_hpack", targets::engine::hpack),
    ("proto_destination", targets::messages::destination),
    ("proto_inbound", targets::messages::inbound),
    ("proto_outbound", targets::messages::outbound),
    ("proto_profile", targets::messages::profile),
    ("proto_tap", targets::messages::tap),
    ("route_match", targets::values::route_match),
    ("settings", targets::values::settings),
    ("values", targets::values::values),
];

/// The target called `name`.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS
        .iter()
        .find(|(found, _)| *found == name)
        .map(|(_, run)| *run)
}

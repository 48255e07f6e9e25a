//! The targets, by what they read.

pub mod detect;
pub mod driver;
pub mod engine;
pub mod messages;
pub mod values;

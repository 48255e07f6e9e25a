//! Load generators.

fn main() {}

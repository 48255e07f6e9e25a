//! HPACK (RFC 7541): [`decode::Decoder`] with static and dynamic table and a nibble-driven Huffman
//! decoder; [`encode`] with the static table and raw literals only.
//!
//! The encoder keeps no dynamic table: a field whose name is known costs a table index and a copy,
//! and nothing has to be remembered per connection (the gain of a table was measured as 0.6 µs per
//! request with twelve headers, and its cost is state that an attacker can aim at).

pub mod decode;
pub mod encode;
pub mod huffman;
mod table;

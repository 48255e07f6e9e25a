//! The Huffman code of HPACK.
//!
//! The code is canonical, so the lengths say everything: the automaton that reads it four bits at a
//! time is derived from them when the crate is compiled.
//!
//! # Source
//! RFC 7541 Appendix B (lengths), §5.2 (padding).

/// Bits of each symbol's code; 256 is the end-of-string symbol.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EMIT: u8 = 1;
const FAIL: u8 = 2;

/// What four bits do in a state.
#[derive(Clone, Copy)]
struct Step {
    next: u8,
    symbol: u8,
    flags: u8,
}

/// The automaton: inner nodes of the code's tree are its states, the root is state 0.
struct Automaton {
    steps: [[Step; 16]; 256],
    /// States where a string may end: at most seven bits of the end-of-string symbol were read.
    accept: [bool; 256],
}

/// Children are inner nodes (0..=255), leaves (`LEAF + symbol`) or not set yet.
const LEAF: u16 = 0x1000;
const UNSET: u16 = 0xffff;

const fn codes() -> [u32; 257] {
    let mut codes = [0; 257];
    let mut code: u32 = 0;
    let mut length = 1;
    while length <= 30 {
        code <<= 1;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] == length {
                codes[symbol] = code;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    codes
}

#[cfg(test)]
static CODES: [u32; 257] = codes();

const fn tree() -> [[u16; 2]; 256] {
    let codes = codes();
    let mut nodes = [[UNSET; 2]; 256];
    let mut used = 1;
    let mut symbol = 0;
    while symbol < 257 {
        let mut node = 0;
        let mut bit = LENGTHS[symbol];
        while bit > 0 {
            bit -= 1;
            let side = ((codes[symbol] >> bit) & 1) as usize;
            if bit == 0 {
                nodes[node][side] = LEAF + symbol as u16;
            } else {
                if nodes[node][side] == UNSET {
                    nodes[node][side] = used;
                    used += 1;
                }
                node = nodes[node][side] as usize;
            }
        }
        symbol += 1;
    }
    nodes
}

const fn automaton() -> Automaton {
    let nodes = tree();
    let none = Step {
        next: 0,
        symbol: 0,
        flags: 0,
    };
    let mut steps = [[none; 16]; 256];
    let mut state = 0;
    while state < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            let mut step = none;
            let mut node = state;
            let mut bit = 4;
            while bit > 0 {
                bit -= 1;
                let child = nodes[node][(nibble >> bit) & 1];
                if child == LEAF + 256 || child == UNSET {
                    step.flags = FAIL;
                    break;
                } else if child >= LEAF {
                    step.symbol = (child - LEAF) as u8;
                    step.flags = EMIT;
                    node = 0;
                } else {
                    node = child as usize;
                }
            }
            step.next = node as u8;
            steps[state][nibble] = step;
            nibble += 1;
        }
        state += 1;
    }
    let mut accept = [false; 256];
    let mut node = 0;
    let mut depth = 0;
    while depth < 8 {
        accept[node] = true;
        node = nodes[node][1] as usize;
        depth += 1;
    }
    Automaton { steps, accept }
}

static AUTOMATON: Automaton = automaton();

/// Appends the decoded `input` to `output`. Returns false, with `output` longer by what was read,
/// when the input has the end-of-string symbol or a padding other than at most seven one bits.
pub fn decode(input: &[u8], output: &mut Vec<u8>) -> bool {
    output.reserve(input.len() + input.len() / 2);
    let mut state = 0u8;
    for &byte in input {
        for nibble in [byte >> 4, byte & 15] {
            let step = AUTOMATON.steps[usize::from(state)][usize::from(nibble)];
            if step.flags & EMIT != 0 {
                output.push(step.symbol);
            }
            if step.flags & FAIL != 0 {
                return false;
            }
            state = step.next;
        }
    }
    AUTOMATON.accept[usize::from(state)]
}

/// Appends the encoded `input` to `output`. The data path writes raw literals, which cost fewer
/// cycles.
#[cfg(test)]
fn encode(input: &[u8], output: &mut Vec<u8>) {
    let mut bits: u64 = 0;
    let mut held = 0;
    for &byte in input {
        let length = LENGTHS[usize::from(byte)];
        bits = (bits << length) | u64::from(CODES[usize::from(byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            output.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        let rest = 8 - held;
        output.push(((bits << rest) as u8) | ((1u16 << rest) - 1) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfc() {
        let table: [(&[u8], &[u8]); 3] = [
            (
                b"www.example.com",
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            ),
            (b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            (b"302", b"\x64\x02"),
        ];
        for (text, code) in table {
            let mut out = Vec::new();
            encode(text, &mut out);
            assert_eq!(code, out);
            out.clear();
            assert!(decode(code, &mut out));
            assert_eq!(text, out);
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let (mut code, mut back) = (Vec::new(), Vec::new());
        encode(&all, &mut code);
        assert!(decode(&code, &mut back));
        assert_eq!(all, back);
    }

    #[test]
    fn bad_padding_and_end_of_string_are_refused() {
        // Seven one bits are padding, eight are not; zeros never are; thirty ones end a string.
        let table: [(&[u8], bool); 5] = [
            (b"\x64\x02", true),
            (b"\x07\xff", false),
            (b"\x00", false),
            (b"\xff\xff\xff\xff", false),
            (b"\xff", false),
        ];
        for (code, expected) in table {
            assert_eq!(expected, decode(code, &mut Vec::new()), "{code:?}");
        }
    }
}

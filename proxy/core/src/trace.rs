//! Trace contexts in headers: read from a request, and replaced for the next hop.
//!
//! Source: W3C Trace Context §3.2, openzipkin/b3-propagation, census gRPC binary encoding;
//! linkerd2-proxy linkerd/trace-context/src/propagation.rs (precedence).

/// How a request carries its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `traceparent`.
    W3c,
    /// `grpc-trace-bin`.
    GrpcBin,
    /// `x-b3-traceid` and its like.
    B3,
}

/// What a request says about its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that sent the request.
    pub span: [u8; 8],
    /// Whether spans are wanted.
    pub sampled: bool,
    /// How it came.
    pub format: Format,
}

const TRACEPARENT: &str = "traceparent";
const GRPC_BIN: &str = "grpc-trace-bin";
const B3_TRACE: &str = "x-b3-traceid";
const B3_SPAN: &str = "x-b3-spanid";
const B3_PARENT: &str = "x-b3-parentspanid";
const B3_SAMPLED: &str = "x-b3-sampled";

impl Context {
    /// Reads a request's context; `None` when it has none that makes sense.
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        let w3c = header(TRACEPARENT).and_then(w3c);
        let binary = || header(GRPC_BIN).and_then(grpc_bin);
        let b3 = || b3(header(B3_TRACE)?, header(B3_SPAN)?, header(B3_SAMPLED));
        let found = w3c.or_else(binary).or_else(b3)?;
        (found.trace != [0; 16] && found.span != [0; 8]).then_some(found)
    }

    /// The headers that hand the context on from the span `span`, replacing those of the same names.
    pub fn handed_on(&self, span: [u8; 8]) -> Vec<(&'static str, String)> {
        match self.format {
            Format::W3c => {
                let flags = if self.sampled { "01" } else { "00" };
                let text = format!("00-{}-{}-{flags}", hex(&self.trace), hex(&span));
                vec![(TRACEPARENT, text)]
            }
            Format::GrpcBin => {
                let mut bytes = vec![0, 0];
                bytes.extend(self.trace);
                bytes.push(1);
                bytes.extend(span);
                bytes.extend([2, u8::from(self.sampled)]);
                vec![(GRPC_BIN, base64(&bytes))]
            }
            Format::B3 => vec![(B3_SPAN, hex(&span)), (B3_PARENT, hex(&self.span))],
        }
    }
}

fn w3c(value: &[u8]) -> Option<Context> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let mut parts = text.split('-');
    let version = unhex::<1>(parts.next()?)?[0];
    let (trace, span) = (unhex(parts.next()?)?, unhex(parts.next()?)?);
    let flags = unhex::<1>(parts.next()?)?[0];
    // A later version may say more; version 0 says exactly this much.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    Some(Context {
        trace,
        span,
        sampled: flags & 1 == 1,
        format: Format::W3c,
    })
}

fn grpc_bin(value: &[u8]) -> Option<Context> {
    let bytes = unbase64(value)?;
    let (version, mut fields) = bytes.split_first()?;
    if *version != 0 {
        return None;
    }
    let (mut trace, mut span, mut sampled) = (None, None, false);
    while let Some((id, rest)) = fields.split_first() {
        let size = match id {
            0 => 16,
            1 => 8,
            2 => 1,
            _ => break,
        };
        let (field, rest) = rest.split_at_checked(size)?;
        match id {
            0 => trace = field.try_into().ok(),
            1 => span = field.try_into().ok(),
            _ => sampled = field[0] & 1 == 1,
        }
        fields = rest;
    }
    Some(Context {
        trace: trace?,
        span: span?,
        sampled,
        format: Format::GrpcBin,
    })
}

fn b3(trace: &[u8], span: &[u8], sampled: Option<&[u8]>) -> Option<Context> {
    let text = |bytes| std::str::from_utf8(bytes).ok().map(str::trim);
    let trace = text(trace)?;
    if trace.is_empty() || trace.len() > 32 {
        return None;
    }
    // Older traces have ids of half the length.
    let trace = unhex(&format!("{trace:0>32}"))?;
    let sampled = sampled.and_then(text);
    Some(Context {
        trace,
        span: unhex(text(span)?)?,
        sampled: matches!(sampled, Some("1" | "true" | "d")),
        format: Format::B3,
    })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// As gRPC writes binary headers: without padding.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}

fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.iter().take_while(|digit| **digit != b'=');
    let (mut out, mut word, mut bits) = (Vec::new(), 0u32, 0);
    for digit in digits {
        let value = ALPHABET.iter().position(|known| known == digit)?;
        word = word << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(headers: &[(&str, &str)]) -> Option<Context> {
        Context::read(|name| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_bytes())
        })
    }

    #[test]
    fn contexts_come_in_three_forms() {
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let bytes = [
            &[0, 0][..],
            &unhex::<16>(TRACE).expect("hex"),
            &[1],
            &unhex::<8>(SPAN).expect("hex"),
            &[2, 1],
        ]
        .concat();
        let binary = base64(&bytes);
        for (headers, format) in [
            (vec![("traceparent", w3c.as_str())], Format::W3c),
            (vec![("grpc-trace-bin", binary.as_str())], Format::GrpcBin),
            (
                vec![
                    ("x-b3-traceid", TRACE),
                    ("x-b3-spanid", SPAN),
                    ("x-b3-sampled", "1"),
                ],
                Format::B3,
            ),
        ] {
            let found = read(&headers).expect("a context");
            let expected = (TRACE.to_owned(), SPAN.to_owned(), true, format);
            let seen = (
                hex(&found.trace),
                hex(&found.span),
                found.sampled,
                found.format,
            );
            assert_eq!(expected, seen);
        }
    }

    #[test]
    fn w3c_wins_and_nonsense_is_none() {
        let w3c = format!("00-{TRACE}-{SPAN}-00");
        let both = [
            ("x-b3-traceid", "1"),
            ("x-b3-spanid", SPAN),
            ("traceparent", &w3c),
        ];
        let found = read(&both).expect("a context");
        assert_eq!((Format::W3c, false), (found.format, found.sampled));
        for value in [
            "",
            "00",
            &format!("ff-{TRACE}-{SPAN}-01"),
            &format!("00-{TRACE}-{SPAN}-01-more"),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        ] {
            assert_eq!(None, read(&[("traceparent", value)]), "{value}");
        }
        let short = [("x-b3-traceid", "463ac35c9f6413ad"), ("x-b3-spanid", SPAN)];
        let found = read(&short).expect("a context");
        assert_eq!("0000000000000000463ac35c9f6413ad", hex(&found.trace));
    }

    #[test]
    fn the_next_hop_sees_the_new_span_in_the_same_form() {
        for format in [Format::W3c, Format::GrpcBin, Format::B3] {
            let context = Context {
                trace: unhex(TRACE).expect("hex"),
                span: unhex(SPAN).expect("hex"),
                sampled: true,
                format,
            };
            let mut headers = context.handed_on([7; 8]);
            if format == Format::B3 {
                assert_eq!(SPAN, headers[1].1);
                headers.extend([
                    ("x-b3-traceid", TRACE.to_owned()),
                    ("x-b3-sampled", "1".to_owned()),
                ]);
            }
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let expected = Context {
                span: [7; 8],
                ..context
            };
            assert_eq!(Some(expected), read(&headers));
        }
    }

    proptest! {
        #[test]
        fn binary_text_survives(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Some(bytes.clone()), unbase64(base64(&bytes).as_bytes()));
        }

        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for name in [TRACEPARENT, GRPC_BIN, B3_TRACE] {
                let found = Context::read(|known| (known == name).then_some(&bytes[..]));
                prop_assert!(found.is_none_or(|context| context.span != [0; 8]));
            }
        }
    }
}

//! Guesses the protocol from the first bytes of a connection.
//!
//! All functions are incremental: given a prefix they answer, or say that more bytes are needed.

/// What the first bytes say about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A ClientHello that names this server.
    Sni(String),
    /// Not TLS, or a ClientHello without a usable server name.
    NotTls,
    /// Too few bytes to say.
    Incomplete,
}

/// What the first bytes say about HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else.
    NotHttp,
    /// Too few bytes to say.
    Incomplete,
}

/// What an HTTP/2 connection starts with; fourteen bytes suffice, as they do for Linkerd.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// No method is longer.
const METHOD_MAX: usize = 24;
/// A line that begins as a request and is longer is one: targets may have any length.
const LINE_MAX: usize = 1024;

/// Looks for an HTTP/2 preface or an HTTP/1 request line.
///
/// Linkerd's proxy decides on one read of at least 14 bytes; this waits for the line when a client
/// sends it in pieces, and gives up as soon as no HTTP can follow. At [`LINE_MAX`] bytes it has
/// decided, and what it has decided no later byte changes.
/// Source: linkerd2-proxy linkerd/http/detect (behaviour), RFC 9113 §3.4, RFC 9112 §3.
pub fn http(bytes: &[u8]) -> Http {
    let bytes = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let full = bytes.len() == LINE_MAX;
    if bytes.starts_with(H2_PREFACE) {
        return Http::Http2;
    }
    if H2_PREFACE.starts_with(bytes) {
        return Http::Incomplete;
    }
    let empty = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let text = bytes
        .get(bytes.iter().take_while(empty).count()..)
        .unwrap_or(b"");
    if text
        .get(..METHOD_MAX)
        .is_some_and(|start| !start.contains(&b' '))
    {
        return Http::NotHttp;
    }
    let end = text.iter().position(|&byte| byte == b'\n');
    let line = end.and_then(|end| text.get(..=end)).unwrap_or(text);
    let mut headers = [httparse::EMPTY_HEADER; 0];
    let parsed = httparse::Request::new(&mut headers).parse(line).is_ok();
    match (parsed, end.is_some(), full) {
        (false, ..) => Http::NotHttp,
        (true, true, _) => Http::Http1,
        (true, false, true) if !text.is_empty() => Http::Http1,
        (true, false, true) => Http::NotHttp,
        (true, false, false) => Http::Incomplete,
    }
}

/// Looks for a TLS ClientHello and its server name.
///
/// Reads across several records, since a hello with a post-quantum key share may be split.
/// Source: RFC 8446 §4.1.2 and §5.1, RFC 6066 §3.
pub fn tls(bytes: &[u8]) -> Tls {
    let mut hello = Vec::new();
    let mut rest = bytes;
    loop {
        match rest.first() {
            None => return Tls::Incomplete,
            Some(22) => {}
            Some(_) => return Tls::NotTls,
        }
        if rest.len() >= 2 && rest[1] != 3 {
            return Tls::NotTls;
        }
        if rest.len() < 5 {
            return Tls::Incomplete;
        }
        let len = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        if len == 0 || len > 16_640 {
            return Tls::NotTls;
        }
        let body = &rest[5..rest.len().min(5 + len)];
        hello.extend_from_slice(body);
        if hello.first().is_some_and(|kind| *kind != 1) {
            return Tls::NotTls;
        }
        if hello.len() >= 4 {
            let size =
                usize::from(hello[1]) << 16 | usize::from(hello[2]) << 8 | usize::from(hello[3]);
            if hello.len() >= 4 + size {
                return match server_name(&hello[4..4 + size]) {
                    Some(name) => Tls::Sni(name),
                    None => Tls::NotTls,
                };
            }
        }
        if body.len() < len {
            return Tls::Incomplete;
        }
        rest = &rest[5 + len..];
    }
}

/// A cursor over length-prefixed fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if self.0.len() < n {
            return None;
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Some(head)
    }

    fn sized8(&mut self) -> Option<&'a [u8]> {
        let n = usize::from(self.take(1)?[0]);
        self.take(n)
    }

    fn sized16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    fn u16(&mut self) -> Option<u16> {
        let b = self.take(2)?;
        Some(u16::from_be_bytes([b[0], b[1]]))
    }
}

fn server_name(hello: &[u8]) -> Option<String> {
    let mut fields = Fields(hello);
    fields.take(2 + 32)?;
    fields.sized8()?;
    fields.sized16()?;
    fields.sized8()?;
    let mut extensions = Fields(fields.sized16()?);
    loop {
        let kind = extensions.u16()?;
        let body = extensions.sized16()?;
        if kind != 0 {
            continue;
        }
        let mut names = Fields(Fields(body).sized16()?);
        let name_kind = names.take(1)?[0];
        let name = names.sized16()?;
        let text = std::str::from_utf8(name).ok()?;
        return (name_kind == 0 && !text.is_empty()).then(|| text.to_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello(name: Option<&str>, padding: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        extensions.extend_from_slice(&[0, 21]);
        extensions.extend_from_slice(&(padding as u16).to_be_bytes());
        extensions.extend(std::iter::repeat_n(0u8, padding));
        if let Some(name) = name {
            let n = name.len() as u16;
            extensions.extend_from_slice(&[0, 0]);
            extensions.extend_from_slice(&(n + 5).to_be_bytes());
            extensions.extend_from_slice(&(n + 3).to_be_bytes());
            extensions.push(0);
            extensions.extend_from_slice(&n.to_be_bytes());
            extensions.extend_from_slice(name.as_bytes());
        }
        let mut body = vec![3, 3];
        body.extend([7u8; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut out = vec![1, 0];
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend(body);
        out
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in message.chunks(size) {
            out.extend_from_slice(&[22, 3, 1]);
            out.extend_from_slice(&(chunk.len() as u16).to_be_bytes());
            out.extend_from_slice(chunk);
        }
        out
    }

    #[test]
    fn reads_the_server_name() {
        let bytes = records(&hello(Some("Web.Example"), 1200), 16_000);
        assert_eq!(Tls::Sni("web.example".into()), tls(&bytes));
        assert_eq!(Tls::NotTls, tls(&records(&hello(None, 0), 16_000)));
        assert_eq!(Tls::NotTls, tls(b"GET / HTTP/1.1\r\n"));
        assert_eq!(Tls::Incomplete, tls(b""));
    }

    #[test]
    fn tells_http_versions_apart() {
        let long = [&b"GET /"[..], &[b'a'; 4000]].concat();
        let cases: [(&[u8], Http); 14] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Http::Http1),
            (b"GET / HTTP/1.0\r\n\r\n", Http::Http1),
            (b"POST /a", Http::Incomplete),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http::Http2),
            (b"PRI * HT", Http::Incomplete),
            (b"\x00\x01\x02", Http::NotHttp),
            (b"*1\r\n$4\r\nPING\r\n", Http::NotHttp),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Http::NotHttp),
            (b"", Http::Incomplete),
            (b"GET / HTTP/1.1", Http::Incomplete),
            (b"GET / HTTP/1.1\r\n\0", Http::Http1),
            (b"GET / HTTP/1.1x", Http::NotHttp),
            (b"AMETHODTHATISFARTOOLONG123 / HTTP/1.1\r\n", Http::NotHttp),
            (&long, Http::Http1),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                expected,
                http(bytes),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_tls_answer(cut in 0usize..400, size in 1usize..300) {
            let bytes = records(&hello(Some("web.example"), 100), size);
            let cut = cut.min(bytes.len());
            let part = tls(&bytes[..cut]);
            prop_assert!(part == Tls::Incomplete || cut == bytes.len() || part == tls(&bytes));
            prop_assert_eq!(Tls::Sni("web.example".into()), tls(&bytes));
        }

        #[test]
        fn any_split_gives_the_same_http_answer(cut in 0usize..40) {
            let bytes = b"DELETE /some/path?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
            let part = http(&bytes[..cut.min(bytes.len())]);
            prop_assert!(part == Http::Incomplete || part == Http::Http1);
        }

        #[test]
        fn what_is_decided_stays_decided(
            bytes in "(GET|PRI|SET|[A-Z]{20,30})( [/*a-z]{0,3}){0,2}( HTTP/[12].[01])?\r?\n?.{0,9}",
        ) {
            let bytes = bytes.as_bytes();
            let mut decided = Http::Incomplete;
            for end in 0..=bytes.len() {
                let now = http(&bytes[..end]);
                prop_assert!(decided == Http::Incomplete || decided == now, "at {end}");
                decided = now;
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = tls(&bytes);
            let _ = http(&bytes);
        }
    }
}

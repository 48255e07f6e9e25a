//! Names of workloads as certificates carry them.

use std::fmt;

/// A peer's identity: a DNS-like name or a URI (`spiffe://…`), as found in the leaf's SAN.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Parses a DNS-like name (letters, digits, `-`, `.`, `_`) or a `scheme://` URI.
    ///
    /// Returns `None` for anything else. Names are lower-cased and lose a trailing dot.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains("://") {
            return (!text.chars().any(|c| c.is_whitespace() || c.is_control()))
                .then(|| Self(text.to_owned()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let valid = !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        valid.then(|| Self(name.to_ascii_lowercase()))
    }

    /// The name or URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a URI rather than a name.
    pub fn is_uri(&self) -> bool {
        self.0.contains("://")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_uris_only() {
        let cases = [
            (
                "web.emojivoto.serviceaccount.identity.linkerd.cluster.local",
                true,
            ),
            ("WEB.ns.", true),
            ("spiffe://root.linkerd.cluster.local/proxy", true),
            ("", false),
            ("a..b", false),
            ("a b", false),
            ("*.a", false),
        ];
        for (text, valid) in cases {
            assert_eq!(valid, Id::parse(text).is_some(), "{text}");
        }
    }
}

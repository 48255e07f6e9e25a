//! Heads of the engine as the rest of the proxy sees and changes them.

use super::respond::{Manner, Reply};
use super::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue, HOST};
use http::{Method, Request, Uri};
use linkerd_proxy_core::classify::is_grpc;
use linkerd_proxy_core::engine::{Head, HeadEdit};
use linkerd_proxy_core::filter::{
    judge, request_headers, response_headers, rewritten, Filter, Headers, Outcome,
};
use linkerd_proxy_core::route::{self, matched_prefix, Match};

/// Fields that the engine writes itself.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A request's head as routes see it.
#[derive(Clone, Copy)]
pub struct Routed<'a>(pub &'a Head);

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}

impl Routed<'_> {
    fn parts(&self) -> (&[u8], Option<&[u8]>) {
        let path = self.0.path();
        match path.iter().position(|byte| *byte == b'?') {
            Some(at) => (&path[..at], Some(&path[at + 1..])),
            None => (path, None),
        }
    }
}

impl route::Request for Routed<'_> {
    fn method(&self) -> &str {
        text(self.0.method())
    }

    fn authority(&self) -> Option<&str> {
        Some(text(self.0.authority())).filter(|authority| !authority.is_empty())
    }

    fn path(&self) -> &str {
        text(self.parts().0)
    }

    fn query(&self) -> Option<&str> {
        self.parts().1.map(text)
    }

    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        if name == HOST {
            return !self.0.authority().is_empty() && test(self.0.authority());
        }
        self.0.values(name.as_bytes()).any(test)
    }
}

impl Manner {
    /// Reads it off a head that came in over `version`.
    pub fn of_head(head: &Head, version: Version, emit: bool) -> Self {
        let http2 = version == Version::Http2;
        Self {
            grpc: http2 && is_grpc(head.get(b"content-type")),
            http1: !http2,
            emit,
        }
    }
}

/// The value of a field, if it is text.
pub fn text_of<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    std::str::from_utf8(head.get(name.as_bytes())?).ok()
}

/// A request's head as the log and watchers take it.
pub fn request_of(head: &Head, version: Version) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method()).unwrap_or_default();
    *request.version_mut() = match version {
        Version::Http1 => http::Version::HTTP_11,
        Version::Http2 => http::Version::HTTP_2,
    };
    *request.headers_mut() = map_of(head);
    let path = text(head.path());
    let authority = text(head.authority());
    let absolute = version == Version::Http2 || head.scheme().is_some();
    let uri = match (path.is_empty(), absolute) {
        (true, _) => authority.to_owned(),
        (false, true) if !authority.is_empty() => {
            let scheme = head.scheme().map_or("http", text);
            format!("{scheme}://{authority}{path}")
        }
        (false, _) => path.to_owned(),
    };
    *request.uri_mut() = Uri::try_from(uri).unwrap_or_default();
    if version == Version::Http1 {
        if let Ok(host) = HeaderValue::from_bytes(head.authority()) {
            request.headers_mut().insert(HOST, host);
        }
    }
    request
}

/// The fields of a head, with the length that the engine keeps apart.
pub fn map_of(head: &Head) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            // A map that is full shows what fits.
            let _ = map.try_append(name, value);
        }
    }
    if let Some(length) = head.content_length() {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    map
}

type Field = (String, Vec<u8>);

/// What is changed in a head beyond what every head needs: for most heads nothing, which is small.
#[derive(Clone, Debug, Default)]
pub struct Changes(Option<Box<Made>>);

#[derive(Clone, Debug, Default)]
struct Made {
    authority: Option<Vec<u8>>,
    /// Another path and query.
    path: Option<Vec<u8>>,
    remove: Vec<String>,
    set: Vec<Field>,
    add: Vec<Field>,
}

impl Headers for Changes {
    fn add(&mut self, name: &str, value: &[u8]) {
        if name != HOST && !FRAMING.contains(&name) {
            let made = self.0.get_or_insert_default();
            made.add.push((name.to_owned(), value.to_vec()));
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        if name == HOST {
            self.0.get_or_insert_default().authority = Some(value.to_vec());
            return;
        }
        self.remove(name);
        if !FRAMING.contains(&name) {
            let made = self.0.get_or_insert_default();
            made.set.push((name.to_owned(), value.to_vec()));
        }
    }

    fn remove(&mut self, name: &str) {
        let made = self.0.get_or_insert_default();
        made.set.retain(|(set, _)| set != name);
        made.add.retain(|(add, _)| add != name);
        made.remove.push(name.to_owned());
    }
}

fn pairs(fields: &[Field]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
}

impl Changes {
    /// Applies a rule's or backend's filters to a request.
    ///
    /// # Errors
    /// What to answer instead of forwarding it.
    pub fn on_request(
        &mut self,
        filters: &[Filter],
        matches: &[Match],
        head: &Head,
    ) -> Result<(), Reply> {
        if filters.is_empty() {
            return Ok(());
        }
        let routed = Routed(head);
        let prefix = matched_prefix(matches, &routed);
        let scheme = head.scheme().map(text);
        let outcome = crate::random::with(|rng| judge(filters, &routed, scheme, prefix, rng));
        match outcome {
            Outcome::Pass => {}
            Outcome::Fail(kind, message) => return Err(Reply::Injected(kind, message)),
            Outcome::Redirect { status, location } => {
                return Err(Reply::Redirect { status, location })
            }
            Outcome::Invalid => return Err(Reply::Invalid),
        }
        let rewritten = rewritten(filters, &routed, prefix);
        let (host, path) = rewritten.ok_or(Reply::Invalid)?;
        if host.is_some() || path.is_some() {
            let made = self.0.get_or_insert_default();
            made.authority = host.map(String::into_bytes).or(made.authority.take());
            made.path = path.map(String::into_bytes).or(made.path.take());
        }
        request_headers(filters, self);
        Ok(())
    }

    /// Applies filters to a response.
    pub fn on_response(&mut self, filters: &[Filter]) {
        response_headers(filters, self);
    }

    /// The other authority.
    pub fn authority(&self) -> Option<&[u8]> {
        self.0.as_ref()?.authority.as_deref()
    }

    /// What `name` is set to.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.as_ref()?.set.iter().find(|(set, _)| set == name);
        found.map(|(_, value)| value.as_slice())
    }

    /// Sets what this sets in an answer of ours.
    pub fn apply(&self, map: &mut HeaderMap) {
        for (name, value) in self.0.iter().flat_map(|made| &made.set) {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                map.insert(name, value);
            }
        }
    }

    /// Does what `other` does after this.
    pub fn also(&mut self, other: Self) {
        let Some(other) = other.0 else { return };
        for name in &other.remove {
            self.remove(name);
        }
        let made = self.0.get_or_insert_default();
        made.authority = other.authority.or(made.authority.take());
        made.set.extend(other.set);
        made.add.extend(other.add);
    }

    /// Calls `work` with an edit that does this on top of `base`.
    pub fn with_edit<T>(&self, base: HeadEdit<'_>, work: impl FnOnce(&HeadEdit<'_>) -> T) -> T {
        let Some(made) = &self.0 else {
            return work(&base);
        };
        let authority = base.authority.or(made.authority.as_deref());
        let path = base.path.or(made.path.as_deref());
        let removed = made.remove.iter().map(String::as_bytes);
        let remove: Vec<&[u8]> = base.remove.iter().copied().chain(removed).collect();
        let set: Vec<(&[u8], &[u8])> = base.set.iter().copied().chain(pairs(&made.set)).collect();
        let add: Vec<(&[u8], &[u8])> = base.add.iter().copied().chain(pairs(&made.add)).collect();
        work(&HeadEdit {
            authority,
            path,
            remove: &remove,
            set: &set,
            add: &add,
            ..base
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(changes: &Changes) -> (Vec<String>, Vec<String>, Vec<String>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pair = |(name, value): &(&[u8], &[u8])| format!("{}={}", text(name), text(value));
        changes.with_edit(HeadEdit::default(), |edit| {
            (
                edit.remove.iter().map(|name| text(name)).collect(),
                edit.set.iter().map(pair).collect(),
                edit.add.iter().map(pair).collect(),
            )
        })
    }

    #[test]
    fn later_changes_win_over_earlier_ones() {
        let mut changes = Changes::default();
        changes.add("a", b"1");
        changes.set("a", b"2");
        changes.add("a", b"3");
        changes.set("b", b"4");
        changes.remove("b");
        let (remove, set, add) = edited(&changes);
        assert_eq!(vec!["a", "b", "b"], remove);
        assert_eq!(vec!["a=2"], set);
        assert_eq!(vec!["a=3"], add);
    }

    #[test]
    fn framing_is_left_to_the_engine_and_the_host_becomes_the_authority() {
        let mut changes = Changes::default();
        changes.set("transfer-encoding", b"chunked");
        changes.add("content-length", b"3");
        changes.set("host", b"other");
        let (_, set, add) = edited(&changes);
        assert!(set.is_empty() && add.is_empty());
        let authority = changes.with_edit(HeadEdit::default(), |edit| {
            edit.authority.map(<[u8]>::to_vec)
        });
        assert_eq!(Some(b"other".to_vec()), authority);
    }
}

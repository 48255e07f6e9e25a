//! A message head as flat bytes and spans: what a driver looks at when it decides.
//!
//! Heads come from a pool and keep their capacity, so a request allocates nothing once the pool is
//! warm. Names are lower-case. Fields that belong to one connection (`connection` and those that it
//! names, `transfer-encoding`, `keep-alive`, `upgrade`, …) and the length are taken out while
//! parsing and written anew by the side that sends.

use super::names::{self, NameId, UNKNOWN};
use crate::octets::same;

/// A range of a head's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    at: u32,
    len: u32,
}

impl Span {
    pub(super) const EMPTY: Self = Self { at: 0, len: 0 };

    pub(super) fn new(at: usize, len: usize) -> Self {
        Self {
            at: at as u32,
            len: len as u32,
        }
    }

    /// The span with the `more` octets behind it.
    pub(super) fn join(self, more: usize) -> Self {
        Self {
            at: self.at,
            len: self.len + more as u32,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    id: NameId,
    never: bool,
    name: Span,
    value: Span,
}

/// Why a head cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It breaks the protocol's rules for messages.
    Malformed,
    /// It has more octets or fields than the limits allow.
    TooLarge,
}

/// What may stand in a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Request,
    Response,
    Trailers,
}

/// Octets that a field counts beside its text (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// The head of a request, of a response, or a trailer section.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    pub(super) kind: Kind,
    pub(super) method: Option<Span>,
    pub(super) scheme: Option<Span>,
    pub(super) authority: Option<Span>,
    pub(super) path: Option<Span>,
    protocol: Option<Span>,
    pub(super) upgrade: Option<Span>,
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) te_trailers: bool,
    pub(super) expects_continue: bool,
    host: Option<Span>,
    size: usize,
    max_size: usize,
    max_fields: usize,
    malformed: bool,
    too_large: bool,
}

impl Head {
    /// Empties the head for another message of `kind` within the given limits.
    pub(super) fn reset(&mut self, kind: Kind, max_size: usize, max_fields: usize) {
        let (mut bytes, mut fields) = (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.fields),
        );
        bytes.clear();
        fields.clear();
        *self = Self {
            bytes,
            fields,
            kind,
            max_size,
            max_fields,
            ..Self::default()
        };
    }

    /// Octets held, for the pool to judge.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// The request's method; empty in responses and trailers.
    pub fn method(&self) -> &[u8] {
        self.optional(self.method)
    }

    /// The request's scheme, when the client named one.
    pub fn scheme(&self) -> Option<&[u8]> {
        self.scheme.map(|span| self.bytes(span))
    }

    /// The request's authority: `:authority`, the host of an absolute target, or `host`.
    pub fn authority(&self) -> &[u8] {
        self.optional(self.authority)
    }

    /// The request's path with its query; `*` for a request about the server; empty for CONNECT.
    pub fn path(&self) -> &[u8] {
        self.optional(self.path)
    }

    /// The response's status; 0 in requests and trailers.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The declared length of the body in octets.
    pub fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// The protocol that a client asks for, or that a 101 response agrees to.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| self.bytes(span))
    }

    /// All fields in order of arrival, as lower-case name and value; without pseudo fields,
    /// `host`, the length and connection-specific fields.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (self.name_of(field), self.bytes(field.value)))
    }

    /// The values of every field called `name` (lower-case), in order.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.fields()
            .filter(move |(found, _)| same(found, name))
            .map(|(_, value)| value)
    }

    /// The first value of `name` (lower-case).
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.fields().find(|(found, _)| same(found, name));
        found.map(|(_, value)| value)
    }

    pub(super) fn is_method(&self, method: &[u8]) -> bool {
        self.method() == method
    }

    fn optional(&self, span: Option<Span>) -> &[u8] {
        span.map_or(b"", |span| self.bytes(span))
    }

    fn name_of(&self, field: &Field) -> &[u8] {
        if field.id == UNKNOWN {
            self.bytes(field.name)
        } else {
            names::name(field.id)
        }
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        let at = span.at as usize;
        self.bytes.get(at..at + span.len as usize).unwrap_or(b"")
    }

    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn append(&mut self, text: &[u8]) -> Span {
        let span = Span::new(self.bytes.len(), text.len());
        self.bytes.extend_from_slice(text);
        span
    }

    /// Adds a field of our own.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let id = names::lookup(name);
        let (name, value) = (self.append(name), self.append(value));
        self.push(id, name, value);
    }

    pub(super) fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Span> {
        let at = self.bytes.len();
        write(&mut self.bytes).then(|| Span::new(at, self.bytes.len() - at))
    }

    /// Counts a field against the limits; false when it does not fit.
    pub(super) fn charge(&mut self, id: NameId, name: Span, value: Span) -> bool {
        let named = if id == UNKNOWN {
            name.len as usize
        } else {
            names::name(id).len()
        };
        self.size += named + value.len as usize + FIELD_OVERHEAD;
        if self.size > self.max_size || self.fields.len() >= self.max_fields {
            self.too_large = true;
        }
        !self.too_large
    }

    pub(super) fn push(&mut self, id: NameId, name: Span, value: Span) {
        self.fields.push(Field {
            id,
            never: false,
            name,
            value,
        });
    }

    /// Drops the fields called `name`: those that a `connection` field nominated.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|field| !self.name_of(field).eq_ignore_ascii_case(name));
        self.fields = fields;
    }

    /// True when no further field is kept.
    pub(super) fn is_closed(&self) -> bool {
        self.malformed || self.too_large
    }

    /// Takes a field of an HTTP/2 block that was just appended.
    ///
    /// What does not belong there marks the head; the bytes of dropped fields are given back, so a
    /// block that refers to one large entry thousands of times holds no more than the limit.
    pub(super) fn accept(&mut self, id: NameId, name: Span, value: Span, never: bool) {
        let mark = self
            .bytes
            .len()
            .saturating_sub(name.len as usize + value.len as usize);
        if self.malformed || !self.charge(id, name, value) {
            self.bytes.truncate(mark);
            return;
        }
        if !names::is_value(self.bytes(value)) || !self.place(id, name, value, never) {
            self.malformed = true;
        }
    }

    /// Puts a field where it belongs; false when it must not be there.
    fn place(&mut self, id: NameId, name: Span, value: Span, never: bool) -> bool {
        use names::{
            AUTHORITY, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HTTP2_SETTINGS, KEEP_ALIVE,
            METHOD, PATH, PROTOCOL, PROXY_CONNECTION, SCHEME, STATUS, TE, TRANSFER_ENCODING,
            UPGRADE,
        };
        match id {
            METHOD | SCHEME | AUTHORITY | PATH | PROTOCOL => {
                // Pseudo fields stand before all others (RFC 9113 §8.3).
                if self.kind != Kind::Request || self.started() {
                    return false;
                }
                let slot = match id {
                    METHOD => &mut self.method,
                    SCHEME => &mut self.scheme,
                    AUTHORITY => &mut self.authority,
                    PATH => &mut self.path,
                    _ => &mut self.protocol,
                };
                slot.replace(value).is_none()
            }
            STATUS => {
                if self.kind != Kind::Response || self.started() || self.status != 0 {
                    return false;
                }
                self.status = status(self.bytes(value)).unwrap_or(0);
                self.status != 0
            }
            CONNECTION | KEEP_ALIVE | PROXY_CONNECTION | TRANSFER_ENCODING | UPGRADE => false,
            HTTP2_SETTINGS => true,
            TE => {
                self.te_trailers = true;
                self.bytes(value) == b"trailers"
            }
            CONTENT_LENGTH => {
                let length = length(self.bytes(value));
                if self.kind == Kind::Trailers {
                    return true;
                }
                // Several equal values are one message's mistake, different ones an attack.
                if length.is_none() || self.length.is_some_and(|known| Some(known) != length) {
                    return false;
                }
                self.length = length;
                true
            }
            HOST if self.kind == Kind::Request => self.host.replace(value).is_none(),
            _ => {
                if id == UNKNOWN && !names::is_lower_token(self.bytes(name)) {
                    return false;
                }
                if id == EXPECT {
                    self.expects_continue |=
                        self.bytes(value).eq_ignore_ascii_case(b"100-continue");
                }
                self.fields.push(Field {
                    id,
                    never,
                    name,
                    value,
                });
                true
            }
        }
    }

    fn started(&self) -> bool {
        !self.fields.is_empty() || self.host.is_some() || self.length.is_some() || self.te_trailers
    }

    /// Checks an HTTP/2 head as a whole, after its last field.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        let valid = !self.malformed
            && match self.kind {
                Kind::Request => self.finish_request(),
                Kind::Response => self.status != 0 || self.too_large,
                Kind::Trailers => true,
            };
        match (valid, self.too_large) {
            (_, true) => Err(Fault::TooLarge),
            (false, false) => Err(Fault::Malformed),
            (true, false) => Ok(()),
        }
    }

    fn finish_request(&mut self) -> bool {
        if self.too_large {
            return true;
        }
        let Some(method) = self.method else {
            return false;
        };
        if !names::is_all_token(self.bytes(method)) || self.bytes(method).is_empty() {
            return false;
        }
        // `host` speaks where `:authority` does not, and is dropped where that does (§8.3.1): clients
        // exist that send both, and one alone goes on, so no two servers can disagree about it.
        self.authority = self.authority.or(self.host);
        if !is_authority(self.authority()) {
            return false;
        }
        if self.is_method(b"CONNECT") && self.protocol.is_none() {
            return self.scheme.is_none() && self.path.is_none() && !self.authority().is_empty();
        }
        // Extended CONNECT was not offered (RFC 8441).
        self.protocol.is_none()
            && self.scheme.is_some_and(|span| is_scheme(self.bytes(span)))
            && is_target(self.path())
            && (self.path()[0] == b'/' || (self.path() == b"*" && self.is_method(b"OPTIONS")))
    }

    /// Calls `write` for every field that goes to the next hop, in order, with `edit` applied.
    pub(super) fn each(&self, edit: &HeadEdit<'_>, mut write: impl FnMut(FieldRef<'_>)) {
        let plain = edit.remove.is_empty() && edit.set.is_empty();
        for field in &self.fields {
            let name = self.name_of(field);
            if !plain && edit.drops(name) {
                continue;
            }
            write(FieldRef {
                id: field.id,
                name,
                value: self.bytes(field.value),
                never: field.never || field.id == names::AUTHORIZATION,
            });
        }
        for &(name, value) in edit.set.iter().chain(edit.add) {
            write(FieldRef {
                id: names::lookup(name),
                name,
                value,
                never: false,
            });
        }
    }
}

/// One field on its way out.
pub(super) struct FieldRef<'a> {
    pub(super) id: NameId,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) never: bool,
}

/// Changes to a head on its way through. Names are lower-case.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadEdit<'a> {
    /// Replaces the request's scheme.
    pub scheme: Option<&'a [u8]>,
    /// Replaces the request's authority.
    pub authority: Option<&'a [u8]>,
    /// Replaces the request's path and query.
    pub path: Option<&'a [u8]>,
    /// Replaces the response's status.
    pub status: Option<u16>,
    /// Fields to drop, all values.
    pub remove: &'a [&'a [u8]],
    /// Fields to write once, in place of all present values.
    pub set: &'a [(&'a [u8], &'a [u8])],
    /// Fields to append.
    pub add: &'a [(&'a [u8], &'a [u8])],
}

impl HeadEdit<'_> {
    fn drops(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| same(removed, name))
            || self.set.iter().any(|(set, _)| same(set, name))
    }

    /// True when what the edit adds is fit to be written: no text can end a line or a name early,
    /// and nothing changes how the message is framed.
    pub(super) fn is_sound(&self) -> bool {
        self.path.is_none_or(is_target)
            && self.authority.is_none_or(is_authority)
            && self.scheme.is_none_or(is_scheme)
            && self
                .status
                .is_none_or(|status| (200..=599).contains(&status))
            && self.set.iter().chain(self.add).all(|(name, value)| {
                names::is_lower_token(name)
                    && names::is_value(value)
                    && !is_framing(names::lookup(name))
            })
    }
}

/// Fields that only the engine writes.
pub(super) fn is_framing(id: NameId) -> bool {
    use names::{
        CONNECTION, CONTENT_LENGTH, HOST, HTTP2_SETTINGS, KEEP_ALIVE, PROXY_CONNECTION, TE,
        TRANSFER_ENCODING, UPGRADE,
    };
    matches!(
        id,
        CONNECTION
            | CONTENT_LENGTH
            | HOST
            | HTTP2_SETTINGS
            | KEEP_ALIVE
            | PROXY_CONNECTION
            | TE
            | TRANSFER_ENCODING
            | UPGRADE
    )
}

/// A length as RFC 9110 §8.6 writes it: digits only; none for a list, a sign or an overflow.
pub(super) fn length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// A status of three digits from 100 to 999.
pub(super) fn status(text: &[u8]) -> Option<u16> {
    let value = length(text)?;
    (text.len() == 3 && value >= 100).then_some(value as u16)
}

/// True for a request target in origin form or `*`: visible characters, or UTF-8 beyond ASCII.
pub(super) fn is_target(text: &[u8]) -> bool {
    let plain = text
        .iter()
        .fold(true, |good, &byte| good & (byte > 0x20) & (byte != 0x7f));
    plain && !text.is_empty() && !text.contains(&b'#') && (text.is_ascii() || utf8(text))
}

fn utf8(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
}

/// True for `host[:port]` or nothing: no user, path, space or list.
pub(super) fn is_authority(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |good, &byte| good & names::is_of_authority(byte))
}

fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

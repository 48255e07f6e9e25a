//! How an application may read a path that has more than one spelling.
//!
//! A route that guards `/admin` must not be passed by `/public/../admin` or `/%61dmin`: which of the
//! two an application sees depends on the application. The path itself is never changed on its way.
//!
//! # Source
//! RFC 3986 §6.2.2; the path handling of common servers (nginx, Tomcat, IIS, Go, Node).

/// Rounds of decoding that are tried; a server that decodes more often is broken.
const ROUNDS: usize = 3;

/// True when every server reads `path` alike.
pub fn is_plain(path: &str) -> bool {
    let mut before = 0;
    for &byte in path.as_bytes() {
        if matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

/// Other forms in which an application may take `path`; none when it is plain.
///
/// Escapes that stand for neither structure nor an unreserved character stay as they are, so that
/// `/a%20b` is one path.
pub fn readings(path: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if is_plain(path) {
        return found;
    }
    let mut add = |reading: String| {
        if reading != path && !found.contains(&reading) {
            found.push(reading);
        }
    };
    add(without_dots(&decode(path, &is_unreserved)));
    let mut text = path.to_owned();
    for _ in 0..ROUNDS {
        text = decode(&text, &|byte| is_unreserved(byte) || is_structure(byte)).replace('\\', "/");
        add(without_dots(&text));
        add(without_dots(&merged(&text)));
        let bare = without_parameters(&text);
        add(without_dots(&bare));
        add(without_dots(&merged(&bare)));
        for end in ["%00", "?", "#"] {
            if let Some((cut, _)) = text.split_once(end) {
                add(without_dots(&merged(&without_parameters(cut))));
            }
        }
    }
    found
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What divides paths, or escapes.
fn is_structure(byte: u8) -> bool {
    b"/\\;%?#".contains(&byte)
}

/// Replaces the escapes of octets that `which` names.
fn decode(path: &str, which: &dyn Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let octet = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet {
            Some(octet) if octet.is_ascii() && which(octet) => {
                out.push(char::from(octet));
                rest = after.get(2..).unwrap_or("");
            }
            _ => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Removes `.` and `..` segments (RFC 3986 §5.2.4); no `..` leaves the root.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Takes several slashes in a row as one.
fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// Drops what follows a `;` in each segment, as servlet containers do.
fn without_parameters(path: &str) -> String {
    let bare = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(""));
    bare.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_have_one_reading() {
        for path in ["/", "/a", "/a/b/", "/a.b/c..d/...e", "*", "", "/a~b:c@d"] {
            // `/...e` begins like a dot segment and is looked at, without finding anything.
            assert_eq!(Vec::<String>::new(), readings(path), "{path}");
        }
    }

    #[test]
    fn guarded_paths_are_found_behind_every_spelling() {
        for path in [
            "/public/../admin",
            "/public/./../admin",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public%2f..%2fadmin",
            "/public/..%5cadmin",
            "/public\\..\\admin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "//admin",
            "/./admin",
            "/%61dmin",
            "/admin;x",
            "/admin%3bx",
            "/admin%00.html",
            "/admin%3fx",
            "/admin%23x",
            "/public/%252e%252e/admin",
            "/public/%25252e%25252e/admin",
            "/public/..//admin",
            "/../../admin",
            "/;/admin",
        ] {
            assert!(
                readings(path).contains(&"/admin".to_owned()),
                "{path}: {:?}",
                readings(path)
            );
        }
    }

    #[test]
    fn escapes_that_mean_nothing_else_stay() {
        assert_eq!(Vec::<String>::new(), readings("/a%20b"));
        assert_eq!(vec!["/A%20b".to_owned()], readings("/%41%20b"));
        for path in ["/%", "/%4", "/%zz", "/%\u{e9}"] {
            assert_eq!(Vec::<String>::new(), readings(path), "{path}");
        }
    }
}

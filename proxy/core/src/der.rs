//! The little of DER that a chain of certificates needs before a library takes them one by one.
//!
//! Source: ITU-T X.690 §8.1 and §10.1, RFC 5280 §4.1.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Cuts certificates that follow one another apart; `None` when that is not what `bytes` are.
pub fn certificates(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (_, rest) = value(bytes, SEQUENCE)?;
        out.push(&bytes[..bytes.len() - rest.len()]);
        bytes = rest;
    }
    Some(out)
}

/// When a certificate ends, in seconds since 1970; `None` when that cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut fields, _) = value(certificate, SEQUENCE)?;
    if let Some((_, rest)) = value(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = value(fields, tag)?;
    }
    let (validity, _) = value(fields, SEQUENCE)?;
    let (_, validity) = time(validity)?;
    time(validity).map(|(end, _)| end)
}

/// The content of the value that `bytes` begin with, if it has this tag, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // What takes four octets to count is no certificate.
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A time in one of its two forms, in seconds since 1970, and what follows it.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, century) = match value(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, None),
        None => {
            let (text, rest) = value(bytes, GENERALIZED_TIME)?;
            let (century, text) = text.split_at_checked(2)?;
            (text, rest, Some(two_digits(century)?))
        }
    };
    let (digits, zone) = text.split_at_checked(12)?;
    if zone != b"Z" {
        return None;
    }
    let mut parts = [0; 6];
    for (part, digits) in parts.iter_mut().zip(digits.chunks(2)) {
        *part = two_digits(digits)?;
    }
    let [year, month, day, hour, minute, second] = parts;
    // RFC 5280 §4.1.2.5.1: two digits are the years from 1950 on.
    let century = century.unwrap_or(if year < 50 { 20 } else { 19 });
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
    let days = valid.then(|| days(century * 100 + year, month, day))??;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second, rest))
}

fn two_digits(digits: &[u8]) -> Option<u64> {
    let [tens, ones] = digits else { return None };
    let digit = |b: u8| b.is_ascii_digit().then(|| u64::from(b - b'0'));
    Some(digit(*tens)? * 10 + digit(*ones)?)
}

/// Days from 1970 to a date; `None` before.
///
/// Counts in years that start in March, so that the leap day is the last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let since_0000 = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1;
    since_0000.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        assert!(content.len() < 128, "one octet of length");
        [&[tag, content.len() as u8], &content[..]].concat()
    }

    fn certificate(version: &[u8], validity: &[&[u8]]) -> Vec<u8> {
        let (serial, sequence) = (der(INTEGER, &[&[1]]), der(SEQUENCE, &[]));
        let validity = der(SEQUENCE, validity);
        let fields = [version, &serial, &sequence, &sequence, &validity];
        der(SEQUENCE, &[&der(SEQUENCE, &fields)])
    }

    #[test]
    fn certificates_are_cut_apart() {
        let (short, long) = (der(SEQUENCE, &[b"abc"]), [0x30, 0x82, 0, 3, 1, 2, 3]);
        let both = [&short[..], &long].concat();
        let empty: Vec<&[u8]> = Vec::new();
        assert_eq!(Some(empty), certificates(&[]));
        assert_eq!(Some(vec![&short[..], &long]), certificates(&both));
        for cut in [1, 3, 6, 9, 11] {
            assert_eq!(None, certificates(&both[..cut]), "cut at {cut}");
        }
        for other in [
            &[0x31, 0][..],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0, 0, 0, 0],
        ] {
            assert_eq!(None, certificates(other), "{other:?}");
        }
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        let begin = der(UTC_TIME, &[b"260101000000Z"]);
        let cases: &[(u8, &[u8], Option<u64>)] = &[
            (UTC_TIME, b"260101000000Z", Some(1_767_225_600)),
            (UTC_TIME, b"700101000001Z", Some(1)),
            (UTC_TIME, b"000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, b"20491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, b"690101000000Z", None),
            (UTC_TIME, b"261301000000Z", None),
            (UTC_TIME, b"2601010000Z", None),
            (UTC_TIME, b"260101000000+", None),
            (INTEGER, b"260101000000Z", None),
        ];
        let version = der(VERSION, &[&der(INTEGER, &[&[2]])]);
        for (tag, text, expected) in cases {
            let end = der(*tag, &[text]);
            for version in [&version[..], &[]] {
                let certificate = certificate(version, &[&begin, &end]);
                assert_eq!(*expected, not_after(&certificate), "{text:?}");
            }
        }
        assert_eq!(None, not_after(&certificate(&version, &[&begin])));
    }
}

//! The chunked coding as a machine that takes any split of its bytes.

/// What has been read of a chunked body (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Chunk {
    /// In a size line.
    Size {
        value: u64,
        digits: u8,
        /// Octets of the line so far.
        line: usize,
    },
    /// In the extensions of a size line, which are dropped.
    Extension {
        value: u64,
        line: usize,
    },
    /// Behind the CR of a size line.
    SizeEnd(u64),
    /// In the data of a chunk; octets left, never 0.
    Data(u64),
    /// Behind the data: CR, then LF.
    DataCr,
    DataLf,
    /// In the trailer section, which [`super::read::trailers`] reads as a whole.
    Trailers,
}

/// The body breaks the chunked coding; where it ends is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Broken;

impl Chunk {
    pub(in crate::engine) const START: Self = Self::Size {
        value: 0,
        digits: 0,
        line: 0,
    };

    /// Takes the octets up to the next data or to the trailers; returns how many it took.
    ///
    /// # Errors
    /// [`Broken`] on a size of no or more than 15 digits, a bare CR or LF, a line beyond `max_line`
    /// octets or a control character in an extension.
    pub(in crate::engine) fn advance(
        &mut self,
        input: &[u8],
        max_line: usize,
    ) -> Result<usize, Broken> {
        for (at, &byte) in input.iter().enumerate() {
            *self = match *self {
                Self::Data(_) | Self::Trailers => return Ok(at),
                Self::Size {
                    value,
                    digits,
                    line,
                } => size(byte, value, digits, line + 1)?,
                Self::Extension { value, line } => extension(byte, value, line + 1)?,
                Self::SizeEnd(value) if byte == b'\n' => match value {
                    0 => Self::Trailers,
                    left => Self::Data(left),
                },
                Self::DataCr if byte == b'\r' => Self::DataLf,
                Self::DataLf if byte == b'\n' => Self::START,
                Self::SizeEnd(_) | Self::DataCr | Self::DataLf => return Err(Broken),
            };
            if self.line() > max_line {
                return Err(Broken);
            }
        }
        Ok(input.len())
    }

    fn line(self) -> usize {
        match self {
            Self::Size { line, .. } | Self::Extension { line, .. } => line,
            Self::SizeEnd(_) | Self::Data(_) | Self::DataCr | Self::DataLf | Self::Trailers => 0,
        }
    }
}

fn size(byte: u8, value: u64, digits: u8, line: usize) -> Result<Chunk, Broken> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(Chunk::SizeEnd(value)),
        b';' if digits > 0 => return Ok(Chunk::Extension { value, line }),
        _ => return Err(Broken),
    };
    if digits >= 15 {
        return Err(Broken);
    }
    Ok(Chunk::Size {
        value: value << 4 | u64::from(digit),
        digits: digits + 1,
        line,
    })
}

fn extension(byte: u8, value: u64, line: usize) -> Result<Chunk, Broken> {
    match byte {
        b'\r' => Ok(Chunk::SizeEnd(value)),
        b'\t' | b' '..=b'~' | 0x80.. => Ok(Chunk::Extension { value, line }),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<(Chunk, usize), Broken>;

    fn read(input: &[u8]) -> Read {
        let mut chunk = Chunk::START;
        let used = chunk.advance(input, 64)?;
        Ok((chunk, used))
    }

    #[test]
    fn size_lines() {
        let table: [(&[u8], Read); 14] = [
            (b"5\r\nhello", Ok((Chunk::Data(5), 3))),
            (b"00Ff\r\n.", Ok((Chunk::Data(255), 6))),
            (b"0\r\n\r\n", Ok((Chunk::Trailers, 3))),
            (b"5;a=\"b c\"\r\nhello", Ok((Chunk::Data(5), 11))),
            (b"5 \r\n", Err(Broken)),
            (b" 5\r\n", Err(Broken)),
            (b"5\nhello", Err(Broken)),
            (b"5;a\nhello", Err(Broken)),
            (b"5\r\r\n", Err(Broken)),
            (b"\r\n", Err(Broken)),
            (b";\r\n", Err(Broken)),
            (b"-5\r\n", Err(Broken)),
            (b"0x5\r\n", Err(Broken)),
            (b"1000000000000000\r\n", Err(Broken)),
        ];
        for (input, expected) in table {
            assert_eq!(
                expected,
                read(input),
                "{:?}",
                String::from_utf8_lossy(input)
            );
        }
        assert_eq!(Err(Broken), read(&[b"5;", &[b'x'; 70][..]].concat()));
    }
}

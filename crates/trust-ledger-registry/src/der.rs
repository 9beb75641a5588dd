//! Reading DER, one element at a time, without copying.
//!
//! The registry reads certificates, CRLs and PKCS#7 with this reader and not with a parser crate because it
//! needs what those do not give: the position of a fault in the file, the content octets of a serial, a CRL
//! decoded entry by entry (x509-parser builds the whole list), and an extension that is damaged without
//! the certificate being refused.
//!
//! It takes what OpenSSL takes: lengths that are longer than they need be, and the indefinite form on constructed
//! elements (some programs write PKCS#7 so). It never reads past its input and never recurses.

#[cfg(test)]
pub(crate) mod build;
pub(crate) mod oid;
pub(crate) mod time;

/// Tags of the types the registry reads. Context tags are written where they are used.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
}

/// What is wrong with a piece of DER, and at which byte of it (the first is byte 0).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DerError {
    /// The element announces more bytes than are left in what holds it.
    #[error("wrong length at byte {offset}: {needed} bytes announced, {present} present")]
    Truncated {
        /// Where the element begins.
        offset: usize,
        /// Bytes its header announces, or the header itself needs.
        needed: usize,
        /// Bytes that are there.
        present: usize,
    },
    /// A length of more than 8 octets, or an element without an end.
    #[error("unreadable length at byte {offset}")]
    Length {
        /// Where the element begins.
        offset: usize,
    },
    /// Another type stands where the standard wants this one.
    #[error("{expected} expected at byte {offset}, tag 0x{found:02x} found")]
    Unexpected {
        /// Where the element begins.
        offset: usize,
        /// What the standard wants there.
        expected: &'static str,
        /// The tag octet that is there.
        found: u8,
    },
    /// The input ends where the standard wants another element.
    #[error("{expected} expected at byte {offset}, nothing left")]
    Missing {
        /// Where the element should begin.
        offset: usize,
        /// What the standard wants there.
        expected: &'static str,
    },
    /// The element is of the right type and its content makes no sense.
    #[error("{what} at byte {offset} is not valid")]
    Content {
        /// Where the element begins.
        offset: usize,
        /// What it should have been.
        what: &'static str,
    },
    /// Bytes follow where the standard wants none.
    #[error("{count} bytes too many at byte {offset}")]
    Trailing {
        /// Where the first of them stands.
        offset: usize,
        /// How many there are.
        count: usize,
    },
}

/// One DER element within the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// The identifier octet: class, constructed bit and number.
    pub(crate) tag: u8,
    /// The content octets.
    pub(crate) content: &'a [u8],
    /// Identifier, length and content octets.
    pub(crate) whole: &'a [u8],
    /// Where the element begins, from the start of the outermost input.
    pub(crate) offset: usize,
}

impl<'a> Element<'a> {
    /// A reader over the content of a constructed element.
    pub(crate) fn reader(&self) -> Reader<'a> {
        // An indefinite length hides a two-octet end mark behind the content: the header is what is left of both.
        let header = if self.whole.get(1) == Some(&0x80) { 2 } else { self.whole.len() - self.content.len() };
        Reader { bytes: self.content, offset: self.offset + header }
    }

    /// Where the element is found in the outermost input.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.whole.len()
    }

    /// The bits of a BIT STRING without its first octet (the count of unused bits).
    pub(crate) fn bit_string(&self) -> Result<&'a [u8], DerError> {
        match self.content {
            [0..=7, bits @ ..] => Ok(bits),
            _ => Err(self.invalid("BIT STRING")),
        }
    }

    /// An INTEGER or ENUMERATED that fits in 32 bits and is not negative.
    pub(crate) fn small_unsigned(&self) -> Option<u32> {
        let digits = match self.content {
            [] => return None,
            [first, ..] if first & 0x80 != 0 => return None,
            content => content,
        };
        let significant = digits.iter().skip_while(|octet| **octet == 0);
        if significant.clone().count() > 4 {
            return None;
        }
        Some(significant.fold(0, |value, octet| (value << 8) | u32::from(*octet)))
    }

    /// The error that says this element's content makes no sense.
    pub(crate) fn invalid(&self, what: &'static str) -> DerError {
        DerError::Content { offset: self.offset, what }
    }
}

/// Reads the elements of one level, in order.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader whose first byte counts as byte 0.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, offset: 0 }
    }

    /// Whether every byte has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the next element begins, from the start of the outermost input.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The identifier octet of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// The next element of whatever type; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, DerError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let header = Header::read(self.bytes, self.offset)?;
        let (content_end, end) = match header.length {
            Some(length) => {
                let end = header.size.saturating_add(length);
                (end, end)
            }
            None => {
                let content =
                    indefinite_content(&self.bytes[header.size..]).ok_or(DerError::Length { offset: self.offset })?;
                (header.size + content, header.size + content + 2)
            }
        };
        if end > self.bytes.len() {
            return Err(DerError::Truncated { offset: self.offset, needed: end, present: self.bytes.len() });
        }
        let (whole, rest) = self.bytes.split_at(end);
        let element =
            Element { tag: header.tag, content: &whole[header.size..content_end], whole, offset: self.offset };
        self.bytes = rest;
        self.offset += end;
        Ok(Some(element))
    }

    /// The next element, which must be of this type.
    pub(crate) fn expect(&mut self, tag: u8, expected: &'static str) -> Result<Element<'a>, DerError> {
        match self.peek() {
            Some(found) if found == tag => {}
            Some(found) => return Err(DerError::Unexpected { offset: self.offset, expected, found }),
            None => return Err(DerError::Missing { offset: self.offset, expected }),
        }
        self.next()?.ok_or(DerError::Missing { offset: self.offset, expected })
    }

    /// The next element if it is of this type, else nothing is read.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.peek() == Some(tag) { self.next() } else { Ok(None) }
    }

    /// That nothing is left.
    pub(crate) fn finish(self) -> Result<(), DerError> {
        match self.bytes.len() {
            0 => Ok(()),
            count => Err(DerError::Trailing { offset: self.offset, count }),
        }
    }
}

/// The identifier and length octets of an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// Octets of identifier and length together.
    pub(crate) size: usize,
    /// Octets of the content; `None` for the indefinite form.
    pub(crate) length: Option<usize>,
}

impl Header {
    /// Reads the header at the start of `bytes`, which stand at `offset` of the input (for the error).
    pub(crate) fn read(bytes: &[u8], offset: usize) -> Result<Header, DerError> {
        let truncated = |needed| DerError::Truncated { offset, needed, present: bytes.len() };
        let tag = *bytes.first().ok_or_else(|| truncated(2))?;
        let mut size = 1;
        if tag & 0x1f == 0x1f {
            // The number follows in octets that have their high bit set, but for the last.
            loop {
                let octet = bytes.get(size).ok_or_else(|| truncated(size + 2))?;
                size += 1;
                if octet & 0x80 == 0 {
                    break;
                }
            }
        }
        let first = *bytes.get(size).ok_or_else(|| truncated(size + 1))?;
        size += 1;
        let length = match first {
            0..=0x7f => Some(usize::from(first)),
            // Only a constructed element may leave its length open.
            0x80 if tag & 0x20 != 0 => None,
            0x80 => return Err(DerError::Length { offset }),
            _ => {
                let count = usize::from(first & 0x7f);
                let octets = bytes.get(size..size + count).ok_or_else(|| truncated(size + count))?;
                size += count;
                if count > 8 {
                    return Err(DerError::Length { offset });
                }
                let value = octets.iter().fold(0u64, |value, octet| (value << 8) | u64::from(*octet));
                Some(usize::try_from(value).map_err(|_| DerError::Length { offset })?)
            }
        };
        Ok(Header { tag, size, length })
    }
}

/// Octets of content before the end mark of an element of indefinite length.
fn indefinite_content(bytes: &[u8]) -> Option<usize> {
    let mut position = 0usize;
    let mut depth = 1usize;
    loop {
        let header = Header::read(bytes.get(position..)?, 0).ok()?;
        if header.tag == 0 && header.length == Some(0) {
            depth -= 1;
            if depth == 0 {
                return Some(position);
            }
        }
        match header.length {
            Some(length) => position = position.checked_add(header.size)?.checked_add(length)?,
            None => {
                depth += 1;
                position += header.size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_carry_their_position_in_the_outermost_input() {
        let bytes = [0x30, 0x05, 0x02, 0x01, 0x07, 0x05, 0x00];
        let outer = Reader::new(&bytes).expect(tag::SEQUENCE, "SEQUENCE").unwrap();
        let mut inner = outer.reader();
        assert_eq!(inner.next().unwrap().unwrap().small_unsigned(), Some(7));
        let null = inner.next().unwrap().unwrap();
        assert_eq!((null.offset, null.tag, null.content.len()), (5, 5, 0));
        assert!(inner.next().unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_input_says_how_much_is_missing() {
        let error = Reader::new(&[0x30, 0x82, 0x01, 0x00, 0x02]).next().unwrap_err();
        assert_eq!(error, DerError::Truncated { offset: 0, needed: 260, present: 5 });
        assert_eq!(error.to_string(), "wrong length at byte 0: 260 bytes announced, 5 present");
    }

    #[test]
    fn absurd_lengths_are_errors() {
        for bytes in [
            &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1][..],
            &[0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x30, 0xff],
            &[0x02, 0x80, 0, 0],
            &[0x30, 0x80, 0x02, 0x01],
            &[0x1f, 0xff],
            &[0x30],
        ] {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn indefinite_lengths_end_at_their_own_mark() {
        // SEQUENCE (indefinite) { SEQUENCE (indefinite) { INTEGER 1 } }, then NULL.
        let bytes = [0x30, 0x80, 0x30, 0x80, 0x02, 0x01, 0x01, 0, 0, 0, 0, 0x05, 0x00];
        let mut reader = Reader::new(&bytes);
        let outer = reader.next().unwrap().unwrap();
        let inner = outer.reader().next().unwrap().unwrap();
        assert_eq!(inner.offset, 2);
        assert_eq!(inner.content, [0x02, 0x01, 0x01]);
        assert_eq!(inner.reader().next().unwrap().unwrap().offset, 4);
        assert_eq!(reader.next().unwrap().unwrap().tag, 0x05);
    }

    #[test]
    fn small_integers_ignore_leading_zeros_and_refuse_negatives() {
        let read = |bytes: &[u8]| Reader::new(bytes).next().unwrap().unwrap().small_unsigned();
        assert_eq!(read(&[2, 5, 0, 255, 255, 255, 255]), Some(u32::MAX));
        assert_eq!(read(&[2, 5, 1, 0, 0, 0, 0]), None);
        assert_eq!(read(&[2, 1, 255]), None);
        assert_eq!(read(&[2, 0]), None);
    }
}

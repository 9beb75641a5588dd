//! Object identifiers: their dotted form.

use std::fmt::Write as _;

/// The dotted form of an OBJECT IDENTIFIER's content octets, such as `2.5.4.3`.
///
/// Content that is no identifier (empty, cut off, or with an arc of more than 126 bits) becomes `#` and its
/// octets in hex, so that every input has a text of its own.
pub(crate) fn dotted(content: &[u8]) -> String {
    parse(content).unwrap_or_else(|| {
        let mut text = String::from("#");
        push_hex(&mut text, content);
        text
    })
}

fn parse(content: &[u8]) -> Option<String> {
    if content.last()? & 0x80 != 0 {
        return None;
    }
    let mut text = String::with_capacity(content.len() * 3);
    let mut arc = 0u128;
    let mut octets = 0;
    for octet in content {
        octets += 1;
        if octets > 18 {
            return None;
        }
        arc = (arc << 7) | u128::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            let _ = write!(text, "{first}.{}", arc - first * 40);
        } else {
            let _ = write!(text, ".{arc}");
        }
        (arc, octets) = (0, 0);
    }
    Some(text)
}

/// Appends octets as lower-case hex.
pub(crate) fn push_hex(text: &mut String, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.reserve(octets.len() * 2);
    for octet in octets {
        text.push(char::from(DIGITS[usize::from(octet >> 4)]));
        text.push(char::from(DIGITS[usize::from(octet & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_written_with_dots() {
        assert_eq!(dotted(&[0x55, 0x04, 0x03]), "2.5.4.3");
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]), "1.2.840.113549.1.1.11");
        assert_eq!(dotted(&[0x88, 0x37, 0x03]), "2.999.3");
        assert_eq!(dotted(&[0x00]), "0.0");
    }

    #[test]
    fn what_is_no_identifier_still_has_a_text_of_its_own() {
        assert_eq!(dotted(&[]), "#");
        assert_eq!(dotted(&[0x55, 0x84]), "#5584");
        assert!(dotted(&[0xff; 30]).starts_with("#ff"));
        let long = [[0xff; 19].as_slice(), &[1]].concat();
        assert!(dotted(&long).starts_with("#ff"));
    }
}

//! Base64 as it is found in the wild.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be missing, and bits that the last character has left over may be set: other readers do not mind.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD_ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_SAFE_ENGINE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Whether an octet is a character of base64. A table, since every octet of every PEM block is looked up.
const IS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = (octet as u8).is_ascii_alphanumeric() || matches!(octet as u8, b'+' | b'/' | b'=' | b'-' | b'_');
        octet += 1;
    }
    table
};

/// Appends the text without white space, quotes, and the escapes `\n`, `\r`, `\t` that stand for white space where a PEM
/// block has been put into a string.
pub(super) fn push_clean(body: &mut Vec<u8>, text: &[u8]) {
    if text.iter().fold(true, |plain, octet| plain & IS_PLAIN[usize::from(*octet)]) {
        body.extend_from_slice(text);
        return;
    }
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return,
            [b'\\', b'n' | b'r' | b't', rest @ ..] => rest,
            [b'"' | b'\'', rest @ ..] => rest,
            [octet, rest @ ..] => {
                if !octet.is_ascii_whitespace() {
                    body.push(*octet);
                }
                rest
            }
        };
    }
}

/// Decodes clean base64 of the standard or the URL-safe alphabet, padded or not.
pub(super) fn decode(clean: &[u8]) -> Option<Vec<u8>> {
    let engine = match memchr::memchr2(b'-', b'_', clean) {
        Some(_) => URL_SAFE_ENGINE,
        None => STANDARD_ENGINE,
    };
    engine.decode(clean).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_with_and_without_padding_are_read() {
        for text in ["+/+/AQ==", "-_-_AQ==", "+/+/AQ", "-_-_AQ", "+/+/AR=="] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&[0xfb, 0xff, 0xbf, 1][..]), "{text}");
        }
        assert_eq!(decode(b"+/-_"), None);
        assert_eq!(decode(b"AQ=A"), None);
        assert_eq!(decode(b"A"), None);
    }

    #[test]
    fn white_space_quotes_and_escaped_line_ends_are_left_out() {
        let mut body = Vec::new();
        push_clean(&mut body, b" \"MIIB\\n\\r\\nAB\tCD\" ");
        assert_eq!(body, b"MIIBABCD");
        push_clean(&mut body, b"\\x");
        assert_eq!(body, b"MIIBABCD\\x");
    }
}

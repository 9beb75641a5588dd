//! Serial numbers of certificates.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::der::oid::push_hex;

/// Longest serial that is read, in octets. RFC 5280 §4.1.2.2 allows 20; longer ones exist.
pub const MAX_SERIAL_OCTETS: usize = 1024;

/// A certificate's serial number: a signed integer of up to [`MAX_SERIAL_OCTETS`] octets.
///
/// Two serials are equal when the integers are: it is kept as the shortest two's-complement octets, so that a
/// CRL and a certificate agree even when one of them pads the number. 255 (`00ff`) and -1 (`ff`) differ; parsers
/// that read serials as unsigned merge them. Zero and negative serials break RFC 5280 and are read all the same.
///
/// Serials are ordered by their value. Serde writes and reads the form of [`Serial::to_hex`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(Vec<u8>);

/// Why something is not a serial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// An INTEGER without content, or a text without digits.
    #[error("the serial is empty")]
    Empty,
    /// More octets than [`MAX_SERIAL_OCTETS`].
    #[error("the serial has {octets} octets, more than {MAX_SERIAL_OCTETS}")]
    TooLong {
        /// Octets the serial has.
        octets: usize,
    },
    /// A character that no serial is written with.
    #[error("{character:?} is not part of a serial: write hex (0x1f, 1f:a0) or decimal digits")]
    Character {
        /// The first such character.
        character: char,
    },
}

impl Serial {
    /// The serial with these INTEGER content octets (two's complement, big-endian, padding allowed).
    pub fn from_content(content: &[u8]) -> Result<Serial, SerialError> {
        let mut octets = content;
        while let [first, second, ..] = octets {
            let padding = (*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
            if !padding {
                break;
            }
            octets = &octets[1..];
        }
        match octets.len() {
            0 => Err(SerialError::Empty),
            octets if octets > MAX_SERIAL_OCTETS => Err(SerialError::TooLong { octets }),
            _ => Ok(Serial(octets.to_vec())),
        }
    }

    /// The shortest two's-complement content octets: never empty. Stored and compared in this form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the serial is below zero.
    pub fn is_negative(&self) -> bool {
        self.0[0] & 0x80 != 0
    }

    /// Lower-case hex of the magnitude without leading zeros, after `-` when negative: `1a`, `-1`, `0`.
    pub fn to_hex(&self) -> String {
        let magnitude = self.magnitude();
        let mut text = String::with_capacity(magnitude.len() * 2 + 1);
        push_hex(&mut text, &magnitude);
        let digits = text.trim_start_matches('0');
        let sign = if self.is_negative() { "-" } else { "" };
        if digits.is_empty() { String::from("0") } else { format!("{sign}{digits}") }
    }

    /// Decimal digits, after `-` when negative.
    pub fn to_decimal(&self) -> String {
        // Repeated division by 10^9 of 32-bit limbs, the most significant first.
        let mut limbs: Vec<u32> = self
            .magnitude()
            .rchunks(4)
            .rev()
            .map(|chunk| chunk.iter().fold(0, |limb, octet| (limb << 8) | u32::from(*octet)))
            .collect();
        let mut groups = Vec::new();
        while limbs.iter().any(|limb| *limb != 0) {
            let mut remainder = 0u64;
            for limb in &mut limbs {
                let value = (remainder << 32) | u64::from(*limb);
                // The remainder is below 10^9, so the quotient fits in 32 bits.
                *limb = (value / 1_000_000_000) as u32;
                remainder = value % 1_000_000_000;
            }
            groups.push(remainder);
        }
        let Some(first) = groups.pop() else { return String::from("0") };
        let mut text = format!("{}{first}", if self.is_negative() { "-" } else { "" });
        for group in groups.iter().rev() {
            let _ = write!(text, "{group:09}");
        }
        text
    }

    /// The serials that a person may mean by this text, decimal reading first, each once.
    ///
    /// `0x`, colons or letters mean hex, upper or lower case, an odd count of digits allowed. Bare digits are
    /// read both ways: `10` is ten and sixteen. A `-` in front makes either negative. White space around is ignored.
    pub fn parse_candidates(text: &str) -> Result<Vec<Serial>, SerialError> {
        let text = text.trim();
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (marked_hex, digits) = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
            Some(rest) => (true, rest),
            None => (false, unsigned),
        };
        let is_hex = marked_hex || digits.contains(|c: char| c == ':' || c.is_ascii_alphabetic());
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        if let Some(character) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(SerialError::Character { character });
        }
        if digits.is_empty() {
            return Err(SerialError::Empty);
        }
        if digits.len() > MAX_SERIAL_OCTETS * 3 {
            return Err(SerialError::TooLong { octets: digits.len() / 2 });
        }
        let hex = Serial::from_magnitude(hex_octets(&digits), negative);
        if is_hex {
            return Ok(vec![hex?]);
        }
        // A number that is too long in hex can still fit as decimal, whose octets are fewer.
        let decimal = Serial::from_magnitude(decimal_octets(&digits), negative)?;
        match hex {
            Ok(hex) if hex != decimal => Ok(vec![decimal, hex]),
            _ => Ok(vec![decimal]),
        }
    }

    fn from_magnitude(magnitude: Vec<u8>, negative: bool) -> Result<Serial, SerialError> {
        let mut content = Vec::with_capacity(magnitude.len() + 1);
        content.push(0);
        content.extend_from_slice(&magnitude);
        if negative {
            negate(&mut content);
        }
        Serial::from_content(&content)
    }

    /// The octets of the absolute value, perhaps with leading zeros.
    fn magnitude(&self) -> Vec<u8> {
        let mut octets = self.0.clone();
        if self.is_negative() {
            negate(&mut octets);
        }
        octets
    }
}

/// Two's complement: every bit flipped, one added. (The most negative value maps to itself, which read as
/// unsigned is its magnitude.)
fn negate(octets: &mut [u8]) {
    let mut carry = true;
    for octet in octets.iter_mut().rev() {
        (*octet, carry) = (!*octet).overflowing_add(u8::from(carry));
    }
}

/// Octets of a text that holds hex digits only.
fn hex_octets(digits: &str) -> Vec<u8> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    };
    let mut octets: Vec<u8> = digits
        .as_bytes()
        .rchunks(2)
        .map(|pair| pair.iter().fold(0, |octet, digit| (octet << 4) | nibble(*digit)))
        .collect();
    octets.reverse();
    octets
}

/// Octets of a text that holds decimal digits only.
fn decimal_octets(digits: &str) -> Vec<u8> {
    // Little-endian limbs, multiplied by 10^9 and added to.
    let mut limbs: Vec<u32> = Vec::new();
    let head = digits.len() % 9;
    let (first, rest) = digits.as_bytes().split_at(head);
    for group in std::iter::once(first).chain(rest.chunks(9)).filter(|group| !group.is_empty()) {
        let mut carry = group.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        let scale = 10u64.pow(group.len() as u32);
        for limb in &mut limbs {
            let value = u64::from(*limb) * scale + carry;
            *limb = value as u32;
            carry = value >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
}

impl Ord for Serial {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Shortest form: more octets mean further from zero, and equal lengths compare octet by octet, the first
        // of them signed.
        let signed_length = |serial: &Serial| {
            let length = serial.0.len() as isize;
            if serial.is_negative() { -length } else { length }
        };
        signed_length(self).cmp(&signed_length(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Serial {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_hex())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({})", self.to_hex())
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        if let Some(character) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(serde::de::Error::custom(SerialError::Character { character }));
        }
        if digits.is_empty() {
            return Err(serde::de::Error::custom(SerialError::Empty));
        }
        Serial::from_magnitude(hex_octets(digits), negative).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(content: &[u8]) -> Serial {
        Serial::from_content(content).unwrap()
    }

    #[test]
    fn ff_and_00ff_are_different_serials() {
        assert_ne!(serial(&[0xff]), serial(&[0x00, 0xff]));
        assert_eq!(serial(&[0xff]).to_hex(), "-1");
        assert_eq!(serial(&[0x00, 0xff]).to_hex(), "ff");
    }

    #[test]
    fn padding_does_not_make_another_serial() {
        assert_eq!(serial(&[0, 0, 0, 0x7f]), serial(&[0x7f]));
        assert_eq!(serial(&[0xff, 0xff, 0x80]), serial(&[0x80]));
        assert_eq!(serial(&[0, 0]), serial(&[0]));
        assert_eq!(serial(&[0, 0x80]).as_bytes(), [0, 0x80]);
    }

    #[test]
    fn every_form_of_a_number_agrees() {
        for (content, hex, decimal) in [
            (&[0][..], "0", "0"),
            (&[1], "1", "1"),
            (&[0x80], "-80", "-128"),
            (&[0xff, 0x00], "-100", "-256"),
            (&[0x01, 0x00, 0x00, 0x00, 0x00], "100000000", "4294967296"),
            (&[0x3b, 0x9a, 0xca, 0x00], "3b9aca00", "1000000000"),
            (&[0x7f; 21], &"7f".repeat(21), "186338593070205159516228240318712915823739917008767"),
        ] {
            let serial = serial(content);
            assert_eq!(serial.to_hex(), hex);
            assert_eq!(serial.to_decimal(), decimal);
            assert_eq!(Serial::parse_candidates(decimal).unwrap()[0], serial);
            let marked = match hex.strip_prefix('-') {
                Some(digits) => format!("-0x{digits}"),
                None => format!("0x{hex}"),
            };
            assert_eq!(Serial::parse_candidates(&marked).unwrap(), std::slice::from_ref(&serial));
            let json = serde_json::to_string(&serial).unwrap();
            assert_eq!(json, format!("{hex:?}"));
            assert_eq!(serde_json::from_str::<Serial>(&json).unwrap(), serial);
        }
    }

    #[test]
    fn bare_digits_are_read_both_ways_and_marked_ones_as_hex() {
        let hex =
            |text| -> Vec<String> { Serial::parse_candidates(text).unwrap().iter().map(Serial::to_hex).collect() };
        assert_eq!(hex("10"), ["a", "10"]);
        assert_eq!(hex("-10"), ["-a", "-10"]);
        assert_eq!(hex("7"), ["7"]);
        assert_eq!(hex("0x10"), ["10"]);
        assert_eq!(hex("0X0010"), ["10"]);
        assert_eq!(hex("00:10"), ["10"]);
        assert_eq!(hex(" ABC "), ["abc"]);
        assert_eq!(hex("-ff"), ["-ff"]);
        assert_eq!(hex("0A:BC:DE"), ["abcde"]);
    }

    #[test]
    fn what_is_no_serial_is_refused_with_its_reason() {
        assert_eq!(Serial::from_content(&[]), Err(SerialError::Empty));
        for text in ["", "-", "0x", ":", "  "] {
            assert_eq!(Serial::parse_candidates(text), Err(SerialError::Empty), "{text:?}");
        }
        for (text, character) in [("12g", 'g'), ("--1", '-'), ("1 2", ' '), ("١٢", '١')] {
            assert_eq!(Serial::parse_candidates(text), Err(SerialError::Character { character }));
        }
        assert_eq!(Serial::from_content(&[1; 1025]), Err(SerialError::TooLong { octets: 1025 }));
        assert!(Serial::parse_candidates(&"f".repeat(100_000)).is_err());
        assert!(Serial::parse_candidates(&"9".repeat(3000)).is_err());
        assert!(serde_json::from_str::<Serial>("\"1g\"").is_err());
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let sorted = [&[0x80, 0x00][..], &[0x80], &[0xff], &[0], &[1], &[0x7f], &[0, 0x80], &[1, 0, 0]];
        for pair in sorted.windows(2) {
            assert!(serial(pair[0]) < serial(pair[1]), "{pair:02x?}");
        }
    }
}

//! JSON objects, one level deep, in memory that is zeroed: what AWS answers, and what a secret holds.
//!
//! A general parser would leave copies of the secret behind where it takes escapes out.

use zeroize::Zeroizing;

/// How deep values that are passed over may be nested.
const DEEPEST: usize = 64;

/// The members of an object, in order.
pub(super) struct Object(Vec<(Zeroizing<String>, Member)>);

/// A member's value.
pub(super) enum Member {
    Text(Zeroizing<String>),
    /// As it is written.
    Number(Zeroizing<String>),
    /// `true`, `false`, `null`, an array or an object; its name for messages.
    Other(&'static str),
}

impl Member {
    /// What it is, for messages; never its content.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Member::Text(_) => "a string",
            Member::Number(_) => "a number",
            Member::Other(kind) => kind,
        }
    }
}

impl Object {
    /// Reads an object; `Err` says what was expected, and at which byte.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(json).map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to()))?;
        let mut reader = Reader { text, at: 0 };
        let object = reader.object()?;
        reader.space();
        if reader.at == text.len() { Ok(object) } else { Err(reader.expected("nothing after the object")) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Member> {
        self.0.iter().find(|(found, _)| **found == name).map(|(_, member)| member)
    }

    /// The content of a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Member::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    use std::fmt::Write;
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn object(&mut self) -> Result<Object, String> {
        let mut members = Vec::new();
        self.eat(b'{', "{")?;
        if self.is_next(b'}') {
            self.at += 1;
            return Ok(Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            if members.iter().any(|(found, _)| *found == name) {
                return Err(format!("a name stands twice, the second time before byte {}", self.at));
            }
            self.eat(b':', ":")?;
            members.push((name, self.member()?));
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Object(members));
                }
                _ => return Err(self.expected(", or }")),
            }
        }
    }

    fn member(&mut self) -> Result<Member, String> {
        match self.next() {
            Some(b'"') => self.string().map(Member::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Member::Number(Zeroizing::new(self.number()?.to_owned()))),
            _ => self.pass(0).map(Member::Other),
        }
    }

    /// Passes over a value of any kind.
    fn pass(&mut self, depth: usize) -> Result<&'static str, String> {
        if depth > DEEPEST {
            return Err(format!("values are nested more than {DEEPEST} deep at byte {}", self.at));
        }
        let (close, kind) = match self.next() {
            Some(b'"') => return self.string().map(|_| "a string"),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|_| "a number"),
            Some(b'{') => (b'}', "an object"),
            Some(b'[') => (b']', "an array"),
            _ => {
                for word in ["true", "false", "null"] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(word);
                    }
                }
                return Err(self.expected("a value"));
            }
        };
        self.at += 1;
        if self.is_next(close) {
            self.at += 1;
            return Ok(kind);
        }
        loop {
            if close == b'}' {
                self.space();
                self.string()?;
                self.eat(b':', ":")?;
            }
            self.pass(depth + 1)?;
            match self.next() {
                Some(b',') => self.at += 1,
                Some(found) if found == close => {
                    self.at += 1;
                    return Ok(kind);
                }
                _ => return Err(self.expected(if close == b'}' { ", or }" } else { ", or ]" })),
            }
        }
    }

    fn number(&mut self) -> Result<&'a str, String> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let number = &rest[..length.count()];
        if !is_number(number) {
            return Err(self.expected("a number"));
        }
        self.at += number.len();
        Ok(number)
    }

    fn string(&mut self) -> Result<Zeroizing<String>, String> {
        if self.text.as_bytes().get(self.at) != Some(&b'"') {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        // Its end, so that the memory is reserved once and no reallocation leaves a copy behind.
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            is_end
        });
        let end = self.at + end.ok_or_else(|| "the text ends within a string".to_owned())?;
        let mut string = Zeroizing::new(String::with_capacity(end - self.at));
        while self.at < end {
            let rest = &self.text[self.at..end];
            let plain = rest.find(|character| character == '\\' || character < ' ').unwrap_or(rest.len());
            string.push_str(&rest[..plain]);
            self.at += plain;
            if self.at < end {
                string.push(self.escape(end)?);
            }
        }
        self.at += 1;
        Ok(string)
    }

    fn escape(&mut self, end: usize) -> Result<char, String> {
        let bytes = self.text.as_bytes();
        if bytes[self.at] != b'\\' {
            return Err(self.expected("no control character in a string"));
        }
        self.at += 2;
        Ok(match bytes[self.at - 1] {
            plain @ (b'"' | b'\\' | b'/') => plain.into(),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.four_digits(end)?;
                let code = if (0xd800..0xdc00).contains(&high) && self.text[self.at..end].starts_with("\\u") {
                    self.at += 2;
                    let low = self.four_digits(end)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(self.expected("the second half of a character before this"));
                    }
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                char::from_u32(code).ok_or_else(|| self.expected("a character before this"))?
            }
            _ => return Err(self.expected("an escape that JSON knows before this")),
        })
    }

    fn four_digits(&mut self, end: usize) -> Result<u32, String> {
        let digits = self.text[..end].get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 4;
        Ok(u32::from_str_radix(digits, 16).expect("hexadecimal digits, as just seen"))
    }

    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    /// The next byte after white space, which stays.
    fn next(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn is_next(&mut self, byte: u8) -> bool {
        self.next() == Some(byte)
    }

    fn eat(&mut self, byte: u8, shown: &str) -> Result<(), String> {
        match self.is_next(byte) {
            true => self.at += 1,
            false => return Err(self.expected(shown)),
        }
        Ok(())
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at)
    }
}

/// RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    are_digits(whole) && (whole == "0" || !whole.starts_with('0')) && are_digits(fraction) && are_digits(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any text, and what looks like JSON, is read exactly as serde_json does, or refused as it does.
    #[test]
    fn what_is_read_and_what_is_refused_is_the_same_as_with_serde_json() {
        const PIECES: [&str; 22] = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"a\"",
            "\"b\"",
            "\"\\u00e9\\ud83d\\ude00\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "1",
            "-2.5e3",
            "01",
            "1.",
            "true",
            "null",
            " ",
            "\"ü\\n\"",
            "\\",
            "\"",
            "\u{1}",
        ];
        const VALUES: [&str; 12] = [
            "\"x\"",
            "\"\\u00e9\\ud83d\\ude00\"",
            "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
            "\"\\ud800\"",
            "1",
            "-2.5e3",
            "01",
            "-",
            "true",
            "nul",
            "[1, {\"c\": [\"d\"]}]",
            "{ \"e\" : null }",
        ];
        let anything = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..10).prop_map(|all| all.concat());
        let values = prop::collection::vec(prop::sample::select(&VALUES[..]), 0..4);
        let objects = values.prop_map(|values| {
            let members = values.iter().enumerate().map(|(at, value)| format!("\"{at}\" : {value}"));
            format!(" {{{}}}\n", members.collect::<Vec<_>>().join(","))
        });
        let texts = prop_oneof![anything, objects];
        let mut runner = proptest::test_runner::TestRunner::default();
        let read = std::cell::Cell::new(0);
        let outcome = runner.run(&texts, |text| {
            let expected = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            match (Object::parse(text.as_bytes()), expected) {
                (Ok(object), Ok(map)) => {
                    read.set(read.get() + 1);
                    prop_assert_eq!(object.0.len(), map.len());
                    for (name, member) in &object.0 {
                        match member {
                            Member::Text(text) => prop_assert_eq!(map[&**name].as_str(), Some(text.as_str())),
                            Member::Number(number) => {
                                prop_assert_eq!(map[&**name].as_f64(), number.parse::<f64>().ok());
                            }
                            Member::Other(_) => {
                                prop_assert!(!map[&**name].is_string() && !map[&**name].is_number());
                            }
                        }
                    }
                }
                (Err(reason), Ok(_)) => prop_assert!(reason.contains("twice"), "{text}: {reason}"),
                (Ok(_), Err(error)) => prop_assert!(false, "{text}: serde_json says {error}"),
                (Err(_), Err(_)) => {}
            }
            Ok(())
        });
        outcome.unwrap();
        assert!(read.get() > 10, "hardly an object was among the texts");
    }

    /// As serde_json: only a second half makes a character with a first one.
    #[test]
    fn an_escape_that_is_half_a_character_is_refused() {
        assert_eq!(Object::parse(br#"{"a":"\ud83d\ude00"}"#).unwrap().text("a"), Some("😀"));
        for half in
            [r"\ud800", r"\ud800x", r"\udc00", r"\ud800\ud800", r"\ud800\u0041", r"\ud800\ue000", r"\udbff\uffff"]
        {
            let json = format!("{{\"a\":\"{half}\"}}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_err(), "{half}");
            assert!(Object::parse(json.as_bytes()).is_err(), "{half}");
        }
    }

    #[test]
    fn a_quoted_text_reads_back() {
        for text in ["", "plain", "\"\\/\u{8}\n\u{1f}", "ü😀"] {
            let object = Object::parse(format!("{{{}:{}}}", quoted("n"), quoted(text)).as_bytes()).unwrap();
            assert_eq!(object.text("n"), Some(text));
        }
    }

    #[test]
    fn deep_nesting_a_name_given_twice_and_a_cut_are_refused_without_a_word_of_the_content() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(Object::parse(deep.as_bytes()).err().unwrap().contains("nested"));
        assert!(Object::parse(b"{\"a\":\"1\",\"\\u0061\":\"2\"}").err().unwrap().contains("twice"));
        for cut in [
            &b"{\"password\":\"canary"[..],
            b"{\"password\":\"canary\"",
            b"canary",
            b"{\"canary\":x}",
            b"{\"a\":\"canary\\",
        ] {
            assert!(!Object::parse(cut).err().unwrap().contains("canary"));
        }
    }
}

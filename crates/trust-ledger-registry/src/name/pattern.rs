//! Patterns that select names.

use super::key::{MAX_PREFIX_BYTES, normalise, reverse, search_key};

/// Which names are meant: one name, or those that fit a text with `*` in it.
///
/// `*` stands for any characters, none included. `\*` is the star of a wildcard certificate itself, so
/// `\*.example.com` asks for the name `*.example.com`, and `*.example.com` for everything below `example.com`, the
/// wildcard included. Case, final dot and U-labels do not matter, as in [`search_key`].
///
/// The first three kinds are answered by an index, [`NamePattern::Infix`] only by looking at every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// The one key (see [`search_key`]).
    Exact(String),
    /// `x*`: every key that begins with this.
    Prefix(String),
    /// `*.x` or `*@x`: every [`reversed_key`](super::reversed_key) that begins with this (it ends with `.` or `@`).
    Suffix(String),
    /// Any other text with `*`: a lower-case glob over whole names, read by [`NamePattern::matches`]. A literal star
    /// stands in it as `\*`.
    Infix(String),
}

/// Why a text is no usable pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamePatternError {
    /// Nothing but white space.
    #[error("the name pattern is empty")]
    Empty,
    /// No index answers this pattern, and reading every name was not asked for.
    #[error(
        "the pattern {pattern:?} has to look at every name: use `--scan`, or a name, `text*`, `*.domain` or `*@domain`"
    )]
    NeedsScan {
        /// The pattern.
        pattern: String,
    },
    /// More text than an index key holds, which is 190 bytes.
    #[error("the fixed part of the name pattern has {bytes} bytes, more than {MAX_PREFIX_BYTES}")]
    TooLong {
        /// Bytes it has.
        bytes: usize,
    },
}

impl NamePattern {
    /// Reads a pattern that an index can answer. Others are refused with [`NamePatternError::NeedsScan`].
    pub fn parse(text: &str) -> Result<NamePattern, NamePatternError> {
        match NamePattern::parse_with_scan(text)? {
            NamePattern::Infix(_) => Err(NamePatternError::NeedsScan { pattern: text.trim().to_owned() }),
            pattern => Ok(pattern),
        }
    }

    /// Reads any pattern, for a caller who has been told that every name may have to be looked at.
    pub fn parse_with_scan(text: &str) -> Result<NamePattern, NamePatternError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NamePatternError::Empty);
        }
        let parts = fixed_parts(text);
        match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [name] => Ok(NamePattern::Exact(search_key(name))),
            [prefix, ""] if !prefix.is_empty() => within_limit(NamePattern::Prefix(lower_case(prefix))),
            ["", suffix] if suffix.len() > 1 && suffix.starts_with(['.', '@']) && !suffix[1..].contains('@') => {
                let (separator, domain) = suffix.split_at(1);
                // A dot in front makes the normal form treat the rest as a host name, which it is here.
                let domain = normalise(&format!("a.{domain}"));
                within_limit(NamePattern::Suffix(format!("{}{separator}", reverse(&domain[2..]))))
            }
            _ => {
                let glob: Vec<String> = parts.iter().map(|part| lower_case(part).replace('*', "\\*")).collect();
                Ok(NamePattern::Infix(glob.join("*")))
            }
        }
    }

    /// Whether a name (a common name, an alternative name; in any spelling) fits the pattern. Says the same as the
    /// index for the kinds that an index answers; an infix is held against the A-label and the U-label form.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            NamePattern::Exact(key) => search_key(name) == *key,
            NamePattern::Prefix(prefix) => normalise(name).starts_with(prefix.as_str()),
            NamePattern::Suffix(prefix) => reverse(&normalise(name)).starts_with(prefix.as_str()),
            NamePattern::Infix(glob) => {
                let parts = fixed_parts(glob);
                let key = normalise(name);
                if fits(&parts, &key) {
                    return true;
                }
                key.contains("xn--") && fits(&parts, &idna::domain_to_unicode(&key).0)
            }
        }
    }
}

fn within_limit(pattern: NamePattern) -> Result<NamePattern, NamePatternError> {
    match &pattern {
        NamePattern::Prefix(text) | NamePattern::Suffix(text) if text.len() > MAX_PREFIX_BYTES => {
            Err(NamePatternError::TooLong { bytes: text.len() })
        }
        _ => Ok(pattern),
    }
}

/// Unlike a key, the part of a pattern keeps its final dot and blanks.
fn lower_case(part: &str) -> String {
    part.to_lowercase().replace('\0', "\\00")
}

/// What stands before, between and after the stars, with `\*` read as a star that is meant.
fn fixed_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next_if_eq(&'*').is_some() => push_to_last(&mut parts, '*'),
            '*' => parts.push(String::new()),
            _ => push_to_last(&mut parts, character),
        }
    }
    parts
}

fn push_to_last(parts: &mut [String], character: char) {
    if let Some(last) = parts.last_mut() {
        last.push(character);
    }
}

/// Glob matching: the first and last part are anchored, those between are found from left to right, each as early
/// as possible, which is never wrong when `*` is the only wildcard.
fn fits(parts: &[String], text: &str) -> bool {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return false };
    if parts.len() == 1 {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in &parts[1..parts.len() - 1] {
        match rest.find(part.as_str()) {
            Some(start) => rest = &rest[start + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::reversed_key;
    use super::*;

    #[test]
    fn patterns_are_sorted_by_what_answers_them() {
        use NamePattern::{Exact, Infix, Prefix, Suffix};
        let text = |text: &str| text.to_owned();
        for (pattern, expected) in [
            ("WWW.Example.com.", Exact(text("www.example.com"))),
            (r"\*.example.com", Exact(text("*.example.com"))),
            ("WWW.*", Prefix(text("www."))),
            (r"\*.example*", Prefix(text("*.example"))),
            ("*.Example.com", Suffix(text("com.example."))),
            ("*.bücher.example", Suffix(text("example.xn--bcher-kva."))),
            ("*.com", Suffix(text("com."))),
            ("*@Example.com", Suffix(text("com.example@"))),
            ("*", Infix(text("*"))),
            ("*example", Infix(text("*example"))),
            ("a*b", Infix(text("a*b"))),
            ("*Db*", Infix(text("*db*"))),
            (r"*a\*b", Infix(r"*a\*b".to_owned())),
        ] {
            assert_eq!(NamePattern::parse_with_scan(pattern).unwrap(), expected, "{pattern}");
            assert_eq!(NamePattern::parse(pattern).is_ok(), !matches!(expected, Infix(_)), "{pattern}");
        }
    }

    #[test]
    fn an_infix_without_scan_names_the_option() {
        let error = NamePattern::parse("*db*").unwrap_err();
        assert!(error.to_string().contains("--scan"), "{error}");
    }

    #[test]
    fn empty_and_overlong_patterns_are_refused() {
        assert_eq!(NamePattern::parse("  "), Err(NamePatternError::Empty));
        let long = format!("{}*", "a".repeat(191));
        assert_eq!(NamePattern::parse(&long), Err(NamePatternError::TooLong { bytes: 191 }));
        assert!(NamePattern::parse(&long[1..]).is_ok());
    }

    #[test]
    fn matching_agrees_with_the_index_keys() {
        let names = [
            "www.example.com",
            "*.example.com",
            "example.com",
            "a.b.example.com",
            "joe@mail.example.com",
            "joe@example.com",
            "notexample.com",
            "10.0.0.1",
            "Bücher.example.com",
            "Example CA",
        ];
        for pattern in ["*.example.com", "*@example.com", "ww*", "*.com", "example*", "10.0.*", "www.example.com"] {
            let pattern = NamePattern::parse(pattern).unwrap();
            for name in names {
                let by_index = match &pattern {
                    NamePattern::Exact(key) => search_key(name) == *key,
                    NamePattern::Prefix(prefix) => search_key(name).starts_with(prefix.as_str()),
                    NamePattern::Suffix(prefix) => reversed_key(name).starts_with(prefix.as_str()),
                    NamePattern::Infix(_) => unreachable!("parse gives none"),
                };
                assert_eq!(pattern.matches(name), by_index, "{pattern:?} {name}");
            }
        }
        let below = NamePattern::parse("*.example.com").unwrap();
        assert!(below.matches("*.EXAMPLE.com.") && below.matches("joe@mail.example.com"));
        assert!(!below.matches("example.com") && !below.matches("notexample.com"));
    }

    #[test]
    fn an_infix_is_a_glob_over_the_whole_name() {
        let fits = |pattern: &str, name: &str| NamePattern::parse_with_scan(pattern).unwrap().matches(name);
        assert!(fits("*db*", "prod-DB-1.example"));
        assert!(fits("a*a", "aba") && !fits("a*a", "a"));
        assert!(fits("*a*b*c", "xaxbxc") && !fits("*a*b*c", "xaxbxcx"));
        assert!(fits("*cher*", "xn--bcher-kva.example") && fits("*büch*", "xn--bcher-kva.example"));
        assert!(fits(r"*\*.ex*", "*.example.com") && !fits(r"*\*.ex*", "www.example.com"));
        assert!(fits("*", ""));
    }
}

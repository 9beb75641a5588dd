//! Which values of a file are encrypted. The file's section `sops` says it, and no value may deviate: an attacker could
//! otherwise put values of his own in the clear where an encrypted one is expected.

use regex_lite::{Regex, RegexBuilder};

use super::metadata::Section;

/// The largest program that a regular expression may become, in bytes: the file's author chooses it, and each key is
/// matched with it.
const MAX_REGEX: usize = 64 * 1024;

/// What decides whether a value is encrypted.
#[derive(Debug)]
pub(super) enum Rule {
    /// Every value is, but those below a key that matches.
    AllBut(Pattern),
    /// Only values below a key that matches are.
    Only(Pattern),
    /// Comments in the file decide, which are not read: a value is encrypted when it looks so.
    Comments,
}

#[derive(Debug)]
pub(super) enum Pattern {
    Suffix(String),
    Regex(Regex),
}

impl Rule {
    /// `unencrypted_suffix: _unencrypted` when the file says nothing.
    pub(super) fn read(section: Section<'_>) -> Result<Self, String> {
        const RULES: [&str; 6] = [
            "unencrypted_suffix",
            "encrypted_suffix",
            "unencrypted_regex",
            "encrypted_regex",
            "unencrypted_comment_regex",
            "encrypted_comment_regex",
        ];
        let mut given = Vec::new();
        for name in RULES {
            if let Some(text) = section.text(name)?.filter(|text| !text.is_empty()) {
                given.push((name, text));
            }
        }
        let (name, text) = match given.as_slice() {
            [] => ("unencrypted_suffix", "_unencrypted"),
            [rule] => *rule,
            [first, second, ..] => {
                return Err(format!("has metadata that contradicts itself: both {} and {}", first.0, second.0));
            }
        };
        if name.ends_with("comment_regex") {
            return Ok(Rule::Comments);
        }
        let pattern = match name.ends_with("_suffix") {
            true => Pattern::Suffix(text.to_owned()),
            false => Pattern::Regex(RegexBuilder::new(text).size_limit(MAX_REGEX).build().map_err(|error| {
                format!("has an {name} that is not understood ({error}); the syntax is that of Rust's regex-lite")
            })?),
        };
        Ok(if name.starts_with("un") { Rule::AllBut(pattern) } else { Rule::Only(pattern) })
    }

    /// Whether a key matches, and with it all that is below.
    pub(super) fn matches(&self, key: &str) -> bool {
        match self {
            Rule::AllBut(Pattern::Suffix(suffix)) | Rule::Only(Pattern::Suffix(suffix)) => key.ends_with(suffix),
            Rule::AllBut(Pattern::Regex(regex)) | Rule::Only(Pattern::Regex(regex)) => regex.is_match(key),
            Rule::Comments => false,
        }
    }

    /// Whether a value is encrypted, given whether a key on its path matches; None when its looks decide.
    pub(super) fn encrypts(&self, matched: bool) -> Option<bool> {
        match self {
            Rule::AllBut(_) => Some(!matched),
            Rule::Only(_) => Some(matched),
            Rule::Comments => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Map, Node};
    use super::*;

    fn rule(entries: &[(&str, &str)]) -> Result<Rule, String> {
        let map: Map = entries.iter().map(|(key, text)| ((*key).to_owned(), Node::Text((*text).to_owned()))).collect();
        Rule::read(Section(&map))
    }

    #[test]
    fn each_rule_decides_by_the_keys_on_the_path() {
        let encrypts = |entries: &[(&str, &str)], key| {
            let rule = rule(entries).unwrap();
            rule.encrypts(rule.matches(key))
        };
        assert_eq!(encrypts(&[], "a"), Some(true));
        assert_eq!(encrypts(&[], "a_unencrypted"), Some(false));
        assert_eq!(encrypts(&[("unencrypted_suffix", "_u")], "a_unencrypted"), Some(true));
        assert_eq!(encrypts(&[("encrypted_suffix", "_e")], "a"), Some(false));
        assert_eq!(encrypts(&[("encrypted_suffix", "_e")], "a_e"), Some(true));
        assert_eq!(encrypts(&[("encrypted_regex", "^(data|stringData)$")], "stringData"), Some(true));
        assert_eq!(encrypts(&[("encrypted_regex", "^(data|stringData)$")], "metadata"), Some(false));
        assert_eq!(encrypts(&[("unencrypted_regex", "(?i)PUBLIC")], "a_public_key"), Some(false));
        assert_eq!(encrypts(&[("encrypted_comment_regex", "secret")], "a"), None);
    }

    #[test]
    fn two_rules_and_an_unknown_syntax_are_refused() {
        let reason = rule(&[("encrypted_regex", "a"), ("unencrypted_suffix", "b")]).unwrap_err();
        assert!(reason.ends_with("both unencrypted_suffix and encrypted_regex"), "{reason}");
        for unusable in ["(", r"\p{L}", "(((a{99}){99}){99}){99}"] {
            let reason = rule(&[("encrypted_regex", unusable)]).unwrap_err();
            assert!(reason.starts_with("has an encrypted_regex that is not understood"), "{reason}");
        }
    }
}

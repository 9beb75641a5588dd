//! Text that comes from certificates, files and other people, made harmless.
//!
//! A certificate's names may hold anything: an escape sequence that clears the screen, or a mark that turns the reading
//! direction around, so that `moc.elgoog` reads as something it is not. Such characters are shown by their number.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text for a terminal, a table or a line: harmful characters as `\u{202e}`.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_harmful(character) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character moves the cursor, ends the line, turns the reading direction around or shows as nothing at all.
pub(crate) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width; left-to-right and right-to-left marks.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators; embeddings and overrides.
            | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, deprecated shaping controls.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotation.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags: invisible text.
            | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_characters_are_shown_by_number() {
        assert_eq!(for_terminal("\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(for_terminal("a\nb\r\tc\x7f\u{9b}"), "a\\u{a}b\\u{d}\\u{9}c\\u{7f}\\u{9b}");
        assert_eq!(for_terminal("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(for_terminal("\u{2066}x\u{2069}\u{200b}\u{e0041}"), "\\u{2066}x\\u{2069}\\u{200b}\\u{e0041}");
    }

    #[test]
    fn other_scripts_stay_as_they_are() {
        for text in ["bücher.example", "例え.テスト", "مثال", "👍", ""] {
            assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
        }
    }
}

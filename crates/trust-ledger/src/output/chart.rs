//! Bar charts.

use unicode_width::UnicodeWidthStr;

use super::escape::for_terminal;
use super::number::grouped;

/// Least room for bars, however narrow the terminal.
const LEAST: usize = 8;

/// Most room for bars: beyond, they are not easier to compare.
const MOST: usize = 60;

/// One bar for each label and count, as lines no wider than `width`: label, count, bar. The greatest fills the room, but
/// has no more characters than it counts; what is not zero shows at least a sliver.
pub(crate) fn bars(values: &[(String, u64)], width: usize) -> String {
    let labels: Vec<String> = values.iter().map(|(label, _)| for_terminal(label).into_owned()).collect();
    let counts: Vec<String> = values.iter().map(|(_, count)| grouped(*count)).collect();
    let label_width = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let count_width = counts.iter().map(String::len).max().unwrap_or(0);
    // Two blanks before the label and one around the count, as in the lists that stand around a chart.
    let room = width.saturating_sub(label_width + count_width + 6).clamp(LEAST, MOST);
    let greatest = values.iter().map(|(_, count)| *count).max().unwrap_or(0);
    // A single certificate is no mountain: while there is room, a bar has a character for each.
    let room = room.min(usize::try_from(greatest).unwrap_or(room));
    let mut text = String::new();
    for ((label, count), (_, value)) in labels.iter().zip(&counts).zip(values) {
        let padding = label_width - label.width();
        let line = format!("  {label}{:padding$}  {count:>count_width$}  {}", "", bar(*value, greatest, room));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A bar of up to `room` characters, exact to an eighth of one.
fn bar(value: u64, greatest: u64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if value == 0 {
        return String::new();
    }
    let eighths = u128::from(value) * room as u128 * 8 / u128::from(greatest.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(room * 8).clamp(1, room * 8);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_fit_the_width() {
        let values = [
            ("2026-11".to_owned(), 1_000),
            ("2026-12".to_owned(), 500),
            ("2027-01".to_owned(), 1),
            ("2027-02".to_owned(), 0),
        ];
        let text = bars(&values, 34);
        let expected = "  2026-11  1,000  ████████████████\n\
                        \u{20} 2026-12    500  ████████\n\
                        \u{20} 2027-01      1  ▏\n\
                        \u{20} 2027-02      0\n";
        assert_eq!(text, expected);
        for width in 26..200 {
            assert!(bars(&values, width).lines().all(|line| line.width() <= width), "{width}");
        }
    }

    #[test]
    fn few_have_a_character_each() {
        assert_eq!(bars(&[("a".to_owned(), 3), ("b".to_owned(), 1)], 80), "  a  3  ███\n  b  1  █\n");
    }

    #[test]
    fn no_count_is_too_large_and_all_zero_has_no_bars() {
        assert_eq!(bar(u64::MAX, u64::MAX, 8), "████████");
        assert_eq!(bars(&[("a".to_owned(), 0)], 40), "  a  0\n");
        assert_eq!(bars(&[], 40), "");
    }
}

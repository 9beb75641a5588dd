//! Tables that fit the terminal.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::escape::for_terminal;

/// Blanks between two columns.
const GAP: usize = 2;

/// A column: its title, and what may happen to it when the terminal is narrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// Width below which cells are not cut.
    least: usize,
    /// Columns are cut in this order, the lowest first, each down to its `least`, those of one turn together; `None` is
    /// never cut.
    cut: Option<u8>,
    /// When cutting is not enough, columns are left out in this order, the lowest first; `None` stays.
    leave_out: Option<u8>,
    right: bool,
}

impl Column {
    /// A column that is always shown in full.
    pub(crate) const fn new(title: &'static str) -> Column {
        Column { title, least: 0, cut: None, leave_out: None, right: false }
    }

    /// Cells may be cut to `least`, in the given turn.
    pub(crate) const fn cut_to(self, least: usize, turn: u8) -> Column {
        Column { least, cut: Some(turn), ..self }
    }

    /// The column may be left out, in the given turn.
    pub(crate) const fn optional(self, turn: u8) -> Column {
        Column { leave_out: Some(turn), ..self }
    }

    /// Numbers stand to the right.
    pub(crate) const fn right(self) -> Column {
        Column { right: true, ..self }
    }
}

/// A colour for a cell, where colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// None.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Not to be relied on.
    Bad,
    /// Over and done with.
    Faint,
}

impl Tone {
    /// The text in this colour.
    pub(crate) fn paint(self, text: &str, coloured: bool) -> String {
        let code = match self {
            _ if !coloured => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A cell: text from anywhere, which the table makes harmless.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in colour.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { text: for_terminal(text.as_ref()).into_owned(), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

/// Rows under titles.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Table {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let mut cells = cells.into();
        cells.resize(self.columns.len(), Cell::default());
        self.rows.push(cells);
    }

    /// The table as lines no wider than `width`, if one is given. Columns are left out rather than cut beyond use; with
    /// what must stay, a line can still be wider than a very narrow terminal.
    pub(crate) fn render(&self, width: Option<usize>, coloured: bool) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::from(column.title)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            // Blanks are owed until something follows them, so that no line ends in any.
            let mut owed = 0;
            for ((cell, width), column) in row.iter().zip(&widths).zip(&self.columns) {
                let Some(width) = *width else { continue };
                let shown = cut(&cell.text, width);
                let padding = width - shown.width().min(width);
                let (before, after) = if column.right { (padding, 0) } else { (0, padding) };
                if !shown.is_empty() {
                    let _ = write!(line, "{:owed$}{:before$}{}", "", "", cell.tone.paint(&shown, coloured));
                    owed = 0;
                    owed += after + GAP;
                } else {
                    owed += before + after + GAP;
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The width of each column; none for those left out.
    fn widths(&self, available: Option<usize>) -> Vec<Option<usize>> {
        // A column in which nothing stands is left out with its title.
        let natural = |(index, column): (usize, &Column)| {
            let widest = self.rows.iter().map(|row| row[index].text.width()).max().unwrap_or(0);
            (widest > 0).then_some(widest.max(column.title.width()))
        };
        let natural: Vec<Option<usize>> = self.columns.iter().enumerate().map(natural).collect();
        let Some(available) = available else { return natural };
        let mut widths = natural.clone();
        loop {
            // What is left out makes room for the others again.
            for (width, natural) in widths.iter_mut().zip(&natural) {
                *width = width.and(*natural);
            }
            let mut excess = total(&widths).saturating_sub(available);
            let mut turns: Vec<u8> = self.columns.iter().filter_map(|column| column.cut).collect();
            turns.sort_unstable();
            turns.dedup();
            for turn in turns {
                // Within a turn the widest gives way first, so that columns of one kind end up equally wide.
                let spare = |index: &usize, widths: &[Option<usize>]| {
                    let column = &self.columns[*index];
                    let width = widths[*index].filter(|_| column.cut == Some(turn))?;
                    (width > column.least.max(column.title.width())).then_some(width)
                };
                while excess > 0 {
                    let widest = (0..widths.len()).filter(|index| spare(index, &widths).is_some());
                    let Some(widest) = widest.max_by_key(|index| spare(index, &widths)) else { break };
                    widths[widest] = widths[widest].map(|width| width - 1);
                    excess -= 1;
                }
            }
            let present = |index: &usize| widths[*index].is_some();
            let optional = |index: usize| Some((self.columns[index].leave_out?, index));
            let next = (0..self.columns.len()).filter(present).filter_map(optional).min();
            match next {
                Some((_, index)) if excess > 0 => widths[index] = None,
                _ => return widths,
            }
        }
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + GAP * shown.saturating_sub(1)
}

/// The text in at most `width` columns of a terminal, with `…` where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut room = width.saturating_sub(1);
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if wide > room {
            break;
        }
        room -= wide;
        shown.push(character);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::new("NAME").cut_to(6, 2),
            Column::new("SERIAL").cut_to(8, 1).optional(2),
            Column::new("N").right(),
            Column::new("CATEGORY").optional(1),
        ]);
        table.row([Cell::from("a.example.com"), "0123456789abcdef".into(), "7".into(), "service".into()]);
        table.row([Cell::from("例え.テスト"), "1".into(), "1,000".into(), "".into()]);
        table
    }

    #[test]
    fn a_table_takes_the_room_it_needs_and_no_line_ends_in_blanks() {
        let expected = "NAME           SERIAL                N  CATEGORY\n\
                        a.example.com  0123456789abcdef      7  service\n\
                        例え.テスト    1                 1,000\n";
        assert_eq!(table().render(None, false), expected);
        assert_eq!(table().render(Some(48), false), expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_columns_in_their_turn_and_then_leaves_some_out() {
        let line = |width| table().render(Some(width), false).lines().nth(1).unwrap().to_owned();
        assert_eq!(line(45), "a.example.com  0123456789ab…      7  service");
        assert_eq!(line(36), "a.exampl…  0123456…      7  service");
        assert_eq!(line(30), "a.example.com  0123456…      7");
        assert_eq!(line(13), "a.exa…      7");
        for width in 13..60 {
            let text = table().render(Some(width), false);
            assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
        }
    }

    #[test]
    fn a_column_in_which_nothing_stands_is_left_out() {
        let mut table = Table::new([Column::new("NAME"), Column::new("OWNER"), Column::new("N")]);
        table.row([Cell::from("a"), "".into(), "1".into()]);
        assert_eq!(table.render(None, false), "NAME  N\na     1\n");
    }

    #[test]
    fn wide_characters_are_cut_at_their_edge() {
        assert_eq!(cut("例え.テスト", 4), "例…");
        assert_eq!(cut("例え", 4), "例え");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_cell_can_neither_colour_nor_break_its_line() {
        let mut table = Table::new([Column::new("NAME"), Column::new("STATUS")]);
        table.row([Cell::from("evil\x1b[31m\n"), Cell::toned("revoked", Tone::Bad)]);
        assert_eq!(table.render(None, false).lines().nth(1), Some("evil\\u{1b}[31m\\u{a}  revoked"));
        let coloured = table.render(None, true);
        assert_eq!(coloured.lines().nth(1), Some("evil\\u{1b}[31m\\u{a}  \x1b[31mrevoked\x1b[0m"));
    }
}

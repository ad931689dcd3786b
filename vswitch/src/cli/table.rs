//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::fmt::Write as _;

/// How a column's cells are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Text: to the left.
    Left,
    /// Numbers: to the right.
    Right,
}

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Set)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[(&'static str, Set)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| visible(&cell)).collect());
    }

    /// The table as text, one line per row below one of titles.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(self.columns[column].0.len())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, set)), width) in row.iter().zip(&self.columns).zip(&widths) {
                let written = match set {
                    Set::Left => write!(line, "{cell:<width$}  "),
                    Set::Right => write!(line, "{cell:>width$}  "),
                };
                debug_assert!(written.is_ok(), "strings take everything");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell without control characters: what a terminal would obey instead of show. Empty cells become a dash, so that each
/// line has as many words as there are columns.
fn visible(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("PORT", Set::Left), ("FRAMES", Set::Right), ("ZONE", Set::Left)]);
        table.row(["web1".to_owned(), "7".to_owned(), "web".to_owned()]);
        table.row(["uplink-0".to_owned(), "12345678".to_owned(), String::new()]);
        table.row(["a\u{1b}[2Jb".to_owned(), "0".to_owned(), "db\n".to_owned()]);
        let expected = "\
PORT        FRAMES  ZONE
web1             7  web
uplink-0  12345678  -
a\u{fffd}[2Jb           0  db\u{fffd}
";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn a_table_without_rows_has_its_titles() {
        assert_eq!(Table::new(&[("A", Set::Left), ("B", Set::Right)]).text(), "A  B\n");
    }
}

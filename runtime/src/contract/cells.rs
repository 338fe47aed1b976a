//! Cells of comma-separated values as RFC 4180 has them, with the separators that programs write.
//!
//! Knows no files and no contracts; whoever has text hands it over.

/// What may part two cells.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// What parts the cells of a table, by its first line: what stands there most often outside quotes.
#[must_use]
pub(super) fn separator(first: &str) -> char {
    let mut counts = [0_u32; SEPARATORS.len()];
    let mut quoted = false;
    for c in first.chars() {
        quoted ^= c == '"';
        if let Some(at) = SEPARATORS.iter().position(|s| *s == c).filter(|_| !quoted) {
            counts[at] += 1;
        }
    }
    let most = (0..counts.len()).rev().max_by_key(|at| counts[*at]);
    most.map_or(',', |at| SEPARATORS[at])
}

/// The name that stands twice among the columns.
pub(super) fn twice(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().find(|name| !seen.insert(name.as_str()))
}

/// Whether a row says nothing: an empty line.
pub(super) fn is_blank(row: &[String]) -> bool {
    matches!(row, [one] if one.is_empty())
}

/// Cells of a text, row by row.
pub(super) struct Cells<'t> {
    rest: &'t str,
    separator: char,
    line: usize,
}

impl<'t> Cells<'t> {
    pub(super) fn new(text: &'t str, separator: char) -> Cells<'t> {
        Cells {
            rest: text,
            separator,
            line: 1,
        }
    }

    /// The next row, or the line in which a quote is opened and never closed.
    pub(super) fn row(&mut self) -> Option<Result<Vec<String>, usize>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut row = Vec::new();
        loop {
            let mut cell = String::new();
            if let Some(quoted) = self.rest.strip_prefix('"') {
                self.rest = quoted;
                let start = self.line;
                loop {
                    let Some(end) = self.rest.find('"') else {
                        return Some(Err(start));
                    };
                    cell.push_str(&self.rest[..end]);
                    self.rest = &self.rest[end + 1..];
                    let Some(rest) = self.rest.strip_prefix('"') else {
                        break;
                    };
                    cell.push('"');
                    self.rest = rest;
                }
                self.line += cell.matches('\n').count();
            }
            let separator = self.separator;
            let end = self.rest.find([separator, '\n']).unwrap_or(self.rest.len());
            let last = !self.rest[end..].starts_with(separator);
            let plain = &self.rest[..end];
            cell.push_str(if last {
                plain.trim_end_matches('\r')
            } else {
                plain
            });
            row.push(cell);
            let after = &self.rest[end..];
            let mut rest = after.chars();
            match rest.next() {
                Some(c) if c == separator => self.rest = rest.as_str(),
                Some(_) => {
                    self.rest = rest.as_str();
                    self.line += 1;
                    return Some(Ok(row));
                }
                None => {
                    self.rest = "";
                    return Some(Ok(row));
                }
            }
        }
    }
}

/// Follows quotes through the lines of a row, to tell where the row ends.
#[derive(Debug)]
pub(super) struct Quotes {
    separator: u8,
    inside: Inside,
    /// The line in which the quote that is open now was opened.
    opened: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// Where a cell begins.
    Start,
    Plain,
    Quoted,
    /// After a quote inside quotes: it ends them, or stands for one with the next.
    Quote,
}

impl Quotes {
    pub(super) fn new(separator: char) -> Quotes {
        Quotes {
            // All separators are ASCII.
            separator: separator as u8,
            inside: Inside::Start,
            opened: 0,
        }
    }

    /// Takes a line with its line feed; gives the line of the open quote where the row goes on.
    pub(super) fn line(&mut self, bytes: &[u8], number: u64) -> Option<u64> {
        for byte in bytes {
            self.inside = match (self.inside, *byte) {
                (Inside::Start, b'"') => {
                    self.opened = number;
                    Inside::Quoted
                }
                (Inside::Quoted, b'"') => Inside::Quote,
                (Inside::Quote, b'"') | (Inside::Quoted, _) => Inside::Quoted,
                (_, b'\n') => Inside::Start,
                (_, byte) if byte == self.separator => Inside::Start,
                _ => Inside::Plain,
            };
        }
        (self.inside == Inside::Quoted).then_some(self.opened)
    }

    /// Begins a new row.
    pub(super) fn begin(&mut self) {
        self.inside = Inside::Start;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_separator_is_what_stands_most_often_outside_quotes() {
        for (line, expected) in [
            ("a,b", ','),
            ("a;b,c;d", ';'),
            ("a\tb", '\t'),
            ("\"x,y,z\";b", ';'),
            ("a", ','),
            ("", ','),
        ] {
            assert_eq!(separator(line), expected, "{line}");
        }
    }

    proptest! {
        /// Rows end at the same places, line by line and in the whole text.
        #[test]
        fn quotes_are_followed_as_cells_are_read(text in "[a,\"\r\n]{0,30}") {
            let mut whole = Cells::new(&text, ',');
            let mut ends = Vec::new();
            let mut open = None;
            while let Some(row) = whole.row() {
                match row {
                    Ok(_) => ends.push(text.len() - whole.rest.len()),
                    Err(line) => {
                        open = Some(line as u64);
                        break;
                    }
                }
            }
            let (mut quotes, mut at, mut number) = (Quotes::new(','), 0, 0);
            let (mut found, mut still) = (Vec::new(), None);
            for line in text.split_inclusive('\n') {
                number += 1;
                at += line.len();
                still = quotes.line(line.as_bytes(), number);
                if still.is_none() {
                    found.push(at);
                    quotes.begin();
                }
            }
            prop_assert_eq!((ends, open), (found, still));
        }
    }
}

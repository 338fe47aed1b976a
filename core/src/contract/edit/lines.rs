//! A text as lines: where a block ends, where a bracket closes, and how a part is put between.

use serde_json::Value as Json;

use crate::contract::document;
use crate::contract::load::yaml::{Content, Node, Span};

/// A text and the starts of its lines.
pub(super) struct Lines<'t> {
    pub(super) text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Lines<'t> {
        let ends = text.match_indices('\n').map(|(i, _)| i + 1);
        let mut starts = vec![0];
        starts.extend(ends.filter(|start| *start < text.len()));
        Lines { text, starts }
    }

    /// The number of lines.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The place of a line's first byte.
    pub(super) fn start(&self, n: usize) -> usize {
        self.starts[n]
    }

    /// A line without its end.
    pub(super) fn line(&self, n: usize) -> &'t str {
        let end = self.starts.get(n + 1).copied().unwrap_or(self.text.len());
        self.text[self.starts[n]..end].trim_end_matches(['\n', '\r'])
    }

    /// Line and column, in bytes, of a place.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1) - 1;
        (line, offset - self.starts[line])
    }

    /// The blanks before a line's text; none for a line without any.
    pub(super) fn indent(&self, n: usize) -> Option<usize> {
        let line = self.line(n);
        let text = line.trim_start_matches(' ');
        (!text.trim().is_empty()).then_some(line.len() - text.len())
    }

    /// The line after the block that begins on `line` with its first character at `column`.
    pub(super) fn block_end(&self, line: usize, column: usize) -> usize {
        let mut end = line + 1;
        let mut n = line + 1;
        while n < self.count() {
            match self.indent(n) {
                Some(indent) if indent <= column => break,
                Some(_) => end = n + 1,
                None => {}
            }
            n += 1;
        }
        end
    }

    /// Whether a mapping or list is written with brackets.
    pub(super) fn is_flow(&self, node: &Node) -> bool {
        let open = match node.content {
            Content::Map(_) => '{',
            Content::List(_) => '[',
            _ => return false,
        };
        self.text[node.at.offset.min(self.text.len())..].starts_with(open)
    }

    /// The place after the bracket that closes the one at `at`.
    pub(super) fn flow_end(&self, at: Span) -> Option<usize> {
        let bytes = self.text.as_bytes();
        if !matches!(bytes.get(at.offset), Some(b'[' | b'{')) {
            return None;
        }
        let mut depth = 0_usize;
        let mut quote = None;
        let mut i = at.offset;
        while let Some(byte) = bytes.get(i) {
            match (quote, byte) {
                (Some(b'"'), b'\\') => i += 1,
                (Some(open), byte) if open == *byte => quote = None,
                (Some(_), _) => {}
                (None, b'[' | b'{') => depth += 1,
                (None, b']' | b'}') => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(i + 1);
                    }
                }
                // A quote opens a text only where one can begin.
                (None, b'"' | b'\'') if self.may_open(i) => quote = Some(*byte),
                (None, b'#') if bytes[i - 1].is_ascii_whitespace() => {
                    i += bytes[i..].iter().position(|b| *b == b'\n')?;
                }
                _ => {}
            }
            i += 1;
        }
        None
    }

    fn may_open(&self, i: usize) -> bool {
        let before = self.text[..i].trim_end().bytes().last();
        matches!(before, Some(b'[' | b'{' | b',' | b':'))
    }

    /// Adds an item at the end of a list.
    pub(super) fn append(&self, list: &Node, item: &Json) -> Option<String> {
        if self.is_flow(list) {
            let end = self.flow_end(list.at)? - 1;
            let comma = if list.items().is_empty() { "" } else { ", " };
            return Some(self.insert(end, &format!("{comma}{}", document::line(item))));
        }
        let last = list.items().last()?;
        let (line, column) = self.dash(last)?;
        let end = self.block_end(line, column);
        let pad = " ".repeat(column);
        let block = document::yaml(&Json::Array(vec![item.clone()]));
        Some(self.insert_lines(end, &padded(&block, &pad)))
    }

    /// Adds a key at the end of a mapping.
    pub(super) fn add_key(&self, map: &Node, key: &str, value: &Json) -> Option<String> {
        let block = Json::Object([(key.to_owned(), value.clone())].into_iter().collect());
        if self.is_flow(map) {
            let end = self.flow_end(map.at)? - 1;
            // Only the outer brackets go.
            let line = document::line(&block);
            let inside = &line[1..line.len() - 1];
            let comma = if map.entries().is_empty() { "" } else { ", " };
            return Some(self.insert(end, &format!("{comma}{inside}")));
        }
        let (first, column) = self.position(map.entries().first()?.key_at.offset);
        // The block ends where something less indented than its keys begins; a list under the last key may be as little indented as the keys.
        let mut end = first + 1;
        for entry in map.entries() {
            let (line, key_column) = self.position(entry.key_at.offset);
            if key_column != column {
                return None;
            }
            end = end.max(self.entry_end(line, column));
        }
        let pad = " ".repeat(column);
        Some(self.insert_lines(end, &padded(&document::yaml(&block), &pad)))
    }

    /// Writes a block entry anew.
    pub(super) fn replace_entry(&self, key_at: Span, key: &str, value: &Json) -> Option<String> {
        let (line, column) = self.position(key_at.offset);
        let end = self.entry_end(line, column);
        let block = Json::Object([(key.to_owned(), value.clone())].into_iter().collect());
        let new = padded(&document::yaml(&block), &" ".repeat(column));
        let from = key_at.offset - column;
        // What stands before the key on its line, such as a dash, stays.
        let before = &self.text[from..key_at.offset];
        let to = self.starts.get(end).copied().unwrap_or(self.text.len());
        let mut edited = self.text.to_owned();
        edited.replace_range(from..to, &format!("{before}{}", &new[column..]));
        Some(edited)
    }

    /// The line after a block entry; the items of a list under a key may stand in the key's own column.
    fn entry_end(&self, line: usize, column: usize) -> usize {
        let mut end = self.block_end(line, column);
        while end < self.count()
            && self.indent(end) == Some(column)
            && self.line(end).trim_start().starts_with("- ")
            && !self.line(line).trim_start().starts_with("- ")
        {
            end = self.block_end(end, column);
        }
        end
    }

    /// Line and column of the dash of a list's item.
    pub(super) fn dash(&self, item: &Node) -> Option<(usize, usize)> {
        let offset = match &item.content {
            Content::Map(entries) if !self.is_flow(item) => entries.first()?.key_at.offset,
            Content::List(_) if !self.is_flow(item) => return None,
            _ => item.at.offset,
        };
        let (line, column) = self.position(offset);
        let before = self.line(line).get(..column)?;
        let dash = before.trim_end().strip_suffix('-')?;
        dash.trim().is_empty().then_some((line, dash.len()))
    }

    fn insert(&self, offset: usize, new: &str) -> String {
        [&self.text[..offset], new, &self.text[offset..]].concat()
    }

    fn insert_lines(&self, line: usize, new: &str) -> String {
        let offset = self.starts.get(line).copied().unwrap_or(self.text.len());
        let before = &self.text[..offset];
        let gap = if before.is_empty() || before.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        [before, gap, new, &self.text[offset..]].concat()
    }
}

/// Every line with blanks before it.
fn padded(block: &str, pad: &str) -> String {
    block
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("{pad}{line}\n")
            }
        })
        .collect()
}

//! The canonical layout of a contract's text: keys in one order, two blanks a level, every comment and foreign property kept.
//!
//! Works on whole lines, which move with the comments above them and are never rewritten; what is in brackets or spans lines stays as it is but for its indentation.
//! A result counts only if it says the same, has the same lines, and is laid out already.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use super::lines::Lines;
use super::{UNSAFE, refused};
use crate::contract::load::tree;
use crate::contract::load::yaml::{Content, Entry, Node, Span};
use crate::diagnostic::Diagnostic;

/// What a mapping is, which says the order of its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Contract,
    Object,
    Property,
    Options,
    Check,
    Custom,
    Level,
    Member,
    /// Anything else keeps its order.
    Other,
}

/// Lays a contract's text out.
///
/// # Errors
/// A text that is not readable as YAML, or cannot be laid out safely; it should be left as it is then.
pub fn format(file: &str, text: &str) -> Result<String, Vec<Diagnostic>> {
    let root = tree(file, text)?;
    let once = layout(text, &root).map_err(|line| {
        refused(
            file,
            text,
            line.map_or(root.at, |line| of_line(text, line)),
            UNSAFE,
        )
    })?;
    let again = tree(file, &once).map_err(|_| refused(file, text, root.at, UNSAFE))?;
    if let Some(line) = lost(text, &once) {
        return Err(refused(file, text, of_line(text, line), LOST));
    }
    if again.to_json() != root.to_json() || layout(&once, &again).as_ref() != Ok(&once) {
        return Err(refused(file, text, root.at, OTHERWISE));
    }
    Ok(if text.contains("\r\n") {
        once.replace('\n', "\r\n")
    } else {
        once
    })
}

const LOST: &str = "this line would not stay as it is";
const OTHERWISE: &str = "laid out, the text would not say the same";

/// The place of a line, counted from 0.
fn of_line(text: &str, line: usize) -> Span {
    let lines = Lines::new(text);
    let line = line.min(lines.count().saturating_sub(1));
    let written = lines.line(line);
    let blank = written.len() - written.trim_start().len();
    Span {
        source: 0,
        offset: lines.start(line) + blank,
        length: written.trim().len(),
    }
}

/// The first line that would not be there any more, or a line beside which others would appear.
fn lost(text: &str, once: &str) -> Option<usize> {
    let after = parts(once);
    if parts(text) == after {
        return None;
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for line in after {
        *left.entry(line).or_default() += 1;
    }
    let gone = text.lines().map(plain).position(|line| {
        let kept = left.get_mut(line).filter(|count| **count > 0);
        kept.map(|count| *count -= 1).is_none() && !line.is_empty()
    });
    Some(gone.unwrap_or(0))
}

/// A line without what laying out changes.
fn plain(line: &str) -> &str {
    let mut line = line.trim();
    while let Some(rest) = line.strip_prefix("- ") {
        line = rest.trim_start();
    }
    line
}

/// The text's lines in no order, without what laying out changes.
fn parts(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .map(plain)
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines
}

/// The text laid out, or the line of what cannot be, where that is known.
fn layout(text: &str, root: &Node) -> Result<String, Option<usize>> {
    let lines = Lines::new(text);
    let writer = Writer {
        lines: &lines,
        blamed: Cell::new(None),
    };
    writer.contract(root).ok_or(writer.blamed.get())
}

impl Writer<'_> {
    fn contract(&self, root: &Node) -> Option<String> {
        let lines = self.lines;
        let first = root.entries().first()?;
        if self.lines.is_flow(root) {
            return None;
        }
        let (first, _) = lines.position(first.key_at.offset);
        let mut out: Vec<String> = Vec::new();
        // What stands above the first key is about the whole file.
        self.loose(0..first, 0, &mut out);
        let header = out.len();
        out.extend(self.map(root, first..lines.count(), 0, Kind::Contract)?);
        if header > 0 && out.get(header).is_some_and(String::is_empty) {
            out.remove(header);
        }
        while out.last().is_some_and(String::is_empty) {
            out.pop();
        }
        out.push(String::new());
        Some(out.join("\n"))
    }
}

struct Writer<'t> {
    lines: &'t Lines<'t>,
    /// The first line, counted from 0, that was in the way.
    blamed: Cell<Option<usize>>,
}

/// An entry or item with the comments above it.
struct Chunk<'n> {
    above: Range<usize>,
    body: Range<usize>,
    column: usize,
    part: Part<'n>,
}

#[derive(Clone, Copy)]
enum Part<'n> {
    Entry(&'n Entry),
    Item(&'n Node),
}

impl Writer<'_> {
    /// The lines of a block mapping within `region`, whose first line holds its first key.
    fn map(
        &self,
        node: &Node,
        region: Range<usize>,
        indent: usize,
        kind: Kind,
    ) -> Option<Vec<String>> {
        let mut heads = Vec::new();
        for entry in node.entries() {
            let (line, column) = self.lines.position(entry.key_at.offset);
            heads.push((line, column, Part::Entry(entry)));
        }
        let (mut chunks, tail) = self.chunks(&heads, region)?;
        let order = order(kind);
        let rank = |chunk: &Chunk<'_>| match chunk.part {
            Part::Entry(entry) => order
                .iter()
                .position(|key| *key == entry.key)
                .unwrap_or(order.len()),
            Part::Item(_) => 0,
        };
        chunks.sort_by_key(rank);
        let mut out = Vec::new();
        for chunk in &chunks {
            let Part::Entry(entry) = chunk.part else {
                continue;
            };
            self.loose(chunk.above.clone(), indent, &mut out);
            let (line, column) = (chunk.body.start, chunk.column);
            let head = self.lines.line(line).get(column..)?;
            match self.below(entry, chunk, kind)? {
                None => self.plain(chunk, indent, &mut out),
                Some((below, region)) => {
                    out.push(format!("{}{}", " ".repeat(indent), head.trim_end()));
                    let first = self.first(&entry.value)?;
                    self.loose(region.start..first, indent + 2, &mut out);
                    let region = first..region.end;
                    out.extend(match entry.value.content {
                        Content::Map(_) => self.map(&entry.value, region, indent + 2, below)?,
                        _ => self.list(&entry.value, region, indent + 2, below)?,
                    });
                }
            }
        }
        self.loose(tail, indent, &mut out);
        Some(out)
    }

    /// The lines of a block list within `region`, whose first line holds its first dash.
    fn list(
        &self,
        node: &Node,
        region: Range<usize>,
        indent: usize,
        kind: Kind,
    ) -> Option<Vec<String>> {
        let mut heads = Vec::new();
        for item in node.items() {
            let Some((line, column)) = self.lines.dash(item) else {
                return self.blame(self.lines.position(item.at.offset).0);
            };
            heads.push((line, column, Part::Item(item)));
        }
        let (chunks, tail) = self.chunks(&heads, region)?;
        let mut out = Vec::new();
        for chunk in &chunks {
            let Part::Item(item) = chunk.part else {
                continue;
            };
            self.loose(chunk.above.clone(), indent, &mut out);
            let is_block = matches!(item.content, Content::Map(_)) && !self.lines.is_flow(item);
            if !is_block {
                self.plain(chunk, indent, &mut out);
                continue;
            }
            let mut inside = self.map(item, chunk.body.clone(), indent + 2, kind)?;
            let comment = |line: &String| {
                let text = line.trim_start();
                text.is_empty() || text.starts_with('#')
            };
            let first = inside.iter().position(|line| !comment(line))?;
            // Comments above the first key stand above its dash.
            for line in &mut inside[..first] {
                *line = if line.is_empty() {
                    String::new()
                } else {
                    format!("{}{}", " ".repeat(indent), line.trim_start())
                };
            }
            let head = inside[first].get(indent + 2..)?.to_owned();
            inside[first] = format!("{}- {head}", " ".repeat(indent));
            out.extend(inside);
        }
        self.loose(tail, indent, &mut out);
        Some(out)
    }

    /// Cuts a region into its parts; comments between two belong to the one below, unless they are deeper.
    fn chunks<'n>(
        &self,
        heads: &[(usize, usize, Part<'n>)],
        region: Range<usize>,
    ) -> Option<(Vec<Chunk<'n>>, Range<usize>)> {
        let column = heads.first()?.1;
        if heads.first()?.0 != region.start {
            return self.blame(region.start);
        }
        let mut chunks: Vec<Chunk<'n>> = Vec::with_capacity(heads.len());
        let mut above = region.start..region.start;
        for (i, (line, at, part)) in heads.iter().enumerate() {
            let next = heads.get(i + 1).map_or(region.end, |(line, ..)| *line);
            if *at != column || next <= *line || next > region.end {
                return self.blame(*line);
            }
            let end = self.body_end(*line..next, column);
            chunks.push(Chunk {
                above: above.clone(),
                body: *line..end,
                column,
                part: *part,
            });
            above = end..next;
        }
        Some((chunks, above))
    }

    /// Where what belongs to a part ends: before the comments and blank lines that follow it in its own column or further left.
    fn body_end(&self, range: Range<usize>, column: usize) -> usize {
        let mut end = range.end;
        let mut cut = range.end;
        while end > range.start + 1 {
            let line = self.lines.line(end - 1).trim_start();
            let indent = self.lines.indent(end - 1);
            if line.is_empty() {
                // Blank lines go with what follows them.
                if cut == end {
                    cut = end - 1;
                }
            } else if line.starts_with('#') {
                if indent.is_some_and(|indent| indent <= column) {
                    cut = end - 1;
                }
            } else {
                break;
            }
            end -= 1;
        }
        // Blank lines directly above the first comment that was cut off go with it.
        while cut > range.start + 1 && self.lines.line(cut - 1).trim().is_empty() {
            cut -= 1;
        }
        cut
    }

    /// The kind of what is below an entry and the lines it takes, if it is a block.
    #[expect(
        clippy::option_option,
        reason = "no block, and no safe way, are two answers"
    )]
    fn below(
        &self,
        entry: &Entry,
        chunk: &Chunk<'_>,
        kind: Kind,
    ) -> Option<Option<(Kind, Range<usize>)>> {
        let is_block = match &entry.value.content {
            Content::Map(entries) => !entries.is_empty(),
            Content::List(items) => !items.is_empty(),
            _ => false,
        };
        if !is_block || self.lines.is_flow(&entry.value) {
            return Some(None);
        }
        let first = self.first(&entry.value)?;
        let start = chunk.body.start + 1;
        if first < start || first >= chunk.body.end {
            return self.blame(chunk.body.start);
        }
        Some(Some((child(kind, &entry.key), start..chunk.body.end)))
    }

    /// Gives nothing, and remembers the line that is in the way.
    fn blame<T>(&self, line: usize) -> Option<T> {
        if self.blamed.get().is_none() {
            self.blamed.set(Some(line));
        }
        None
    }

    /// The line on which a block begins.
    fn first(&self, node: &Node) -> Option<usize> {
        match &node.content {
            Content::Map(entries) => {
                let offset = entries.first()?.key_at.offset;
                Some(self.lines.position(offset).0)
            }
            Content::List(items) => {
                let item = items.first()?;
                let Some((line, _)) = self.lines.dash(item) else {
                    return self.blame(self.lines.position(item.at.offset).0);
                };
                Some(line)
            }
            _ => None,
        }
    }

    /// Writes a part as it is, but for its indentation.
    fn plain(&self, chunk: &Chunk<'_>, indent: usize, out: &mut Vec<String>) {
        for n in chunk.body.clone() {
            let line = self.lines.line(n);
            if n == chunk.body.start {
                let head = line.get(chunk.column..).unwrap_or(line);
                out.push(format!("{}{}", " ".repeat(indent), head.trim_end()));
                continue;
            }
            let Some(old) = self.lines.indent(n) else {
                out.push(String::new());
                continue;
            };
            let new = (old + indent).saturating_sub(chunk.column);
            out.push(format!("{}{}", " ".repeat(new), line[old..].trim_end()));
        }
    }

    /// Writes comments, with at most one blank line between and none at the beginning of a block.
    fn loose(&self, range: Range<usize>, indent: usize, out: &mut Vec<String>) {
        for n in range {
            let line = self.lines.line(n).trim();
            if !line.is_empty() {
                out.push(format!("{}{line}", " ".repeat(indent)));
            } else if out.last().is_some_and(|last| !last.is_empty()) {
                out.push(String::new());
            }
        }
    }
}

/// What a mapping below a key is.
fn child(kind: Kind, key: &str) -> Kind {
    match (kind, key) {
        (Kind::Contract, "schema") => Kind::Object,
        (Kind::Contract, "slaProperties") => Kind::Level,
        (Kind::Contract, "team") => Kind::Member,
        (Kind::Member, "members") => Kind::Member,
        (Kind::Object | Kind::Property, "properties" | "items") => Kind::Property,
        (Kind::Property, "logicalTypeOptions") => Kind::Options,
        (Kind::Object | Kind::Property, "quality") => Kind::Check,
        (Kind::Other, _) => Kind::Other,
        (_, "customProperties") => Kind::Custom,
        _ => Kind::Other,
    }
}

/// The order of the keys; others follow in the order they have.
fn order(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Contract => &[
            "apiVersion",
            "kind",
            "id",
            "name",
            "version",
            "status",
            "tenant",
            "domain",
            "dataProduct",
            "contractCreatedTs",
            "description",
            "tags",
            "context",
            "authoritativeDefinitions",
            "customProperties",
            "schema",
            "slaDefaultElement",
            "slaProperties",
            "team",
            "roles",
            "support",
            "price",
            "servers",
        ],
        Kind::Object => &[
            "id",
            "name",
            "physicalName",
            "logicalType",
            "physicalType",
            "businessName",
            "description",
            "dataGranularityDescription",
            "deprecated",
            "synonyms",
            "tags",
            "context",
            "authoritativeDefinitions",
            "customProperties",
            "relationships",
            "quality",
            "properties",
        ],
        Kind::Property => &[
            "id",
            "name",
            "physicalName",
            "businessName",
            "description",
            "logicalType",
            "physicalType",
            "primaryKey",
            "primaryKeyPosition",
            "required",
            "unique",
            "partitioned",
            "partitionKeyPosition",
            "criticalDataElement",
            "classification",
            "encryptedName",
            "deprecated",
            "semanticType",
            "synonyms",
            "tags",
            "enum",
            "logicalTypeOptions",
            "examples",
            "transformSourceObjects",
            "transformLogic",
            "transformDescription",
            "authoritativeDefinitions",
            "relationships",
            "customProperties",
            "quality",
            "items",
            "map",
            "properties",
        ],
        Kind::Options => &[
            "minLength",
            "maxLength",
            "pattern",
            "minimum",
            "exclusiveMinimum",
            "maximum",
            "exclusiveMaximum",
            "multipleOf",
            "format",
        ],
        Kind::Check => &[
            "id",
            "name",
            "description",
            "type",
            "metric",
            "rule",
            "engine",
            "implementation",
            "query",
            "arguments",
            "validValues",
            "mustBe",
            "mustNotBe",
            "mustBeGreaterThan",
            "mustBeGreaterOrEqualTo",
            "mustBeLessThan",
            "mustBeLessOrEqualTo",
            "mustBeBetween",
            "mustNotBeBetween",
            "unit",
            "dimension",
            "severity",
        ],
        Kind::Custom => &["id", "property", "vendor", "value", "description"],
        Kind::Level => &["id", "property", "value", "valueExt", "unit", "element"],
        Kind::Member => &["id", "username", "name", "role", "description"],
        Kind::Other => &[],
    }
}

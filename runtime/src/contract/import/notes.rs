//! Findings of one import, each with its place and, where it concerns one, its field.

use std::collections::BTreeMap;

use lockstep_core::diagnostic::{Diagnostic, Place, Severity};

/// Most findings that one import tells.
const NOTES_MAX: usize = 200;
/// Longest piece of somebody's text in a message, in characters.
const QUOTED_MAX: usize = 60;

/// Collects what is to be told about an import.
#[derive(Clone, Debug)]
pub(super) struct Notes<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<Diagnostic>,
    /// By field (empty for the whole), what is to stand beside it as a comment.
    remarks: BTreeMap<String, Vec<String>>,
    dropped: usize,
    /// The place of findings that have none of their own.
    usual: Option<usize>,
    /// Whether a line of the text may be shown beside a finding.
    shown: bool,
    /// Whether it is a text at all, with lines to name.
    lined: bool,
}

impl<'t> Notes<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Notes<'t> {
        Notes {
            file,
            text,
            found: Vec::new(),
            remarks: BTreeMap::new(),
            dropped: 0,
            usual: None,
            shown: true,
            lined: true,
        }
    }

    /// A collector over data, of which no line is ever shown.
    pub(super) fn over_data(file: &'t str) -> Notes<'t> {
        Notes {
            shown: false,
            ..Notes::new(file, "")
        }
    }

    /// A collector over what has no lines to name, such as a table of a system.
    pub(super) fn unplaced(name: &'t str) -> Notes<'t> {
        Notes {
            lined: false,
            ..Notes::over_data(name)
        }
    }

    /// Where findings stand from here on that have no place of their own.
    pub(super) fn stand_at(&mut self, offset: Option<usize>) {
        self.usual = offset;
    }

    /// The place of findings that have none of their own; none where there are no lines to name.
    pub(super) fn usual(&self) -> Option<Place> {
        let offset = self.usual.filter(|_| self.lined)?;
        let length = usize::from(self.shown);
        Some(Place::in_text(self.file, self.text, offset, length))
    }

    /// A collector over the same text, with nothing in it.
    pub(super) fn fresh(&self) -> Notes<'t> {
        Notes {
            usual: self.usual,
            shown: self.shown,
            lined: self.lined,
            ..Notes::new(self.file, self.text)
        }
    }

    /// Notes something that somebody should look at; it also becomes a comment beside `field`.
    pub(super) fn warn(
        &mut self,
        code: &'static str,
        field: &str,
        offset: Option<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, code, field, offset, message, help);
    }

    /// Notes something that is worth knowing; it also becomes a comment beside `field`.
    pub(super) fn tell(
        &mut self,
        code: &'static str,
        field: &str,
        offset: Option<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Info, code, field, offset, message, help);
    }

    /// Adds a comment that is no finding.
    pub(super) fn remark(&mut self, field: &str, text: impl Into<String>) {
        let remarks = self.remarks.entry(top(field)).or_default();
        let text = text.into();
        if remarks.len() < NOTES_MAX && !remarks.contains(&text) {
            remarks.push(text);
        }
    }

    /// The one reason why nothing comes out.
    pub(super) fn fail(
        &self,
        code: &'static str,
        offset: Option<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Vec<Diagnostic> {
        let finding = Diagnostic::error(code, message).help(help);
        vec![self.placed(finding, offset)]
    }

    /// The one reason why nothing comes out, in a line from 1.
    pub(super) fn fail_line(
        &self,
        code: &'static str,
        line: u64,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Vec<Diagnostic> {
        let place = Place {
            line: usize::try_from(line).unwrap_or(usize::MAX),
            ..Place::in_text(self.file, "", 0, 0)
        };
        vec![Diagnostic::error(code, message).help(help).at(place)]
    }

    /// The one reason why nothing comes out, at a line and column from 1.
    pub(super) fn fail_at(
        &self,
        code: &'static str,
        line: usize,
        column: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Vec<Diagnostic> {
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let within = self.text.get(start..).unwrap_or_default();
        let offset = within
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(self.text.len(), |(at, _)| start + at);
        self.fail(code, Some(offset), message, help)
    }

    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, BTreeMap<String, Vec<String>>) {
        if self.dropped > 0 {
            let message = format!("{} more findings are not shown", self.dropped);
            let last = Diagnostic::warning("LS-I108", message).help("import a part of the text");
            self.found.push(self.placed(last, None));
        }
        (self.found, self.remarks)
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        field: &str,
        offset: Option<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        // Finding a line costs a pass over the text, so the number of findings is bounded.
        if self.found.len() >= NOTES_MAX {
            self.dropped += 1;
            return;
        }
        let message = message.into();
        self.remark(field, message.clone());
        let message = if field.is_empty() {
            message
        } else {
            format!("`{field}`: {message}")
        };
        let finding = Diagnostic {
            severity,
            ..Diagnostic::error(code, message)
        };
        self.found.push(self.placed(finding.help(help), offset));
    }

    /// The finding with its place; one of length 0 is named and never shown.
    fn placed(&self, finding: Diagnostic, offset: Option<usize>) -> Diagnostic {
        if !self.lined {
            return finding;
        }
        let offset = offset.or(self.usual);
        let length = usize::from(self.shown && offset.is_some());
        finding.at(Place::in_text(
            self.file,
            self.text,
            offset.unwrap_or(0),
            length,
        ))
    }
}

/// The field of the record that holds a field of a document (`address.street`).
fn top(field: &str) -> String {
    field.split('.').next().unwrap_or_default().to_owned()
}

/// A piece of somebody's text, short and on one line.
pub(super) fn shorten(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(QUOTED_MAX)
        .collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        line + "…"
    } else {
        line
    }
}

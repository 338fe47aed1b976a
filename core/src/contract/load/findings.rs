//! The findings of one contract, in the order of its text.

use super::yaml::Span;
use crate::diagnostic::{Diagnostic, Place, Severity};

/// Most findings that are reported for one contract; a text with more has one fault that causes them all.
pub(super) const FINDINGS_MAX: usize = 200;

/// Collects what is wrong with a text.
pub(super) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<(Span, Diagnostic)>,
    errors: usize,
    dropped: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Findings {
            file,
            text,
            found: Vec::new(),
            errors: 0,
            dropped: 0,
        }
    }

    /// Notes an error at a place.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors += 1;
        self.push(at, Diagnostic::error(code, message).help(help));
    }

    /// Notes a warning at a place.
    pub(super) fn warning(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(at, Diagnostic::warning(code, message).help(help));
    }

    /// The text of a place, as written.
    pub(super) fn source(&self, at: Span) -> &'a str {
        self.text
            .get(at.offset..at.offset + at.length)
            .unwrap_or_default()
    }

    /// Tells whether anything stands in the way of using the contract.
    pub(super) fn any_error(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are so far, to tell whether a step added any.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Everything found, in the order of the text.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|(at, diagnostic)| (at.offset, diagnostic.code));
        let mut list: Vec<Diagnostic> = self.found.into_iter().map(|(_, found)| found).collect();
        if self.dropped > 0 {
            let last = Place::in_text(self.file, self.text, self.text.len(), 1);
            list.push(Diagnostic {
                severity: Severity::Error,
                code: "LS-C036",
                message: format!("{} more findings are not shown", self.dropped),
                help: Some("mend the first ones; the rest often follows from them".to_owned()),
                place: Some(last),
            });
        }
        list
    }

    fn push(&mut self, at: Span, diagnostic: Diagnostic) {
        // Finding a line costs a pass over the text, so the number of findings is bounded.
        if self.found.len() >= FINDINGS_MAX {
            self.dropped += 1;
            return;
        }
        let place = Place::in_text(self.file, self.text, at.offset, at.length.max(1));
        self.found.push((at, diagnostic.at(place)));
    }
}

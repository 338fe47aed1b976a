//! The findings of one contract and of the shared types it uses, in the order of their texts.

use std::rc::Rc;

use super::Mode;
use super::yaml::Span;
use crate::diagnostic::{Diagnostic, Place, Severity};

/// Most errors, and most warnings, that are reported for one contract; a text with more has one fault that causes them all.
pub(super) const FINDINGS_MAX: usize = 200;

/// Most that the patterns of one contract may cost: a few seconds of compiling at worst.
const PATTERNS_MAX: u64 = 20_000_000;

/// Collects what is wrong with a text and with the shared types that it names.
pub(super) struct Findings {
    mode: Mode,
    sources: Vec<Source>,
    found: Vec<(Span, Diagnostic)>,
    errors: usize,
    dropped: usize,
    /// The worst of those that are not shown.
    worst: Option<Severity>,
    /// What compiling patterns has cost.
    spent: u64,
}

/// One text, with the starts of its lines so that a place costs no pass over it.
struct Source {
    file: String,
    text: Rc<str>,
    lines: Vec<usize>,
}

impl Findings {
    pub(super) fn new(mode: Mode, file: &str, text: &str) -> Self {
        let mut findings = Findings {
            mode,
            sources: Vec::new(),
            found: Vec::new(),
            errors: 0,
            dropped: 0,
            worst: None,
            spent: 0,
        };
        findings.add(file, text);
        findings
    }

    /// Adds a text in which places may lie, and gives its number.
    pub(super) fn add(&mut self, file: &str, text: &str) -> usize {
        let mut lines = vec![0];
        // A text that is refused for its size needs no places but the first.
        if text.len() <= super::CONTRACT_BYTES_MAX * super::yaml::LOCK_TIMES {
            lines.extend(text.match_indices('\n').map(|(i, _)| i + 1));
        }
        self.sources.push(Source {
            file: file.to_owned(),
            text: text.into(),
            lines,
        });
        self.sources.len() - 1
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

    /// Notes what the standard allows and Lockstep cannot run: an error, or a warning where nothing is to be run.
    pub(super) fn needed(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        match self.mode {
            Mode::Run => self.error(code, at, message, help),
            Mode::Lint => {
                let help = help.into();
                self.warning(
                    code,
                    at,
                    message,
                    format!("Lockstep cannot run this entity until this is mended: {help}"),
                );
            }
        }
    }

    /// What the text is read for.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes the cost of a pattern from what may be spent on one contract; says whether there was enough.
    pub(super) fn spend(&mut self, cost: u64) -> bool {
        self.spent = self.spent.saturating_add(cost);
        self.spent <= PATTERNS_MAX
    }

    /// The text of a place, as written.
    pub(super) fn source(&self, at: Span) -> &str {
        self.sources
            .get(at.source)
            .and_then(|source| source.text.get(at.offset..at.offset + at.length))
            .unwrap_or_default()
    }

    /// File, line and column of a span.
    pub(super) fn place(&self, at: Span) -> Place {
        let source = &self.sources[at.source.min(self.sources.len() - 1)];
        let mut offset = at.offset.min(source.text.len());
        while !source.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = source.lines.partition_point(|start| *start <= offset);
        let start = source.lines[line.saturating_sub(1)];
        Place {
            file: source.file.clone(),
            line,
            column: source.text[start..offset].chars().count() + 1,
            offset,
            length: at.length.max(1),
        }
    }

    /// Tells whether anything stands in the way of using the contract.
    pub(super) fn any_error(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are so far, to tell whether a step added any.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Everything found, in the order of the text; what stands in shared types follows.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|(at, diagnostic)| (at.source, at.offset, diagnostic.code));
        // A shared type that is used twice has its faults once.
        self.found.dedup();
        let mut list: Vec<Diagnostic> = self.found.into_iter().map(|(_, found)| found).collect();
        if let Some(severity) = self.worst {
            let main = &self.sources[0];
            list.push(Diagnostic {
                severity,
                code: "LS-C036",
                message: format!("{} more findings are not shown", self.dropped),
                help: Some("mend the first ones; the rest often follows from them".to_owned()),
                place: Some(Place::in_text(&main.file, &main.text, main.text.len(), 1)),
            });
        }
        list
    }

    fn push(&mut self, at: Span, diagnostic: Diagnostic) {
        // Warnings never crowd out an error.
        let severity = diagnostic.severity;
        let kept = self.found.iter();
        let kept = kept.filter(|(_, found)| found.severity == severity).count();
        if kept >= FINDINGS_MAX {
            self.dropped += 1;
            self.worst = self.worst.max(Some(severity));
            return;
        }
        let place = self.place(at);
        self.found.push((at, diagnostic.at(place)));
    }
}

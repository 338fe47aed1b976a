//! The one place that writes: results to standard output, findings to standard error.
//!
//! With `--json`, standard output holds one JSON object and nothing else.
//! Findings are drawn with an excerpt for a terminal and written as `file:line:column: error[CODE]: message` for everything else.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use lockstep_core::diagnostic::{Diagnostic, Place, Severity};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

/// Columns that a drawn finding takes at most.
const WIDTH: usize = 100;

/// Where a command's results and findings go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    drawn: bool,
    colour: bool,
}

impl Output {
    /// An output for people, or with `json` for machines.
    #[must_use]
    pub fn new(json: bool) -> Output {
        let drawn = std::io::stderr().is_terminal();
        Output {
            json,
            drawn,
            colour: drawn && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Tells whether results are to be JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes text to standard output, with a line feed at its end.
    pub fn text(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) has what it wanted.
        let _ = out
            .write_all(text.trim_end_matches('\n').as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
    }

    /// Writes a result as one JSON object on one line.
    pub fn json<T: Serialize>(&self, result: &T) {
        match serde_json::to_string(result) {
            Ok(text) => self.text(&text),
            Err(error) => self.note(&format!("the result cannot be written as JSON: {error}")),
        }
    }

    /// Writes a line to standard error, for people.
    pub fn note(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }

    /// Writes findings to standard error.
    pub fn findings(&self, findings: &[Diagnostic]) {
        for finding in findings {
            let drawn = if self.drawn { self.draw(finding) } else { None };
            match drawn {
                Some(text) => self.note(&text),
                None => self.note(&plain(finding)),
            }
        }
    }

    /// The finding with an excerpt of its file, which is read again for that; `None` where that cannot be done.
    fn draw(&self, finding: &Diagnostic) -> Option<String> {
        let place = finding.place.as_ref()?;
        // A finding about a whole file has no line; an excerpt of a written-out secret would show it.
        if place.length == 0 || finding.code == "LS-G027" {
            return None;
        }
        let text = std::fs::read_to_string(&place.file).ok()?;
        let (source, length) = Line::of(place, &text)?;
        let report = Report {
            finding,
            source,
            length,
        };
        let theme = if self.colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let mut drawn = String::new();
        GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(WIDTH)
            .render_report(&mut drawn, &report)
            .ok()?;
        Some(drawn)
    }
}

/// The finding as editors and CI read it, with its help on a line of its own.
fn plain(finding: &Diagnostic) -> String {
    match &finding.help {
        Some(help) => format!("{finding}\n  help: {help}"),
        None => finding.to_string(),
    }
}

/// The one line that a finding is about: the lines around it may hold what nobody should see.
struct Line {
    file: String,
    text: String,
    start: usize,
    number: usize,
}

impl Line {
    /// The line of a place, and how much of it is marked; `None` where the file has changed since.
    fn of(place: &Place, text: &str) -> Option<(Line, usize)> {
        let start = text.get(..place.offset)?.rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[start..];
        let line = rest.lines().next().unwrap_or_default();
        let length = place
            .length
            .min((start + line.len()).checked_sub(place.offset)?);
        text.get(place.offset..place.offset + length)?;
        let line = Line {
            file: place.file.clone(),
            text: line.to_owned(),
            start,
            number: place.line.saturating_sub(1),
        };
        Some((line, length))
    }
}

impl SourceCode for Line {
    fn read_span<'a>(
        &'a self,
        asked: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = (self.start, self.text.len()).into();
        let before = asked.offset().saturating_sub(self.start);
        let column = self
            .text
            .get(..before)
            .map_or(0, |text| text.chars().count());
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.clone(),
            self.text.as_bytes(),
            span,
            self.number,
            column,
            1,
        )))
    }
}

struct Report<'a> {
    finding: &'a Diagnostic,
    source: Line,
    length: usize,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.finding, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Info => miette::Severity::Advice,
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.finding.help.as_deref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.finding.place.as_ref()?;
        let span = LabeledSpan::new(None, place.offset, self.length);
        Some(Box::new(std::iter::once(span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWING: Output = Output {
        json: false,
        drawn: true,
        colour: false,
    };

    #[test]
    fn a_finding_is_drawn_with_its_line_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let text = "secret = 1\nform = \"x\"\n";
        std::fs::write(&file, text).unwrap();
        let place = Place::in_text(&file.display().to_string(), text, 18, 3);
        let finding = Diagnostic::error("LS-G003", "no form")
            .at(place)
            .help("take it away");
        let drawn = DRAWING.draw(&finding).unwrap();
        for part in ["LS-G003", "no form", "form = \"x\"", "take it away", ":2:8"] {
            assert!(drawn.contains(part), "{drawn}");
        }
        assert!(!drawn.contains("secret = 1"), "{drawn}");

        // A file that has changed since is not drawn, and never a reason to fail.
        for text in ["", "x", "secret = 1\nform = ", "secret = é1234567890éé"] {
            std::fs::write(&file, text).unwrap();
            let _ = DRAWING.draw(&finding);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_written() {
        let gone = Place::in_text("no-such-file", "", 0, 0);
        let finding = Diagnostic::error("LS-G003", "no form").at(gone).help("go");
        assert_eq!(DRAWING.draw(&finding), None);
        assert_eq!(
            plain(&finding),
            "no-such-file:1:1: error[LS-G003]: no form\n  help: go"
        );
    }
}

//! What `test` and `profile` share: data that cannot be read, and a sign of life on long work.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_core::diagnostic::Diagnostic;

use crate::cli::{Context, Exit};
use crate::contract::data::Unreadable;
use crate::contract::report::clean;

/// Records between two signs of life.
const TOLD_EVERY: u64 = 10_000;

/// Ends a command whose data cannot be read.
pub(super) fn unreadable(cx: &Context, error: &Unreadable) -> Exit {
    let exit = if error.environment {
        Exit::Environment
    } else {
        Exit::Usage
    };
    let help = "`lockstep explain LS-U010` says what data can be";
    cx.fail(
        &[Diagnostic::error("LS-U010", clean(&error.message)).help(help)],
        exit,
    )
}

/// A sign of life on standard error, drawn for a terminal only.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Progress {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(bar)
    }

    /// Tells how many records are done, now and then.
    pub(super) fn records(&self, what: &str, records: u64) {
        if records.is_multiple_of(TOLD_EVERY) {
            self.0
                .set_message(clean(&format!("{what}: {records} records")));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

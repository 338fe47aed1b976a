//! The log of the process: on standard error, as text or JSON, filtered by LOCKSTEP_LOG.
//!
//! Every line passes through [`strike`], so that no secret of the configuration is in it, whoever wrote it.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;
use crate::config::strike;

/// The variable that filters the log by module and level.
const FILTER: &str = "LOCKSTEP_LOG";

/// Starts the log. A second start, or a filter that does not parse, changes nothing.
pub(super) fn start(format: LogFormat, verbose: u8) {
    let level = match verbose {
        0 => "warn,lockstep=info",
        1 => "info,lockstep=debug,lockstep_core=debug",
        _ => "debug,lockstep=trace,lockstep_core=trace",
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(|| Striking(io::stderr()));
    let started = match format {
        LogFormat::Text => log.finish().try_init(),
        LogFormat::Json => log.json().flatten_event(true).finish().try_init(),
    };
    // Somebody embeds the command line and logs already: theirs holds.
    drop(started);
}

/// A writer that strikes secrets; the log writes each line in one call.
struct Striking<W>(W);

impl<W: Write> Write for Striking<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(strike(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

//! `lockstep run`: keep the systems in step until told to stop.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Context, Exit};
use crate::config;
use crate::plan::Plan;
use crate::supervise;

/// Keep the systems in step until told to stop (Ctrl-C or SIGTERM)
///
/// Checks everything first, as `lockstep check` does. A system that goes away is waited for; a record that breaks its contract goes to quarantine; nothing is lost when the process is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep run\n  \
    lockstep -c prod.toml run --log-format json\n  \
    lockstep run --partial        leave out flows that `check` finds errors in\n\n\
    Exit codes: 0 stopped as asked, 1 errors found before the start, 2 unreadable configuration, 3 the log or the address is in use or cannot be written.")]
pub(super) struct Args {
    /// Run what is sound and leave out what is not
    #[arg(long)]
    partial: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let config = match cx.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let preflight = config::preflight(&config, &cx.registry).await;
        cx.output.findings(&preflight.findings);
        let partly = self.partial && !preflight.flows.is_empty();
        if !preflight.is_sound() && !partly {
            return if preflight.is_environment() {
                Exit::Environment
            } else {
                Exit::Findings
            };
        }
        let plan = Plan::of(&config, &preflight);
        let stop = CancellationToken::new();
        let signals = tokio::spawn(wait_for_signal(stop.clone()));
        let ended = supervise::run(Arc::new(config), Arc::clone(&cx.registry), plan, stop).await;
        signals.abort();
        match ended {
            Ok(()) => Exit::Clean,
            Err(error) => cx.failed(&error),
        }
    }
}

async fn wait_for_signal(stop: CancellationToken) {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
            return;
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
    stop.cancel();
}

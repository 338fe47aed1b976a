//! `lockstep run`: keep the systems in step until told to stop.

use std::sync::Arc;

use lockstep_core::error::{Error, Kind};
use tokio_util::sync::CancellationToken;

use super::{Context, Exit};
use crate::config;
use crate::drift::FAILED;
use crate::plan::Plan;
use crate::supervise;
use crate::versions::Known;

/// Keep the systems in step until told to stop (Ctrl-C or SIGTERM; a second one ends it at once)
///
/// Checks everything first, as `lockstep check` does. A system that is away, at the start or later, is waited for; a record that breaks its contract goes to quarantine; nothing is lost when the process is killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep run\n  \
    lockstep -c prod.toml run --log-format json\n  \
    lockstep run --partial        leave out flows that `check` finds errors in\n\n\
    Exit codes: 0 stopped as asked, 1 errors found before the start or a flow ended by its policy about drift, 2 unreadable configuration, 3 the log or the address is in use or cannot be written.")]
pub(super) struct Args {
    /// Run what is sound and leave out what is not
    #[arg(long)]
    partial: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let mut config = match cx.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let known = Known::look(&config).await;
        let refused = known.judge(&config);
        if !refused.is_empty() {
            return cx.fail(&refused, Exit::Findings);
        }
        known.apply(&mut config);
        let preflight = config::preflight(&config, &cx.registry).await;
        cx.output.findings(&preflight.findings);
        let partly = self.partial && !preflight.flows.is_empty();
        // A system that is away is waited for, and holds nobody up who does not need it.
        if !preflight.is_sound() && !partly && !preflight.is_only_away() {
            return if preflight.is_environment() {
                Exit::Environment
            } else {
                Exit::Findings
            };
        }
        let plan = Plan::of(&config, &preflight);
        let stop = CancellationToken::new();
        let hurry = async {
            wait_for_signal().await;
            stop.cancel();
            wait_for_signal().await;
        };
        let run = Box::pin(supervise::run(
            Arc::new(config),
            Arc::clone(&cx.registry),
            plan,
            stop.clone(),
        ));
        let ended = tokio::select! {
            ended = run => ended,
            // Like a kill: what was under way is done again at the next start.
            () = hurry => Err(Error::new(
                Kind::Stopped,
                "stopped at once by a second signal; what was under way is done again at the next start",
            )),
        };
        match ended {
            Ok(()) => Exit::Clean,
            Err(error) if error.error_code() == Some(FAILED) => {
                cx.failed(&error);
                Exit::Findings
            }
            Err(error) => cx.failed(&error),
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn wait_for_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}

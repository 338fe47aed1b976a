//! `lockstep completions`: what a shell needs to complete commands.

use clap::CommandFactory as _;

use super::{Cli, Context, Exit};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep completions bash > /etc/bash_completion.d/lockstep")]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

impl Args {
    pub(super) fn run(self, cx: &Context) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lockstep", &mut script);
        cx.output.text(&String::from_utf8_lossy(&script));
        Exit::Clean
    }
}

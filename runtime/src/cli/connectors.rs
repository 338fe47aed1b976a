//! `lockstep connectors`: what this binary was built with.

use lockstep_core::connector::Connector;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit};

/// Show the connectors of this binary and their settings
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every connector: name, version, what it offers
    List,
    /// The JSON Schema of a connector's settings
    #[command(after_help = "Example:\n  lockstep connectors schema sqlite")]
    Schema {
        /// The connector
        name: String,
    },
}

/// The result of `lockstep connectors list --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed<'a> {
    /// The connectors, by name.
    connectors: Vec<Line<'a>>,
}

/// One connector.
#[derive(Debug, Serialize, JsonSchema)]
struct Line<'a> {
    /// The name that configurations use.
    name: &'a str,
    /// Its version.
    version: &'a str,
    /// What it offers: `source`, `sink`, `reader`.
    offers: Vec<&'a str>,
}

impl Args {
    pub(super) fn run(self, cx: &Context) -> Exit {
        match self.what {
            What::List => list(cx),
            What::Schema { name } => match cx.registry.get(&name) {
                Ok(connector) => schema(cx, connector),
                Err(error) => cx.unknown(
                    error.to_string(),
                    error.help_text().unwrap_or_default().to_owned(),
                ),
            },
        }
    }
}

fn list(cx: &Context) -> Exit {
    let connectors = cx.registry.iter().map(|connector| Line {
        name: connector.name,
        version: connector.version,
        offers: connector.offers(),
    });
    let listed = Listed {
        connectors: connectors.collect(),
    };
    if cx.output.is_json() {
        cx.output.json(&listed);
        return Exit::Clean;
    }
    let width = listed.connectors.iter().map(|line| line.name.len()).max();
    let width = width.unwrap_or(0);
    let lines = listed.connectors.iter().map(|line| {
        let offers = line.offers.join(", ");
        format!("{:width$}  {}  {offers}\n", line.name, line.version)
    });
    cx.output.text(&lines.collect::<String>());
    Exit::Clean
}

fn schema(cx: &Context, connector: &Connector) -> Exit {
    if cx.output.is_json() {
        cx.output.json(&connector.schema);
    } else {
        let text = serde_json::to_string_pretty(&connector.schema);
        cx.output.text(&text.unwrap_or_default());
    }
    Exit::Clean
}

//! `lockstep connectors`: what this binary was built with, and trying a file that describes a system.

mod trial;

use lockstep_core::connector::Connector;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit};

pub(super) use trial::Tried;

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
        /// The schema of the files that describe its systems instead
        #[arg(long)]
        description: bool,
    },
    Try(trial::Args),
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
    pub(super) async fn run(self, cx: &Context) -> Exit {
        match self.what {
            What::List => list(cx),
            What::Try(args) => args.run(cx).await,
            What::Schema { name, description } => match cx.registry.get(&name) {
                Ok(connector) => schema(cx, connector, description),
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

fn schema(cx: &Context, connector: &Connector, description: bool) -> Exit {
    let schema = match (description, connector.description()) {
        (false, _) => &connector.schema,
        (true, Some((schema, _))) => schema,
        (true, None) => {
            return cx.unknown(
                format!(
                    "no file describes systems of connector `{}`",
                    connector.name
                ),
                "leave out --description: its settings say it all".to_owned(),
            );
        }
    };
    if cx.output.is_json() {
        cx.output.json(schema);
    } else {
        let text = serde_json::to_string_pretty(schema);
        cx.output.text(&text.unwrap_or_default());
    }
    Exit::Clean
}

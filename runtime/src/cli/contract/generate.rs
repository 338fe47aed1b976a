//! `lockstep contract gen`.

use std::path::Path;

use jiff::Timestamp;
use lockstep_core::contract::{Contract, document};

use super::named;
use super::written::{Document, Out, Written};
use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::contract::generate::lineage::{End, Flow};
use crate::contract::generate::{asyncapi, avro, docs, json_schema, lineage, rust, sql};
use crate::contract::git::Git;

/// Write contracts in another form
///
/// The same contract gives the same text. What a form cannot say stands in it as a comment or a description.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    lockstep contract gen jsonschema order --side reader\n  \
    lockstep contract gen rust customer --out src/contracts\n  \
    lockstep contract gen docs --html --out site      a page for every contract\n  \
    lockstep contract gen sql order --dialect postgres | psql \"$URL\"\n  \
    lockstep contract gen asyncapi > asyncapi.json\n\n\
    Exit codes: 0 done, 2 a contract cannot be read or wrong usage, 3 environment.")]
pub(super) struct Args {
    #[command(subcommand)]
    form: Form,
}

/// Which contracts, and where to.
#[derive(Debug, clap::Args)]
struct Which {
    /// Entities, contract files or folders of them [default: every contract]
    #[arg(value_name = "ENTITY|PATH")]
    what: Vec<String>,
    /// A folder that gets a file for each contract, or one file; `-` for standard output
    #[arg(long, value_name = "DIR|FILE|-")]
    out: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Form {
    /// JSON Schema 2020-12
    #[command(name = "jsonschema", alias = "json-schema")]
    JsonSchema {
        #[command(flatten)]
        which: Which,
        /// Whom it is for
        #[arg(long, value_enum, default_value = "writer")]
        side: Side,
    },
    /// Rust types with serde and schemars
    Rust(Which),
    /// Documentation for people, in Markdown
    Docs {
        #[command(flatten)]
        which: Which,
        /// One self-contained page of HTML instead
        #[arg(long)]
        html: bool,
    },
    /// One AsyncAPI document over the subjects of the log
    #[command(name = "asyncapi")]
    AsyncApi {
        #[command(flatten)]
        which: Which,
        /// The version of AsyncAPI
        #[arg(long = "asyncapi", value_name = "VERSION", default_value = "3.0", value_parser = ["3.0", "3.1"])]
        version: String,
    },
    /// Avro record schemas
    Avro(Which),
    /// CREATE TABLE statements
    Sql {
        #[command(flatten)]
        which: Which,
        /// Whose SQL
        #[arg(long, value_enum, default_value = "postgres")]
        dialect: Dialect,
        /// The table's name, of one contract [default: the entity's]
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
    },
    /// OpenLineage events, one JSON object a line
    #[command(name = "openlineage")]
    OpenLineage {
        #[command(flatten)]
        which: Which,
        /// Also a job with column lineage for every flow of the configuration
        #[arg(long)]
        flows: bool,
        /// The events' time [default: SOURCE_DATE_EPOCH, else the time of the last commit]
        #[arg(long, value_name = "TIMESTAMP")]
        at: Option<Timestamp>,
    },
    /// The contract itself, in its canonical text
    Odcs(Which),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Side {
    /// What may be written
    Writer,
    /// What must be accepted
    Reader,
    /// What a patch may hold
    Patch,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
    Mssql,
    Ansi,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let which = self.form.which();
        let contracts = match named::contracts(cx, &which.what) {
            Ok(contracts) => contracts,
            Err(exit) => return exit,
        };
        let contracts: Vec<&Contract> = contracts.iter().collect();
        if let Some(exit) = nothing_to_say(cx, &contracts, &which.what) {
            return exit;
        }
        let out = Out::of(which.out.as_deref(), self.form.endings());
        match self.form.documents(cx, &contracts, out == Out::Standard) {
            Ok(documents) => {
                Written::new(documents, Vec::new()).finish(cx, &out, false, self.form.between())
            }
            Err(exit) => exit,
        }
    }
}

/// Ends the command where there is no contract, or one that describes no field.
fn nothing_to_say(cx: &Context, contracts: &[&Contract], what: &[String]) -> Option<Exit> {
    if contracts.is_empty() && !what.is_empty() {
        let message = format!("there is no contract in `{}`", what.join("`, `"));
        let help = "describe an entity under `schema`, or name another file".to_owned();
        return Some(cx.unknown(message, help));
    }
    let bare = contracts
        .iter()
        .find(|contract| contract.fields.is_empty())?;
    let message = format!("the contract of `{}` describes no field", bare.entity);
    let help = "describe an entity with its `properties` under `schema`".to_owned();
    Some(cx.unknown(message, help))
}

impl Form {
    fn which(&self) -> &Which {
        match self {
            Form::JsonSchema { which, .. }
            | Form::Docs { which, .. }
            | Form::AsyncApi { which, .. }
            | Form::Sql { which, .. }
            | Form::OpenLineage { which, .. }
            | Form::Rust(which)
            | Form::Avro(which)
            | Form::Odcs(which) => which,
        }
    }

    fn endings(&self) -> &'static [&'static str] {
        match self {
            Form::JsonSchema { .. } | Form::AsyncApi { .. } => &[".json"],
            Form::Docs { .. } => &[".md", ".html"],
            Form::OpenLineage { .. } => &[".json", ".jsonl"],
            Form::Rust(_) => &[".rs"],
            Form::Avro(_) => &[".avsc", ".json"],
            Form::Sql { .. } => &[".sql"],
            Form::Odcs(_) => &[".yaml", ".yml"],
        }
    }

    /// What parts two texts on standard output.
    fn between(&self) -> &'static str {
        match self {
            Form::Odcs(_) => "---",
            Form::Docs { html: false, .. } => "\n---\n",
            _ => "",
        }
    }

    fn documents(
        &self,
        cx: &Context,
        contracts: &[&Contract],
        to_standard: bool,
    ) -> Result<Vec<Document>, Exit> {
        // Several JSON values on one stream stand one a line.
        let compact = to_standard && contracts.len() > 1;
        let json = |value: serde_json::Value| {
            if compact {
                value.to_string()
            } else {
                format!("{value:#}")
            }
        };
        let each = |ending: &str, text: &dyn Fn(&Contract) -> String| -> Vec<Document> {
            contracts
                .iter()
                .map(|contract| {
                    Document::new(
                        Some(&contract.entity),
                        format!("{}{ending}", contract.entity),
                        text(contract),
                    )
                })
                .collect()
        };
        Ok(match self {
            Form::JsonSchema { side, .. } => {
                let (side, name) = match side {
                    Side::Writer => (json_schema::Side::Writer, "writer"),
                    Side::Reader => (json_schema::Side::Reader, "reader"),
                    Side::Patch => (json_schema::Side::Patch, "patch"),
                };
                each(&format!(".{name}.schema.json"), &|contract| {
                    json(json_schema::schema(contract, side))
                })
            }
            Form::Rust(_) => each(".rs", &rust::text),
            Form::Docs { html: false, .. } => each(".md", &docs::markdown),
            Form::Docs { html: true, .. } => each(".html", &docs::html),
            Form::AsyncApi { version, .. } => {
                let version = if version == "3.1" {
                    asyncapi::VERSIONS[1]
                } else {
                    asyncapi::VERSIONS[0]
                };
                let text = format!("{:#}", asyncapi::document(contracts, version));
                let only = match contracts {
                    [one] => Some(one.entity.as_str()),
                    _ => None,
                };
                vec![Document::new(only, "asyncapi.json", text)]
            }
            Form::Avro(_) => each(".avsc", &|contract| json(avro::schema(contract))),
            Form::Sql { dialect, table, .. } => {
                if table.is_some() && contracts.len() > 1 {
                    return Err(cx.unknown(
                        "one table's name for several contracts".to_owned(),
                        "name one entity with `--table`".to_owned(),
                    ));
                }
                each(".sql", &|contract| {
                    sql::ddl(contract, (*dialect).into(), table.as_deref())
                })
            }
            Form::OpenLineage { flows, at, .. } => {
                let at = event_time(cx, *at)?;
                let mut list = each(".openlineage.json", &|contract| {
                    lineage::dataset(contract, at).to_string()
                });
                if *flows {
                    let config = cx.load()?;
                    list.extend(jobs(&config, contracts, at));
                }
                list
            }
            Form::Odcs(_) => each(".odcs.yaml", &|contract| {
                document::yaml(&document::write(contract))
            }),
        })
    }
}

/// The time of events, which is none of the clock's: the same contract gives the same text.
fn event_time(cx: &Context, said: Option<Timestamp>) -> Result<Timestamp, Exit> {
    if let Some(at) = said {
        return Ok(at);
    }
    if let Some(seconds) = std::env::var_os("SOURCE_DATE_EPOCH") {
        let seconds = seconds.to_str().and_then(|text| text.parse::<i64>().ok());
        let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        return at.ok_or_else(|| {
            let message = "SOURCE_DATE_EPOCH is no number of seconds".to_owned();
            cx.unknown(
                message,
                "set it to seconds since 1970, or say `--at`".to_owned(),
            )
        });
    }
    let commit = Git::open(Path::new(".")).and_then(|git| git.time());
    commit.ok().flatten().ok_or_else(|| {
        cx.unknown(
            "nothing says the time of the events: there is no commit here".to_owned(),
            "say it with `--at 2026-01-31T12:00:00Z`, or set SOURCE_DATE_EPOCH".to_owned(),
        )
    })
}

/// A job event for every flow of these contracts.
fn jobs(config: &Config, contracts: &[&Contract], at: Timestamp) -> Vec<Document> {
    let flows = config.flows.values().filter_map(|flow| {
        let contract = contracts
            .iter()
            .find(|contract| contract.entity == flow.entity)?;
        let lineage = Flow {
            name: &flow.name,
            contract,
            from: End {
                system: &flow.from,
                mapping: config.mapping(&flow.from, &flow.entity),
            },
            to: flow
                .to
                .iter()
                .map(|system| End {
                    system,
                    mapping: config.mapping(system, &flow.entity),
                })
                .collect(),
        };
        let text = lineage::job(&lineage, at).to_string();
        Some(Document::new(
            Some(&flow.entity),
            format!("{}.flow.openlineage.json", flow.name),
            text,
        ))
    });
    flows.collect()
}

impl From<Dialect> for sql::Dialect {
    fn from(dialect: Dialect) -> sql::Dialect {
        match dialect {
            Dialect::Postgres => sql::Dialect::Postgres,
            Dialect::Mysql => sql::Dialect::MySql,
            Dialect::Sqlite => sql::Dialect::Sqlite,
            Dialect::Mssql => sql::Dialect::MsSql,
            Dialect::Ansi => sql::Dialect::Ansi,
        }
    }
}

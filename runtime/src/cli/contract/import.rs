//! `lockstep contract import`.

use std::path::PathBuf;

use lockstep_core::Shape;
use lockstep_core::connector::{DynReader, OpenContext, Page, RawConfig};
use lockstep_core::error::Error;

use super::neighbours;
use super::written::{Document, Out, Written, definition, open};
use crate::cli::{Context, Exit};
use crate::config::preflight::{self, within_deadline};
use crate::contract::data;
use crate::contract::import::{self, Asked, Draft, Imported, sample};

/// How names of files end; others are folders.
const ENDINGS: &[&str] = &[".yaml", ".yml"];

/// Make a contract from another form
///
/// What a contract cannot say becomes a finding and a comment, never a loss in silence. Nothing is ever fetched from elsewhere, and no file is overwritten.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    lockstep contract import table --url \"$SHOP_URL\" --table customers --entity customer --owner shop --out contracts\n  \
    lockstep contract import table shop.customers --entity customer      a system of lockstep.toml\n  \
    lockstep contract import table --url \"$SHOP_URL\" --table customers --entity customer --mapping shop >> lockstep.toml\n  \
    lockstep contract import json-schema order.schema.json --key id\n  \
    lockstep contract import sql schema.sql --dialect postgres --out contracts\n  \
    lockstep contract import sample orders.csv --entity order\n\n\
    Exit codes: 0 done (findings say what to look at), 2 what is imported cannot be read or wrong usage, 3 environment.")]
pub(super) struct Args {
    #[command(subcommand)]
    form: Form,
    #[command(flatten)]
    asked: Options,
}

/// What no source says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The entity's name; where the source describes several records, the one that is meant
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) entity: Option<String>,
    /// The fields that identify a record, in key order
    #[arg(long, global = true, value_name = "FIELD,…", value_delimiter = ',')]
    pub(super) key: Vec<String>,
    /// The system that is right about the entity
    #[arg(long, global = true, value_name = "SYSTEM")]
    pub(super) owner: Option<String>,
    /// A folder of contracts, or one file that ends in .yaml [default: standard output, as with `-`]
    #[arg(long, global = true, value_name = "DIR|FILE|-")]
    pub(super) out: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Form {
    /// A JSON Schema, of 2020-12 or an older draft
    #[command(name = "json-schema", alias = "jsonschema")]
    JsonSchema {
        /// The file, or `-` for standard input
        source: String,
    },
    /// An Avro schema
    Avro {
        /// The file, or `-` for standard input
        source: String,
    },
    /// A file of the Open Data Contract Standard that others wrote
    Odcs {
        /// The file, or `-` for standard input
        source: String,
    },
    /// CREATE TABLE statements
    Sql {
        /// The file, or `-` for standard input
        source: String,
        /// Whose SQL
        #[arg(long, default_value = "generic", value_parser = import::sql::DIALECTS)]
        dialect: String,
    },
    /// A table of a running system
    Table(Table),
    /// Sample data: CSV, JSON or JSON lines
    Sample {
        /// The file, or `-` for standard input
        source: String,
        /// Its form [default: what the file's name says]
        #[arg(long, value_enum)]
        form: Option<SampleForm>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SampleForm {
    Json,
    Jsonl,
    Csv,
}

#[derive(Debug, clap::Args)]
struct Table {
    /// A system of the configuration and its table
    #[arg(value_name = "SYSTEM.TABLE", required_unless_present = "url")]
    source: Option<String>,
    /// A database that no configuration names, such as postgres://… or sqlite:FILE
    #[arg(
        long,
        value_name = "URL",
        requires = "table",
        conflicts_with = "source"
    )]
    url: Option<String>,
    /// The table, with `--url`
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Also look at so many rows, for lengths and lists of values
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    rows: u32,
    /// Print how the entity stands in this system instead, as a part of lockstep.toml: every field is the column that it was made of
    #[arg(long, value_name = "SYSTEM")]
    mapping: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let mut asked = self.asked.asked();
        if let Some(system) = self.form.has_references() {
            let out = Out::of(self.asked.out.as_deref(), ENDINGS);
            asked.others = neighbours::others(cx, &out, system);
        }
        let (file, drafts) = match self.form.drafts(cx, &asked).await {
            Ok(drafts) => drafts,
            Err(exit) => return exit,
        };
        if let Form::Table(Table {
            mapping: Some(system),
            table,
            ..
        }) = &self.form
        {
            // A system of the configuration stands before its table.
            let named = file
                .split_once('.')
                .map_or(file.as_str(), |(_, table)| table);
            return mapping(cx, system, table.as_deref().unwrap_or(named), &drafts);
        }
        finish(cx, &file, drafts, self.asked.out.as_deref())
    }
}

/// Prints a part of a configuration: how an entity stands in the table that it was made of.
fn mapping(cx: &Context, system: &str, table: &str, drafts: &[Draft]) -> Exit {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let key = |text: &str| {
        let bare = !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if bare { text.to_owned() } else { quoted(text) }
    };
    let mut documents = Vec::new();
    for Draft {
        contract, columns, ..
    } in drafts
    {
        let place = format!("systems.{}.map.{}", key(system), contract.entity);
        let mut text = format!("\n[{place}]\ntable = {}\n[{place}.fields]\n", quoted(table));
        for (field, column) in contract.fields.iter().zip(columns) {
            text.push_str(&format!("{} = {}\n", key(&field.name), quoted(column)));
        }
        documents.push(Document::new(
            Some(&contract.entity),
            format!("{}.toml", contract.entity),
            text,
        ));
    }
    Written::new(documents, Vec::new()).finish(cx, &Out::Standard, true, "")
}

impl Options {
    pub(super) fn asked(&self) -> Asked {
        Asked {
            entity: self.entity.clone(),
            key: self.key.clone(),
            owner: self.owner.clone(),
            others: Vec::new(),
        }
    }
}

/// Writes drafts as contract files.
pub(super) fn finish(cx: &Context, source: &str, drafts: Vec<Draft>, out: Option<&str>) -> Exit {
    let mut documents = Vec::new();
    let mut findings = Vec::new();
    for mut draft in drafts {
        findings.append(&mut draft.findings);
        let entity = draft.contract.entity.clone();
        match import::text(source, &draft) {
            Ok(text) => documents.push(Document::new(
                Some(&entity),
                format!("{entity}/{entity}.odcs.yaml"),
                text,
            )),
            Err(found) => {
                findings.extend(found);
                return cx.fail(&findings, Exit::Usage);
            }
        }
    }
    Written::new(documents, findings).finish(cx, &Out::of(out, ENDINGS), true, "---")
}

impl Form {
    /// Whether tables come out, whose foreign keys lead to other entities; if so, the one system that they are of.
    fn has_references(&self) -> Option<Option<&str>> {
        match self {
            Form::Table(table) => {
                let source = table.source.as_deref().and_then(|s| s.split_once('.'));
                Some(
                    source
                        .map(|(system, _)| system)
                        .or(table.mapping.as_deref()),
                )
            }
            Form::Sql { .. } | Form::Odcs { .. } => Some(None),
            _ => None,
        }
    }

    /// The drafts, and the name of what they come from.
    async fn drafts(&self, cx: &Context, asked: &Asked) -> Result<(String, Vec<Draft>), Exit> {
        let done = |source: &str, imported: Imported| match imported {
            Ok(drafts) => Ok((source.to_owned(), drafts)),
            Err(findings) => Err(cx.fail(&findings, Exit::Usage)),
        };
        let text =
            |source: &str| definition(source).map_err(|findings| cx.fail(&findings, Exit::Usage));
        match self {
            Form::JsonSchema { source } => done(
                source,
                import::json_schema::import(source, &text(source)?, asked),
            ),
            Form::Avro { source } => {
                done(source, import::avro::import(source, &text(source)?, asked))
            }
            Form::Odcs { source } => {
                done(source, import::odcs::import(source, &text(source)?, asked))
            }
            Form::Sql { source, dialect } => done(
                source,
                import::sql::import(source, &text(source)?, dialect, asked),
            ),
            Form::Table(table) => table.drafts(cx, asked).await,
            Form::Sample { source, form } => {
                let form = form
                    .map(Into::into)
                    .or_else(|| data::Form::of(source.as_ref()));
                let Some(form) = form else {
                    let message =
                        format!("the name `{source}` does not say what form the sample has");
                    return Err(cx.unknown(
                        message,
                        "say it with `--form json`, `jsonl` or `csv`".to_owned(),
                    ));
                };
                let input = open(source).map_err(|findings| cx.fail(&findings, Exit::Usage))?;
                done(source, sample::import(source, input, form, asked))
            }
        }
    }
}

impl From<SampleForm> for data::Form {
    fn from(form: SampleForm) -> data::Form {
        match form {
            SampleForm::Json => data::Form::Document,
            SampleForm::Jsonl => data::Form::Lines,
            SampleForm::Csv => data::Form::Table,
        }
    }
}

impl Table {
    async fn drafts(&self, cx: &Context, asked: &Asked) -> Result<(String, Vec<Draft>), Exit> {
        let (name, reader, shape) = match (&self.url, &self.table, &self.source) {
            (Some(url), Some(table), _) => self.by_url(cx, url, table).await?,
            (_, _, Some(source)) => self.by_system(cx, source).await?,
            _ => {
                return Err(cx.unknown(
                    "no table is named".to_owned(),
                    "name it as SYSTEM.TABLE, or with `--url` and `--table`".to_owned(),
                ));
            }
        };
        let rows = self
            .look(reader.as_ref(), &shape)
            .await
            .map_err(|error| cx.failed(&error))?;
        // A system that refuses to say more than the shape does not keep a contract from being made.
        let definition = within_deadline(reader.definition(&shape.name)).await;
        let definition = definition.ok().flatten();
        let drafts = import::table::import(&name, &shape, definition.as_ref(), &rows, asked)
            .map_err(|findings| cx.fail(&findings, Exit::Usage))?;
        Ok((name, drafts))
    }

    async fn by_system(
        &self,
        cx: &Context,
        source: &str,
    ) -> Result<(String, Box<dyn DynReader>, Shape), Exit> {
        let Some((system, table)) = source.split_once('.') else {
            let message = format!("`{source}` names no table");
            return Err(cx.unknown(
                message,
                "write SYSTEM.TABLE, such as `shop.customers`".to_owned(),
            ));
        };
        let config = cx.load_system(system)?;
        let opened =
            within_deadline(preflight::open_reader(&config, &cx.registry, system, table)).await;
        match opened {
            Ok((reader, shape)) => Ok((source.to_owned(), reader, Shape::clone(&shape))),
            Err(error) => Err(cx.fail(
                &[preflight::diagnostic(&config, system, &error)],
                Exit::Environment,
            )),
        }
    }

    async fn by_url(
        &self,
        cx: &Context,
        url: &str,
        table: &str,
    ) -> Result<(String, Box<dyn DynReader>, Shape), Exit> {
        let scheme = url.split(':').next().unwrap_or_default();
        let (connector, key, value) = match scheme {
            "postgres" | "postgresql" => ("postgres", "url", url),
            "mysql" | "mariadb" => ("mysql", "url", url),
            "sqlite" | "file" => {
                let path = url.split_once(':').map_or("", |(_, path)| path);
                ("sqlite", "path", path.strip_prefix("//").unwrap_or(path))
            }
            _ => {
                return Err(cx.unknown(
                    "the URL is of no known kind of database".to_owned(),
                    "write postgres://…, mysql://… or sqlite:FILE; other systems are named in lockstep.toml"
                        .to_owned(),
                ));
            }
        };
        let settings = RawConfig::from([(key.to_owned(), value.into())]);
        let context = OpenContext {
            system: "source".to_owned(),
            folder: PathBuf::from("."),
            tables: vec![table.to_owned()],
            reads: Default::default(),
        };
        let opened = within_deadline(async {
            let reader = cx
                .registry
                .get(connector)?
                .open_reader(settings, context)
                .await?;
            let shape = reader.discover().await?.into_iter().next();
            let shape =
                shape.ok_or_else(|| Error::config(format!("there is no table `{table}`")))?;
            Ok((reader, Shape::clone(&shape)))
        });
        match opened.await {
            Ok((reader, shape)) => Ok((table.to_owned(), reader, shape)),
            Err(error) => Err(cx.failed(&error)),
        }
    }

    /// Rows to look at, from the beginning of the table.
    async fn look(
        &self,
        reader: &dyn DynReader,
        shape: &Shape,
    ) -> Result<Vec<lockstep_core::Row>, Error> {
        if self.rows == 0 || shape.key.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<String> = shape.names().map(str::to_owned).collect();
        let key: Vec<String> = shape
            .key
            .iter()
            .filter_map(|i| columns.get(*i))
            .cloned()
            .collect();
        let page = Page {
            table: &shape.name,
            columns: &columns,
            key: &key,
            after: None,
            limit: self.rows as usize,
            ..Page::default()
        };
        within_deadline(reader.scan(page)).await
    }
}

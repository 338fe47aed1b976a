//! Opening one system and looking at its tables.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::Shape;
use lockstep_core::connector::{DynReader, DynSink, DynSource, Finding, OpenContext, Registry};
use lockstep_core::contract::drift::GONE;
use lockstep_core::deliver::table_of;
use lockstep_core::diagnostic::{Diagnostic, Severity};
use lockstep_core::error::{Error, Kind, Result};

use crate::config::{Config, Role, System};
use crate::links;
use crate::query;

/// How long a system may take to answer one question.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// The code of a table that will be made.
const MAKES: &str = "LS-P013";

/// What a system said when it was opened for a role.
#[derive(Default)]
pub(super) struct Survey {
    /// Its tables, by name.
    pub(super) shapes: BTreeMap<String, Arc<Shape>>,
    /// Tables that it does not have and that are made at the start.
    pub(super) makes: BTreeMap<String, Arc<Shape>>,
    /// The source, for questions that need the compiled plans.
    pub(super) source: Option<Box<dyn DynSource>>,
    /// The sink, for questions that need the compiled plans.
    pub(super) sink: Option<Box<dyn DynSink>>,
    /// Tables that are not there, by name, with what is said of it.
    pub(super) absent: BTreeMap<String, Diagnostic>,
    /// What was found.
    pub(super) findings: Vec<Diagnostic>,
    /// Whether it did not answer, which may be over in a moment.
    pub(super) is_away: bool,
}

enum Opened {
    Source(Box<dyn DynSource>),
    Sink(Box<dyn DynSink>),
    Reader(Box<dyn DynReader>),
}

/// Opens a system and discovers its tables.
pub(super) async fn survey(
    config: &Config,
    registry: &Registry,
    system: &str,
    role: Role,
) -> Survey {
    let cx = config.open_context(system, role);
    let mut survey = Survey::default();
    if config.systems.get(system).is_some_and(System::is_inbox) {
        // Its tables are the contracts, and what it needs beside them is the log.
        let contracts = cx
            .tables
            .iter()
            .filter_map(|name| config.contracts.get(name));
        let shapes = contracts.map(|contract| contract.shape()).collect();
        survey.add(&cx.tables, shapes);
        return survey;
    }
    let opened = open_made(config, registry, role, cx.clone(), &mut survey).await;
    let (opened, cx) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let finding = diagnostic(config, system, &error);
            survey.findings.push(finding);
            survey.is_away = passes(&error);
            return survey;
        }
    };
    match opened.discover().await {
        Ok(shapes) => survey.add(&cx.tables, shapes),
        Err(error) if cx.tables.len() > 1 && !error.kind().is_retryable() => {
            discover_singly(config, registry, role, &cx, &mut survey).await;
        }
        Err(error) => {
            survey.cannot(config, system, &cx.tables, &error);
            survey.is_away = passes(&error);
        }
    }
    match opened {
        // Without its tables it would only say again that they are missing.
        _ if !survey.absent.is_empty() => {}
        Opened::Source(_) if !survey.findings.is_empty() => {}
        Opened::Source(source) => survey.source = Some(source),
        Opened::Sink(sink) => survey.sink = Some(sink),
        Opened::Reader(_) => {}
    }
    survey
}

/// Opens a system for the tables that it has; those that it has not and that are made at the start are planned.
async fn open_made(
    config: &Config,
    registry: &Registry,
    role: Role,
    mut cx: OpenContext,
    survey: &mut Survey,
) -> Result<(Opened, OpenContext)> {
    let opened = open(config, registry, role, cx.clone()).await?;
    let makes = config
        .systems
        .get(&cx.system)
        .is_some_and(|s| s.create_tables);
    let Opened::Sink(sink) = &opened else {
        return Ok((opened, cx));
    };
    if !makes {
        return Ok((opened, cx));
    }
    let missing = within_deadline(sink.missing()).await?;
    for table in missing {
        match planned(config, &cx.system, &table) {
            Ok(shape) => {
                let shape = Arc::new(shape);
                survey.shapes.insert(table.clone(), Arc::clone(&shape));
                survey.findings.push(will_make(config, &cx.system, &shape));
                survey.makes.insert(table.clone(), shape);
                cx.tables.retain(|known| *known != table);
            }
            // Asked about like any other, it is named as one that is not there.
            Err(error) => {
                let one = [table];
                let finding = no_table(config, &cx.system, &one, &error);
                survey.findings.push(finding);
            }
        }
    }
    if survey.makes.is_empty() {
        return Ok((opened, cx));
    }
    Ok((open(config, registry, role, cx.clone()).await?, cx))
}

/// The table that a mapping of a system needs.
fn planned(config: &Config, system: &str, table: &str) -> Result<Shape> {
    let entities = config.systems.get(system).map(|system| &system.map);
    let mut entities = entities.into_iter().flatten();
    let found = entities.find(|(_, mapping)| mapping.table == table);
    let found = found.and_then(|(entity, mapping)| Some((config.contracts.get(entity)?, mapping)));
    let Some((contract, mapping)) = found else {
        return Err(Error::config(format!("no mapping writes table `{table}`")));
    };
    table_of(contract, mapping).map_err(|error| {
        Error::config(format!("table `{table}` cannot be made from its contract"))
            .because(error)
            .help("make the table yourself, or change the mapping")
    })
}

/// Says what will be made.
fn will_make(config: &Config, system: &str, shape: &Shape) -> Diagnostic {
    let columns = shape.columns.iter().enumerate().map(|(at, column)| {
        let kind = column.kind.map(|kind| kind.to_string()).unwrap_or_default();
        let key = if shape.key.contains(&at) { ", key" } else { "" };
        let null = if column.nullable { "" } else { ", not null" };
        format!("{} ({kind}{key}{null})", column.name)
    });
    let columns: Vec<String> = columns.collect();
    Diagnostic {
        severity: Severity::Info,
        code: MAKES,
        message: format!(
            "table `{}` of `{system}` is not there and will be made: {}",
            shape.name,
            columns.join(", ")
        ),
        help: Some("make it yourself before the start if it is to be another one".to_owned()),
        place: Some(config.places.key(&["systems", system, "create_tables"])),
    }
}

/// Whether an error may be over in a moment, without anybody mending the configuration.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), Kind::Transient | Kind::Throttled)
}

/// One table at a time, so that each that is missing has its own finding and the others are still judged.
async fn discover_singly(
    config: &Config,
    registry: &Registry,
    role: Role,
    cx: &OpenContext,
    survey: &mut Survey,
) {
    for table in &cx.tables {
        let one = OpenContext {
            tables: vec![table.clone()],
            ..cx.clone()
        };
        let shapes = match open(config, registry, role, one.clone()).await {
            Ok(opened) => opened.discover().await,
            Err(error) => Err(error),
        };
        match shapes {
            Ok(shapes) => survey.add(&one.tables, shapes),
            Err(error) => survey.cannot(config, &cx.system, &one.tables, &error),
        }
    }
}

impl Survey {
    /// Takes note of tables that cannot be looked at.
    fn cannot(&mut self, config: &Config, system: &str, tables: &[String], error: &Error) {
        let finding = no_table(config, system, tables, error);
        match tables {
            [table] if error.error_code() == Some(GONE) => {
                self.absent.insert(table.clone(), finding);
            }
            _ => self.findings.push(finding),
        }
    }

    fn add(&mut self, tables: &[String], shapes: Vec<Arc<Shape>>) {
        self.shapes.extend(tables.iter().cloned().zip(shapes));
    }
}

async fn open(config: &Config, registry: &Registry, role: Role, cx: OpenContext) -> Result<Opened> {
    within_deadline(async {
        Ok(match role {
            Role::Source => {
                let names = query::Names::new();
                Opened::Source(query::open_source(config, registry, cx, &names, None).await?)
            }
            Role::Sink => Opened::Sink(links::open_sink(config, registry, cx, None).await?),
            Role::Reader => Opened::Reader(links::open_reader(config, registry, cx).await?),
        })
    })
    .await
}

impl Opened {
    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        match self {
            Opened::Source(source) => within_deadline(source.discover()).await,
            Opened::Sink(sink) => within_deadline(sink.discover()).await,
            Opened::Reader(reader) => within_deadline(reader.discover()).await,
        }
    }
}

/// Opens a system for reading one table.
pub(crate) async fn open_reader(
    config: &Config,
    registry: &Registry,
    system: &str,
    table: &str,
) -> Result<(Box<dyn DynReader>, Arc<Shape>)> {
    match open_one(config, registry, system, Role::Reader, table).await? {
        (Opened::Reader(reader), shape) => Ok((reader, shape)),
        _ => Err(Error::unexpected("opened for another role")),
    }
}

/// The shape of a table that is written.
pub(crate) async fn target_shape(
    config: &Config,
    registry: &Registry,
    system: &str,
    table: &str,
) -> Result<Arc<Shape>> {
    let (_, shape) = open_one(config, registry, system, Role::Sink, table).await?;
    Ok(shape)
}

/// The shape of a table as a system declares it now, to whoever opens it for a role.
pub(crate) async fn look(
    config: &Config,
    registry: &Registry,
    system: &str,
    role: Role,
    table: &str,
) -> Result<Arc<Shape>> {
    let (_, shape) = open_one(config, registry, system, role, table).await?;
    Ok(shape)
}

async fn open_one(
    config: &Config,
    registry: &Registry,
    system: &str,
    role: Role,
    table: &str,
) -> Result<(Opened, Arc<Shape>)> {
    let cx = OpenContext {
        tables: vec![table.to_owned()],
        ..config.open_context(system, role)
    };
    let opened = open(config, registry, role, cx).await?;
    let shape = opened.discover().await?.into_iter().next();
    let shape = shape.ok_or_else(|| Error::unexpected(format!("table `{table}` has no shape")))?;
    Ok((opened, shape))
}

/// Gives up on a system that does not answer.
pub(crate) async fn within_deadline<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(OPEN_DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::transient(format!(
            "no answer within {} seconds",
            OPEN_DEADLINE.as_secs()
        ))),
    }
}

/// A connector's error as a finding about the system.
///
/// Passing trouble and missing permissions are the surroundings' fault (`LS-P001`), the rest is the configuration's (`LS-P002`).
pub(crate) fn diagnostic(config: &Config, system: &str, error: &Error) -> Diagnostic {
    let outside = error.kind().is_retryable() || error.kind() == Kind::Unauthorized;
    let (code, what, help) = if outside {
        (
            "LS-P001",
            "cannot be reached",
            "check that it runs, that it can be reached from here, and the credentials",
        )
    } else {
        (
            "LS-P002",
            "cannot do what the configuration asks",
            "check its settings; `lockstep connectors schema NAME` shows them",
        )
    };
    let text = config.redact(&error.chain());
    let finding = Diagnostic::error(
        error.error_code().unwrap_or(code),
        format!("system `{system}` {what}: {text}"),
    );
    finding.at(config.places.key(&["systems", system])).help(
        error
            .help_text()
            .map_or_else(|| help.to_owned(), |text| config.redact(text)),
    )
}

/// A table that cannot be used, at the mappings that name it.
fn no_table(config: &Config, system: &str, tables: &[String], error: &Error) -> Diagnostic {
    let mut finding = diagnostic(config, system, error);
    let [table] = tables else { return finding };
    let entity = config.systems.get(system).and_then(|system| {
        let mut map = system.map.iter();
        map.find(|(_, mapping)| mapping.table == *table)
    });
    if let Some((entity, _)) = entity {
        finding.place = config.place(system, entity, &["table".to_owned()]);
    }
    finding
}

/// What a connector's own check found, or that it could not be asked.
pub(super) fn findings(
    config: &Config,
    system: &str,
    code: &'static str,
    found: Result<Vec<Finding>>,
) -> Vec<Diagnostic> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![diagnostic(config, system, &error)],
    };
    found
        .into_iter()
        .map(|finding| Diagnostic {
            severity: finding.severity,
            code,
            message: format!("system `{system}`: {}", config.redact(&finding.message)),
            help: Some(config.redact(&finding.help)).filter(|help| !help.is_empty()),
            place: Some(config.places.key(&["systems", system])),
        })
        .collect()
}

//! The sink: reads the rows that a batch is about, plays the batch on them, and inserts those that differ.
//!
//! ClickHouse has no transactions, so nothing is kept beside the rows: a batch that comes again finds its rows as they shall be, and writes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, Finding, Incarnation, Limits, OpenContext, Outcome, Receipt, Sink,
};
use lockstep_core::{Cell, Change, Column, Error, Kind, Result, Shape, Value};

use crate::check;
use crate::client::{Refusal, Server};
use crate::config::Config;
use crate::convert::{decode, encode, selected};
use crate::form::{self, declared};
use crate::literal;
use crate::state::{Rows, Target, Written};
use crate::table::Table;
use crate::tsv;

/// Most keys that one question asks for.
const KEYS_MAX: usize = 500;

/// Writes to tables of a ClickHouse database.
#[derive(Debug)]
pub struct ClickhouseSink {
    server: Server,
    config: Config,
    tables: Vec<String>,
    targets: Mutex<HashMap<String, Arc<Target>>>,
}

impl Sink for ClickhouseSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(ClickhouseSink {
            server: Server::open(&config, &cx).await?,
            config,
            tables: cx.tables,
            targets: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            shapes.push(self.look(name).await?.shape);
        }
        Ok(shapes)
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for shape in targets {
            let table = self.look(&shape.name).await?;
            findings.extend(check::target(&self.config, &table, shape));
        }
        Ok(findings)
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.remember(shape).await?;
        }
        Ok(())
    }

    async fn add_columns(&self, table: &str, columns: &[Column]) -> Result<()> {
        let there = self.look(table).await?;
        for column in columns {
            if there.columns.iter().any(|known| known.name == column.name) {
                continue;
            }
            let declared = self.declared(column, true);
            let sql = format!("ALTER TABLE {} ADD COLUMN {declared}", literal::name(table));
            self.server
                .run(&sql)
                .await
                .map_err(|error| error.with("table", table))?;
        }
        self.known().remove(table);
        Ok(())
    }

    async fn incarnation(&self, table: &str) -> Result<Option<Incarnation>> {
        // Servers before 20.10 give tables no identity.
        if self.server.version < form::Version(20, 10) {
            return Ok(None);
        }
        let sql = format!(
            "SELECT toString(uuid) FROM system.tables WHERE database = {} AND name = {}",
            literal::text(&self.server.database),
            literal::text(table)
        );
        let found = self.server.rows(&sql).await?;
        let id = found
            .first()
            .and_then(|row| row.first())
            .cloned()
            .flatten()
            .unwrap_or_default();
        let id = String::from_utf8_lossy(&id).into_owned();
        let is_one = id.bytes().any(|byte| !matches!(byte, b'0' | b'-'));
        Ok(is_one.then(|| Incarnation {
            table: id,
            columns: BTreeMap::new(),
        }))
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM system.tables WHERE database = {}",
            literal::text(&self.server.database)
        );
        let there = self.server.rows(&sql).await?;
        let is_there = |table: &&String| {
            let is_it =
                |row: &Vec<tsv::Field>| row.first() == Some(&Some(table.as_bytes().to_vec()));
            there.iter().any(is_it)
        };
        Ok(self
            .tables
            .iter()
            .filter(|table| !is_there(table))
            .cloned()
            .collect())
    }

    async fn create_table(&self, table: &Shape) -> Result<()> {
        let keyed = |place: usize| table.key.contains(&place);
        let columns = table.columns.iter().enumerate();
        let mut lines: Vec<String> = columns
            .map(|(place, column)| self.declared(column, column.nullable && !keyed(place)))
            .collect();
        let (version, deleted) = (
            literal::name(&self.config.version_column),
            literal::name(&self.config.deleted_column),
        );
        lines.push(format!("{version} UInt64"));
        lines.push(format!("{deleted} UInt8"));
        let key = table
            .key
            .iter()
            .map(|place| literal::name(&table.columns[*place].name));
        let key = key.collect::<Vec<_>>().join(", ");
        // Where the engine knows deleted rows, `FINAL` alone leaves them out for everybody.
        let arguments = if self.server.version.has_deleted() {
            format!("{version}, {deleted}")
        } else {
            version
        };
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} ({}) ENGINE = ReplacingMergeTree({arguments}) ORDER BY ({key})",
            literal::name(&table.name),
            lines.join(", ")
        );
        self.server
            .run(&sql)
            .await
            .map_err(|error| error.with("table", &table.name))
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes = vec![Outcome::APPLIED; batch.changes.len()];
        let mut from = 0;
        while from < batch.changes.len() {
            let part = &batch.changes[from..];
            // A truncate is a barrier: what stands before it is written first.
            let cut = part.iter().position(|change| change.op == Op::Truncated);
            let end = from + cut.unwrap_or(part.len());
            self.write(&batch.changes[from..end], &mut outcomes[from..end])
                .await?;
            if cut.is_some() {
                let table = literal::name(&batch.changes[end].shape.name);
                self.server.run(&format!("TRUNCATE TABLE {table}")).await?;
            }
            from = end + usize::from(cut.is_some());
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.config.batch_max,
            ..Limits::default()
        }
    }
}

impl ClickhouseSink {
    /// Writes changes among which there is no truncate.
    async fn write(&self, changes: &[Change], outcomes: &mut [Outcome]) -> Result<()> {
        let mut shapes: Vec<&Arc<Shape>> = Vec::new();
        for change in changes {
            if !shapes.iter().any(|shape| is_same(shape, &change.shape)) {
                shapes.push(&change.shape);
            }
        }
        for shape in shapes {
            let target = self.target(shape).await?;
            let of_it = || {
                changes
                    .iter()
                    .enumerate()
                    .filter(|(_, change)| is_same(shape, &change.shape))
            };
            let mut rows = Rows::new(Arc::clone(&target));
            let keys = target.keys(of_it().map(|(_, change)| change));
            for keys in keys.chunks(KEYS_MAX) {
                self.read(&target, keys, &mut rows).await?;
            }
            for (place, change) in of_it() {
                if let Err(reason) = rows.play(change) {
                    outcomes[place] = Outcome::Rejected { reason };
                }
            }
            let written = rows.written();
            let refused = self.insert(&target, &written).await?;
            for (place, change) in of_it() {
                let reason = refused
                    .iter()
                    .find(|(written, _)| target.is_of(written, change));
                if let Some((_, reason)) = reason {
                    outcomes[place] = Outcome::Rejected {
                        reason: reason.clone(),
                    };
                }
            }
        }
        Ok(())
    }

    /// Reads the rows of some keys, older and deleted ones too: `FINAL` may hide the version that a new row has to exceed.
    async fn read(&self, target: &Target, keys: &[Vec<Value>], rows: &mut Rows) -> Result<()> {
        let (table, version) = (&target.table, self.server.version);
        let key: Vec<usize> = target
            .shape
            .key
            .iter()
            .map(|column| target.places[*column])
            .collect();
        let Some(any) = literal::any_of(table, &key, keys, version) else {
            return Ok(());
        };
        let mut wanted: Vec<String> = Vec::with_capacity(table.columns.len() + 2);
        for column in &table.columns {
            let name = literal::name(&column.name);
            wanted.push(match column.form.kind {
                // Its text is what an insert takes, so that it can be written again.
                form::Kind::Composite => format!("toString({name})"),
                _ => selected(&column.form, &name, version),
            });
        }
        wanted.push(literal::name(&self.config.version_column));
        wanted.push(literal::name(&self.config.deleted_column));
        let sql = format!(
            "SELECT {} FROM {} WHERE {any}",
            wanted.join(", "),
            literal::name(&table.name)
        );
        for fields in self.server.rows(&sql).await? {
            let [values @ .., at, deleted] = fields.as_slice() else {
                return Err(Error::unexpected(
                    "the server answered with other columns than were asked for",
                ));
            };
            let value =
                |(column, field): (&crate::table::Column, &tsv::Field)| match column.form.kind {
                    form::Kind::Composite => Ok(field.clone().map_or(Value::Null, Value::Bytes)),
                    _ => decode(&column.form, field, version)
                        .map_err(|error| error.with("column", &column.name)),
                };
            let values = table
                .columns
                .iter()
                .zip(values)
                .map(value)
                .collect::<Result<_>>()?;
            let at = at
                .as_deref()
                .and_then(|at| std::str::from_utf8(at).ok()?.parse().ok());
            let at = at.ok_or_else(|| {
                Error::config(format!(
                    "`{}` of table `{}` is no UInt64",
                    self.config.version_column, table.name
                ))
            })?;
            rows.found(
                values,
                at,
                deleted
                    .as_deref()
                    .is_some_and(|flag| flag != b"0" && flag != b"false"),
            );
        }
        Ok(())
    }

    /// Inserts rows; where the server refuses some for what is in them, the others go in. Gives the refused ones and why.
    async fn insert<'a>(
        &self,
        target: &Target,
        written: &'a [Written],
    ) -> Result<Vec<(&'a Written, String)>> {
        let mut refused = Vec::new();
        // Rows that set the same columns travel together.
        let mut groups: BTreeMap<Vec<usize>, Vec<(&Written, Vec<u8>)>> = BTreeMap::new();
        for row in written {
            let set: Vec<usize> = (0..row.cells.len())
                .filter(|place| {
                    !row.cells[*place].is_unchanged() && !target.table.columns[*place].computed
                })
                .collect();
            let line = line(target, &set, row);
            groups.entry(set).or_default().push((row, line));
        }
        for (set, rows) in &groups {
            let names = set
                .iter()
                .map(|place| target.table.columns[*place].name.as_str());
            let names = names.chain([
                self.config.version_column.as_str(),
                self.config.deleted_column.as_str(),
            ]);
            let names: Vec<String> = names.map(literal::name).collect();
            let head = format!(
                "INSERT INTO {} ({})",
                literal::name(&target.table.name),
                names.join(", ")
            );
            // Halves are tried by themselves until the rows that are refused stand alone.
            let mut parts = vec![rows.as_slice()];
            while let Some(part) = parts.pop() {
                let lines: Vec<&[u8]> = part.iter().map(|(_, line)| line.as_slice()).collect();
                let Err(error) = self.server.insert(&head, &lines).await else {
                    continue;
                };
                let of_a_row = error.kind() == Kind::Invalid
                    && Refusal::of(&error).is_some_and(Refusal::is_of_a_row);
                match part {
                    _ if !of_a_row => return Err(error.with("table", &target.table.name)),
                    [(row, _)] => refused.push((*row, reason(&error))),
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                }
            }
        }
        Ok(refused)
    }

    fn declared(&self, column: &Column, nullable: bool) -> String {
        let (kind, comment) = declared(column.kind, nullable, self.server.version);
        let comment = comment.map(|text| format!(" COMMENT {}", literal::text(&text)));
        format!(
            "{} {kind}{}",
            literal::name(&column.name),
            comment.unwrap_or_default()
        )
    }

    async fn look(&self, name: &str) -> Result<Table> {
        Table::find(&self.server, &self.config, name).await
    }

    async fn target(&self, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let known = self.known().get(&shape.name).cloned();
        match known.filter(|target| is_same(&target.shape, shape)) {
            Some(target) => Ok(target),
            None => self.remember(shape).await,
        }
    }

    async fn remember(&self, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let table = self.look(&shape.name).await?;
        if let Some(finding) = check::unusable(&self.config, &table, shape) {
            return Err(Error::config(finding.message).help(finding.help));
        }
        let places = shape
            .names()
            .map(|name| table.place(name))
            .collect::<Result<_>>()?;
        let target = Arc::new(Target {
            table,
            shape: Arc::clone(shape),
            places,
            version: self.server.version,
        });
        self.known().insert(shape.name.clone(), Arc::clone(&target));
        Ok(target)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(a: &Arc<Shape>, b: &Arc<Shape>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// A row as a line, its version and its mark at the end.
fn line(target: &Target, set: &[usize], row: &Written) -> Vec<u8> {
    let mut out = Vec::new();
    for place in set {
        let field = match &row.cells[*place] {
            Cell::Set(value) => encode(&target.table.columns[*place].form, value),
            Cell::Unchanged => None,
        };
        match (&target.table.columns[*place].form.kind, field) {
            // The texts of lists have their own quoting, which is not quoted again.
            (form::Kind::Composite, Some(text)) => out.extend_from_slice(&text),
            (_, field) => tsv::push(&mut out, field.as_deref()),
        }
        out.push(b'\t');
    }
    out.extend_from_slice(format!("{}\t{}\n", row.version, u8::from(row.deleted)).as_bytes());
    out
}

fn reason(error: &Error) -> String {
    Refusal::of(error).map_or_else(|| error.to_string(), |refusal| refusal.words.clone())
}

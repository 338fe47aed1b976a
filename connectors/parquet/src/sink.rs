//! The sink: one commit a batch, which holds its files and its lanes' progress and is there as a whole or not at all.
//!
//! Files are written first and belong to nothing until the commit names them; whatever is cut off before it leaves files that are swept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use lockstep_core::connector::{
    Batch, Finding, Incarnation, LaneProgress, Limits, OpenContext, Outcome, Receipt, Sink,
};
use lockstep_core::{Change, Column, Error, Kind, Result, Shape, Value};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::check;
use crate::compact;
use crate::config::{Config, History};
use crate::file::{Record, Writer, forms, sort};
use crate::form::{COMMITTED_AT, declared};
use crate::journal::Committed;
use crate::lake::Lake;
use crate::merge::{Merge, now};
use crate::partition::{Part, encoded};
use crate::play::{Play, ROWS_MAX};
use crate::read::Want;
use crate::state::{Commit, DataFile, Edit, State, Table};

/// How often a batch is made anew because another writer of the root was first.
const TRIES: usize = 16;

/// Writes to a lake of Parquet files.
#[derive(Debug)]
pub struct ParquetSink {
    lake: Arc<Lake>,
    tables: Vec<String>,
    /// What goes on behind the batches: compaction and sweeping, one at a time.
    behind: Mutex<Option<JoinHandle<()>>>,
}

impl Sink for ParquetSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(ParquetSink {
            lake: Arc::new(Lake::open(config, &cx)?),
            tables: cx.tables,
            behind: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.lake.shapes(&self.tables).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::sink(&self.lake, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        self.lake.journal.mark().await?;
        let state = self.lake.journal.now().await?;
        for shape in targets {
            let table = state.table(&shape.name)?;
            if let Some(finding) = check::unusable(&self.lake.config, table, shape) {
                return Err(Error::config(finding.message).help(finding.help));
            }
        }
        Ok(())
    }

    async fn add_columns(&self, table: &str, columns: &[Column]) -> Result<()> {
        let mut added = Vec::with_capacity(columns.len());
        for column in columns {
            let column = declared(&self.lake.config, column)?;
            added.push(Column {
                nullable: true,
                ..column
            });
        }
        self.edit(
            |state| {
                let known = &state.table(table)?.shape;
                let is_new = |column: &&Column| known.position(&column.name).is_none();
                let columns: Vec<Column> = added.iter().filter(is_new).cloned().collect();
                Ok((!columns.is_empty()).then(|| Edit {
                    columns,
                    ..Edit::default()
                }))
            },
            table,
        )
        .await
    }

    async fn incarnation(&self, table: &str) -> Result<Option<Incarnation>> {
        let state = self.lake.journal.now().await?;
        let table = state.table(table)?;
        Ok(Some(Incarnation {
            table: table.id.to_string(),
            columns: BTreeMap::new(),
        }))
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let state = self.lake.journal.now().await?;
        let is_missing = |table: &&String| !state.tables.contains_key(*table);
        Ok(self.tables.iter().filter(is_missing).cloned().collect())
    }

    async fn create_table(&self, shape: &Shape) -> Result<()> {
        let made = made(&self.lake.config, shape)?;
        self.lake.journal.mark().await?;
        self.edit(
            |state| {
                Ok((!state.tables.contains_key(&shape.name)).then(|| Edit {
                    make: Some(made.clone()),
                    ..Edit::default()
                }))
            },
            &shape.name,
        )
        .await
    }

    async fn progress(&self, flow: &str) -> Result<Vec<LaneProgress>> {
        let writer = self.lake.writer(flow);
        Ok(self.lake.journal.now().await?.progress(&writer))
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let writer = self.lake.writer(&batch.flow);
        for _ in 0..TRIES {
            let mut state = self.lake.journal.known().await?;
            if state.fence(&writer, batch).is_err() {
                // Another writer of the same root may have moved it, or a commit of ours whose answer nobody waited for.
                state = self.lake.journal.now().await?;
                state.fence(&writer, batch)?;
            }
            if let Some(receipt) = self.attempt(&state, batch).await? {
                return Ok(receipt);
            }
        }
        Err(
            Error::transient("other writers of the root were first each time")
                .help("let fewer processes write to one root, or give each of them one of its own"),
        )
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.lake.config.batch_max,
            progress: true,
            ..Limits::default()
        }
    }
}

impl Drop for ParquetSink {
    fn drop(&mut self) {
        // What it was making belongs to nothing before its commit.
        if let Some(behind) = self.behind.get_mut() {
            behind.abort();
        }
    }
}

impl ParquetSink {
    /// Plays a batch on a state and commits it; nothing where another writer was first.
    async fn attempt(&self, state: &Arc<State>, batch: &Batch) -> Result<Option<Receipt>> {
        let began = Timestamp::now();
        let mut tables: BTreeMap<&str, Vec<(usize, &Change)>> = BTreeMap::new();
        for (at, change) in batch.changes.iter().enumerate() {
            tables
                .entry(&change.shape.name)
                .or_default()
                .push((at, change));
        }
        let version = i64::try_from(state.version + 1).unwrap_or(i64::MAX);
        let mut version = version.saturating_mul(ROWS_MAX);
        let (mut refused, mut written) = (Vec::new(), Vec::new());
        for (name, changes) in tables {
            let table = state.table(name)?;
            let mut play = Play::new(table, &changes)?;
            let unknown = play.unknown(&changes);
            if !unknown.is_empty() {
                for row in look_up(&self.lake, table, unknown).await? {
                    play.found(row.values);
                }
            }
            for (at, change) in &changes {
                play.play(*at, change, &mut version);
            }
            refused.append(&mut play.refused);
            let emptied = play.emptied;
            written.push((name, table, emptied, play.written()));
        }
        if !refused.is_empty() {
            refused.sort_by_key(|(at, _)| *at);
            return Ok(Some(Receipt::RolledBack(refused)));
        }
        let mut edits = BTreeMap::new();
        for (name, table, emptied, rows) in written {
            let mut edit = Edit {
                add: write(&self.lake, name, table, rows).await?,
                ..Edit::default()
            };
            match emptied {
                Some(since) if table.is_append() => edit.since = Some(since),
                Some(_) => edit.remove = table.files.keys().cloned().collect(),
                None => {}
            }
            edits.insert(name.to_owned(), edit);
        }
        let changed: Vec<String> = edits.keys().cloned().collect();
        let commit = Commit::of(state, edits).reaching(&self.lake.writer(&batch.flow), batch);
        let added: Vec<String> = commit.added().cloned().collect();
        if self.lake.journal.commit(commit, began).await? == Committed::Outrun {
            // Nobody knows them; what cannot be removed is swept one day.
            for path in added {
                let _ = self.lake.store.delete(&path).await;
            }
            return Ok(None);
        }
        self.lake
            .journal
            .publish(changed.iter(), !batch.follows)
            .await;
        self.tidy().await;
        let applied = vec![Outcome::APPLIED; batch.changes.len()];
        Ok(Some(Receipt::Committed(applied)))
    }

    /// Commits an edit of a table that needs no files, unless there is nothing to do.
    async fn edit(&self, make: impl Fn(&State) -> Result<Option<Edit>>, table: &str) -> Result<()> {
        for _ in 0..TRIES {
            let state = self.lake.journal.now().await?;
            let Some(edit) = make(&state)? else {
                return Ok(());
            };
            let edits = BTreeMap::from([(table.to_owned(), edit)]);
            let commit = Commit::of(&state, edits);
            if self.lake.journal.commit(commit, Timestamp::now()).await? == Committed::Done {
                self.lake
                    .journal
                    .publish([table.to_owned()].iter(), true)
                    .await;
                return Ok(());
            }
        }
        Err(Error::transient(
            "other writers of the root were first each time",
        ))
    }

    /// Lets tables be compacted and the root be swept, unless that is going on.
    async fn tidy(&self) {
        let mut behind = self.behind.lock().await;
        if behind.as_ref().is_none_or(JoinHandle::is_finished) {
            let lake = Arc::clone(&self.lake);
            *behind = Some(tokio::spawn(async move { compact::tidy(&lake).await }));
        }
    }
}

/// The rows of now of these keys.
pub(crate) async fn look_up(
    lake: &Arc<Lake>,
    table: &Table,
    mut keys: Vec<Vec<Value>>,
) -> Result<Vec<Record>> {
    keys.sort_by(|a, b| crate::order::compare(a, b));
    let columns = table.shape.names().map(str::to_owned).zip(forms(table));
    let want = Want {
        columns: Arc::new(columns.collect()),
        from: keys.first().cloned(),
        until: keys.last().cloned(),
        keys: Some(Arc::new(keys)),
        backwards: false,
    };
    found(lake, table, want).await
}

/// The rows of now whose keys are among those that are wanted.
pub(crate) async fn found(lake: &Arc<Lake>, table: &Table, want: Want) -> Result<Vec<Record>> {
    let keys = want.keys.clone().unwrap_or_default();
    let mut merge = Merge::new(lake, table, table.files.iter(), want)?;
    let mut found = Vec::new();
    while let Some(rows) = merge.next().await? {
        let Some(row) = now(rows, table.since) else {
            continue;
        };
        let key = merge.key_of(&row);
        if keys
            .binary_search_by(|one| crate::order::compare(one, &key))
            .is_ok()
        {
            found.push(row);
        }
    }
    Ok(found)
}

/// Writes rows as files of a table, each in the folder that it belongs to.
async fn write(
    lake: &Lake,
    name: &str,
    table: &Table,
    rows: Vec<Record>,
) -> Result<BTreeMap<String, DataFile>> {
    let mut folders: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for row in rows {
        folders
            .entry(folder(name, table, &row)?)
            .or_default()
            .push(row);
    }
    let mut added = BTreeMap::new();
    for (folder, mut rows) in folders {
        let (group_rows, file_max) = (lake.config.group_rows, lake.config.file_max);
        let table = Arc::new(Table {
            files: BTreeMap::new(),
            ..table.clone()
        });
        let encoded = tokio::task::spawn_blocking(move || {
            sort(&table, &mut rows);
            let mut writer = Writer::new(table, group_rows, file_max);
            for row in rows {
                writer.push(row)?;
            }
            writer.finish()
        });
        let files = encoded.await.map_err(|_| Error::stopped())??;
        put(lake, &folder, files, &mut added).await?;
    }
    Ok(added)
}

/// Puts files into a folder under names of their own.
pub(crate) async fn put(
    lake: &Lake,
    folder: &str,
    files: Vec<(Bytes, DataFile)>,
    added: &mut BTreeMap<String, DataFile>,
) -> Result<()> {
    for (bytes, file) in files {
        let path = format!("{folder}/{}.parquet", Uuid::now_v7());
        lake.store.put(&path, bytes).await?;
        added.insert(path, file);
    }
    Ok(())
}

fn folder(name: &str, table: &Table, row: &Record) -> Result<String> {
    let mut folder = encoded(name);
    for part in &table.partition {
        let at = Value::Timestamp(row.at);
        let value = match table.shape.position(&part.column) {
            Some(place) => &row.values[place],
            None => &at,
        };
        let name = part
            .folder(value)
            .map_err(|why| Error::new(Kind::Invalid, why))?;
        folder = format!("{folder}/{name}");
    }
    Ok(folder)
}

/// The table that is made of a shape.
fn made(config: &Config, shape: &Shape) -> Result<Table> {
    let keeping = config.keeping(&shape.name);
    let columns = shape.columns.iter().map(|column| declared(config, column));
    let shape = Shape {
        columns: columns.collect::<Result<_>>()?,
        ..shape.clone()
    };
    if shape.key.is_empty() || shape.name.is_empty() || shape.name.len() > 80 {
        return Err(
            Error::config(format!("table `{}` cannot be made", shape.name))
                .help("a table needs a key, and a name of at most 80 bytes"),
        );
    }
    let mut partition = Vec::new();
    if keeping.history == Some(History::Append) {
        match &keeping.partition {
            None => partition.push(Part::by_day()),
            Some(parts) => {
                for part in parts {
                    partition.push(part.parse()?);
                }
            }
        }
    }
    if let Some(why) = partition
        .iter()
        .find_map(|part: &Part| part.unusable(&shape))
    {
        return Err(Error::config(format!("`partition`: {why}")).help(format!(
            "partition by columns of the table, or by `{COMMITTED_AT}`"
        )));
    }
    Ok(Table {
        id: Uuid::now_v7(),
        shape,
        history: keeping.history,
        partition,
        timestamps: config.timestamps,
        files: BTreeMap::new(),
        since: 0,
    })
}

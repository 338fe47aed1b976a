//! Writes changes inside a transaction, a whole run of them with each statement.
//!
//! Changes are cut into runs in which no key occurs twice, so that inside a run the order does not matter and rows can be written together: first those that get another key, then deletes, whole rows, and rows of which only some columns were sent.
//! Knows nothing of transactions, progress or lanes; a change that the target refuses is told from a target that does not work.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Change, Error, Key, Kind, Row, Value};
use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::query::Query;
use sqlx::{Postgres, postgres::PgArguments};

use crate::client::{by_state, failure, run, sqlstate, words};
use crate::copying;
use crate::encode::Values;
use crate::history::History;
use crate::sink::{BOUND, is_for};
use crate::statements::Target;

/// Most bytes of values that one run sends; a larger row still travels, alone.
const RUN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Fewest rows that are tried as new ones: below, it saves less than one try that fails costs.
const FRESH_MIN: usize = 32;

/// What one statement writes, column by column.
#[derive(Debug)]
struct Group {
    /// Positions of the columns in the target.
    set: Vec<usize>,
    values: Vec<Values>,
    rows: usize,
    /// What each value of the newest row takes.
    taken: Vec<usize>,
}

/// Changes of one target among which no key occurs twice.
#[derive(Debug)]
pub(crate) struct Run {
    target: Arc<Target>,
    /// Every row of the table goes; such a run holds nothing else.
    clear: Option<Timestamp>,
    /// Rows that get another key, by the columns that were sent.
    moves: BTreeMap<Vec<usize>, Group>,
    deletes: Group,
    /// Rows that the source has made.
    inserts: Group,
    upserts: Group,
    /// Rows of which some columns were sent, by which ones.
    updates: BTreeMap<Vec<usize>, Group>,
    keys: HashSet<Key>,
    bytes: usize,
}

/// Why a run was not written.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The target refuses something in it; the outcome is that of a change that stands alone.
    Refused(Outcome),
    /// Rows that the source has made are not all new here, so they have to be written wherever they are; the transaction is over.
    NotNew,
    /// Nothing can be written.
    Stop(Error),
}

/// Cuts the changes at `places` into runs, in order; `targets` are those of their shapes. A change that cannot even be sent is refused at once.
pub(crate) fn runs(
    changes: &[Change],
    places: impl Iterator<Item = usize>,
    targets: &[Arc<Target>],
    refused: &mut Vec<(usize, Outcome)>,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        let change = &changes[place];
        let Some(target) = targets.iter().find(|target| is_for(target, &change.shape)) else {
            continue;
        };
        match add(&mut runs, target, change) {
            Ok(()) => {}
            Err(reason) => refused.push((place, Outcome::Rejected { reason })),
        }
    }
    runs
}

fn add(runs: &mut Vec<Run>, target: &Arc<Target>, change: &Change) -> Result<(), String> {
    if change.op == Op::Truncated {
        let mut run = Run::new(Arc::clone(target));
        run.clear = Some(change.committed_at);
        runs.push(run);
        return Ok(());
    }
    let now = key_of(target, &change.row)?;
    let old = change.before.as_ref().filter(|_| change.op.is_upsert());
    let old = old
        .and_then(|before| key_of(target, before).ok())
        .filter(|old| *old != now);
    let fits = |run: &Run| {
        Arc::ptr_eq(&run.target, target)
            && run.clear.is_none()
            && run.bytes < RUN_BYTES_MAX
            && !run.keys.contains(&now)
            && !old.as_ref().is_some_and(|old| run.keys.contains(old))
    };
    if !runs.last().is_some_and(fits) {
        runs.push(Run::new(Arc::clone(target)));
    }
    let Some(run) = runs.last_mut() else {
        return Ok(());
    };
    match run.take(change, old.is_some()) {
        // No row has a key that the column cannot hold.
        Err(_) if change.op == Op::Deleted => {}
        taken => taken?,
    }
    run.keys.insert(now);
    run.keys.extend(old);
    Ok(())
}

fn key_of(target: &Target, row: &Row) -> Result<Key, String> {
    let key = &target.shape.key;
    Key::encode(key.iter().map(|column| row.value(*column))).map_err(|error| {
        let names = key
            .iter()
            .map(|column| target.shape.columns[*column].name.as_str());
        format!("{error} (key: {})", names.collect::<Vec<_>>().join(", "))
    })
}

impl Group {
    fn new(target: &Target, set: Vec<usize>, old_key: bool) -> Group {
        let old_key = if old_key {
            target.shape.key.as_slice()
        } else {
            &[]
        };
        let columns = set.iter().chain(old_key);
        let values = columns.map(|column| Values::new(&target.columns[*column].encoder));
        let stamps = target.history.iter().map(|(_, stamp)| Values::new(stamp));
        Group {
            values: values.chain(stamps).collect(),
            set,
            rows: 0,
            taken: Vec::new(),
        }
    }

    /// Adds a row, behind it an old key, and where a history is kept the time.
    fn push(
        &mut self,
        target: &Target,
        row: &Row,
        before: Option<&Row>,
        at: Timestamp,
    ) -> Result<usize, String> {
        let new = self.set.iter().map(|column| (*column, row));
        let old = before
            .into_iter()
            .flat_map(|before| target.shape.key.iter().map(move |column| (*column, before)));
        let taken = &mut self.taken;
        taken.clear();
        for (values, (column, row)) in self.values.iter_mut().zip(new.chain(old)) {
            let value = row.value(column).unwrap_or(&Value::Null);
            match values.push(&target.columns[column].encoder, value) {
                Ok(bytes) => taken.push(bytes),
                Err(why) => {
                    // The columns stay of one length.
                    let begun = self.values.iter_mut().zip(taken.drain(..));
                    begun.for_each(|(values, bytes)| values.pop(bytes));
                    let name = &target.shape.columns[column].name;
                    return Err(format!("column `{name}`: {why}"));
                }
            }
        }
        let mut bytes = taken.iter().sum();
        if let (Some((_, stamp)), Some(values)) = (&target.history, self.values.last_mut()) {
            // Sources tell finer times than the column keeps.
            let whole = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
            bytes += values.push(stamp, &Value::Timestamp(whole))?;
        }
        self.rows += 1;
        Ok(bytes)
    }

    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn query<'q>(&'q self, statement: &'q str) -> Query<'q, Postgres, PgArguments> {
        let mut query = sqlx::query(statement);
        for values in &self.values {
            query = query.bind(values);
        }
        query
    }
}

impl Run {
    fn new(target: Arc<Target>) -> Run {
        let width = target.columns.len();
        Run {
            clear: None,
            moves: BTreeMap::new(),
            deletes: Group::new(&target, Vec::new(), true),
            inserts: Group::new(&target, (0..width).collect(), false),
            upserts: Group::new(&target, (0..width).collect(), false),
            updates: BTreeMap::new(),
            keys: HashSet::new(),
            bytes: 0,
            target,
        }
    }

    fn take(&mut self, change: &Change, moved: bool) -> Result<(), String> {
        let target = &self.target;
        let (row, at) = (&change.row, change.committed_at);
        let empty = Row::default();
        if change.op == Op::Deleted {
            self.bytes += self.deletes.push(target, &empty, Some(row), at)?;
            return Ok(());
        }
        let is_sent = |column: &usize| row.value(*column).is_some();
        let is_whole = (0..target.columns.len()).all(|column| is_sent(&column));
        let mut sent = Vec::new();
        if moved || !is_whole {
            sent.extend((0..target.columns.len()).filter(is_sent));
        }
        let before = change.before.as_ref().filter(|_| moved);
        if let Some(before) = before {
            let group = self.moves.entry(sent.clone());
            let group = group.or_insert_with(|| Group::new(target, sent.clone(), true));
            self.bytes += group.push(target, row, Some(before), at)?;
        }
        let made = matches!(change.op, Op::Created | Op::Snapshot) && !moved;
        let group = if is_whole {
            if made {
                &mut self.inserts
            } else {
                &mut self.upserts
            }
        } else {
            let group = self.updates.entry(sent.clone());
            group.or_insert_with(|| Group::new(target, sent, false))
        };
        self.bytes += group.push(target, row, None, at)?;
        if let Some(before) = before {
            // Where both rows exist the old one goes, and the new one is written.
            self.bytes += self.deletes.push(target, &empty, Some(before), at)?;
        }
        Ok(())
    }

    /// Writes the run; `fresh` says that rows may be tried as new ones.
    pub(crate) async fn write(&self, conn: &mut PgConnection, fresh: bool) -> Result<(), Failed> {
        let target = &self.target;
        let failed = |error| self.failed(error);
        if let Some((history, _)) = &target.history {
            return self.keep(conn, history).await;
        }
        if self.clear.is_some() {
            return clear(target, conn).await.map_err(failed);
        }
        for (set, group) in self.moves.iter().filter(|(_, group)| !group.is_empty()) {
            group
                .query(&target.rekey(set))
                .execute(&mut *conn)
                .await
                .map_err(failed)?;
        }
        if !self.deletes.is_empty() {
            let delete = self.deletes.query(&target.delete);
            delete.execute(&mut *conn).await.map_err(failed)?;
        }
        self.insert(conn, fresh).await?;
        if !self.upserts.is_empty() {
            let upsert = self.upserts.query(&target.upsert);
            upsert.execute(&mut *conn).await.map_err(failed)?;
        }
        for (set, group) in self.updates.iter().filter(|(_, group)| !group.is_empty()) {
            let missing = group
                .query(&target.update(set))
                .fetch_optional(&mut *conn)
                .await;
            if missing.map_err(failed)?.is_some() {
                return Err(incomplete());
            }
        }
        Ok(())
    }

    /// Writes the run into a table that keeps its history.
    async fn keep(&self, conn: &mut PgConnection, history: &History) -> Result<(), Failed> {
        let target = &self.target;
        if let Some(at) = self.clear {
            let cleared = sqlx::query(&target.history_clear(history, at))
                .execute(conn)
                .await;
            return cleared.map(drop).map_err(|error| self.failed(error));
        }
        for (set, group) in &self.moves {
            let statement = target.history_rekey(history, set);
            self.send(conn, group, &statement).await?;
        }
        let delete = target.history_delete(history);
        self.send(conn, &self.deletes, &delete).await?;
        let all: Vec<usize> = (0..target.columns.len()).collect();
        for group in [&self.inserts, &self.upserts] {
            if let Some(change) = target.history_change(history, &all) {
                self.send(conn, group, &change).await?;
            }
            let create = target.history_create(history);
            self.send(conn, group, &create).await?;
        }
        for (set, group) in self.updates.iter().filter(|(_, group)| !group.is_empty()) {
            let missing = target.history_missing(history, set);
            let missing = group.query(&missing).fetch_optional(&mut *conn).await;
            if missing.map_err(|error| self.failed(error))?.is_some() {
                return Err(incomplete());
            }
            if let Some(change) = target.history_change(history, set) {
                self.send(conn, group, &change).await?;
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        conn: &mut PgConnection,
        group: &Group,
        statement: &str,
    ) -> Result<(), Failed> {
        if group.is_empty() {
            return Ok(());
        }
        let sent = group.query(statement).execute(conn).await;
        sent.map(drop).map_err(|error| self.failed(error))
    }

    /// Writes rows that the source has made: as new ones where they are many and nothing speaks against it, or else wherever they are.
    async fn insert(&self, conn: &mut PgConnection, fresh: bool) -> Result<(), Failed> {
        let (target, rows) = (&self.target, &self.inserts);
        let failed = |error| self.failed(error);
        if rows.is_empty() {
            return Ok(());
        }
        // Without a savepoint, which would cost every batch two round trips to spare a few one more try.
        if fresh && rows.rows >= FRESH_MIN && target.fresh.is_likely() {
            return match self.insert_new(conn).await {
                Ok(()) => {
                    target.fresh.was_right();
                    Ok(())
                }
                Err(sqlx::Error::Database(_)) => {
                    target.fresh.was_wrong();
                    Err(Failed::NotNew)
                }
                Err(error) => Err(failed(error)),
            };
        }
        let upsert = rows.query(&target.upsert);
        upsert.execute(conn).await.map_err(failed)?;
        Ok(())
    }

    /// Writes rows that are not there yet.
    async fn insert_new(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let (target, rows) = (&self.target, &self.inserts);
        let copied = target.copy.as_ref();
        let copied = copied.and_then(|(statement, fields)| {
            let rows = copying::rows(fields, &rows.values)?;
            Some((statement, rows))
        });
        let Some((statement, copied)) = copied else {
            let insert = rows.query(&target.insert);
            insert.execute(conn).await?;
            return Ok(());
        };
        let mut copy = conn.copy_in_raw(statement).await?;
        copy.send(copied).await?;
        copy.finish().await?;
        Ok(())
    }

    fn failed(&self, error: sqlx::Error) -> Failed {
        let writes = !(self.inserts.is_empty() && self.upserts.is_empty());
        let deletes = !self.deletes.is_empty() && !writes && self.updates.is_empty();
        failed(error, deletes)
    }
}

/// The refusal of a row that is not there and of which only some columns were sent.
fn incomplete() -> Failed {
    Failed::Refused(Outcome::Rejected {
        reason: "the target has no such row, and only some of its columns were sent: a whole row is needed".to_owned(),
    })
}

/// Removes every row of a table: at once where that is allowed, because one by one a large table takes longer than an `apply` may.
async fn clear(target: &Target, conn: &mut PgConnection) -> sqlx::Result<()> {
    let may: bool = sqlx::query_scalar(&target.may_truncate)
        .fetch_one(&mut *conn)
        .await?;
    let statement = if may { &target.truncate } else { &target.clear };
    // Nobody gains by stopping it a little before the deadline of the whole `apply`.
    run(&mut *conn, "SET LOCAL statement_timeout = 0").await?;
    let cleared = sqlx::query(statement);
    cleared.execute(&mut *conn).await?;
    run(conn, BOUND).await?;
    Ok(())
}

/// Tells a refusal from trouble. `deletes` says that rows were removed, which decides who waits for whom at a foreign key.
pub(crate) fn failed(error: sqlx::Error, deletes: bool) -> Failed {
    let state = sqlstate(&error).unwrap_or_default().to_owned();
    let by_policy = match &error {
        sqlx::Error::Database(inner) => inner.try_downcast_ref().is_some_and(is_row_security),
        _ => false,
    };
    // An identity column that was made after the statements were.
    let refused = by_state(&state).0 == Kind::Invalid || state == "428C9" || by_policy;
    let sqlx::Error::Database(inner) = &error else {
        return Failed::Stop(failure("cannot write to the database", error));
    };
    let Some(inner) = inner
        .try_downcast_ref::<PgDatabaseError>()
        .filter(|_| refused)
    else {
        return Failed::Stop(failure("cannot write to the database", error));
    };
    let mut said = words(&state, inner.message());
    if is_row_security(inner) {
        said += "; where every row is to be written, run: ALTER ROLE <the role of `url`> BYPASSRLS";
    }
    if state == "23503" {
        let (constraint, table) = (
            inner.constraint().unwrap_or_default(),
            inner.table().unwrap_or_default(),
        );
        let on = if deletes {
            format!("the rows of `{table}` that refer to it by `{constraint}` to go")
        } else {
            format!("the row that `{constraint}` of `{table}` refers to")
        };
        return Failed::Refused(Outcome::Waiting { on });
    }
    Failed::Refused(Outcome::Rejected { reason: said })
}

/// Whether a policy of the table refuses a row, which bears the state of a missing permission; the message would be in the server's language.
fn is_row_security(error: &PgDatabaseError) -> bool {
    error.code() == "42501" && error.routine() == Some("ExecWithCheckOptions")
}

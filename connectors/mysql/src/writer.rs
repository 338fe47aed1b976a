//! Writes changes inside a transaction, a whole run of them with each statement.
//!
//! Changes are cut into runs in which no key occurs twice, so that inside a run the order does not matter and rows can be written together: first those that get another key, then deletes, whole rows, and rows of which only some columns were sent.
//! Knows nothing of transactions, progress or lanes; a change that the target refuses is told from a target that does not work.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Change, Error, Key, Kind, Row, Value};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::client::{code, failure, kind, words};
use crate::encode;
use crate::sink::is_for;
use crate::statements::Target;

/// Most bytes of values that one run sends; a larger row still travels, alone.
const RUN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of one statement, where the server takes as many; a larger row still travels, alone.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Rows for the temporary table, as literals.
#[derive(Debug, Default)]
struct Group {
    /// The columns' names there.
    columns: Vec<String>,
    rows: Vec<String>,
}

/// Changes of one target among which no key occurs twice.
#[derive(Debug)]
pub(crate) struct Run {
    target: Arc<Target>,
    /// Every row of the table goes; such a run holds nothing else.
    clear: bool,
    /// Rows that get another key, by the columns that were sent.
    moves: BTreeMap<Vec<usize>, Group>,
    deletes: Group,
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
    /// Others were quicker: the same may work when it is tried again from the beginning.
    Again(Error),
    /// Nothing can be written.
    Stop(Error),
}

/// Cuts the changes at `places` into runs, in order; `targets` are those of their shapes. A change that cannot even be sent is refused at once.
pub(crate) fn runs(
    changes: &[Change],
    places: impl Iterator<Item = usize>,
    targets: &[Arc<Target>],
    packet_max: usize,
    refused: &mut Vec<(usize, Outcome)>,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        let change = &changes[place];
        let Some(target) = targets.iter().find(|target| is_for(target, &change.shape)) else {
            continue;
        };
        if let Err(reason) = add(&mut runs, target, change, packet_max) {
            refused.push((place, Outcome::Rejected { reason }));
        }
    }
    runs
}

fn add(
    runs: &mut Vec<Run>,
    target: &Arc<Target>,
    change: &Change,
    packet_max: usize,
) -> Result<(), String> {
    if change.op == Op::Truncated {
        let mut run = Run::new(Arc::clone(target));
        run.clear = true;
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
            && !run.clear
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
    match run.take(change, old.is_some(), packet_max) {
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

/// One row for the temporary table: the columns of `set`, then an old key.
fn literals(
    target: &Target,
    set: &[usize],
    row: &Row,
    before: Option<&Row>,
) -> Result<String, String> {
    let mut out = String::with_capacity(16 * set.len());
    out.push('(');
    let new = set.iter().map(|column| (*column, row));
    let old = before
        .into_iter()
        .flat_map(|before| target.shape.key.iter().map(move |column| (*column, before)));
    for (column, row) in new.chain(old) {
        if out.len() > 1 {
            out.push_str(", ");
        }
        let known = &target.columns[column];
        let value = row.value(column).unwrap_or(&Value::Null);
        let blank = target.shape.key.contains(&column)
            && known.pads()
            && matches!(value, Value::Text(text) if text.ends_with(' '));
        let pushed = if blank {
            Err("blanks at the end mean nothing to the key's collation".to_owned())
        } else {
            encode::push(&mut out, known, value)
        };
        pushed.map_err(|why| format!("column `{}`: {why}", target.shape.columns[column].name))?;
    }
    out.push(')');
    Ok(out)
}

impl Group {
    fn new(target: &Target, set: &[usize], old_key: bool) -> Group {
        let mut columns: Vec<String> = set.iter().map(|column| format!("c{column}")).collect();
        if old_key {
            columns.extend(target.shape.key.iter().map(|column| format!("o{column}")));
        }
        Group {
            columns,
            rows: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Puts the rows into the temporary table, which is empty.
    async fn stage(
        &self,
        target: &Target,
        conn: &mut Conn,
        packet_max: usize,
    ) -> mysql_async::Result<()> {
        conn.query_drop(&target.clear_stage).await?;
        let lead = format!(
            "INSERT INTO {} ({}) VALUES ",
            target.stage,
            self.columns.join(", ")
        );
        let most = STATEMENT_BYTES_MAX.min(packet_max / 2);
        let mut statement = lead.clone();
        for row in &self.rows {
            if statement.len() > lead.len() {
                if statement.len() + row.len() > most {
                    conn.query_drop(std::mem::replace(&mut statement, lead.clone()))
                        .await?;
                } else {
                    statement.push_str(", ");
                }
            }
            statement.push_str(row);
        }
        conn.query_drop(statement).await
    }
}

impl Run {
    fn new(target: Arc<Target>) -> Run {
        let all: Vec<usize> = (0..target.columns.len()).collect();
        Run {
            clear: false,
            moves: BTreeMap::new(),
            deletes: Group::new(&target, &[], true),
            upserts: Group::new(&target, &all, false),
            updates: BTreeMap::new(),
            keys: HashSet::new(),
            bytes: 0,
            target,
        }
    }

    fn take(&mut self, change: &Change, moved: bool, packet_max: usize) -> Result<(), String> {
        let target = &self.target;
        let row = &change.row;
        if change.op == Op::Deleted {
            let literals = literals(target, &[], &Row::default(), Some(row))?;
            self.bytes += literals.len();
            self.deletes.rows.push(literals);
            return Ok(());
        }
        let sent: Vec<usize> = (0..target.columns.len())
            .filter(|column| row.value(*column).is_some())
            .collect();
        let whole = literals(target, &sent, row, None)?;
        if whole.len() + 1024 > packet_max {
            return Err(format!(
                "the row takes {} bytes in a statement, and the server's max_allowed_packet is {packet_max}",
                whole.len()
            ));
        }
        if let Some(before) = change.before.as_ref().filter(|_| moved) {
            let moves = literals(target, &sent, row, Some(before))?;
            // Where both rows exist the old one goes, and the new one is written.
            let gone = literals(target, &[], &Row::default(), Some(before))?;
            self.bytes += moves.len() + gone.len();
            let group = self.moves.entry(sent.clone());
            group
                .or_insert_with(|| Group::new(target, &sent, true))
                .rows
                .push(moves);
            self.deletes.rows.push(gone);
        }
        self.bytes += whole.len();
        if sent.len() == target.columns.len() {
            self.upserts.rows.push(whole);
        } else {
            let group = self.updates.entry(sent.clone());
            group
                .or_insert_with(|| Group::new(target, &sent, false))
                .rows
                .push(whole);
        }
        Ok(())
    }

    /// Writes the run.
    pub(crate) async fn write(&self, conn: &mut Conn, packet_max: usize) -> Result<(), Failed> {
        let target = &self.target;
        if self.clear {
            return conn.query_drop(&target.clear).await.map_err(failed);
        }
        for (set, group) in &self.moves {
            group
                .stage(target, conn, packet_max)
                .await
                .map_err(failed)?;
            conn.query_drop(target.rekey(set)).await.map_err(failed)?;
        }
        if !self.deletes.is_empty() {
            self.deletes
                .stage(target, conn, packet_max)
                .await
                .map_err(failed)?;
            conn.query_drop(&target.delete).await.map_err(failed)?;
        }
        if !self.upserts.is_empty() {
            self.upserts
                .stage(target, conn, packet_max)
                .await
                .map_err(failed)?;
            if let Some(rewrite) = &target.rewrite {
                conn.query_drop(rewrite).await.map_err(failed)?;
            }
            conn.query_drop(&target.insert).await.map_err(failed)?;
        }
        for (set, group) in &self.updates {
            group
                .stage(target, conn, packet_max)
                .await
                .map_err(failed)?;
            if let Some(update) = target.update(set) {
                conn.query_drop(update).await.map_err(failed)?;
            }
            let missing: Option<u8> = conn.query_first(&target.missing).await.map_err(failed)?;
            if missing.is_some() {
                return Err(Failed::Refused(Outcome::Rejected {
                    reason: "the target has no such row, and only some of its columns were sent: a whole row is needed".to_owned(),
                }));
            }
        }
        Ok(())
    }
}

/// Tells a refusal from trouble.
pub(crate) fn failed(error: mysql_async::Error) -> Failed {
    let number = code(&error);
    let mysql_async::Error::Server(said) = &error else {
        return Failed::Stop(failure("cannot write to the database", error));
    };
    match number {
        // A deadlock, or a lock that was not given in time.
        1205 | 1213 | 1020 => Failed::Again(failure("cannot write to the database", error)),
        1216 | 1452 => Failed::Refused(Outcome::Waiting {
            on: format!("the row that {} refers to", constraint(&said.message)),
        }),
        1217 | 1451 => Failed::Refused(Outcome::Waiting {
            on: format!(
                "the rows that refer to it by {} to go",
                constraint(&said.message)
            ),
        }),
        number if kind(number) == Kind::Invalid => Failed::Refused(Outcome::Rejected {
            reason: words(number, &said.message),
        }),
        _ => Failed::Stop(failure("cannot write to the database", error)),
    }
}

/// The foreign key that a message names: ``(`d`.`t`, CONSTRAINT `fk` FOREIGN KEY …)``.
fn constraint(message: &str) -> String {
    let names = || {
        let (_, inner) = message.split_once('(')?;
        let (table, rest) = inner.split_once(", CONSTRAINT ")?;
        let name = rest.split_whitespace().next()?;
        let table = table.rsplit('.').next()?;
        Some(format!("{name} of {table}"))
    };
    names().unwrap_or_else(|| "a foreign key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_key_is_named() {
        let message = "Cannot add or update a child row: a foreign key constraint fails (`d`.`lines`, CONSTRAINT `of_order` FOREIGN KEY (`no`) REFERENCES `orders` (`no`))";
        assert_eq!(constraint(message), "`of_order` of `lines`");
        assert_eq!(constraint("something else"), "a foreign key");
    }
}

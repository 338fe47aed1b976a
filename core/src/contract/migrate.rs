//! Records of one version of a contract as records of another: `lockstep.migrations`, defaults and fallbacks, compiled to moves of cells.
//!
//! A [`Way`] goes in one direction, over as many versions as lie between; a [`Chain`] is both.
//! It knows no JSON and no log: rows in the older contract's shape go in, rows in the newer one's come out, checked.
//!
//! Invariants: a key keeps its values and so its bytes; what was not sent stays unchanged; a result breaks no rule of the contract that it is for, or it is no result.

mod compile;
#[cfg(test)]
mod tests;

use crate::change::{Change, Op};
use crate::diagnostic::Diagnostic;
use crate::gate::cast::CastPlan;
use crate::gate::expression::Expression;
use crate::shape::{Row, Shape};
use crate::value::{Cell, Value};

use super::{Checker, Class, Contract, Migration, Outcome, Places, Violation};
use std::sync::Arc;

/// What a migration that does not compile is reported under.
pub const BAD_MIGRATION: &str = "LS-E001";
/// What two versions without a way between them are reported under.
pub const NO_WAY: &str = "LS-E002";
/// The rule that a record breaks which cannot be carried over.
pub const MIGRATION: &str = "migration";

/// Every code of migrations and drift, with what it means and what to do about it.
pub const CODES: &[(&str, &str)] = &[
    (
        BAD_MIGRATION,
        "A step of `lockstep.migrations` does not fit the two versions: it names a field that is not there, computes something that does not compile, or changes the key.\n\
         Check: the step that the message names, against the fields of both versions; steps are taken in order, and an expression sees the record before its step.\n\
         Safe: correct the step. A key is not changed by a migration: make another entity, or keep the key's fields, order and types.",
    ),
    (
        NO_WAY,
        "Records of one version of the contract cannot become records of another: a field that every record must have comes from nowhere, or its values can never become those of the other type.\n\
         Check: the field that the message names.\n\
         Safe: give the field a default, or write a step that sets or computes it under `lockstep.migrations`. Until then, events of the other version wait in quarantine; later versions of their records supersede them.",
    ),
    (
        super::drift::BREAKING,
        "A system's table no longer fits the contract and its mapping.\n\
         Check: `lockstep contract drift` names each field with the reason and the cure.\n\
         Safe: under the policy `hold` only this entity waits, and its changes are kept; mend the table, the mapping or the contract, and it goes on by itself or at the next start.",
    ),
    (
        super::drift::GONE,
        "A table that a flow reads or writes is not there: it was dropped or renamed, or the configuration names another.\n\
         Check: the table's name in `[systems.NAME.map.ENTITY]`, and whether it is coming back.\n\
         Safe: only its own entity waits. Once the table is there again, a source's is read from its first row, and a target's is filled again.",
    ),
    (
        super::drift::ADDITIVE,
        "A system's table has a column that neither the mapping nor the contract knows.\n\
         Check: whether the column matters to other systems.\n\
         Safe: nothing; the column is left out. To take it along, add the field to the contract in a new minor version and map it, or set `drift.additive = \"propagate\"`.",
    ),
];

/// The way from records of one version to records of another.
#[derive(Debug)]
pub struct Way {
    /// Cells of a record on the way: those of the record itself, then what steps add.
    steps: Vec<Step>,
    /// For each field of the target version, where it comes from.
    moves: Vec<Move>,
    /// How many cells a record has before the first step.
    width: usize,
    shape: Arc<Shape>,
    /// What a record has to be at the end.
    checker: Checker,
    /// By field of the target version: whether its values may be shown.
    shown: Vec<bool>,
    /// From key fields to key fields, by position.
    key: Vec<(usize, usize)>,
    /// Whether nothing has to be done.
    plain: bool,
}

/// The ways between two versions.
#[derive(Debug)]
pub struct Chain {
    /// From the older version to the newer.
    pub up: Way,
    /// From the newer version to the older.
    pub down: Way,
}

/// A way over versions that lie between, each taken in turn.
#[derive(Debug)]
pub struct Route {
    ways: Vec<Way>,
}

/// Something wrong with migrations, or with the lack of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its code.
    pub code: &'static str,
    /// The part of the contract that it is about, such as `/migrations/0/up/2`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A cell that a step adds.
#[derive(Debug)]
enum Step {
    Set(Value),
    Map {
        at: usize,
        values: Vec<(Value, Value)>,
    },
    Compute {
        expression: Expression,
        inputs: Vec<usize>,
    },
}

/// Where a field comes from.
#[derive(Debug)]
enum Move {
    /// A cell of the record on the way.
    Cell {
        at: usize,
        cast: CastPlan,
        /// The value where a whole record lacks the field.
        default: Option<Value>,
        /// The values that the field may have, with the one that stands for others.
        known: Option<(Vec<Value>, Value)>,
    },
    /// The field is new: its default, or nothing.
    New(Option<Value>),
}

impl Fault {
    /// The fault as a finding, at its place if that is known.
    #[must_use]
    pub fn diagnostic(&self, places: Option<&Places>) -> Diagnostic {
        let finding = Diagnostic::error(self.code, self.message.clone()).help(self.help.clone());
        match places.and_then(|places| places.at(&self.pointer)) {
            Some(place) => finding.at(place.clone()),
            None => finding,
        }
    }
}

impl Chain {
    /// Compiles both ways between two versions; `migrations` are usually the newer version's.
    ///
    /// # Errors
    /// Everything that is wrong with either way.
    pub fn compile(
        old: &Contract,
        new: &Contract,
        migrations: &[Migration],
    ) -> Result<Chain, Vec<Fault>> {
        match (
            Way::up(old, new, migrations),
            Way::down(old, new, migrations),
        ) {
            (Ok(up), Ok(down)) => Ok(Chain { up, down }),
            (up, down) => {
                let mut faults = up.err().unwrap_or_default();
                for fault in down.err().unwrap_or_default() {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
                Err(faults)
            }
        }
    }
}

impl Route {
    /// The route from one version to another: directly where that can be, else over the known versions between them.
    ///
    /// # Errors
    /// What is wrong with the direct way.
    pub fn between(
        from: &Contract,
        to: &Contract,
        known: &[&Contract],
    ) -> Result<Route, Vec<Fault>> {
        let faults = match Way::between(from, to) {
            Ok(way) => return Ok(Route { ways: vec![way] }),
            Err(faults) => faults,
        };
        let rises = from.version <= to.version;
        let newest = if rises { to } else { from };
        let (low, high) = if rises {
            (&from.version, &to.version)
        } else {
            (&to.version, &from.version)
        };
        let lies_between = |one: &&Contract| *low < one.version && one.version < *high;
        let mut between: Vec<&Contract> = known.iter().copied().filter(lies_between).collect();
        between.sort_by(|a, b| a.version.cmp(&b.version));
        if !rises {
            between.reverse();
        }
        let mut ways = Vec::with_capacity(between.len() + 1);
        let mut at = from;
        for next in between.into_iter().chain([to]) {
            // The newest version knows every migration; older ones know those up to themselves.
            let way = if rises {
                Way::up(at, next, &newest.migrations)
            } else {
                Way::down(next, at, &newest.migrations)
            };
            match way {
                Ok(way) => ways.push(way),
                Err(_) => return Err(faults),
            }
            at = next;
        }
        Ok(Route { ways })
    }

    /// A change on the other side; see [`Way::change`].
    ///
    /// # Errors
    /// As for [`Way::change`].
    pub fn change(&self, change: &Change) -> Result<Change, Vec<Violation>> {
        let Some((first, rest)) = self.ways.split_first() else {
            return Ok(change.clone());
        };
        let mut change = first.change(change)?;
        for way in rest {
            change = way.change(&change)?;
        }
        Ok(change)
    }
}

impl Way {
    /// The way from the older to the newer version.
    ///
    /// # Errors
    /// Steps that do not fit, and fields of the newer version that come from nowhere.
    pub fn up(old: &Contract, new: &Contract, migrations: &[Migration]) -> Result<Way, Vec<Fault>> {
        compile::up(old, new, migrations)
    }

    /// The way from the newer to the older version.
    ///
    /// # Errors
    /// Steps that do not fit, and fields of the older version that come from nowhere.
    pub fn down(
        old: &Contract,
        new: &Contract,
        migrations: &[Migration],
    ) -> Result<Way, Vec<Fault>> {
        compile::down(old, new, migrations)
    }

    /// The way from one version to another, whichever is the newer.
    ///
    /// # Errors
    /// As for [`Way::up`] and [`Way::down`]; the newer version's migrations count.
    pub fn between(from: &Contract, to: &Contract) -> Result<Way, Vec<Fault>> {
        if from.version <= to.version {
            Way::up(from, to, &to.migrations)
        } else {
            Way::down(to, from, &from.migrations)
        }
    }

    /// A record on the other side; `whole` says that it lacks nothing that a record must have.
    ///
    /// # Errors
    /// What cannot be carried over, or what the result breaks. Never shows values of protected fields.
    pub fn row(&self, row: &Row, whole: bool) -> Result<Row, Vec<Violation>> {
        let mut found = Vec::new();
        let cells = self.cells(row, whole, &mut found);
        let mut result = Vec::with_capacity(self.moves.len());
        for (field, from) in self.moves.iter().enumerate() {
            let cell = match from {
                Move::New(default) => constant(default.as_ref(), whole),
                Move::Cell { at, default, .. } if cells[*at].is_unchanged() => {
                    constant(default.as_ref(), whole)
                }
                Move::Cell {
                    at, cast, known, ..
                } => self.moved(field, &cells[*at], *cast, known.as_ref(), &mut found),
            };
            result.push(cell);
        }
        let result = Row(result);
        let faults = found.len();
        self.checker.check(&result, whole, &mut found);
        // What could not be moved is not missing as well.
        let mut index = 0;
        let failed: Vec<Option<String>> = found[..faults].iter().map(|v| v.field.clone()).collect();
        found.retain(|violation| {
            index += 1;
            index <= faults
                || (violation.outcome > Outcome::Warn && !failed.contains(&violation.field))
        });
        if found.is_empty() {
            Ok(result)
        } else {
            Err(found)
        }
    }

    /// A change on the other side: its record, and the key before it where that changed.
    ///
    /// # Errors
    /// As for [`Way::row`]. Deletes and barriers always have one.
    pub fn change(&self, change: &Change) -> Result<Change, Vec<Violation>> {
        let row = match change.op {
            Op::Truncated => Row::default(),
            Op::Deleted => self.key_of(&change.row),
            _ if self.plain => change.row.clone(),
            op => {
                let whole = op != Op::Updated || change.row.is_whole();
                self.row(&change.row, whole)?
            }
        };
        Ok(Change {
            shape: Arc::clone(&self.shape),
            op: change.op,
            row,
            before: change.before.as_ref().map(|before| self.key_of(before)),
            mark: change.mark,
            committed_at: change.committed_at,
            origin: change.origin.clone(),
        })
    }

    /// Whether records are the same on both sides.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The shape of what comes out.
    #[must_use]
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    fn key_of(&self, row: &Row) -> Row {
        let mut key = Row::unchanged(self.moves.len());
        for (from, to) in &self.key {
            key.0[*to] = row.cell(*from).clone();
        }
        key
    }

    /// The record's cells, and what the steps make of them.
    fn cells(&self, row: &Row, whole: bool, found: &mut Vec<Violation>) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::with_capacity(self.width + self.steps.len());
        cells.extend((0..self.width).map(|at| row.cell(at).clone()));
        for step in &self.steps {
            let cell = match step {
                Step::Set(value) => constant(Some(value), whole),
                Step::Map { at, values } => mapped(&cells[*at], values),
                Step::Compute { expression, inputs } => {
                    let cell = expression.eval_cells(&|at| {
                        inputs
                            .get(at)
                            .and_then(|slot| cells.get(*slot))
                            .unwrap_or(&Cell::Unchanged)
                    });
                    cell.unwrap_or_else(|_| {
                        // The message of an error may show a value, whose class nobody knows here.
                        let message = "a step of the migration cannot be computed for this record";
                        found.push(violation(None, message.to_owned()));
                        Cell::Unchanged
                    })
                }
            };
            cells.push(cell);
        }
        cells
    }

    fn moved(
        &self,
        field: usize,
        cell: &Cell,
        cast: CastPlan,
        known: Option<&(Vec<Value>, Value)>,
        found: &mut Vec<Violation>,
    ) -> Cell {
        let Cell::Set(value) = cell else {
            return Cell::Unchanged;
        };
        let name = &self.shape.columns[field].name;
        match cast.apply_ref(value) {
            Ok(value) => Cell::Set(match known {
                Some((values, fallback)) if !value.is_null() && !values.contains(&value) => {
                    fallback.clone()
                }
                _ => value,
            }),
            Err(error) => {
                let why = if self.shown[field] {
                    format!(": {error}")
                } else {
                    String::new()
                };
                let message = format!("the value of `{name}` cannot be carried over{why}");
                found.push(violation(Some(name), message));
                Cell::Unchanged
            }
        }
    }
}

/// A value that a version's records have in common; a patch does not say it again.
fn constant(value: Option<&Value>, whole: bool) -> Cell {
    match value {
        Some(value) if whole => Cell::Set(value.clone()),
        _ => Cell::Unchanged,
    }
}

fn mapped(cell: &Cell, values: &[(Value, Value)]) -> Cell {
    let Cell::Set(value) = cell else {
        return Cell::Unchanged;
    };
    let to = values.iter().find(|(from, _)| from == value);
    Cell::Set(to.map_or_else(|| value.clone(), |(_, to)| to.clone()))
}

fn violation(field: Option<&str>, message: String) -> Violation {
    Violation {
        field: field.map(ToOwned::to_owned),
        rule: MIGRATION.to_owned(),
        message,
        outcome: Outcome::Quarantine,
    }
}

/// Whether a field's values may stand in messages.
fn is_shown(class: Class) -> bool {
    class < Class::Personal
}

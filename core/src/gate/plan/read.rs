//! The reading direction: from a system's rows to the contract's records, checked.

pub(super) mod compile;

use std::borrow::Cow;
use std::sync::Arc;

use crate::change::{Change, Op};
use crate::contract::{Checker, Contract, Field, Violation};
use crate::gate::expression::Expression;
use crate::gate::{Mapping, Problem, ValueMaps};
use crate::key::{Key, KeyError};
use crate::shape::{Row, Shape};
use crate::value::{Cell, Value};

use super::translate::Translation;
use super::{Gated, Rejection, Verdict, goes_on, shown, violation};

/// From a system's rows to the contract's records.
#[derive(Debug)]
pub struct ReadPlan {
    /// The contract's shape.
    shape: Arc<Shape>,
    /// The contract's fields, for messages.
    fields: Vec<Field>,
    /// Where each field comes from, in contract order.
    sources: Vec<Source>,
    lane_key: Vec<usize>,
    lanes: u32,
    filter: Option<Expression>,
    checker: Checker,
    /// The columns that [`ReadPlan::record`] expects.
    names: Vec<String>,
    /// Position in the system's shape → position among `names`.
    slots: Vec<usize>,
    warnings: Vec<Problem>,
}

/// Where a field comes from.
#[derive(Debug)]
enum Source {
    Column {
        at: usize,
        name: String,
        translation: Translation,
    },
    Expression(Expression),
    Fixed(Value),
    /// The mapping does not read the field.
    Unread,
}

impl Source {
    /// The positions of the columns that it comes from.
    fn inputs(&self) -> &[usize] {
        match self {
            Source::Column { at, .. } => std::slice::from_ref(at),
            Source::Expression(expression) => expression.inputs(),
            Source::Fixed(_) | Source::Unread => &[],
        }
    }
}

/// Where the cells of a row are: in the system's shape, or packed as [`ReadPlan::columns`] says, with another row to look into for what was not sent.
#[derive(Clone, Copy)]
struct View<'a> {
    row: &'a Row,
    fallback: Option<&'a Row>,
    slots: Option<&'a [usize]>,
}

/// What the filter says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Yes,
    No,
    /// A column it needs was not sent.
    Unknown,
}

impl ReadPlan {
    /// Compiles the reading direction.
    ///
    /// With `partial`, fields that the mapping cannot read are left unchanged instead of being a problem: that is how a target's rows are read back for verification.
    ///
    /// # Errors
    /// Every problem of the mapping.
    pub fn compile(
        mapping: &Mapping,
        from: &Shape,
        contract: &Contract,
        values: &ValueMaps,
        partial: bool,
    ) -> Result<ReadPlan, Vec<Problem>> {
        compile::compile(mapping, from, contract, values, partial)
    }

    /// What is worth knowing about the mapping though it works.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The system's columns that the plan needs, by name in the order that [`ReadPlan::record`] expects.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The system's columns that name the record a row is: what the contract's key, its lane and the filter come from.
    ///
    /// A delete that does not tell them cannot be passed on.
    #[must_use]
    pub fn naming_columns(&self) -> Vec<String> {
        let naming = self.shape.key.iter().chain(&self.lane_key);
        let sources: Vec<&Source> = naming.filter_map(|at| self.sources.get(*at)).collect();
        let inputs = sources.iter().flat_map(|source| source.inputs());
        let filter = self.filter.as_ref().map_or(&[][..], Expression::inputs);
        let mut slots: Vec<usize> = inputs.chain(filter).map(|at| self.slots[*at]).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.iter().map(|slot| self.names[*slot].clone()).collect()
    }

    /// Tells whether the plan reads a contract field.
    #[must_use]
    pub fn reads(&self, field: usize) -> bool {
        !matches!(self.sources.get(field), None | Some(Source::Unread))
    }

    /// Gates one change of a system.
    ///
    /// A row that enters or leaves the mapping's filter is created or deleted as far as the contract is concerned.
    /// A delete carries only the key; a changed key carries the old one in `replaces`.
    #[must_use]
    pub fn gate(&self, change: &Change) -> Verdict {
        let verdict = match change.op {
            Op::Truncated => Ok(Verdict::Barrier(self.changed(
                change,
                change.op,
                Row::default(),
            ))),
            Op::Deleted => self.gate_delete(change),
            Op::Snapshot | Op::Created | Op::Updated => self.gate_upsert(change),
        };
        verdict.unwrap_or_else(|violations| Verdict::Reject(Rejection { violations }))
    }

    /// Maps one row that holds [`ReadPlan::columns`] to a record in contract form, unchecked; `None` where the filter leaves it out.
    ///
    /// # Errors
    /// A value that cannot be cast or translated.
    pub fn record(&self, row: &Row) -> Result<Option<Row>, Rejection> {
        let view = View {
            row,
            fallback: None,
            slots: Some(&self.slots),
        };
        let reject = |violations| Rejection { violations };
        if self.member(view).map_err(|v| reject(vec![v]))? == Member::No {
            return Ok(None);
        }
        let (record, found) = self.map(view);
        if found.is_empty() {
            Ok(Some(record))
        } else {
            Err(reject(found))
        }
    }

    /// What can be mapped of a row that holds [`ReadPlan::columns`]; the rest is unchanged.
    #[must_use]
    pub fn readable(&self, row: &Row) -> Row {
        self.map(View {
            row,
            fallback: None,
            slots: Some(&self.slots),
        })
        .0
    }

    /// The contract's key of a row that holds [`ReadPlan::columns`], if it can be made though the record cannot.
    #[must_use]
    pub fn record_key(&self, row: &Row) -> Option<Key> {
        let view = View {
            row,
            fallback: None,
            slots: Some(&self.slots),
        };
        self.key_in(view).map(|(key, _)| key)
    }

    /// The contract's key and lane of a changed row as it is after the change, if they can be made though the change cannot pass.
    #[must_use]
    pub fn key_after(&self, change: &Change) -> Option<(Key, u32)> {
        self.key_in(View::of(&change.row, change.before.as_ref()))
    }

    /// The contract's key and lane of a changed row as it was before the change, where the source told.
    #[must_use]
    pub fn key_before(&self, change: &Change) -> Option<(Key, u32)> {
        let before = change.before.as_ref()?;
        self.key_in(View::of(before, Some(&change.row)))
    }

    fn key_in(&self, view: View<'_>) -> Option<(Key, u32)> {
        let mut row = Row::unchanged(self.sources.len());
        for at in &self.shape.key {
            row.0[*at] = self.field(*at, view).ok()?;
        }
        let key = self.key(&row).ok()?;
        let lane = self.lane(&key, |at| self.known(&row, at, view)).ok()?;
        Some((key, lane))
    }

    fn gate_upsert(&self, change: &Change) -> Result<Verdict, Vec<Violation>> {
        let before = change.before.as_ref();
        let whole = View::of(&change.row, before);
        let mut view = View::of(&change.row, None);
        let mut was = Member::Unknown;
        if self.filter.is_some() {
            if let Some(before) = before {
                was = self.was(before);
            }
            match self.member(whole).map_err(|v| vec![v])? {
                Member::Yes => {}
                Member::No => return self.leave(change, was),
                Member::Unknown => return Err(vec![self.unsent_filter()]),
            }
            if was == Member::No {
                // The row is new to the entity, so a patch would not do; the row before tells the rest.
                view = whole;
            }
        }
        let (mut row, mut found) = self.map(view);
        for at in &self.shape.key {
            if row.cell(*at).is_unchanged() && found.is_empty() {
                row.0[*at] = self.field(*at, whole).map_err(|v| vec![v])?;
            }
        }
        // What could not be mapped is not missing as well.
        let must_be_whole =
            found.is_empty() && (change.op != Op::Updated || was == Member::No || row.is_whole());
        self.checker.check(&row, must_be_whole, &mut found);
        if !goes_on(&found) {
            return Err(found);
        }
        let key = self.key(&row)?;
        let lane = self.lane(&key, |at| self.known(&row, at, whole))?;
        let replaced = before.filter(|_| was != Member::No);
        let replaced = replaced.and_then(|before| self.replaced(before, &change.row, &key));
        if replaced.is_some() && !row.is_whole() {
            row = self.completed(row, whole)?;
        }
        let (before, replaces) = match replaced {
            Some((row, key, lane)) => (Some(row), Some((key, lane))),
            None => (None, None),
        };
        let mut change = self.changed(change, change.op, row);
        change.before = before;
        Ok(Verdict::Pass(Gated {
            change,
            key,
            lane,
            replaces,
            noted: found,
        }))
    }

    fn gate_delete(&self, change: &Change) -> Result<Verdict, Vec<Violation>> {
        let view = View::of(&change.row, change.before.as_ref());
        if self.member(view).map_err(|v| vec![v])? == Member::No {
            return Ok(Verdict::Skip);
        }
        self.delete(change, view)
    }

    /// The row is not of this entity after the change.
    fn leave(&self, change: &Change, was: Member) -> Result<Verdict, Vec<Violation>> {
        if change.op != Op::Updated || was == Member::No {
            return Ok(Verdict::Skip);
        }
        let view = match &change.before {
            Some(before) => View::of(before, Some(&change.row)),
            None => View::of(&change.row, None),
        };
        match self.delete(change, view) {
            Ok(verdict) => Ok(verdict),
            // Whether it was here before is not known. What has no key now never passed as a record, unless its key was not sent.
            Err(violations) if violations.iter().all(|v| v.rule != UNSENT) => Ok(Verdict::Skip),
            Err(violations) => Err(violations),
        }
    }

    fn delete(&self, change: &Change, view: View<'_>) -> Result<Verdict, Vec<Violation>> {
        let mut row = Row::unchanged(self.sources.len());
        for at in &self.shape.key {
            row.0[*at] = self.field(*at, view).map_err(|v| vec![v])?;
        }
        let key = self.key(&row)?;
        let lane = self.lane(&key, |at| self.known(&row, at, view))?;
        let change = self.changed(change, Op::Deleted, row);
        Ok(Verdict::Pass(Gated {
            change,
            key,
            lane,
            replaces: None,
            noted: Vec::new(),
        }))
    }

    /// The record that stood under another key before the change, with that key and its lane.
    fn replaced(&self, before: &Row, after: &Row, key: &Key) -> Option<(Row, Key, u32)> {
        let view = View::of(before, Some(after));
        let mut row = Row::unchanged(self.sources.len());
        for at in &self.shape.key {
            // A key that could not be mapped never passed, so there is nothing to replace.
            row.0[*at] = self.field(*at, view).ok()?;
        }
        let old = self.key(&row).ok()?;
        if old == *key {
            return None;
        }
        let lane = self.lane(&old, |at| self.known(&row, at, view)).ok()?;
        let known = View::of(before, None);
        for at in 0..self.sources.len() {
            if row.0[at].is_unchanged() {
                row.0[at] = self.field(at, known).unwrap_or(Cell::Unchanged);
            }
        }
        Some((row, old, lane))
    }

    /// A record whose key changed goes to another lane, where nothing is known of it: it must be whole.
    fn completed(&self, mut row: Row, whole: View<'_>) -> Result<Row, Vec<Violation>> {
        for at in 0..self.sources.len() {
            if row.cell(at).is_unchanged() {
                row.0[at] = self.field(at, whole).map_err(|v| vec![v])?;
            }
            if row.cell(at).is_unchanged() {
                let name = &self.fields[at].name;
                let message =
                    format!("the key changed, and the source did not send `{name}`; {FULL_ROW}");
                return Err(vec![violation(Some(name), UNSENT, message)]);
            }
        }
        self.checker.trim(&mut row);
        Ok(row)
    }

    /// The record of a row, and what of it could not be mapped, which stays unchanged.
    fn map(&self, view: View<'_>) -> (Row, Vec<Violation>) {
        let mut cells = Vec::with_capacity(self.sources.len());
        let mut found = Vec::new();
        for at in 0..self.sources.len() {
            cells.push(self.field(at, view).unwrap_or_else(|violation| {
                found.push(violation);
                Cell::Unchanged
            }));
        }
        let mut row = Row(cells);
        self.checker.trim(&mut row);
        (row, found)
    }

    fn field(&self, at: usize, view: View<'_>) -> Result<Cell, Violation> {
        match &self.sources[at] {
            Source::Column {
                at: column,
                name,
                translation,
            } => match view.cell(*column) {
                Cell::Unchanged => Ok(Cell::Unchanged),
                Cell::Set(value) => translation.read(value).map(Cell::Set).map_err(|fault| {
                    let field = &self.fields[at];
                    let shown = shown(field, value);
                    violation(
                        Some(&field.name),
                        fault.rule,
                        format!("column `{name}` holds {shown}: {}", fault.why),
                    )
                }),
            },
            Source::Expression(expression) => {
                expression.eval_cells(&|at| view.cell(at)).map_err(|error| {
                    let name = &self.fields[at].name;
                    violation(Some(name), "read", error.message)
                })
            }
            Source::Fixed(value) => Ok(Cell::Set(value.clone())),
            Source::Unread => Ok(Cell::Unchanged),
        }
    }

    /// A field that may not have been sent, from wherever it is known.
    fn known<'r>(
        &self,
        row: &'r Row,
        at: usize,
        view: View<'_>,
    ) -> Result<Cow<'r, Cell>, Violation> {
        match row.cell(at) {
            Cell::Unchanged => self.field(at, view).map(Cow::Owned),
            cell => Ok(Cow::Borrowed(cell)),
        }
    }

    fn key(&self, row: &Row) -> Result<Key, Vec<Violation>> {
        let key = &self.shape.key;
        Key::encode(key.iter().map(|at| row.value(*at)))
            .map_err(|error| vec![self.no_key(key, &error)])
    }

    fn lane<'r>(
        &self,
        key: &Key,
        cell: impl Fn(usize) -> Result<Cow<'r, Cell>, Violation>,
    ) -> Result<u32, Vec<Violation>> {
        if self.lane_key == self.shape.key {
            return Ok(key.lane(self.lanes));
        }
        let cells: Result<Vec<_>, _> = self.lane_key.iter().map(|at| cell(*at)).collect();
        let cells = cells.map_err(|v| vec![v])?;
        Key::encode(cells.iter().map(|cell| cell.value()))
            .map(|key| key.lane(self.lanes))
            .map_err(|error| vec![self.no_key(&self.lane_key, &error)])
    }

    fn member(&self, view: View<'_>) -> Result<Member, Violation> {
        let Some(filter) = &self.filter else {
            return Ok(Member::Yes);
        };
        match filter.eval_cells(&|at| view.cell(at)) {
            Ok(Cell::Unchanged) => Ok(Member::Unknown),
            Ok(Cell::Set(Value::Bool(true))) => Ok(Member::Yes),
            Ok(Cell::Set(_)) => Ok(Member::No),
            Err(error) => Err(violation(None, "filter", error.message)),
        }
    }

    /// Whether the row before a change was of this entity, by what the source told of it alone.
    fn was(&self, before: &Row) -> Member {
        // Where the filter fails the row was rejected, so no record of it exists; deleting none is harmless all the same.
        self.member(View::of(before, None))
            .unwrap_or(Member::Unknown)
    }

    fn unsent_filter(&self) -> Violation {
        violation(
            None,
            UNSENT,
            format!("the filter needs a column that the source did not send; {FULL_ROW}"),
        )
    }

    fn no_key(&self, fields: &[usize], error: &KeyError) -> Violation {
        let name = |i: &usize| {
            let at = fields.get(*i).copied().unwrap_or_default();
            self.fields.get(at).map(|field| field.name.as_str())
        };
        match error {
            KeyError::Unchanged(i) => violation(
                name(i),
                UNSENT,
                format!("the key needs a column that the source did not send; {FULL_ROW}"),
            ),
            KeyError::Null(i) => violation(name(i), "key", "a key field is null"),
            KeyError::Type(i, kind) => violation(
                name(i),
                "key",
                format!("a value of type {kind} cannot be part of a key"),
            ),
            KeyError::Malformed => violation(None, "key", error.to_string()),
        }
    }

    /// The change in contract form.
    fn changed(&self, change: &Change, op: Op, row: Row) -> Change {
        Change {
            shape: Arc::clone(&self.shape),
            op,
            row,
            before: None,
            mark: change.mark,
            committed_at: change.committed_at,
            origin: change.origin.clone(),
        }
    }
}

/// The rule that is broken when the source sent too little.
const UNSENT: &str = "replica-identity";
const FULL_ROW: &str = "let the source send the full row (a full replica identity)";

impl<'a> View<'a> {
    fn of(row: &'a Row, fallback: Option<&'a Row>) -> Self {
        View {
            row,
            fallback,
            slots: None,
        }
    }

    fn cell(self, at: usize) -> &'a Cell {
        let at = match self.slots {
            None => at,
            Some(slots) => slots.get(at).copied().unwrap_or(usize::MAX),
        };
        match (self.row.cell(at), self.fallback) {
            (Cell::Unchanged, Some(fallback)) => fallback.cell(at),
            (cell, _) => cell,
        }
    }
}

//! The writing direction: from the contract's records to a system's rows.

use std::sync::Arc;

use crate::change::{Change, Op};
use crate::contract::{Class, Contract, Field, Violation};
use crate::gate::expression::{Expression, Scope};
use crate::gate::problem::{KEY_NOT_WRITTEN, NARROWER, Problem, Problems, TWO_WRITERS};
use crate::gate::{Mapping, ValueMaps};
use crate::shape::{Column, Row, Shape};
use crate::value::{Cell, Type};

use super::read::compile::{column_of, expression, sound, unknown_fields};
use super::translate::{Direction, Translation};
use super::{Rejection, shown, violation};

/// From the contract's records to a system's rows.
#[derive(Debug)]
pub struct WritePlan {
    /// The target's shape.
    target: Arc<Shape>,
    /// What writes each column of the target's shape.
    writers: Vec<Writer>,
    /// The contract's fields, for messages.
    fields: Vec<Field>,
    warnings: Vec<Problem>,
}

#[derive(Debug)]
enum Writer {
    Field {
        field: usize,
        translation: Translation,
    },
    Expression {
        expression: Expression,
        /// Whether an input is protected, so that what goes wrong is not shown.
        protected: bool,
    },
}

impl WritePlan {
    /// Compiles the writing direction.
    ///
    /// Fields that the mapping only reads, or does not mention, are not written.
    ///
    /// # Errors
    /// Every problem of the mapping.
    pub fn compile(
        mapping: &Mapping,
        contract: &Contract,
        to: &Shape,
        values: &ValueMaps,
    ) -> Result<WritePlan, Vec<Problem>> {
        let mut compiler = Compiler {
            contract,
            to,
            values,
            problems: Problems::default(),
            writers: to.columns.iter().map(|_| None).collect(),
        };
        unknown_fields(mapping, contract, &mut compiler.problems);
        for (at, field) in contract.fields.iter().enumerate() {
            compiler.field(mapping, at, field);
        }
        for (name, map) in &mapping.columns {
            compiler.computed(name, &map.cel);
        }
        compiler.keys(mapping);
        compiler.finish()
    }

    /// What is worth knowing about the mapping though it works.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The target's shape: the columns that are written; its key is what the contract's key maps to.
    #[must_use]
    pub fn target(&self) -> Arc<Shape> {
        Arc::clone(&self.target)
    }

    /// Maps a change in contract form to the target's shape.
    ///
    /// Unchanged fields give unchanged columns; a delete, and the row before a change of key, carry the key's columns only.
    ///
    /// # Errors
    /// A value that the target's column cannot take.
    pub fn map(&self, change: &Change) -> Result<Change, Rejection> {
        let row = match change.op {
            Op::Truncated => Ok(Row::default()),
            Op::Deleted => self.key_of(&change.row),
            Op::Snapshot | Op::Created | Op::Updated => self.whole(&change.row),
        };
        let before = change.before.as_ref().map(|before| self.key_of(before));
        let reject = |violations| Rejection { violations };
        Ok(Change {
            shape: Arc::clone(&self.target),
            op: change.op,
            row: row.map_err(reject)?,
            before: before.transpose().map_err(reject)?,
            mark: change.mark,
            committed_at: change.committed_at,
            origin: change.origin.clone(),
        })
    }

    fn whole(&self, record: &Row) -> Result<Row, Vec<Violation>> {
        let mut cells = Vec::with_capacity(self.writers.len());
        let mut found = Vec::new();
        for at in 0..self.writers.len() {
            match self.column(at, record) {
                Ok(cell) => cells.push(cell),
                Err(violation) => found.push(violation),
            }
        }
        if let Some(at) = self
            .target
            .key
            .iter()
            .find(|at| found.is_empty() && cells.get(**at).is_none_or(Cell::is_unchanged))
        {
            found.push(self.keyless(*at));
        }
        if found.is_empty() {
            Ok(Row(cells))
        } else {
            Err(found)
        }
    }

    fn key_of(&self, record: &Row) -> Result<Row, Vec<Violation>> {
        let mut row = Row::unchanged(self.writers.len());
        for at in &self.target.key {
            let cell = self.column(*at, record).map_err(|v| vec![v])?;
            if cell.is_unchanged() {
                return Err(vec![self.keyless(*at)]);
            }
            row.0[*at] = cell;
        }
        Ok(row)
    }

    fn column(&self, at: usize, record: &Row) -> Result<Cell, Violation> {
        let column = &self.target.columns[at];
        let cell = match &self.writers[at] {
            Writer::Field { field, translation } => match record.cell(*field) {
                Cell::Unchanged => Cell::Unchanged,
                Cell::Set(value) => {
                    let written = translation.write(value).map_err(|fault| {
                        let field = &self.fields[*field];
                        let shown = shown(field, value);
                        let why = fault.why;
                        let message =
                            format!("column `{}` does not take {shown}: {why}", column.name);
                        violation(Some(&field.name), fault.rule, message)
                    })?;
                    Cell::Set(written)
                }
            },
            Writer::Expression {
                expression,
                protected,
            } => expression.eval(record).map_err(|error| {
                let why = if *protected {
                    ""
                } else {
                    error.message.as_str()
                };
                let lead = if *protected { "" } else { ": " };
                let message = format!("column `{}` cannot be computed{lead}{why}", column.name);
                violation(None, "cel", message)
            })?,
        };
        match &cell {
            Cell::Set(value) if value.is_null() && !column.nullable => {
                let message = format!("column `{}` does not take null", column.name);
                Err(violation(self.field_of(at), "nullable", message))
            }
            _ => Ok(cell),
        }
    }

    fn field_of(&self, at: usize) -> Option<&str> {
        match &self.writers[at] {
            Writer::Field { field, .. } => Some(self.fields[*field].name.as_str()),
            Writer::Expression { .. } => None,
        }
    }

    fn keyless(&self, at: usize) -> Violation {
        let message = format!(
            "the change does not say the key column `{}`",
            self.target.columns[at].name
        );
        violation(self.field_of(at), "key", message)
    }
}

struct Compiler<'a> {
    contract: &'a Contract,
    to: &'a Shape,
    values: &'a ValueMaps,
    problems: Problems,
    /// By position in the target table's own shape.
    writers: Vec<Option<Writer>>,
}

impl Compiler<'_> {
    fn field(&mut self, mapping: &Mapping, at: usize, field: &Field) {
        let Some(rule) = mapping.fields.get(&field.name).map(|map| map.rule()) else {
            return;
        };
        if !sound(&rule, field, &mut self.problems) {
            return;
        }
        let Some(name) = rule.column.as_deref() else {
            return;
        };
        let path = ["fields", field.name.as_str()];
        let Some(position) = column_of(self.to, name, &path, &mut self.problems) else {
            return;
        };
        let column = &self.to.columns[position];
        let translation = Translation::compile(
            &rule,
            column,
            field,
            self.values,
            Direction::Write,
            &mut self.problems,
        );
        let Some(translation) = translation else {
            return;
        };
        self.narrower(column, field, translation.is_plain());
        let writer = Writer::Field {
            field: at,
            translation,
        };
        self.write(position, writer, &path);
    }

    fn computed(&mut self, name: &str, cel: &str) {
        let path = ["columns", name];
        let Some(position) = column_of(self.to, name, &path, &mut self.problems) else {
            return;
        };
        let shape = self.contract.shape();
        let kind = self.to.columns[position].kind;
        let path = ["columns", name, "cel"];
        let compiled = expression(cel, Scope::Fields(&shape), kind, &path, &mut self.problems);
        if let Some(expression) = compiled {
            let fields = &self.contract.fields;
            let protected = |at: &usize| fields.get(*at).is_none_or(|f| f.class >= Class::Personal);
            let writer = Writer::Expression {
                protected: expression.inputs().iter().any(protected),
                expression,
            };
            self.write(position, writer, &path[..2]);
        }
    }

    fn write(&mut self, position: usize, writer: Writer, path: &[&str]) {
        let name = &self.to.columns[position].name;
        if self.writers[position].is_some() {
            let message = format!("the column `{name}` is written twice");
            let help = "keep one of the two";
            self.problems.error(TWO_WRITERS, path, message, help);
            return;
        }
        self.writers[position] = Some(writer);
    }

    /// Warns where the column takes less than the contract allows.
    fn narrower(&mut self, column: &Column, field: &Field, plain: bool) {
        let path = ["fields", field.name.as_str()];
        if field.nullable && !column.nullable {
            let message = format!(
                "the field `{}` may be null, the column `{}` may not",
                field.name, column.name
            );
            let help = "let the column take null, or records without the value go to quarantine";
            self.problems.warning(NARROWER, &path, message, help);
        }
        if let (
            true,
            Type::Decimal {
                precision: Some(p),
                scale: Some(s),
            },
            Some(Type::Decimal {
                precision: Some(cp),
                scale: Some(cs),
            }),
        ) = (plain, field.kind, column.kind)
            && (cs < s || cp.saturating_sub(cs) < p.saturating_sub(s))
        {
            let message = format!(
                "the column `{}` is decimal({cp},{cs}), the field `{}` {}",
                column.name, field.name, field.kind
            );
            let help = "widen the column, or records that do not fit go to quarantine";
            self.problems.warning(NARROWER, &path, message, help);
        }
    }

    fn keys(&mut self, mapping: &Mapping) {
        for at in &self.contract.key {
            let Some(field) = self.contract.fields.get(*at) else {
                continue;
            };
            let rule = mapping.fields.get(&field.name).map(|map| map.rule());
            let invertible = rule
                .as_ref()
                .is_some_and(|rule| rule.column.is_some() && rule.read.is_none());
            if !invertible {
                self.problems.error(
                    KEY_NOT_WRITTEN,
                    &["fields", &field.name],
                    format!("the key field `{}` is not mapped to a column", field.name),
                    "rows of a target are found by their key: map the field to a column, without `read` or `constant`",
                );
            }
        }
    }

    fn finish(self) -> Result<WritePlan, Vec<Problem>> {
        let warnings = self.problems.finish()?;
        let (columns, writers): (Vec<Column>, Vec<Writer>) = self
            .to
            .columns
            .iter()
            .zip(self.writers)
            .filter_map(|(column, writer)| Some((column.clone(), writer?)))
            .unzip();
        let holds = |at: &usize| {
            writers
                .iter()
                .position(|writer| matches!(writer, Writer::Field { field, .. } if field == at))
        };
        let key = self.contract.key.iter().filter_map(holds).collect();
        Ok(WritePlan {
            target: Arc::new(Shape {
                name: self.to.name.clone(),
                columns,
                key,
            }),
            writers,
            fields: self.contract.fields.clone(),
            warnings,
        })
    }
}

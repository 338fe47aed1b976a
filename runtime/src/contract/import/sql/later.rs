//! What later statements add to a table: `ALTER TABLE`, and unique indexes.

use sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnOption, ColumnOptionDef, CreateIndex, Ident,
    KeyOrIndexDisplay, NullsDistinctOption, TableConstraint,
};

use super::super::notes::{Notes, shorten};
use super::{ColumnDef, Table};

impl Table {
    /// Changes the table as `ALTER TABLE` does; what cannot be said is noted.
    pub(super) fn alter(
        &mut self,
        operation: AlterTableOperation,
        at: usize,
        notes: &mut Notes<'_>,
    ) {
        use AlterTableOperation as Op;
        let told = operation.to_string();
        let taken = match operation {
            Op::AddConstraint { constraint, .. } => {
                self.constraints.push(constraint);
                true
            }
            Op::AddColumn { column_def, .. } => {
                self.columns.push(column_def);
                true
            }
            Op::DropColumn { column_names, .. } => {
                let dropped =
                    |column: &ColumnDef| column_names.iter().any(|n| same(n, &column.name));
                let before = self.columns.len();
                self.columns.retain(|column| !dropped(column));
                before == self.columns.len() + column_names.len()
            }
            Op::DropConstraint { name, .. } => {
                let before = self.constraints.len();
                self.constraints
                    .retain(|constraint| named(constraint).is_none_or(|own| !same(own, &name)));
                before > self.constraints.len()
            }
            Op::AlterColumn { column_name, op } => match self.column(&column_name) {
                Some(column) => alter_column(column, op),
                None => false,
            },
            Op::RenameColumn {
                old_column_name,
                new_column_name,
            } => {
                let lone = self.constraints.is_empty();
                match self.column(&old_column_name) {
                    // Constraints that speak of it would no longer find it.
                    Some(column) if lone => {
                        column.name = new_column_name;
                        true
                    }
                    _ => false,
                }
            }
            Op::ModifyColumn {
                col_name,
                data_type,
                options,
                ..
            } => match self.column(&col_name) {
                Some(column) => {
                    column.data_type = data_type;
                    column.options = options.into_iter().map(option).collect();
                    true
                }
                None => false,
            },
            // These say nothing about records.
            Op::OwnerTo { .. }
            | Op::ReplicaIdentity { .. }
            | Op::EnableRowLevelSecurity
            | Op::DisableRowLevelSecurity
            | Op::EnableTrigger { .. }
            | Op::DisableTrigger { .. }
            | Op::EnableAlwaysTrigger { .. }
            | Op::EnableReplicaTrigger { .. }
            | Op::EnableRule { .. }
            | Op::DisableRule { .. }
            | Op::EnableReplicaRule { .. } => true,
            _ => false,
        };
        if !taken {
            let what = format!(
                "`ALTER TABLE {} {}` is not taken over",
                shorten(&self.name),
                shorten(&told)
            );
            let help = "look whether it says something about the records";
            notes.warn("LS-I108", "", Some(at), what, help);
        }
    }

    /// Takes a unique index for what it is: a constraint.
    pub(super) fn index(&mut self, index: CreateIndex, at: usize, notes: &mut Notes<'_>) {
        if !index.unique {
            return;
        }
        if let Some(predicate) = &index.predicate {
            let columns: Vec<String> = index.columns.iter().map(ToString::to_string).collect();
            let what = format!(
                "that {} is unique where `{}` is not checked",
                shorten(&columns.join(", ")),
                shorten(&predicate.to_string())
            );
            let help = "say it as a rule with `metric: duplicateValues`";
            notes.warn("LS-I108", "", Some(at), what, help);
            return;
        }
        self.constraints.push(TableConstraint::Unique {
            name: None,
            index_name: None,
            index_type_display: KeyOrIndexDisplay::None,
            index_type: None,
            columns: index.columns,
            index_options: Vec::new(),
            characteristics: None,
            nulls_distinct: NullsDistinctOption::None,
        });
    }

    fn column(&mut self, name: &Ident) -> Option<&mut ColumnDef> {
        self.columns
            .iter_mut()
            .find(|column| same(&column.name, name))
    }
}

/// Changes a column; tells whether that could be done.
fn alter_column(column: &mut ColumnDef, operation: AlterColumnOperation) -> bool {
    let without = |column: &mut ColumnDef, gone: fn(&ColumnOption) -> bool| {
        column.options.retain(|kept| !gone(&kept.option));
    };
    let nulls = |o: &ColumnOption| matches!(o, ColumnOption::Null | ColumnOption::NotNull);
    let defaults = |o: &ColumnOption| matches!(o, ColumnOption::Default(_));
    match operation {
        AlterColumnOperation::SetNotNull => {
            without(column, nulls);
            column.options.push(option(ColumnOption::NotNull));
        }
        AlterColumnOperation::DropNotNull => without(column, nulls),
        AlterColumnOperation::SetDefault { value } => {
            without(column, defaults);
            column.options.push(option(ColumnOption::Default(value)));
        }
        AlterColumnOperation::DropDefault => without(column, defaults),
        AlterColumnOperation::SetDataType { data_type, .. } => column.data_type = data_type,
        // An identity is a value like others.
        AlterColumnOperation::AddGenerated { .. } => {}
    }
    true
}

fn option(option: ColumnOption) -> ColumnOptionDef {
    ColumnOptionDef { name: None, option }
}

fn named(constraint: &TableConstraint) -> Option<&Ident> {
    match constraint {
        TableConstraint::Unique { name, .. }
        | TableConstraint::PrimaryKey { name, .. }
        | TableConstraint::ForeignKey { name, .. }
        | TableConstraint::Check { name, .. } => name.as_ref(),
        _ => None,
    }
}

fn same(a: &Ident, b: &Ident) -> bool {
    a.value.eq_ignore_ascii_case(&b.value)
}

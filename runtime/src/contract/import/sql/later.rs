//! What later statements add to a table: `ALTER TABLE`, and unique indexes.

use sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnOption, ColumnOptionDef, CreateIndex,
    DataType, Ident, KeyOrIndexDisplay, NullsDistinctOption, TableConstraint,
};

use super::super::notes::{Notes, shorten};
use super::{ColumnDef, Table, last};

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
            } => self.rename(&old_column_name, new_column_name),
            Op::ChangeColumn {
                old_name,
                new_name,
                data_type,
                options,
                ..
            } => {
                let there = self.redefine(&old_name, data_type, options);
                there && (same(&old_name, &new_name) || self.rename(&old_name, new_name))
            }
            Op::RenameTable { table_name } => {
                self.name = last(&table_name);
                true
            }
            Op::ModifyColumn {
                col_name,
                data_type,
                options,
                ..
            } => self.redefine(&col_name, data_type, options),
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

    /// Gives a column another type and other options; tells whether it is there.
    fn redefine(&mut self, name: &Ident, kind: DataType, options: Vec<ColumnOption>) -> bool {
        let Some(column) = self.column(name) else {
            return false;
        };
        column.data_type = kind;
        // Its key is said elsewhere and stays.
        column.options.retain(|kept| is_key(&kept.option));
        column.options.extend(options.into_iter().map(option));
        true
    }

    /// Gives a column another name; what constraints call it is kept in mind.
    fn rename(&mut self, old: &Ident, new: Ident) -> bool {
        let renamed = (old.value.clone(), new.value.clone());
        let Some(column) = self.column(old) else {
            return false;
        };
        column.name = new;
        if let Some(comment) = self.comments.remove(&renamed.0) {
            self.comments.insert(renamed.1.clone(), comment);
        }
        for (column, _) in &mut self.left {
            if *column == renamed.0 {
                column.clone_from(&renamed.1);
            }
        }
        self.renamed.push(renamed);
        true
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

fn is_key(option: &ColumnOption) -> bool {
    matches!(option, ColumnOption::Unique { .. })
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

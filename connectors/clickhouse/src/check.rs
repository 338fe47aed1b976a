//! What keeps a table from being a target, and how to mend it; pure.

use lockstep_core::Shape;
use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;

use crate::config::Config;
use crate::form::Kind;
use crate::literal::name;
use crate::table::Table;

/// Everything there is to say about a target.
pub(crate) fn target(config: &Config, table: &Table, shape: &Shape) -> Vec<Finding> {
    let mut findings: Vec<Finding> = unusable(config, table, shape).into_iter().collect();
    findings.extend(shape.names().filter_map(|column| unwritable(table, column)));
    let is_key = |column: &str| {
        shape
            .key
            .iter()
            .any(|place| shape.columns[*place].name == column)
    };
    let parted = table
        .columns
        .iter()
        .find(|column| column.parts && !is_key(&column.name));
    if let Some(column) = parted {
        findings.push(Finding {
            severity: Severity::Warning,
            message: format!("table `{}` is partitioned by `{}`, which is not in its key", table.name, column.name),
            help: "a row that moves to another partition leaves the older one behind until somebody removes it; queries with FINAL do not see it".to_owned(),
        });
    }
    findings
}

/// The first thing without which nothing can be written.
pub(crate) fn unusable(config: &Config, table: &Table, shape: &Shape) -> Option<Finding> {
    let key: Vec<&str> = shape
        .key
        .iter()
        .map(|place| shape.columns[*place].name.as_str())
        .collect();
    let listed = key
        .iter()
        .map(|column| name(column))
        .collect::<Vec<_>>()
        .join(", ");
    let (version, deleted) = (&config.version_column, &config.deleted_column);
    let make = format!(
        "make it with: ENGINE = ReplacingMergeTree({}) ORDER BY ({listed})",
        name(version)
    );
    let error = |message: String, help: String| {
        Some(Finding {
            severity: Severity::Error,
            message,
            help,
        })
    };
    if !table.replaces() {
        return error(
            format!(
                "table `{}` is a {}, in which no row replaces another",
                table.name, table.engine
            ),
            make,
        );
    }
    if !table.has_version || !table.goes_by(version) {
        return error(
            format!(
                "table `{}` does not go by versions in `{version}`",
                table.name
            ),
            format!("{make}, or name its version column with `version_column`"),
        );
    }
    if !table.has_deleted {
        return error(
            format!(
                "table `{}` has no column `{deleted}`, which marks deleted rows",
                table.name
            ),
            format!(
                "run: ALTER TABLE {} ADD COLUMN {} UInt8",
                name(&table.name),
                name(deleted)
            ),
        );
    }
    let same = key.len() == table.sorting.len()
        && key
            .iter()
            .all(|column| table.sorting.iter().any(|sorted| sorted == column));
    if !same {
        return error(
            format!(
                "table `{}` is sorted by `{}`, but its records are identified by `{}`",
                table.name,
                table.sorting.join("`, `"),
                key.join("`, `")
            ),
            make,
        );
    }
    None
}

fn unwritable(table: &Table, column: &str) -> Option<Finding> {
    let error = |message: String, help: &str| {
        Some(Finding {
            severity: Severity::Error,
            message,
            help: help.to_owned(),
        })
    };
    let Some(found) = table.columns.iter().find(|known| known.name == column) else {
        return error(
            format!("table `{}` has no column `{column}`", table.name),
            "add the column, or leave it out of the mapping",
        );
    };
    if found.computed {
        return error(
            format!(
                "column `{column}` of table `{}` is computed by the server",
                table.name
            ),
            "leave it out of the mapping",
        );
    }
    if found.form.kind == Kind::Composite {
        return error(
            format!(
                "column `{column}` of table `{}` has a type that can only be read",
                table.name
            ),
            "map to a column of type String",
        );
    }
    None
}

//! What would keep a lake from being written as configured, said before anything is.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Result, Shape};

use crate::config::{Config, History};
use crate::form::OWN;
use crate::lake::Lake;
use crate::partition::Part;
use crate::state::Table;

/// Findings on targets.
pub(crate) async fn sink(lake: &Lake, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
    let mut findings = reader(lake).await?;
    if !findings.is_empty() {
        return Ok(findings);
    }
    let state = lake.journal.now().await?;
    for shape in targets {
        let table = state.table(&shape.name)?;
        findings.extend(unusable(&lake.config, table, shape));
    }
    Ok(findings)
}

/// Whether the store can be read and keeps two writers apart.
pub(crate) async fn reader(lake: &Lake) -> Result<Vec<Finding>> {
    let looked = async {
        lake.journal.now().await?;
        lake.journal.check().await
    };
    match looked.await {
        Ok(()) => Ok(Vec::new()),
        Err(error) if matches!(error.kind(), Kind::Config | Kind::Unauthorized) => {
            Ok(vec![Finding {
                severity: Severity::Error,
                message: error.to_string(),
                help: error.help_text().unwrap_or_default().to_owned(),
            }])
        }
        Err(error) => Err(error),
    }
}

/// What keeps a table from being written in a shape.
pub(crate) fn unusable(config: &Config, table: &Table, shape: &Shape) -> Option<Finding> {
    let name = &shape.name;
    let error = |message: String, help: &str| {
        Some(Finding {
            severity: Severity::Error,
            message,
            help: help.to_owned(),
        })
    };
    for column in shape.names() {
        if OWN.contains(&column) {
            return error(
                format!(
                    "column `{column}` of table `{name}` is one that every file has of its own"
                ),
                "map the field to a column of another name",
            );
        }
        if table.shape.position(column).is_none() {
            return error(
                format!("table `{name}` has no column `{column}`"),
                "let Lockstep add it (`drift` in the configuration), or change the mapping",
            );
        }
    }
    let keyed = |shape: &Shape| {
        let mut names: Vec<String> = shape
            .key
            .iter()
            .map(|at| shape.columns[*at].name.clone())
            .collect();
        names.sort();
        names
    };
    let (is, wanted) = (keyed(&table.shape), keyed(shape));
    if is != wanted {
        return error(
            format!(
                "table `{name}` is sorted by `{}`, and the contract's key maps to `{}`",
                is.join("`, `"),
                wanted.join("`, `")
            ),
            "a table keeps the key it was made with: map to a table of another name",
        );
    }
    let keeping = config.keeping(name);
    if keeping.history != table.history {
        let word = |history: Option<History>| {
            if history.is_some() {
                "`history = \"append\"`"
            } else {
                "current rows"
            }
        };
        return error(
            format!(
                "table `{name}` was made with {}, and the configuration says {}",
                word(table.history),
                word(keeping.history)
            ),
            "a table stays what it was made as: change the configuration back, or map to a table of another name",
        );
    }
    let parts: Option<Vec<Part>> = keeping
        .partition
        .map(|parts| parts.iter().filter_map(|part| part.parse().ok()).collect());
    if parts.is_some_and(|parts| parts != table.partition) {
        let made: Vec<String> = table.partition.iter().cloned().map(String::from).collect();
        return error(
            format!("table `{name}` was made with `partition = {made:?}`"),
            "a table stays what it was made as: change the configuration back, or map to a table of another name",
        );
    }
    None
}

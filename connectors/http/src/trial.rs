//! Trying a description: its first rows and the next cursor, as a flow would get them.

use std::sync::Arc;

use lockstep_core::connector::{Boxed, Trial, Tried, TriedTable};
use lockstep_core::diagnostic::{Diagnostic, Severity, suggestion};
use lockstep_core::{Error, Result, Row};

use crate::auth;
use crate::client::{Api, Kind, secrets_of};
use crate::describe::Description;
use crate::lint;
use crate::listing::Walk;

/// Tries a description.
pub(crate) fn try_file(trial: Trial) -> Boxed<'static, Tried> {
    Box::pin(tried(trial))
}

async fn tried(trial: Trial) -> Tried {
    let (described, findings) = lint::lint(&trial.file, &trial.text);
    let mut tried = Tried {
        findings,
        ..Tried::default()
    };
    let is_wrong = tried.findings.iter().any(|f| f.severity == Severity::Error);
    let Some(described) = described.filter(|_| !is_wrong && !trial.offline) else {
        return tried;
    };
    // Secrets of webhooks are not needed to read.
    let needed = auth::names(&described.auth).into_iter();
    let missing = needed.filter(|name| (trial.secret)(name).is_none());
    tried.missing = missing.map(str::to_owned).collect();
    if !tried.missing.is_empty() {
        return tried;
    }
    if let Err(error) = read(&trial, described, &mut tried.tables).await {
        let mut finding = Diagnostic::error("LS-Y003", error.chain());
        finding.help = error.help_text().map(str::to_owned);
        tried.findings.push(finding);
    }
    tried
}

async fn read(trial: &Trial, described: Description, tables: &mut Vec<TriedTable>) -> Result<()> {
    if let Some(table) = &trial.table
        && !described.tables.contains_key(table)
    {
        let known = described.tables.keys().map(String::as_str);
        return Err(
            Error::config(format!("the description has no table `{table}`"))
                .help(suggestion(table, known)),
        );
    }
    let secrets = secrets_of(&described, &*trial.secret);
    let api = Api::of(described, "try", trial.url.as_deref(), secrets, None)?;
    for name in api.described.tables.keys() {
        if trial.table.as_ref().is_none_or(|table| table == name) {
            tables.push(table(api.kind(name)?, trial.rows).await);
        }
    }
    Ok(())
}

async fn table(kind: Kind<'_>, most: usize) -> TriedTable {
    let mut walk = Walk::new(kind, &[]);
    let first = first(kind, &mut walk, most).await;
    let (rows, error) = match first {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    TriedTable {
        shape: Arc::new(kind.columns.shape.clone()),
        rows,
        cursor: walk.cursor(),
        growing: kind.table.incremental.as_ref().map(|i| i.field.clone()),
        error,
    }
}

async fn first(kind: Kind<'_>, walk: &mut Walk<'_>, most: usize) -> Result<Vec<Row>> {
    let records = walk.page().await?.unwrap_or_default();
    let first = records.iter().take(most);
    first.map(|record| kind.columns.read(record)).collect()
}

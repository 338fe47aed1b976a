//! What would keep reading or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind, Result, Shape};

use crate::client::Api;
use crate::config::CreateBy;
use crate::query::address;
use crate::table::{Item, Table};

const PLACE_HELP: &str = "map the contract's key to the key of the entity set, or to a property that holds an id of another system";

/// Looks at what the reader needs: the credentials, each entity set, and what tells changes.
pub(crate) async fn reads(api: &Api, names: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in names {
        let table = api.table(name).await?;
        readable(api, &table, &mut findings).await?;
        let config = api.config.table(name);
        if let Some(column) = &config.modified
            && let Err(error) = table.item(column)
        {
            add(
                &mut findings,
                Severity::Error,
                error.to_string(),
                "see `modified` of the table",
            );
        }
        if config.track_changes && table.set.refuses.iter().any(|word| word == "Supported") {
            let message = format!("the service says that changes of `{name}` are not tracked");
            let help = "allow change tracking in the service, or take `track_changes` away";
            add(&mut findings, Severity::Error, message, help);
        }
    }
    Ok(findings)
}

/// Looks at what the sink needs: a place for identity, and properties that can be written.
pub(crate) async fn writes(api: &Api, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for shape in targets {
        let table = api.table(&shape.name).await?;
        readable(api, &table, &mut findings).await?;
        identity(&table, shape, &mut findings);
        for word in &table.set.refuses {
            let what = match word.as_str() {
                "Insertable" => "made",
                "Updatable" => "changed",
                "Deletable" => "deleted",
                _ => continue,
            };
            let message = format!(
                "the service says that records of `{}` are not {what}",
                shape.name
            );
            add(
                &mut findings,
                Severity::Warning,
                message,
                "such changes will be rejected",
            );
        }
        for column in shape.names() {
            match table.item(column) {
                Err(error) => add(
                    &mut findings,
                    Severity::Error,
                    error.to_string(),
                    error.help_text().unwrap_or_default(),
                ),
                Ok(Item::Property(property, None)) if property.is_computed => add(
                    &mut findings,
                    Severity::Error,
                    format!("`{column}` of `{}` is filled by the service", shape.name),
                    "take it out of the mapping",
                ),
                Ok(_) => {}
            }
        }
    }
    Ok(findings)
}

async fn readable(api: &Api, table: &Table, findings: &mut Vec<Finding>) -> Result<()> {
    let (select, _) = table.asked(&[]);
    let first = address(table.name(), &[("$select", &*select), ("$top", "1")]);
    match api.page(&first, "").await {
        Ok(Ok(_)) => {}
        Ok(Err(refusal)) => {
            let message = format!("`{}` cannot be read: {}", table.name(), refusal.words(&[]));
            add(
                findings,
                Severity::Error,
                message,
                "see whether the entity set can be queried",
            );
        }
        Err(error) if error.kind() == Kind::Unauthorized => {
            let message = format!("the user may not read `{}`: {error}", table.name());
            let help = error.help_text().unwrap_or_default().to_owned();
            add(findings, Severity::Error, message, &help);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn identity(table: &Table, shape: &Shape, findings: &mut Vec<Finding>) {
    let key: Vec<&str> = shape
        .key
        .iter()
        .map(|at| shape.columns[*at].name.as_str())
        .collect();
    let name = &shape.name;
    let is_property = |column: &&str| matches!(table.item(column), Ok(Item::Property(_, None)));
    if key.is_empty() || !key.iter().all(is_property) {
        add(
            findings,
            Severity::Error,
            no_place(name).to_string(),
            PLACE_HELP,
        );
        return;
    }
    let is_of = |columns: &[String]| {
        columns.len() == key.len() && columns.iter().all(|column| key.contains(&column.as_str()))
    };
    let is_declared = table.set.alternates.iter().any(|columns| is_of(columns));
    if !is_of(&table.set.key) && !is_declared {
        let severity = match table.config.create {
            CreateBy::Key => Severity::Warning,
            CreateBy::Post => Severity::Info,
        };
        let message = format!(
            "the service does not say that `{}` tells records of `{name}` apart",
            key.join("`, `")
        );
        let help = "make it an alternate key in the service: then no other writer can make a second record";
        add(findings, severity, message, help);
    }
}

fn add(findings: &mut Vec<Finding>, severity: Severity, message: String, help: &str) {
    findings.push(Finding {
        severity,
        message,
        help: help.to_owned(),
    });
}

/// There is no place for the identity of records.
pub(crate) fn no_place(table: &str) -> Error {
    Error::config(format!(
        "the key of `{table}` maps to no property that can be looked up"
    ))
    .help(PLACE_HELP)
}

//! What would keep reading or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind, Result, Shape};

use crate::client::Api;
use crate::config::Config;
use crate::properties::Tables;
use crate::table::{Item, Table};

/// Looks at what the reader needs: the token, and its scopes for each object.
pub(crate) async fn reads(
    api: &Api,
    tables: &Tables,
    config: &Config,
    names: &[String],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in names {
        readable(api, name, &mut findings).await?;
        if !tables.look(name).await?.is_described {
            findings.push(undescribed(name));
        }
    }
    if config.webhook_secret.is_none() {
        find(
            &mut findings,
            Severity::Info,
            "`webhook_secret` is empty, so webhooks are refused and changes are seen by search"
                .to_owned(),
            "subscribe to events in the app, and put its client secret here",
        );
    }
    Ok(findings)
}

/// Looks at what the sink needs: a place for identity, properties that can be written, and the scopes.
pub(crate) async fn writes(
    api: &Api,
    tables: &Tables,
    targets: &[Arc<Shape>],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for shape in targets {
        let table = tables.look(&shape.name).await?;
        readable(api, &shape.name, &mut findings).await?;
        fits(&table, shape, &mut findings);
    }
    Ok(findings)
}

async fn readable(api: &Api, name: &str, findings: &mut Vec<Finding>) -> Result<()> {
    match api.list(name, &[], None).await {
        Ok(Ok(_)) => {}
        Ok(Err(refusal)) => find(
            findings,
            Severity::Error,
            format!(
                "`{name}` cannot be listed: {}",
                refusal.words(std::iter::empty())
            ),
            "name a standard object, or a custom one by its id (2-…) or its full name",
        ),
        Err(error) if error.kind() == Kind::Unauthorized => find(
            findings,
            Severity::Error,
            format!("the token may not read `{name}`: {error}"),
            error.help_text().unwrap_or_default(),
        ),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn undescribed(name: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        message: format!(
            "the properties of `{name}` cannot be read, so only documented ones are known"
        ),
        help: "give the app the scope to read the object's schema, or name properties in `columns`"
            .to_owned(),
    }
}

fn find(findings: &mut Vec<Finding>, severity: Severity, message: String, help: &str) {
    findings.push(Finding {
        severity,
        message,
        help: help.to_owned(),
    });
}

/// Whether records of a shape can be written and found again.
fn fits(table: &Table, shape: &Shape, findings: &mut Vec<Finding>) {
    let name = &shape.name;
    let key = match shape.key.as_slice() {
        [at] => shape.columns.get(*at).map(|column| column.name.as_str()),
        _ => None,
    };
    match key.map(|key| table.item(key)) {
        Some(Ok(Item::Id)) => find(
            findings,
            Severity::Warning,
            format!(
                "HubSpot gives the ids of `{name}`, so records can be changed by `id` but not made"
            ),
            "map the contract's key to a property of unique values, to make records",
        ),
        Some(Ok(Item::Property(property))) if property.is_unique => {}
        Some(Ok(Item::Property(property))) if !table.is_described => find(
            findings,
            Severity::Warning,
            format!(
                "whether values of `{}` are unique cannot be read",
                property.name
            ),
            PLACE_HELP,
        ),
        _ => find(
            findings,
            Severity::Error,
            no_place(name).to_string(),
            PLACE_HELP,
        ),
    }
    for column in shape.names() {
        match table.item(column) {
            Err(error) => find(
                findings,
                Severity::Error,
                error.to_string(),
                error.help_text().unwrap_or_default(),
            ),
            Ok(Item::Property(property)) if property.is_filled => find(
                findings,
                Severity::Error,
                format!("`{column}` of `{name}` is filled by HubSpot"),
                "take it out of the mapping",
            ),
            Ok(Item::Stamp(_)) => find(
                findings,
                Severity::Error,
                format!("`{column}` of `{name}` is filled by HubSpot"),
                "take it out of the mapping",
            ),
            Ok(_) => {}
        }
    }
    find(
        findings,
        Severity::Info,
        format!("deleted records of `{name}` are archived"),
        "HubSpot lets a person restore them for 90 days",
    );
}

const PLACE_HELP: &str = "make a property whose values are unique (settings → properties → rules → require unique values), and map the contract's key to it";

/// There is no place for the identity of records.
pub(crate) fn no_place(table: &str) -> Error {
    Error::config(format!(
        "the key of `{table}` maps to no property whose values are unique"
    ))
    .help(PLACE_HELP)
}

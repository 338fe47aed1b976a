//! What would keep reading or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind, Result, Shape};

use crate::client::{Api, all};
use crate::config::Config;
use crate::table::{ID, Remove, Table, Write};

/// Looks at what the reader needs: the key, and its permission to read each table.
pub(crate) async fn reads(api: &Api, config: &Config, tables: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in tables {
        let table = Table::of(name, config)?;
        if let Some(finding) = readable(api, &table).await? {
            findings.push(finding);
        }
    }
    if config.webhook_secrets.is_empty() {
        findings.push(Finding {
            severity: Severity::Info,
            message: "`webhook_secrets` is empty, so webhooks are refused and changes are seen when the list of events is read".to_owned(),
            help: "make a webhook endpoint in the account, and put its signing secret here".to_owned(),
        });
    }
    Ok(findings)
}

/// Whether a table can be listed with this key.
async fn readable(api: &Api, table: &Table) -> Result<Option<Finding>> {
    let name = table.kind.table;
    let (message, help) = match api.page(all(table.kind), &[], None).await {
        Ok(Ok(_)) => return Ok(None),
        Ok(Err(refusal)) if refusal.status == 404 => (
            format!("the server has no `{name}`"),
            "use another table, such as `plans` for `prices`".to_owned(),
        ),
        Ok(Err(refusal)) => (
            format!(
                "`{name}` cannot be listed: {}",
                refusal.words(std::iter::empty())
            ),
            "see the system's settings `url` and `version`".to_owned(),
        ),
        Err(error) if error.kind() == Kind::Unauthorized => (
            format!("the key may not read `{name}`: {error}"),
            format!(
                "give a restricted key the permission to read {name}, or take a secret key that is not revoked"
            ),
        ),
        Err(error) => return Err(error),
    };
    Ok(Some(Finding {
        severity: Severity::Error,
        message,
        help,
    }))
}

/// Looks at what the sink needs: a place for identity, columns that can be written, and the key.
pub(crate) async fn writes(
    api: &Api,
    config: &Config,
    targets: &[Arc<Shape>],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for shape in targets {
        let table = Table::of(&shape.name, config)?;
        fits(&table, shape, &mut findings);
        findings.extend(readable(api, &table).await?);
    }
    if !targets.is_empty() && config.api_key.expose().starts_with("rk_") {
        findings.push(Finding {
            severity: Severity::Info,
            message: "the key is a restricted one, and what it may write shows only when it writes"
                .to_owned(),
            help: "give it the permission to write every table that flows write".to_owned(),
        });
    }
    Ok(findings)
}

/// Whether records of a shape can be written and found again.
fn fits(table: &Table, shape: &Shape, findings: &mut Vec<Finding>) {
    let name = &shape.name;
    let mut find = |severity, message: String, help: &str| {
        findings.push(Finding {
            severity,
            message,
            help: help.to_owned(),
        });
    };
    let key: Vec<&str> = shape
        .key
        .iter()
        .filter_map(|at| shape.columns.get(*at).map(|column| column.name.as_str()))
        .collect();
    let is_metadata = |key: &str| table.item(key).is_ok_and(|item| item.metadata().is_some());
    match key.as_slice() {
        [ID] if !table.kind.named => find(
            Severity::Warning,
            format!(
                "Stripe gives the ids of `{name}`, so records can be changed by `{ID}` but not made"
            ),
            "map the contract's key to a column of the metadata, such as `metadata.crm_id`, to make records",
        ),
        [ID] => {}
        [key] if is_metadata(key) => {}
        _ => find(Severity::Error, no_place(name).to_string(), PLACE_HELP),
    }
    for column in shape.names() {
        let item = match table.item(column) {
            Ok(item) => item,
            Err(error) => {
                find(
                    Severity::Error,
                    error.to_string(),
                    error.help_text().unwrap_or_default(),
                );
                continue;
            }
        };
        match item.write {
            Write::Never if !(column == ID && key == [ID]) => find(
                Severity::Error,
                format!("`{column}` of `{name}` is filled by Stripe"),
                "take it out of the mapping",
            ),
            Write::Act if column == "status" => find(
                Severity::Warning,
                format!(
                    "writing `status` of `{name}` takes actions: it finalizes, pays, voids, captures or cancels"
                ),
                "map it only where that is meant",
            ),
            _ => {}
        }
    }
    let deletes = match table.kind.remove {
        Remove::Delete | Remove::Invoice => return,
        Remove::DeleteOrArchive => "archived where prices refer to them",
        Remove::Archive => "archived",
        Remove::End | Remove::Cancel => "cancelled, and stay",
        Remove::Never => "not deleted",
    };
    find(
        Severity::Info,
        format!("deleted records of `{name}` are {deletes}"),
        "Stripe keeps them for its own books",
    );
}

const PLACE_HELP: &str = "map the contract's key to one column of the metadata, such as `metadata.crm_id`, or to `id`; where nothing else will do, say `duplicates = \"accept\"` in the flow";

/// There is no place for the identity of records.
pub(crate) fn no_place(table: &str) -> Error {
    Error::config(format!(
        "the key of `{table}` maps to no place where Stripe keeps an identity"
    ))
    .help(PLACE_HELP)
}

#[cfg(test)]
mod tests {
    use lockstep_core::{Column, Type};

    use super::*;

    fn findings(table: &str, columns: &[&str]) -> Vec<(Severity, String)> {
        let config: Config = serde_json::from_str(r#"{"api_key": "sk"}"#).unwrap();
        let table = Table::of(table, &config).unwrap();
        let shape = Shape {
            name: table.kind.table.to_owned(),
            columns: columns
                .iter()
                .map(|name| Column::new(*name, Type::Text, true))
                .collect(),
            key: vec![0],
        };
        let mut findings = Vec::new();
        fits(&table, &shape, &mut findings);
        findings
            .into_iter()
            .map(|finding| (finding.severity, finding.message))
            .collect()
    }

    #[test]
    fn a_key_without_a_place_and_columns_of_stripe_s_own_are_found() {
        assert!(findings("customers", &["metadata.crm_id", "name"]).is_empty());
        for (table, columns, part) in [
            ("customers", &["email", "name"][..], "no place"),
            ("customers", &["metadata", "name"], "no place"),
            ("customers", &["id", "name"], "gives the ids"),
            (
                "customers",
                &["metadata.crm_id", "created"],
                "filled by Stripe",
            ),
            ("customers", &["metadata.crm_id", "nam"], "no column `nam`"),
            ("invoices", &["metadata.crm_id", "status"], "takes actions"),
            ("prices", &["metadata.crm_id", "active"], "archived"),
        ] {
            let found = findings(table, columns);
            assert!(
                found.iter().any(|(_, message)| message.contains(part)),
                "{found:?}"
            );
        }
    }
}

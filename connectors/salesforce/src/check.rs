//! What would keep reading or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Finding, Reads};
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Kind, Result, Shape};
use lockstep_http_client::Json;

use crate::client::Api;
use crate::convert::Form;
use crate::table::{Field, ID, Table};
use crate::tables::Tables;

/// How many of the day's calls should be left, in percent.
const LEFT_MIN: i64 = 10;

/// Looks at what the reader needs: the token, and what its user sees of each object.
pub(crate) async fn reads(
    api: &Api,
    tables: &Tables,
    names: &[String],
    reads: &[Reads],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if !may_call(api, &mut findings).await? {
        return Ok(findings);
    }
    for (name, reads) in names.iter().zip(reads) {
        let Some(table) = seen(tables, name, &mut findings).await? else {
            continue;
        };
        if !table.may.query {
            find(
                &mut findings,
                Severity::Error,
                format!("`{name}` cannot be queried"),
                "let the integration's user read it (permission set)",
            );
        }
        if table.growing().is_none() {
            find(
                &mut findings,
                Severity::Warning,
                format!(
                    "`{name}` does not say when its records were changed, so it is compared as a whole"
                ),
                "set how often by the system's `query`",
            );
        }
        if !lists_deletes(api, &table).await? {
            find(
                &mut findings,
                Severity::Info,
                format!(
                    "deletes of `{name}` are not listed: those that leave the recycle bin are found by comparing it as a whole"
                ),
                "set how often by the system's `query`",
            );
        }
        let computed = table.fields().filter(|field| {
            field.is_computed && reads.columns.is_some() && reads.wants(&field.name)
        });
        for field in computed {
            find(
                &mut findings,
                Severity::Warning,
                format!(
                    "`{}` of `{name}` is computed: when it changes, the record's time does not",
                    field.name
                ),
                "have the object compared as a whole as often as it matters, or leave the field out",
            );
        }
    }
    Ok(findings)
}

/// Looks at what the sink needs: a place for identity, fields that can be written, and permission.
pub(crate) async fn writes(
    api: &Api,
    tables: &Tables,
    targets: &[Arc<Shape>],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if !may_call(api, &mut findings).await? {
        return Ok(findings);
    }
    for shape in targets {
        if let Some(table) = seen(tables, &shape.name, &mut findings).await? {
            let makes = identity(&table, shape, &mut findings);
            powers(&table, makes, &mut findings);
            columns(&table, shape, makes, &mut findings);
        }
    }
    Ok(findings)
}

/// Whether deletes of an object are listed.
async fn lists_deletes(api: &Api, table: &Table) -> Result<bool> {
    let until = api.now();
    let from = until - Duration::from_secs(300);
    Ok(table.may.replicate && api.deleted(&table.name, from, until).await?.is_ok())
}

/// Whether calls are answered at all, and how many are left.
async fn may_call(api: &Api, findings: &mut Vec<Finding>) -> Result<bool> {
    match api.is_offered().await {
        Ok(true) => {}
        Ok(false) => {
            find(
                findings,
                Severity::Error,
                "the account does not offer this version of the API".to_owned(),
                "see `api_version`; the versions are listed at /services/data",
            );
            return Ok(false);
        }
        Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Config) => {
            let help = error
                .help_text()
                .unwrap_or("give the connected app the scope `api`, and a user to run as");
            find(findings, Severity::Error, error.to_string(), help);
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    // Who may not see the limits may call all the same.
    let limits = api.limits().await?.unwrap_or(Json::Null);
    let number = |name: &str| {
        limits
            .get("DailyApiRequests")?
            .get(name)
            .and_then(Json::as_int)
    };
    if let (Some(left), Some(most)) = (number("Remaining"), number("Max"))
        && left * 100 < most * LEFT_MIN
    {
        find(
            findings,
            Severity::Warning,
            format!("{left} of {most} calls of 24 hours are left"),
            "poll less often, or leave more to others by `daily_share`",
        );
    }
    Ok(true)
}

async fn seen(
    tables: &Tables,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Result<Option<Arc<Table>>> {
    match tables.look(name).await {
        Ok(table) => Ok(Some(table)),
        Err(error)
            if matches!(
                error.kind(),
                Kind::Unauthorized | Kind::Unsupported | Kind::Config
            ) =>
        {
            let help = error.help_text().unwrap_or_default();
            find(findings, Severity::Error, error.to_string(), help);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn find(findings: &mut Vec<Finding>, severity: Severity, message: String, help: &str) {
    findings.push(Finding {
        severity,
        message,
        help: help.to_owned(),
    });
}

/// Whether records of a shape can be found again; tells whether new ones can be made.
fn identity(table: &Table, shape: &Shape, findings: &mut Vec<Finding>) -> bool {
    let name = &table.name;
    let Some(key) = key_of(table, shape) else {
        find(
            findings,
            Severity::Error,
            no_place(name).to_string(),
            PLACE_HELP,
        );
        return false;
    };
    if key.name == ID {
        find(
            findings,
            Severity::Warning,
            format!(
                "Salesforce gives the ids of `{name}`, so records can be changed by `Id` but not made"
            ),
            "map the contract's key to an external id, to make records",
        );
        return false;
    }
    if !key.is_unique {
        find(
            findings,
            Severity::Warning,
            format!(
                "`{}` of `{name}` is an external id whose values need not be unique",
                key.name
            ),
            "tick `Unique` (case sensitive): records that bear one value together are refused",
        );
    } else if key.form == Form::Text && !key.is_case_sensitive {
        find(
            findings,
            Severity::Info,
            format!(
                "`{}` of `{name}` does not tell upper from lower case",
                key.name
            ),
            "a key that differs from another one in case only is refused; tick `case sensitive` where there are such",
        );
    }
    true
}

fn powers(table: &Table, makes: bool, findings: &mut Vec<Finding>) {
    let name = &table.name;
    for (is, what, severity) in [
        (table.may.create || !makes, "made", Severity::Error),
        (table.may.update, "changed", Severity::Error),
        (table.may.delete, "deleted", Severity::Warning),
    ] {
        if !is {
            find(
                findings,
                severity,
                format!("records of `{name}` may not be {what}"),
                "give the integration's user the permission (permission set, object settings)",
            );
        }
    }
    if table.may.delete {
        find(
            findings,
            Severity::Info,
            format!("deleted records of `{name}` lie in the recycle bin"),
            "Salesforce lets a person restore them for 15 days",
        );
    }
}

fn columns(table: &Table, shape: &Shape, makes: bool, findings: &mut Vec<Finding>) {
    let name = &table.name;
    for column in shape.names() {
        match table.field(column) {
            Err(error) => find(
                findings,
                Severity::Error,
                error.to_string(),
                error.help_text().unwrap_or_default(),
            ),
            Ok(field) if field.name == ID => {}
            Ok(field) if !field.is_createable && !field.is_updateable => find(
                findings,
                Severity::Error,
                format!("`{column}` of `{name}` cannot be written"),
                "let the integration's user edit it (field-level security), or take it out of the mapping: Salesforce fills some by itself",
            ),
            Ok(field) if !field.is_updateable => find(
                findings,
                Severity::Warning,
                format!("`{column}` of `{name}` can be written only when a record is made"),
                "a later change of it is refused",
            ),
            Ok(_) => {}
        }
    }
    let is_missing = |field: &&Field| {
        let is_wanted = field.is_createable && !field.is_nillable && !field.is_defaulted;
        is_wanted && field.form != Form::Bool && shape.position(&field.name).is_none()
    };
    for field in table.fields().filter(|field| makes && is_missing(field)) {
        find(
            findings,
            Severity::Warning,
            format!("a new record of `{name}` needs `{}`", field.name),
            "map it, or have it filled by a default in Salesforce",
        );
    }
}

/// The field by which records are told apart: an external id, or the id itself.
pub(crate) fn key_of<'t>(table: &'t Table, shape: &Shape) -> Option<&'t Field> {
    let [at] = shape.key.as_slice() else {
        return None;
    };
    let field = table.field(&shape.columns.get(*at)?.name).ok()?;
    (field.name == ID || field.is_external).then_some(field)
}

const PLACE_HELP: &str = "make a field with `External ID` and `Unique` (case sensitive) for the identity, and map the contract's key to it";

/// There is no place for the identity of records.
pub(crate) fn no_place(table: &str) -> Error {
    Error::config(format!("the key of `{table}` maps to no external id")).help(PLACE_HELP)
}

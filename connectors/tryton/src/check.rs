//! What would keep reading and writing from working, and how to mend it; changes nothing.

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Result, Shape};
use serde_json::{Value as Json, json};
use std::sync::Arc;

use crate::client::Client;
use crate::model::{ID, Model, STATE};
use crate::reader::Models;
use crate::workflow::Workflow;

/// The oldest series whose protocol this is.
const SERIES_MIN: (u32, u32) = (6, 0);

/// What to do about a right that is missing.
pub(crate) const HELP: &str =
    "give the user's group that right under Administration, Models, Models Access";

/// What a user may do with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Create,
    Write,
    Delete,
}

impl Right {
    /// The word for it in messages, which is Tryton's own.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Create => "create",
            Right::Write => "write",
            Right::Delete => "delete",
        }
    }
}

/// Whether the user has a right, as the server says it.
pub(crate) async fn may(client: &Client, model: &str, right: Right) -> Result<bool> {
    Ok(rights(client, model, &[right]).await?.is_empty())
}

/// Which of some rights the user lacks.
async fn rights(client: &Client, model: &str, wanted: &[Right]) -> Result<Vec<Right>> {
    let parameters = [("models", json!([model]))];
    let asked = client.ask("ir.model.access", "get_access", &parameters);
    let asked = asked.await;
    let told = asked.map_err(|fault| fault.error("the user's rights"))?;
    let has = |right: &Right| {
        let access = told.get(model).and_then(|access| access.get(right.verb()));
        // Older servers number them.
        access.is_none_or(|access| access == &Json::Bool(true) || access.as_i64() == Some(1))
    };
    Ok(wanted.iter().copied().filter(|right| !has(right)).collect())
}

/// Looks whether some models can be read.
pub(crate) async fn reads(client: &Client, models: &[String]) -> Result<Vec<Finding>> {
    let mut findings = version(client).await?;
    for model in models {
        lacks(client, model, &[Right::Read], &mut findings).await?;
    }
    Ok(findings)
}

/// Looks whether some shapes can be written.
pub(crate) async fn writes(
    client: &Client,
    models: &Models,
    targets: &[Arc<Shape>],
    workflow: impl Fn(&str) -> Option<Workflow>,
) -> Result<Vec<Finding>> {
    let mut findings = version(client).await?;
    if !client.locks() {
        findings.push(Finding {
            severity: Severity::Info,
            message: "over REST tryton does not compare a record with what was read: what somebody writes in the moment before a write is overwritten".to_owned(),
            help: "take `api = \"rpc\"` where people edit the same fields".to_owned(),
        });
    }
    let all = [Right::Read, Right::Create, Right::Write, Right::Delete];
    for target in targets {
        lacks(client, &target.name, &all, &mut findings).await?;
        let model = models.known(client, &target.name).await?;
        columns(
            &model,
            target,
            workflow(&target.name).as_ref(),
            &mut findings,
        );
    }
    Ok(findings)
}

async fn version(client: &Client) -> Result<Vec<Finding>> {
    let Some(version) = client.version().await? else {
        // What answers to REST is new enough; whether the key is good is seen at the first question.
        return Ok(Vec::new());
    };
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    let series = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if series >= SERIES_MIN {
        return Ok(Vec::new());
    }
    Ok(vec![Finding {
        severity: Severity::Warning,
        message: format!("the server is of series `{version}`, older than any that was tried"),
        help: "use tryton 6.0 or later".to_owned(),
    }])
}

async fn lacks(
    client: &Client,
    model: &str,
    wanted: &[Right],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let lacking = rights(client, model, wanted).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    let verbs: Vec<&str> = lacking.iter().map(|right| right.verb()).collect();
    // A flow that never deletes does without that right.
    let severity = if lacking == [Right::Delete] {
        Severity::Warning
    } else {
        Severity::Error
    };
    findings.push(Finding {
        severity,
        message: format!("the user may not {} records of `{model}`", verbs.join(", ")),
        help: HELP.to_owned(),
    });
    Ok(())
}

/// Looks at the columns that a mapping writes.
fn columns(
    model: &Model,
    target: &Shape,
    workflow: Option<&Workflow>,
    findings: &mut Vec<Finding>,
) {
    let mut find = |severity, message: String, help: &str| {
        findings.push(Finding {
            severity,
            message,
            help: help.to_owned(),
        });
    };
    let name = model.name();
    let keys: Vec<&str> = target
        .key
        .iter()
        .map(|at| target.columns[*at].name.as_str())
        .collect();
    for column in target.names() {
        let is_key = keys.contains(&column);
        let field = match model.field(column) {
            Ok(field) => field,
            Err(error) => {
                let help = error.help_text().unwrap_or_default().to_owned();
                find(Severity::Error, error.to_string(), &help);
                continue;
            }
        };
        if is_key && let Err(error) = model.searchable(column) {
            let help = error.help_text().unwrap_or_default().to_owned();
            find(Severity::Error, error.to_string(), &help);
        }
        if field.is_kept() && !(is_key && column == ID) {
            find(
                Severity::Error,
                format!("tryton writes `{column}` of `{name}` itself"),
                "leave the column out of the mapping to tryton",
            );
        } else if column == STATE && field.is_readonly && workflow.is_none() {
            find(
                Severity::Error,
                format!("`state` of `{name}` is moved by buttons, and which is not known"),
                "name the model's buttons under `workflows` in the system's settings, or leave `state` out of the mapping",
            );
        }
    }
    if keys == [ID] {
        find(
            Severity::Warning,
            format!(
                "records of `{name}` are found by their own ids, which tryton chooses: none can be made"
            ),
            "map the contract's key to a column that you choose, such as `code` or `reference`, if records are to be made",
        );
    }
}

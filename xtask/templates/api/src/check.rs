//! What would keep reading or writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Kind, Result, Shape};

use crate::client::Api;
use crate::table::{CODE, FILLED, ID, table};

/// Looks at what the reader needs: the token, and that it may read each table.
pub(crate) async fn reads(api: &Api, names: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in names {
        match api.list(table(name)?.name, None, None).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Unauthorized => findings.push(found(
                format!("the token may not read `{name}`: {error}"),
                "give the token's user the right to read it",
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Looks at what the sink needs: a place for identity, and columns that can be written.
pub(crate) async fn writes(api: &Api, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
    let names: Vec<String> = targets.iter().map(|shape| shape.name.clone()).collect();
    let mut findings = reads(api, &names).await?;
    for shape in targets {
        let table = table(&shape.name)?;
        if key(shape).is_none() {
            findings.push(found(
                format!("records of `{}` cannot be found by their key", shape.name),
                &format!("map the contract's key to `{CODE}`"),
            ));
        }
        for column in shape.names() {
            table.kind(column)?;
            let is_key = key(shape) == Some(column);
            if FILLED.contains(&column) && !is_key {
                findings.push(found(
                    format!("`{column}` of `{}` is filled by the system", shape.name),
                    "leave it out of the mapping",
                ));
            }
        }
    }
    Ok(findings)
}

/// The column by which records of a target are told apart, if they can be found by it.
pub(crate) fn key(shape: &Shape) -> Option<&str> {
    let [at] = shape.key.as_slice() else {
        return None;
    };
    let name = shape.columns[*at].name.as_str();
    [CODE, ID].contains(&name).then_some(name)
}

fn found(message: String, help: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        message,
        help: help.to_owned(),
    }
}

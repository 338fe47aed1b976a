//! Contracts as commands are told of them: by entity, by file or by folder.
//!
//! Owns what a name may be; where contracts stand is known by [`opening`](super::opening).

use std::path::Path;

use lockstep_core::contract::Contract;
use lockstep_core::diagnostic::{Diagnostic, suggestion};

use super::opening::Paths;
use crate::cli::{Context, Exit};

/// The one contract of an entity or a file.
///
/// # Errors
/// What to end with: what is wrong is shown already.
pub(super) fn contract(cx: &Context, what: &str) -> Result<Contract, Exit> {
    let mut contracts = contracts(cx, &[what.to_owned()])?;
    match (contracts.pop(), contracts.is_empty()) {
        (Some(contract), true) => Ok(contract),
        (None, _) => Err(cx.unknown(
            format!("there is no contract in `{what}`"),
            "name an entity or a contract's file".to_owned(),
        )),
        (Some(last), false) => {
            contracts.push(last);
            let entities = contracts.iter().map(|contract| contract.entity.as_str());
            Err(cx.unknown(
                format!("`{what}` has {} contracts", contracts.len()),
                format!(
                    "name one of them: {}",
                    entities.collect::<Vec<_>>().join(", ")
                ),
            ))
        }
    }
}

/// The contracts of entities, files and folders, by entity; every contract where nothing is named.
///
/// # Errors
/// What to end with: what is wrong is shown already.
pub(super) fn contracts(cx: &Context, what: &[String]) -> Result<Vec<Contract>, Exit> {
    // What has the look of a path is one; everything else is an entity.
    let is_path =
        |what: &&String| what.contains(['/', '\\', '.']) || Path::new(what.as_str()).exists();
    let (paths, entities): (Vec<&String>, Vec<&String>) = what.iter().partition(is_path);
    let paths = Paths {
        paths: paths.into_iter().map(Into::into).collect(),
    };
    let repository = paths.open(cx).map_err(|trouble| {
        let exit = if trouble.environment {
            Exit::Environment
        } else {
            Exit::Usage
        };
        cx.fail(&[trouble.finding], exit)
    })?;
    let errors: Vec<Diagnostic> = repository
        .findings
        .iter()
        .filter(|finding| crate::cli::any_error(std::slice::from_ref(finding)))
        .cloned()
        .collect();
    let mut contracts: Vec<Contract> = repository
        .contracts
        .into_iter()
        .filter(|entry| entry.asked)
        .map(|entry| entry.loaded.contract)
        .collect();
    contracts.sort_by(|a, b| a.entity.cmp(&b.entity));
    let missing = entities.iter().find(|entity| {
        !contracts
            .iter()
            .any(|contract| contract.entity == ***entity)
    });
    // Errors elsewhere do not stand in the way of contracts that were named and are sound.
    if (entities.is_empty() || missing.is_some()) && !errors.is_empty() {
        return Err(cx.fail(&errors, Exit::Usage));
    }
    if let Some(entity) = missing {
        let known: Vec<&str> = contracts
            .iter()
            .map(|contract| contract.entity.as_str())
            .collect();
        return Err(cx.unknown(
            format!("no contract describes `{entity}`"),
            suggestion(entity, known),
        ));
    }
    contracts.retain(|contract| {
        entities.is_empty() || entities.iter().any(|entity| **entity == contract.entity)
    });
    Ok(contracts)
}

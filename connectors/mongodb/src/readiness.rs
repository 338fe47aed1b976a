//! What would keep a source from telling its changes, and how to mend it; changes nothing.

use jiff::Timestamp;
use lockstep_core::Result;
use lockstep_core::connector::{Finding, Need};
use lockstep_core::diagnostic::Severity::{Error, Warning};

use crate::check::{Rights, clock, find};
use crate::client::Client;
use crate::columns::{ID, IdForm, Table};
use crate::convert::Form;
use crate::enter::{ALONE_HELP, OLDEST, must_be_capturable};
use crate::tell::images_help;

/// Looks at what the source needs.
pub(crate) async fn check(
    client: &Client,
    tables: &[Table],
    needs: &[Need],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let asked = Timestamp::now();
    let deployment = client.deployment().await?;
    clock(&deployment, asked, &mut findings);
    if !deployment.is_replicated() {
        find(
            &mut findings,
            Error,
            "the server stands alone, and only replica sets tell their changes".to_owned(),
            ALONE_HELP,
        );
    }
    if deployment.version < OLDEST {
        let (major, minor) = deployment.version;
        find(
            &mut findings,
            Error,
            format!("the server is MongoDB {major}.{minor}, which tells too little of its changes"),
            "use MongoDB 6.0 or later",
        );
    }
    if deployment.sharded {
        find(
            &mut findings,
            Warning,
            "the database is sharded: what a sink of ours writes here is told as if somebody else had written it, where a transaction spans shards".to_owned(),
            "do not let one flow read what another one writes to the same collection",
        );
    }
    let rights = Rights::ask(client).await?;
    if let Some(missing) = rights.missing("", &["find", "changeStream", "listCollections"]) {
        find(
            &mut findings,
            Error,
            format!(
                "the user may not `{missing}` in database `{}`",
                client.db.name()
            ),
            "grant it the role read on the database",
        );
    }
    for table in tables {
        told(table, needs, &mut findings);
    }
    Ok(findings)
}

/// Whether a collection's changes tell enough.
fn told(table: &Table, needs: &[Need], findings: &mut Vec<Finding>) {
    let name = &table.collection.name;
    if let Err(error) = must_be_capturable(table) {
        let help = error.help_text().unwrap_or_default().to_owned();
        find(findings, Error, error.to_string(), help);
        return;
    }
    let needed: Vec<&str> = needs
        .iter()
        .filter(|need| need.table == *name)
        .flat_map(|need| &need.columns)
        .map(String::as_str)
        .filter(|column| *column != ID)
        .collect();
    if !table.collection.images && !needed.is_empty() {
        find(
            findings,
            Error,
            format!(
                "`{name}` does not record its documents before a change, so a delete tells only `{ID}`, and not {}, by which the record is named",
                needed.join(", ")
            ),
            images_help(name),
        );
    } else if !table.collection.images {
        find(
            findings,
            Warning,
            format!(
                "`{name}` does not record its documents before and after a change: an update within a document or list costs a read of its own, and is told late where changes are read minutes later"
            ),
            images_help(name),
        );
    }
    if table.sampled {
        find(
            findings,
            Warning,
            format!(
                "the columns of `{name}` are those of its first and last documents, and may change with them"
            ),
            format!(
                "name them in `columns.{name}` of the system's configuration, or give the collection a $jsonSchema validator"
            ),
        );
    }
    let id = table.field(ID).form;
    let is_needed = needs
        .iter()
        .any(|need| need.table == *name && need.columns.iter().any(|c| c == ID));
    if is_needed && table.id == IdForm::Seen && id == Form::Any {
        find(
            findings,
            Error,
            format!("`{ID}` of `{name}` is of several types, of which a key can have one"),
            format!(
                "say which in `columns.{name}` of the system's configuration (`{ID} = \"object_id\"`, for example), with the other columns: documents of other types go to quarantine"
            ),
        );
    }
    if is_needed && matches!(id, Form::Json | Form::Float | Form::Bool) {
        find(
            findings,
            Error,
            format!(
                "`{ID}` of `{name}` is a document, a list or a double, and none of them can be a key"
            ),
            "let the contract's key map to other fields that have a unique index",
        );
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::diagnostic::Severity;

    use super::*;

    #[test]
    fn what_a_delete_cannot_tell_is_found_with_the_command_that_mends_it() {
        let need = |columns: &[&str]| Need {
            table: "c".to_owned(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut table = Table::made(&[(ID, Form::Json)]);
        let severities = |table: &Table, needs: &[Need]| {
            let mut findings = Vec::new();
            told(table, needs, &mut findings);
            let help = findings.iter().map(|finding| finding.help.as_str());
            let help: String = help.collect();
            let severities: Vec<Severity> = findings.iter().map(|f| f.severity).collect();
            (severities, help.contains("collMod: \"c\""))
        };
        assert_eq!(severities(&table, &[need(&["no"])]), (vec![Error], true));
        assert_eq!(severities(&table, &[]), (vec![Warning], true));
        assert_eq!(
            severities(&table, &[need(&[ID])]),
            (vec![Warning, Error], true)
        );
        table.collection.images = true;
        assert_eq!(severities(&table, &[need(&["no"])]), (vec![], false));
        let mut mixed = Table::made(&[(ID, Form::Any)]);
        (mixed.id, mixed.collection.images) = (IdForm::Seen, true);
        assert_eq!(severities(&mixed, &[need(&[ID])]), (vec![Error], false));
        assert_eq!(severities(&mixed, &[]), (vec![], false));
    }
}

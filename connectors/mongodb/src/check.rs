//! What would keep writing from working, and how to mend it; changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity::{self, Error, Warning};
use lockstep_core::{Result, Shape};
use mongodb::bson::{Bson, Document, doc};

use crate::catalog::{self, Kind, PROGRESS, Unique};
use crate::client::{Client, Deployment};
use crate::columns::{ID, Table};
use crate::config::is_path;
use crate::enter::{ALONE_HELP, OLDEST};
use crate::progress::CREATE_HELP;

/// How far the server's clock may be from this machine's.
const CLOCK_MAX_S: i64 = 5;

/// Looks at what the sink needs; `tables` are those of the targets.
pub(crate) async fn sink(
    client: &Client,
    targets: &[Arc<Shape>],
    tables: &[Table],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let asked = Timestamp::now();
    let deployment = client.deployment().await?;
    clock(&deployment, asked, &mut findings);
    if !deployment.is_replicated() {
        find(
            &mut findings,
            Error,
            "the server stands alone, and only replica sets have transactions".to_owned(),
            ALONE_HELP,
        );
    }
    if deployment.version < OLDEST {
        let (major, minor) = deployment.version;
        find(
            &mut findings,
            Error,
            format!("the server is MongoDB {major}.{minor}, which this connector is not made for"),
            "use MongoDB 6.0 or later",
        );
    }
    let rights = Rights::ask(client).await?;
    let progress: &[&str] = match catalog::find(client, PROGRESS).await? {
        Some(_) => &["find", "insert", "update"],
        None => &["find", "insert", "update", "createCollection"],
    };
    if let Some(missing) = rights.missing(PROGRESS, progress) {
        let message = format!(
            "the user may not `{missing}` in `{PROGRESS}`, where the lanes' progress is kept"
        );
        find(&mut findings, Error, message, CREATE_HELP);
    }
    for (shape, table) in targets.iter().zip(tables) {
        fits(table, shape, &mut findings);
        let uniques = match table.collection.kind {
            Kind::Plain => catalog::uniques(client, &shape.name).await?,
            _ => Vec::new(),
        };
        identifies(table, shape, &uniques, &mut findings);
        if let Some(missing) = rights.missing(&shape.name, &["find", "insert", "update", "remove"])
        {
            find(
                &mut findings,
                Error,
                format!("the user may not `{missing}` in `{}`", shape.name),
                format!(
                    "grant it the role readWrite on the database, or find, insert, update and remove on `{}`",
                    shape.name
                ),
            );
        }
    }
    Ok(findings)
}

pub(crate) fn find(
    findings: &mut Vec<Finding>,
    severity: Severity,
    message: String,
    help: impl Into<String>,
) {
    findings.push(Finding {
        severity,
        message,
        help: help.into(),
    });
}

/// Compares the server's clock with this machine's; `asked` is when the server was asked.
pub(crate) fn clock(deployment: &Deployment, asked: Timestamp, findings: &mut Vec<Finding>) {
    let Some(server) = deployment.clock_ms else {
        return;
    };
    let answered = Timestamp::now();
    // The server looked at its clock somewhere between the question and the answer.
    let early = asked.as_millisecond() - server;
    let late = server - answered.as_millisecond();
    let off = early.max(late) / 1000;
    if off > CLOCK_MAX_S {
        let which = if early > late { "behind" } else { "ahead of" };
        find(
            findings,
            Warning,
            format!("the server's clock is {off} s {which} this machine's"),
            "let both follow a time server; until then delays are shown wrong, and rules that compare times decide wrong",
        );
    }
}

/// Whether documents of the shape can stand in the collection.
fn fits(table: &Table, shape: &Shape, findings: &mut Vec<Finding>) {
    let name = &shape.name;
    let what = match table.collection.kind {
        Kind::Plain => None,
        Kind::Capped => Some("is capped, and nothing in it can be deleted in a transaction"),
        Kind::View => Some("is a view, which takes no writes"),
        Kind::TimeSeries => Some("is a time series, which takes no updates"),
    };
    if let Some(what) = what {
        find(
            findings,
            Error,
            format!("`{name}` {what}"),
            "map an ordinary collection",
        );
    }
    let names: Vec<&str> = shape.names().collect();
    for column in &names {
        if !is_path(column) {
            find(
                findings,
                Error,
                format!("no field of `{name}` can be written as column `{column}`"),
                "a column is a field's name, or names with dots between them; no name is empty or begins with `$`",
            );
        }
        let inside = |other: &&&str| {
            other
                .strip_prefix(*column)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if let Some(inner) = names.iter().find(inside) {
            find(
                findings,
                Error,
                format!("`{name}` would be written at `{column}` and, within that, at `{inner}`"),
                "map the document as a whole or its fields, not both",
            );
        }
    }
    let id = shape.position(ID);
    if id.is_some_and(|id| !shape.key.contains(&id)) {
        find(
            findings,
            Error,
            format!("`{ID}` of `{name}` is written, but it is not what the contract's key maps to"),
            format!("map the key to `{ID}`, which never changes, or leave `{ID}` to MongoDB"),
        );
    }
    if let Some(schema) = &table.collection.schema {
        lacks(schema, shape, findings);
    }
}

/// Fields that a validator insists on and that nobody writes.
fn lacks(schema: &Document, shape: &Shape, findings: &mut Vec<Finding>) {
    let none = Vec::new();
    let required = schema.get_array("required").unwrap_or(&none);
    for field in required.iter().filter_map(Bson::as_str) {
        let written = shape
            .names()
            .any(|name| name.split('.').next() == Some(field));
        if !written && field != ID {
            find(
                findings,
                Error,
                format!(
                    "the validator of `{}` requires `{field}`, which the mapping does not write",
                    shape.name
                ),
                "map the field, or take it out of `required`",
            );
        }
    }
}

/// Whether documents are found by their key, and only one by each.
fn identifies(table: &Table, shape: &Shape, uniques: &[Unique], findings: &mut Vec<Finding>) {
    let mut key: Vec<&str> = shape
        .key
        .iter()
        .map(|at| shape.columns[*at].name.as_str())
        .collect();
    key.sort_unstable();
    let fits = |unique: &&Unique| {
        let mut fields: Vec<&str> = unique.fields.iter().map(String::as_str).collect();
        fields.sort_unstable();
        fields == key
    };
    if table.collection.kind != Kind::Plain || uniques.iter().any(|unique| fits(&unique)) {
        return;
    }
    let fields: Vec<String> = shape
        .key
        .iter()
        .map(|at| format!("\"{}\": 1", shape.columns[*at].name))
        .collect();
    find(
        findings,
        Error,
        format!(
            "no unique index of `{}` is on {} alone, so a record could stand there twice",
            shape.name,
            key.join(", ")
        ),
        format!(
            "run: db.getCollection(\"{}\").createIndex({{{}}}, {{unique: true}})",
            shape.name,
            fields.join(", ")
        ),
    );
}

/// What the user may do.
pub(crate) struct Rights {
    /// Resources and the actions on them; none where nobody is asked who they are.
    privileges: Option<Vec<Document>>,
    database: String,
}

impl Rights {
    pub(crate) async fn ask(client: &Client) -> Result<Rights> {
        let status = doc! { "connectionStatus": 1, "showPrivileges": true };
        let reply = client
            .ask("cannot ask what the user may do", status)
            .await?;
        let info = reply.get_document("authInfo").ok();
        let list = |name| info.and_then(|info| info.get_array(name).ok());
        let documents = |list: &Vec<Bson>| {
            list.iter()
                .filter_map(|d| d.as_document().cloned())
                .collect()
        };
        let anonymous = list("authenticatedUsers").is_none_or(Vec::is_empty);
        Ok(Rights {
            privileges: list("authenticatedUserPrivileges")
                .filter(|_| !anonymous)
                .map(documents),
            database: client.db.name().to_owned(),
        })
    }

    /// The first of the actions that may not be done to a collection; the empty name stands for the database.
    pub(crate) fn missing<'a>(&self, collection: &str, actions: &[&'a str]) -> Option<&'a str> {
        let privileges = self.privileges.as_ref()?;
        let on_it = |resource: &Document| {
            let named = |name, wanted: &str| {
                let is = resource.get_str(name);
                is.is_ok_and(|is| is.is_empty() || is == wanted)
            };
            resource.get_bool("anyResource").unwrap_or(false)
                || (named("db", &self.database) && named("collection", collection))
        };
        let granted = |action: &str| {
            privileges.iter().any(|privilege| {
                let resource = privilege.get_document("resource");
                let actions = privilege.get_array("actions");
                resource.is_ok_and(on_it)
                    && actions.is_ok_and(|list| list.iter().any(|a| a.as_str() == Some(action)))
            })
        };
        actions.iter().find(|action| !granted(action)).copied()
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::{Column, Type};

    use super::*;
    use crate::convert::Form;

    fn findings(columns: &[&str], key: usize, uniques: &[Unique]) -> Vec<String> {
        let table = Table::made(&[(ID, Form::Text), ("a", Form::Json)]);
        let shape = Shape {
            name: "c".to_owned(),
            columns: columns
                .iter()
                .map(|name| Column::new(*name, Type::Text, true))
                .collect(),
            key: vec![key],
        };
        let mut findings = Vec::new();
        fits(&table, &shape, &mut findings);
        identifies(&table, &shape, uniques, &mut findings);
        assert!(findings.iter().all(|finding| !finding.help.is_empty()));
        findings
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn what_cannot_be_written_is_found() {
        let by_id = [Unique {
            name: "_id_".to_owned(),
            fields: vec![ID.to_owned()],
        }];
        assert!(findings(&[ID, "a.b", "a.c"], 0, &by_id).is_empty());
        for (columns, key, part) in [
            (&[ID, "a", "a.b"][..], 0, "within that"),
            (&[ID, "$x"], 0, "`$x`"),
            (&[ID, "a..b"], 0, "`a..b`"),
            (&["no", ID], 0, "`_id` of `c` is written"),
            (&["no", "a"], 0, "no unique index"),
        ] {
            let found = findings(columns, key, &by_id);
            assert!(
                found.iter().any(|message| message.contains(part)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn rights_are_those_of_the_resource() {
        let rights = Rights {
            privileges: Some(vec![
                doc! { "resource": { "db": "d", "collection": "" }, "actions": ["find"] },
                doc! { "resource": { "db": "d", "collection": "c" }, "actions": ["insert"] },
                doc! { "resource": { "cluster": true }, "actions": ["update"] },
            ]),
            database: "d".to_owned(),
        };
        assert_eq!(rights.missing("c", &["find", "insert"]), None);
        assert_eq!(rights.missing("b", &["find", "insert"]), Some("insert"));
        assert_eq!(rights.missing("c", &["update"]), Some("update"));
    }
}

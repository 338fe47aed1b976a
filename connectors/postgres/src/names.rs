//! Which tables the names in a configuration mean.
//!
//! A name is written as PostgreSQL spells it, with its schema before a dot or without, and quoted as in SQL where it holds dots or quotes of its own.

use sqlx::postgres::PgConnection;

use crate::catalog::TableKind;
use crate::client::quote;

/// What a name stands for.
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: TableKind,
    pub(crate) identity: String,
    pub(crate) is_partition: bool,
    pub(crate) is_permanent: bool,
    pub(crate) has_rules: bool,
}

/// The schema and name that a configuration's name stands for where it is quoted: `"my schema"."a.b"`, `sales."a b"`.
fn unquoted(name: &str) -> Option<(Option<String>, String)> {
    if !name.contains('"') {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = name;
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (at, '"') if chars.peek().is_none_or(|(_, c)| *c != '"') => break at + 1,
                    (_, '"') => {
                        chars.next();
                        text.push('"');
                    }
                    (_, c) => text.push(c),
                }
            };
            part = text;
            rest = &quoted[end..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].to_owned();
            rest = &rest[end..];
        }
        if part.is_empty() || parts.len() == 2 {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    let name = parts.pop()?;
    Some((parts.pop(), name))
}

/// A name in SQL, for a table that is to be made: unquoted, the first dot stands between schema and name.
pub(crate) fn quoted(name: &str) -> String {
    let (schema, name) = unquoted(name).unwrap_or_else(|| match name.split_once('.') {
        Some((schema, name)) => (Some(schema.to_owned()), name.to_owned()),
        None => (None, name.to_owned()),
    });
    match schema {
        Some(schema) => format!("{}.{}", quote(&schema), quote(&name)),
        None => quote(&name),
    }
}

/// What a name can mean. Unquoted, every dot may be the one between schema and name.
pub(crate) async fn relations(conn: &mut PgConnection, name: &str) -> sqlx::Result<Vec<Relation>> {
    type Found = (i64, String, String, String, String, bool, String, bool);
    let quoted = unquoted(name);
    let (schema, exact) = quoted.clone().unwrap_or((None, name.to_owned()));
    let found: Vec<Found> = sqlx::query_as(
        "SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, c.relispartition, c.relpersistence::text, c.relhasrules
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND CASE
             WHEN $3 THEN c.relname = $2 AND CASE WHEN $1 IS NULL THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $1 END
             ELSE (c.relname = $2 AND pg_catalog.pg_table_is_visible(c.oid)) OR n.nspname || '.' || c.relname = $2 END
         ORDER BY 1",
    )
    .bind(schema)
    .bind(exact)
    .bind(quoted.is_some())
    .fetch_all(conn)
    .await?;
    let relation =
        |(oid, schema, name, kind, identity, is_partition, persistence, has_rules): Found| {
            Relation {
                oid: to_oid(oid),
                schema,
                name,
                kind: match kind.as_str() {
                    "p" => TableKind::Partitioned,
                    "v" => TableKind::View,
                    "m" => TableKind::Materialised,
                    "f" => TableKind::Foreign,
                    _ => TableKind::Table,
                },
                identity,
                is_partition,
                is_permanent: persistence == "p",
                has_rules,
            }
        };
    Ok(found.into_iter().map(relation).collect())
}

/// Names to suggest: those that the search path finds, and all others with their schema.
pub(crate) async fn known(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname::text ELSE n.nspname || '.' || c.relname END
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'lockstep') AND n.nspname NOT LIKE 'pg\\_t%'
         ORDER BY 1 LIMIT 1000",
    )
    .fetch_all(conn)
    .await
}

/// Identifiers are unsigned, but a statement gives them as numbers with a sign.
pub(crate) fn to_oid(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::quote;

    #[test]
    fn quoted_names_are_taken_apart() {
        let some =
            |schema: Option<&str>, name: &str| Some((schema.map(str::to_owned), name.to_owned()));
        for (text, parts) in [
            ("orders", None),
            ("sales.orders", None),
            ("\"a.b\"", some(None, "a.b")),
            ("\"My Schema\".\"a\"\"b\"", some(Some("My Schema"), "a\"b")),
            ("sales.\"a b\"", some(Some("sales"), "a b")),
            ("\"open", None),
            ("\"a\"b", None),
            ("\"a\".\"b\".\"c\"", None),
            ("\"\"", None),
        ] {
            assert_eq!(unquoted(text), parts, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back_from_its_quotes(schema in "\\PC{1,8}", name in "\\PC{1,8}") {
            let text = format!("{}.{}", quote(&schema), quote(&name));
            prop_assert_eq!(unquoted(&text), Some((Some(schema), name)));
        }

        #[test]
        fn foreign_names_never_panic(text in "[\".a é]{0,12}") {
            let _ = unquoted(&text);
        }
    }
}

//! What the standard asks of a mapping by the value of one of its keys: servers by type, quality checks by kind, and references.

use super::{list, wrong_kind};
use crate::contract::load::findings::Findings;
use crate::contract::load::yaml::{Content, Node, shorten};
use crate::diagnostic::suggestion;

/// Keys of every server, whatever its type.
const OF_ANY_SERVER: [&str; 7] = [
    "customProperties",
    "description",
    "environment",
    "id",
    "roles",
    "server",
    "type",
];
/// Types of servers with the keys that must be there and those that may.
const SERVERS: [(&str, &[&str], &[&str]); 44] = [
    ("api", &["location"], &[]),
    (
        "athena",
        &["schema"],
        &["catalog", "regionName", "stagingDir", "workgroup"],
    ),
    ("azure", &["location", "format"], &["delimiter", "encoding"]),
    ("bigquery", &["project", "dataset"], &[]),
    ("btrieve", &["host", "database"], &["port"]),
    ("clickhouse", &["host", "port", "database"], &[]),
    ("cloudsql", &["host", "port", "database", "schema"], &[]),
    (
        "custom",
        &[],
        &[
            "account",
            "catalog",
            "database",
            "dataset",
            "delimiter",
            "encoding",
            "endpointUrl",
            "format",
            "host",
            "location",
            "path",
            "port",
            "project",
            "region",
            "regionName",
            "schema",
            "serviceName",
            "stagingDir",
            "stream",
            "warehouse",
        ],
    ),
    ("databricks", &["catalog", "schema"], &["host"]),
    ("db2", &["host", "port", "database"], &["schema"]),
    ("denodo", &["host", "port"], &["database"]),
    ("dremio", &["host", "port"], &["schema"]),
    ("duckdb", &["database"], &["schema"]),
    ("exasol", &["host"], &["port", "schema"]),
    ("fastobjects", &["database"], &["host", "port"]),
    (
        "glue",
        &["account", "database"],
        &["encoding", "format", "location"],
    ),
    ("hana", &["host"], &["database", "port", "schema"]),
    ("hive", &["host", "database"], &["port"]),
    (
        "iceberg",
        &["catalog", "catalogUrl"],
        &["namespace", "warehouse"],
    ),
    ("impala", &["host", "database"], &["port"]),
    ("informix", &["host", "database"], &["port"]),
    ("ingres", &["database", "host"], &["port"]),
    ("kafka", &["host"], &["encoding", "format"]),
    ("kinesis", &[], &["encoding", "format", "region"]),
    ("local", &["path", "format"], &["encoding"]),
    ("mysql", &["host", "port", "database"], &[]),
    ("oracle", &["host", "port", "serviceName"], &[]),
    ("poet", &["database"], &["host", "port"]),
    ("postgres", &["host", "port", "database", "schema"], &[]),
    ("postgresql", &["host", "port", "database", "schema"], &[]),
    ("presto", &["host"], &["catalog", "schema"]),
    ("pubsub", &["project"], &[]),
    (
        "redshift",
        &["database", "schema"],
        &["account", "host", "region"],
    ),
    (
        "s3",
        &["location"],
        &["delimiter", "encoding", "endpointUrl", "format"],
    ),
    ("sftp", &["location"], &["delimiter", "encoding", "format"]),
    (
        "snowflake",
        &["account", "database", "schema"],
        &["host", "port", "warehouse"],
    ),
    ("sqlserver", &["host", "database", "schema"], &["port"]),
    ("synapse", &["host", "port", "database"], &[]),
    ("teradata", &["host"], &["database", "port"]),
    ("trino", &["host", "port", "catalog", "schema"], &[]),
    ("vectorwise", &["database", "host"], &["port"]),
    ("versant", &["database"], &["host", "port"]),
    ("vertica", &["host", "port", "database", "schema"], &[]),
    ("zen", &["host", "database"], &["port"]),
];
/// The comparisons of a quality check, of which there is one.
const OPERATORS: [&str; 8] = [
    "mustBe",
    "mustBeBetween",
    "mustBeGreaterOrEqualTo",
    "mustBeGreaterThan",
    "mustBeLessOrEqualTo",
    "mustBeLessThan",
    "mustNotBe",
    "mustNotBeBetween",
];

/// The keys that a server's type knows and needs; all of them are texts but the port.
pub(super) fn server(node: &Node, findings: &mut Findings) {
    let Some(kind) = node.get("type") else { return };
    let Some(word) = kind.text() else { return };
    let Some((_, required, optional)) = SERVERS.iter().find(|(known, ..)| *known == word) else {
        findings.error(
            "LS-C014",
            kind.at,
            format!("`type` of a server cannot be {}", kind.describe()),
            suggestion(word, SERVERS.iter().map(|(known, ..)| *known)),
        );
        return;
    };
    for entry in node.entries() {
        let key = entry.key.as_str();
        if OF_ANY_SERVER.contains(&key) {
            continue;
        }
        let value = &entry.value;
        let known = || {
            OF_ANY_SERVER
                .iter()
                .chain(*required)
                .chain(*optional)
                .copied()
        };
        if !known().any(|known| known == key) {
            findings.error(
                "LS-C005",
                entry.key_at,
                format!(
                    "a server of type `{word}` has no key `{}` in ODCS v3",
                    shorten(key)
                ),
                suggestion(key, known()),
            );
        } else if key == "port" {
            if value.integer().is_none() && value.text().is_none() {
                wrong_kind(value, "`port`", "a whole number or a text", findings);
            }
        } else if value.text().is_none() {
            wrong_kind(value, &format!("`{key}`"), "a text", findings);
        }
    }
    for key in *required {
        missing(node, key, &format!("a server of type `{word}`"), findings);
    }
}

/// What a kind of quality check cannot do without.
pub(super) fn quality(node: &Node, findings: &mut Findings) {
    let kind = node.get("type").and_then(Node::text);
    let has = |key: &str| node.get(key).is_some();
    match kind {
        Some("sql") => missing(node, "query", "a check of type `sql`", findings),
        Some("custom") => {
            missing(node, "engine", "a check of type `custom`", findings);
            missing(node, "implementation", "a check of type `custom`", findings);
        }
        Some("library") if !has("metric") && !has("rule") => {
            missing(node, "metric", "a check of type `library`", findings);
        }
        _ => {}
    }
    let operators: Vec<&Node> = OPERATORS.iter().filter_map(|key| node.get(key)).collect();
    match operators[..] {
        // The older spelling has no comparison where the name says it all.
        [] if has("metric") => findings.error(
            "LS-C006",
            node.at,
            "the quality check does not say what the metric must be",
            format!("add one of {}, such as `mustBe: 0`", OPERATORS.join(", ")),
        ),
        [_, second, ..] if has("metric") || kind == Some("sql") => findings.error(
            "LS-C013",
            second.at,
            "the quality check has two comparisons",
            "keep one of them, or write `mustBeBetween: [low, high]`",
        ),
        _ => {}
    }
    for key in ["mustBeBetween", "mustNotBeBetween"] {
        let Some(pair) = node.get(key) else { continue };
        let number = |node: &Node| matches!(node.content, Content::Number(_));
        let sound = matches!(pair.items(), [low, high] if number(low) && number(high));
        if !sound && matches!(pair.content, Content::List(_)) {
            wrong_kind(pair, &format!("`{key}`"), "a list of two numbers", findings);
        }
    }
}

/// Both sides of a relationship name as many properties.
pub(super) fn relationship(node: &Node, findings: &mut Findings) {
    let (Some(from), Some(to)) = (node.get("from"), node.get("to")) else {
        return;
    };
    let several = |node: &Node| matches!(node.content, Content::List(_));
    if several(from) != several(to) {
        wrong_kind(to, "`to`", "as many properties as `from`", findings);
    }
}

/// A property of an object: `object.property`, or a path by ids; several for a key of several.
pub(super) fn references(key: &str, node: &Node, findings: &mut Findings) {
    if let Content::Text(_) = node.content {
        reference(key, node, findings);
        return;
    }
    let items = list(key, node, findings);
    if items.is_empty() && matches!(node.content, Content::List(_)) {
        wrong_kind(
            node,
            &format!("`{key}`"),
            "a list of at least one reference",
            findings,
        );
    }
    for item in items {
        reference(key, item, findings);
    }
}

/// Whether what stands at a side of a relationship is a reference, or a list of some.
pub(in crate::contract::load) fn refers(key: &str, node: &Node) -> bool {
    match &node.content {
        Content::List(items) => {
            !items.is_empty() && items.iter().all(|item| is_reference(key, item))
        }
        _ => is_reference(key, node),
    }
}

fn reference(key: &str, node: &Node, findings: &mut Findings) {
    if !is_reference(key, node) {
        wrong_kind(node, "a reference", "`object.property`", findings);
    }
}

fn is_reference(key: &str, node: &Node) -> bool {
    let name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let text = node.text().unwrap_or_default();
    // Whose property `from` is goes without saying.
    let short = (text.contains('.') || key == "from") && text.split('.').all(name);
    let path = text.rsplit('#').next().unwrap_or_default();
    let path = path.strip_prefix('/').unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    let full = parts.len().is_multiple_of(2)
        && parts
            .iter()
            .all(|part| !part.is_empty() && !part.contains([' ', '.']));
    short || full
}

fn missing(node: &Node, key: &str, what: &str, findings: &mut Findings) {
    if node.get(key).is_none() {
        findings.error(
            "LS-C006",
            node.at,
            format!("{what} has no `{key}`"),
            format!("add `{key}:` here"),
        );
    }
}

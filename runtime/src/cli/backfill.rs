//! `lockstep backfill`: a table, or a part of it, is read again while everything else goes on.

use lockstep_core::connector::{Filter, Page, Sign};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::error::Error;
use lockstep_core::gate::cast::cast;
use lockstep_core::gate::{Expression, Scope};
use lockstep_core::{Shape, Type, Value};

use super::steer::give;
use super::{Context, Exit, who};
use crate::config::preflight::{look, open_reader, within_deadline};
use crate::config::{Config, Role};
use crate::control::{Act, Order, Part, Wanted};

/// Read a table again, or a part of it, while its changes go on
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME is a flow, or SYSTEM.ENTITY (SYSTEM.TABLE does as well) where several flows share it; it is read once for all of them.\n\
    What is there is told as it is, in the order of the table's key and beside its changes; targets write only what differs. Rows that are gone are not told by it: `lockstep verify` names them.\n\
    The request is kept in the log, so it lasts over restarts and may be given while nothing runs; a crash repeats at most one chunk. `lockstep status` shows how far it is.\n\n\
    Examples:\n  lockstep backfill invoices\n  lockstep backfill erp.customer --where 'row.country == \"DE\"'\n  lockstep backfill invoices --from-key 10500 --reason 'lost after the restore' --json\n\n\
    Exit codes: 0 asked for, also if it was before, 2 wrong usage, 3 the system or the log cannot be reached."
)]
pub(super) struct Args {
    /// A flow, or an entity of a system
    #[arg(value_name = "NAME")]
    name: String,
    /// Only rows of which this is true: a CEL expression over the table's columns, as in a mapping's `filter`
    #[arg(long = "where", value_name = "CEL")]
    condition: Option<String>,
    /// Only rows from this key on, in the order of the table's key; parts of a key of several columns are separated by commas
    #[arg(long, value_name = "KEY")]
    from_key: Option<String>,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    /// Who; the user of this session if absent
    #[arg(long)]
    by: Option<String>,
}

/// What is wrong with an argument, and what to write instead.
type Wrong = (String, String);

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let config = match cx.load_as_known().await {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let (system, entity) = match meant(&config, &self.name) {
            Ok(meant) => meant,
            Err((message, help)) => return cx.unknown(message, help),
        };
        if config.systems.get(&system).is_some_and(|s| s.is_inbox()) {
            let message =
                format!("`{system}` is an inbox: what was published cannot be read again");
            return cx.unknown(message, "let the programs publish it again".to_owned());
        }
        let mut parts = Vec::new();
        let mut looked = None;
        if self.condition.is_some() || self.from_key.is_some() {
            let Some(mapping) = config.mapping(&system, &entity) else {
                return cx.unknown(
                    format!("`{system}` has no mapping for `{entity}`"),
                    String::new(),
                );
            };
            let shape = look(&config, &cx.registry, &system, Role::Source, &mapping.table);
            let shape = match shape.await {
                Ok(shape) => shape,
                Err(error) => return cx.failed(&error),
            };
            let condition = self.condition.iter().map(|text| condition(text, &shape));
            let from = self.from_key.iter().map(|text| from_key(text, &shape));
            match condition
                .chain(from)
                .collect::<Result<Vec<Filter>, Wrong>>()
            {
                Ok(found) => parts = found,
                Err((message, help)) => return cx.unknown(message, help),
            }
            looked = Some(shape);
        }
        let filter = match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Filter::All(parts)),
        };
        if let (Some(filter), Some(shape)) = (&filter, &looked) {
            match refused(cx, &config, &system, shape, filter).await {
                Ok(None) => {}
                Ok(Some(error)) => {
                    let message = format!("`{system}` refuses what is asked: {}", error.chain());
                    let help = "ask by columns that the role of the system may read";
                    return cx.unknown(message, help.to_owned());
                }
                Err(error) => return cx.failed(&error),
            }
        }
        let order = Order {
            act: Act::Backfill,
            parts: vec![Part::Capture { system }],
            by: who(self.by),
            reason: self.reason,
            wanted: Some(Wanted { entity, filter }),
        };
        give(cx, &config, &order).await
    }
}

/// Why a system that is captured by query cannot read the rows that are wanted; what does not pass would be refused there again and again.
async fn refused(
    cx: &Context,
    config: &Config,
    system: &str,
    shape: &Shape,
    filter: &Filter,
) -> Result<Option<Error>, Error> {
    if config.systems.get(system).is_none_or(|s| s.query.is_none()) {
        return Ok(None);
    }
    let opened = open_reader(config, &cx.registry, system, &shape.name);
    let (reader, _) = within_deadline(opened).await?;
    let names = shape.key.iter().map(|at| shape.columns[*at].name.clone());
    let key: Vec<String> = names.collect();
    let page = Page {
        table: &shape.name,
        columns: &key,
        key: &key,
        filter: Some(filter),
        limit: 1,
        ..Page::default()
    };
    match within_deadline(reader.scan(page)).await {
        Err(error) if !error.kind().is_retryable() => Ok(Some(error)),
        // How long the first row takes to be found says nothing.
        _ => Ok(None),
    }
}

/// The system and the entity that a name means.
fn meant(config: &Config, name: &str) -> Result<(String, String), Wrong> {
    if let Some(flow) = config.flows.get(name.strip_prefix("flow:").unwrap_or(name)) {
        return Ok((flow.from.clone(), flow.entity.clone()));
    }
    let is_meant = |system: &str, entity: &str, rest: &str| {
        let mapping = config.mapping(system, entity);
        entity == rest || mapping.is_some_and(|mapping| mapping.table == rest)
    };
    let found = name.split_once('.').and_then(|(system, rest)| {
        let mut flows = config.flows.values();
        flows.find(|flow| flow.from == system && is_meant(system, &flow.entity, rest))
    });
    found
        .map(|flow| (flow.from.clone(), flow.entity.clone()))
        .ok_or_else(|| {
            let sources = config.flows.values();
            let sources = sources.map(|flow| format!("{}.{}", flow.from, flow.entity));
            let known: Vec<String> = config.flows.keys().cloned().chain(sources).collect();
            let help = suggestion(name, known.iter().map(String::as_str));
            (format!("no flow reads `{name}`"), help)
        })
}

/// The rows of which an expression is true, in words that every system knows.
fn condition(text: &str, shape: &Shape) -> Result<Filter, Wrong> {
    let compiled = Expression::compile(text, Scope::Row(shape), Some(Type::Bool));
    compiled.map_err(|error| {
        let columns: Vec<&str> = shape.names().collect();
        let help = format!(
            "write a condition over `row.COLUMN`; columns: {}",
            columns.join(", ")
        );
        (format!("`--where` cannot be read: {error}"), help)
    })?;
    Filter::of(text, shape).ok_or_else(|| {
        (
            "`--where` cannot be said in the words of the system".to_owned(),
            "compare columns with constants (`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `null`), joined by `&&` and `||`; texts by `==` and `in` only".to_owned(),
        )
    })
}

/// The rows from a key on.
fn from_key(text: &str, shape: &Shape) -> Result<Filter, Wrong> {
    let names: Vec<&str> = shape
        .key
        .iter()
        .map(|at| shape.columns[*at].name.as_str())
        .collect();
    let texts: Vec<&str> = match names.len() {
        1 => vec![text],
        _ => text.split(',').collect(),
    };
    let help = || format!("the key of `{}` is: {}", shape.name, names.join(", "));
    if texts.len() != names.len() {
        let message = format!("`--from-key` has {} of {} values", texts.len(), names.len());
        return Err((message, help()));
    }
    let mut values = Vec::with_capacity(texts.len());
    for (at, text) in shape.key.iter().zip(texts) {
        let column = &shape.columns[*at];
        let text = Value::text(text);
        values.push(match column.kind {
            None => text,
            Some(kind) => cast(text, kind).map_err(|_| {
                let message = format!(
                    "`--from-key` is no {} for column `{}`",
                    kind.name(),
                    column.name
                );
                (message, help())
            })?,
        });
    }
    Ok(from(&names, &values))
}

/// Keys in order: the first column beyond its value, or at it and the rest from theirs on.
fn from(names: &[&str], values: &[Value]) -> Filter {
    let (Some(name), Some(value)) = (names.first(), values.first()) else {
        return Filter::every();
    };
    let compare = |sign| Filter::Compare((*name).to_owned(), sign, value.clone());
    if names.len() == 1 {
        return compare(Sign::GreaterOrEqual);
    }
    let rest = from(&names[1..], &values[1..]);
    Filter::Any(vec![
        compare(Sign::Greater),
        Filter::All(vec![compare(Sign::Equal), rest]),
    ])
}

#[cfg(test)]
mod tests {
    use lockstep_core::Column;

    use super::*;

    fn shape(key: Vec<usize>) -> Shape {
        Shape {
            name: "lines".to_owned(),
            columns: vec![
                Column::new("order", Type::Int, false),
                Column::new("line", Type::Int, false),
                Column::new("note", Type::Text, true),
            ],
            key,
        }
    }

    #[test]
    fn a_key_is_read_by_its_columns() {
        let at =
            |name: &str, sign, value| Filter::Compare(name.to_owned(), sign, Value::Int(value));
        assert_eq!(
            from_key("7", &shape(vec![0])),
            Ok(at("order", Sign::GreaterOrEqual, 7))
        );
        assert_eq!(
            from_key("7,2", &shape(vec![0, 1])),
            Ok(Filter::Any(vec![
                at("order", Sign::Greater, 7),
                Filter::All(vec![
                    at("order", Sign::Equal, 7),
                    at("line", Sign::GreaterOrEqual, 2)
                ]),
            ]))
        );
        assert_eq!(
            from_key("a,b", &shape(vec![2])),
            Ok(Filter::Compare(
                "note".to_owned(),
                Sign::GreaterOrEqual,
                Value::text("a,b")
            ))
        );
        for (text, key) in [("x", vec![0]), ("7", vec![0, 1]), ("7,2,1", vec![0, 1])] {
            assert!(from_key(text, &shape(key)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_condition_is_refused_where_it_could_not_be_said() {
        let shape = shape(vec![0]);
        assert!(condition("row.line > 3 && row.note == 'x'", &shape).is_ok());
        for (text, why) in [
            ("row.lime > 3", "cannot be read"),
            ("row.line + 1", "cannot be read"),
            ("row.note.startsWith('x')", "in the words of the system"),
        ] {
            assert!(
                condition(text, &shape).unwrap_err().0.contains(why),
                "{text}"
            );
        }
    }
}

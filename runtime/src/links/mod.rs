//! **Links**: which own id of a system stands for which record of an entity, so that an order's customer becomes the target's customer.
//!
//! A mapping says of a column that it holds the own id of another entity's record (`link = "customer"`).
//! Readers and sinks of such tables are wrapped: outwards the column holds the entity's canonical key, inwards the system's own id, so nothing else in the runtime knows of own ids.
//! What stands for what is asked of the system itself, by the column that the entity's key is mapped to there; answers, and ids that a sink tells, are kept in the log's bucket `LS_LINKS`.

mod known;
mod reader;
mod sink;

use std::sync::Arc;

use lockstep_core::connector::{DynReader, DynSink, OpenContext, Registry};
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::FieldMap;
use lockstep_core::shape::Shape;
use lockstep_core::value::Type;

use crate::config::Config;
use crate::log::Log;
use known::Known;
use reader::LinkedReader;
use sink::LinkedSink;

/// A column that holds own ids of another entity's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The table that the column is of.
    table: String,
    column: String,
    /// The entity whose records it names.
    entity: String,
    /// Where those are in the same system.
    parent: String,
    /// The column of theirs that holds the entity's key.
    external: String,
}

/// A link as the tables are.
#[derive(Clone, Debug)]
struct Bound {
    link: Link,
    /// The column of the parent that is its own id.
    own: String,
    own_kind: Option<Type>,
    external_kind: Option<Type>,
}

/// The links of a system's mappings; none where own ids and canonical keys are the same there.
///
/// # Errors
/// A link to an entity that the system does not map, or whose key is more than one plain column.
pub(crate) fn of(config: &Config, system: &str) -> Result<Vec<Link>> {
    let Some(known) = config.systems.get(system) else {
        return Ok(Vec::new());
    };
    let mut links = Vec::new();
    for (child, mapping) in &known.map {
        for (field, map) in &mapping.fields {
            let FieldMap::Rule(rule) = map else { continue };
            let (Some(entity), Some(column)) = (&rule.link, &rule.column) else {
                continue;
            };
            let wrong = |message: String, help: &str| {
                let place = format!("systems.{system}.map.{child}.fields.{field}.link");
                Err(Error::config(message)
                    .code("LS-G045")
                    .with("at", place)
                    .help(help.to_owned()))
            };
            let Some(parent) = known.map.get(entity) else {
                return wrong(
                    format!("system `{system}` does not map `{entity}`, which `{field}` links to"),
                    "map that entity in the same system, or leave `link` out",
                );
            };
            let Some(contract) = config.contracts.get(entity) else {
                return wrong(
                    format!("there is no contract of `{entity}`, which `{field}` links to"),
                    "name an entity that has a contract",
                );
            };
            let key: Vec<&str> = contract
                .key
                .iter()
                .map(|at| contract.fields[*at].name.as_str())
                .collect();
            let [key] = key[..] else {
                return wrong(
                    format!(
                        "the key of `{entity}` has several fields, and a link names a record by one value"
                    ),
                    "leave `link` out and map the columns that the system has of it",
                );
            };
            let plain = match parent.fields.get(key) {
                Some(FieldMap::Column(column)) => Some(column),
                _ => None,
            };
            let Some(external) = plain else {
                return wrong(
                    format!(
                        "`{entity}` has no plain column for its key `{key}` in `{system}`, so a record of it cannot be asked for"
                    ),
                    "map the key to a column without a translation",
                );
            };
            links.push(Link {
                table: mapping.table.clone(),
                column: column.clone(),
                entity: entity.clone(),
                parent: parent.table.clone(),
                external: external.clone(),
            });
        }
    }
    Ok(links)
}

/// Says what is wrong where a system that is read by its log of changes has links.
pub(crate) fn none_of(config: &Config, cx: &OpenContext) -> Result<()> {
    let links = wanted(config, cx)?;
    let Some(link) = links.first() else {
        return Ok(());
    };
    Err(Error::config(format!(
        "`{}` of `{}` is linked, and system `{}` is read by its own log of changes, whose rows name own ids",
        link.column, link.table, cx.system
    ))
    .code("LS-G045")
    .help("add `capture = \"query\"` to the system, or leave `link` out"))
}

/// Opens a system to be read; linked columns hold canonical keys.
///
/// # Errors
/// A system that is not known or cannot be reached, and links that cannot be.
pub(crate) async fn open_reader(
    config: &Config,
    registry: &Registry,
    cx: OpenContext,
) -> Result<Box<dyn DynReader>> {
    let system = system(config, &cx)?;
    let connector = registry.get(&system.connector)?;
    let links = wanted(config, &cx)?;
    if links.is_empty() {
        return connector.open_reader(system.settings.clone(), cx).await;
    }
    let inner = connector
        .open_reader(system.settings.clone(), beside(&cx, &links))
        .await?;
    Ok(Box::new(LinkedReader::new(Arc::from(inner), cx, links)))
}

/// Opens a system to be written; linked columns are given canonical keys.
///
/// # Errors
/// A system that is not known or cannot be reached, and links that cannot be.
pub(crate) async fn open_sink(
    config: &Config,
    registry: &Registry,
    cx: OpenContext,
    log: Option<&Arc<dyn Log>>,
) -> Result<Box<dyn DynSink>> {
    let system = system(config, &cx)?;
    let connector = registry.get(&system.connector)?;
    let settings = || system.settings.clone();
    let links = wanted(config, &cx)?;
    // Whose own ids others ask for.
    let told: Vec<Link> = of(config, &cx.system)?
        .into_iter()
        .filter(|link| cx.tables.contains(&link.parent))
        .collect();
    if links.is_empty() && told.is_empty() {
        return connector.open_sink(settings(), cx).await;
    }
    let inner = connector.open_sink(settings(), cx.clone()).await?;
    let asked = OpenContext {
        tables: Vec::new(),
        ..cx.clone()
    };
    let reader = connector
        .open_reader(settings(), beside(&asked, &links))
        .await?;
    let known = Known::open(&cx.system, log).await?;
    Ok(Box::new(LinkedSink::new(
        inner,
        Arc::from(reader),
        links,
        told,
        known,
    )))
}

fn system<'c>(config: &'c Config, cx: &OpenContext) -> Result<&'c crate::config::System> {
    let known = config.systems.get(&cx.system);
    known.ok_or_else(|| Error::config(format!("no such system `{}`", cx.system)))
}

/// The links of the tables that are opened.
fn wanted(config: &Config, cx: &OpenContext) -> Result<Vec<Link>> {
    let links = of(config, &cx.system)?.into_iter();
    Ok(links
        .filter(|link| cx.tables.contains(&link.table))
        .collect())
}

/// The context with the tables that links lead to.
fn beside(cx: &OpenContext, links: &[Link]) -> OpenContext {
    let mut cx = cx.clone();
    for link in links {
        if !cx.tables.contains(&link.parent) {
            cx.tables.push(link.parent.clone());
        }
    }
    cx
}

/// Binds links to tables as they are.
fn bind(links: &[Link], shapes: &[Arc<Shape>]) -> Result<Vec<Bound>> {
    let each = links.iter().map(|link| {
        let parent = shapes.iter().find(|shape| shape.name == link.parent);
        let parent = parent.ok_or_else(|| misfit(link, "that table is not there"))?;
        let [own] = parent.key[..] else {
            return Err(misfit(
                link,
                "its own id is not one column, as the system declares it",
            ));
        };
        let external = parent
            .position(&link.external)
            .ok_or_else(|| misfit(link, "it has no such column"))?;
        Ok(Bound {
            own: parent.columns[own].name.clone(),
            own_kind: parent.columns[own].kind,
            external_kind: parent.columns[external].kind,
            link: link.clone(),
        })
    });
    each.collect()
}

fn misfit(link: &Link, why: &str) -> Error {
    Error::config(format!(
        "`{}` of `{}` cannot be linked to `{}` by `{}`: {why}",
        link.column, link.table, link.parent, link.external
    ))
    .code("LS-G045")
}

/// Shapes with the linked columns as they are outwards.
fn outwards(shapes: Vec<Arc<Shape>>, bound: &[Bound]) -> Vec<Arc<Shape>> {
    let of = |shape: Arc<Shape>| with_kinds(shape, bound, |bound| bound.external_kind);
    shapes.into_iter().map(of).collect()
}

/// A shape whose linked columns have another type.
fn with_kinds(
    shape: Arc<Shape>,
    bound: &[Bound],
    kind: impl Fn(&Bound) -> Option<Type>,
) -> Arc<Shape> {
    let of: Vec<&Bound> = bound
        .iter()
        .filter(|bound| bound.link.table == shape.name)
        .collect();
    if of.is_empty() {
        return shape;
    }
    let mut changed = (*shape).clone();
    for bound in of {
        if let Some(at) = changed.position(&bound.link.column) {
            changed.columns[at].kind = kind(bound);
        }
    }
    Arc::new(changed)
}

//! Contracts and flows as OpenLineage events: what a dataset holds, who owns it, and which column comes from which.
//!
//! A contract is a dataset of the log; a flow is a job from the source's table over it into the targets' tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lockstep_core::contract::{Class, Contract, Field, Handling, Inner};
use lockstep_core::gate::{FieldMap, Mapping};
use serde_json::{Map, Value as Json, json};

use super::words;

const PRODUCER: &str = concat!(
    "https://github.com/lockstep/lockstep/v",
    env!("CARGO_PKG_VERSION")
);
const SPEC: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json";
/// The namespace of what is settled.
const LOG: &str = "lockstep://log";

/// One end of a flow: a system, and how the entity stands in it where a mapping says.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The system's name.
    pub system: &'a str,
    /// Its mapping; none for an inbox, which speaks the contract.
    pub mapping: Option<&'a Mapping>,
}

/// A flow as lineage sees it.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    /// Its name.
    pub name: &'a str,
    /// The contract of its entity.
    pub contract: &'a Contract,
    /// Where it comes from.
    pub from: End<'a>,
    /// Where it goes.
    pub to: Vec<End<'a>>,
}

/// The dataset event of a contract.
#[must_use]
pub fn dataset(contract: &Contract, at: Timestamp) -> Json {
    let mut dataset = named(LOG, &contract.entity);
    dataset["facets"] = facets(contract);
    event("DatasetEvent", at, "dataset", dataset)
}

/// The job event of a flow, with the lineage of every column that it writes.
#[must_use]
pub fn job(flow: &Flow<'_>, at: Timestamp) -> Json {
    let contract = flow.contract;
    let mut settled = named(LOG, &contract.entity);
    settled["facets"] = facets(contract);
    settled["facets"]["columnLineage"] = lineage(contract.fields.iter().map(|field| {
        let columns = read(&flow.from, field);
        (
            field.name.clone(),
            columns
                .into_iter()
                .map(|column| (place(&flow.from, contract), column, None))
                .collect(),
        )
    }));
    let mut outputs = vec![settled];
    for end in &flow.to {
        let (namespace, name) = place(end, contract);
        let mut output = named(&namespace, &name);
        let columns = written(end, contract);
        output["facets"] = json!({"columnLineage": lineage(columns.into_iter().map(|(column, fields)| {
            let inputs = fields.into_iter().map(|field| {
                let handling = field.handling.get(end.system).copied();
                ((LOG.to_owned(), contract.entity.clone()), field.name.clone(), handling)
            });
            (column, inputs.collect())
        }))});
        outputs.push(output);
    }
    let (namespace, name) = place(&flow.from, contract);
    let mut event = event(
        "JobEvent",
        at,
        "job",
        json!({
            "namespace": "lockstep",
            "name": flow.name,
            "facets": {"documentation": facet("DocumentationJobFacet", "1-1-0", json!({
                "description": format!("Keeps {} of {} in step with {}.", contract.entity, flow.from.system,
                    flow.to.iter().map(|end| end.system).collect::<Vec<_>>().join(", "))
            }))}
        }),
    );
    event["inputs"] = json!([named(&namespace, &name)]);
    event["outputs"] = outputs.into();
    event
}

fn event(kind: &str, at: Timestamp, key: &str, value: Json) -> Json {
    let mut event = Map::new();
    event.insert("eventTime".to_owned(), at.to_string().into());
    event.insert("producer".to_owned(), PRODUCER.into());
    event.insert(
        "schemaURL".to_owned(),
        format!("{SPEC}#/$defs/{kind}").into(),
    );
    event.insert(key.to_owned(), value);
    event.into()
}

fn named(namespace: &str, name: &str) -> Json {
    json!({"namespace": namespace, "name": name})
}

fn facet(name: &str, version: &str, mut content: Json) -> Json {
    content["_producer"] = PRODUCER.into();
    content["_schemaURL"] =
        format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}").into();
    content
}

fn facets(contract: &Contract) -> Json {
    let mut facets = Map::new();
    let mut put = |key: &str, name: &str, version: &str, content: Json| {
        facets.insert(key.to_owned(), facet(name, version, content));
    };
    put(
        "schema",
        "SchemaDatasetFacet",
        "1-2-0",
        json!({"fields": schema(&contract.fields)}),
    );
    put(
        "version",
        "DatasetVersionDatasetFacet",
        "1-0-1",
        json!({"datasetVersion": contract.version.to_string()}),
    );
    if let Some(description) = &contract.description {
        let content = json!({"description": description, "contentType": "text/plain"});
        put(
            "documentation",
            "DocumentationDatasetFacet",
            "1-1-0",
            content,
        );
    }
    let mut owners: Vec<Json> = Vec::new();
    owners.extend(
        contract.owner.iter().map(
            |owner| json!({"name": format!("application:{owner}"), "type": "SOURCE_OF_TRUTH"}),
        ),
    );
    for (role, people) in &contract.terms.approvers {
        owners.extend(
            people
                .iter()
                .map(|person| json!({"name": format!("user:{person}"), "type": role})),
        );
    }
    if !owners.is_empty() {
        put(
            "ownership",
            "OwnershipDatasetFacet",
            "1-0-1",
            json!({"owners": owners}),
        );
    }
    let tags: Vec<Json> = contract
        .fields
        .iter()
        .filter(|field| field.class != Class::Internal)
        .map(|field| json!({"key": "classification", "value": field.class.name(), "source": "CONTRACT", "field": field.name}))
        .collect();
    if !tags.is_empty() {
        put("tags", "TagsDatasetFacet", "1-0-0", json!({"tags": tags}));
    }
    // No assertions: that facet tells what came out of a test, and nothing was tested here.
    facets.into()
}

fn schema(fields: &[Field]) -> Vec<Json> {
    let mut position = 0;
    fields
        .iter()
        .map(|field| {
            position += 1;
            let mut out = json!({"name": field.name, "type": words::kind(field), "ordinal_position": position});
            if let Some(description) = &field.description {
                out["description"] = description.as_str().into();
            }
            let inner = match &field.inner {
                Some(Inner::Object { fields, .. }) => schema(fields),
                Some(Inner::List { items, .. }) => schema(std::slice::from_ref(&**items)),
                Some(Inner::Map { values, .. }) => schema(std::slice::from_ref(&**values)),
                None => Vec::new(),
            };
            if !inner.is_empty() {
                out["fields"] = inner.into();
            }
            out
        })
        .collect()
}

/// An input column: the dataset that it is of, its name, and what is done to it.
type Input = ((String, String), String, Option<Handling>);

fn lineage(columns: impl Iterator<Item = (String, Vec<Input>)>) -> Json {
    let fields: Map<String, Json> = columns
        .filter(|(_, inputs)| !inputs.is_empty())
        .map(|(column, inputs)| {
            let inputs: Vec<Json> = inputs
                .into_iter()
                .map(|((namespace, name), field, handling)| {
                    let masking = handling.is_some_and(|handling| handling != Handling::Clear);
                    let subtype = if masking { "TRANSFORMATION" } else { "IDENTITY" };
                    let description = handling.map_or("", Handling::name);
                    json!({
                        "namespace": namespace,
                        "name": name,
                        "field": field,
                        "transformations": [{"type": "DIRECT", "subtype": subtype, "description": description, "masking": masking}]
                    })
                })
                .collect();
            (column, json!({"inputFields": inputs}))
        })
        .collect();
    facet(
        "ColumnLineageDatasetFacet",
        "1-2-0",
        json!({"fields": fields}),
    )
}

/// The dataset that an end of a flow is.
fn place(end: &End<'_>, contract: &Contract) -> (String, String) {
    let table = end
        .mapping
        .map_or(contract.entity.as_str(), |mapping| mapping.table.as_str());
    (format!("lockstep://{}", end.system), table.to_owned())
}

/// The columns that a field is read from.
fn read(end: &End<'_>, field: &Field) -> Vec<String> {
    let Some(mapping) = end.mapping else {
        return vec![field.name.clone()];
    };
    match mapping.fields.get(&field.name) {
        Some(FieldMap::Column(column)) => vec![column.clone()],
        Some(FieldMap::Rule(rule)) => {
            let mut columns: Vec<String> = rule.column.iter().cloned().collect();
            columns.extend(
                rule.read
                    .as_deref()
                    .map(names_after_row)
                    .unwrap_or_default(),
            );
            columns.sort();
            columns.dedup();
            columns
        }
        None => Vec::new(),
    }
}

/// The columns that an expression over `row.<column>` mentions.
fn names_after_row(expression: &str) -> Vec<String> {
    let parts = expression.split("row.").skip(1);
    parts
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
}

/// The columns that are written, and the fields that each is made of; what a system may not see is never written.
fn written<'c>(end: &End<'_>, contract: &'c Contract) -> BTreeMap<String, Vec<&'c Field>> {
    let mut columns: BTreeMap<String, Vec<&Field>> = BTreeMap::new();
    let visible = |field: &&Field| field.handling.get(end.system) != Some(&Handling::Drop);
    let Some(mapping) = end.mapping else {
        for field in contract.fields.iter().filter(visible) {
            columns.entry(field.name.clone()).or_default().push(field);
        }
        return columns;
    };
    for field in contract.fields.iter().filter(visible) {
        let column = match mapping.fields.get(&field.name) {
            Some(FieldMap::Column(column)) => Some(column),
            Some(FieldMap::Rule(rule)) => rule.column.as_ref(),
            None => None,
        };
        if let Some(column) = column {
            columns.entry(column.clone()).or_default().push(field);
        }
    }
    for (column, map) in &mapping.columns {
        let mentioned = |name: &str| {
            map.cel
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        };
        let fields = contract
            .fields
            .iter()
            .filter(visible)
            .filter(|field| mentioned(&field.name));
        columns.entry(column.clone()).or_default().extend(fields);
    }
    columns
}

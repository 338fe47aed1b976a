//! Contracts as an AsyncAPI document: the subjects of the log, as a program beside Lockstep sees them.
//!
//! A program receives what is settled, and sends observations to an inbox.

use lockstep_core::contract::{Contract, schema};
use lockstep_core::log::subject;
use serde_json::{Map, Value as Json, json};

use super::example;
use super::words::pascal;

/// The versions of AsyncAPI that are written.
pub const VERSIONS: [&str; 2] = ["3.0.0", "3.1.0"];

/// How payloads are described.
const FORMAT: &str = "application/schema+json;version=draft-2020-12";

/// The document over these contracts.
#[must_use]
pub fn document(contracts: &[&Contract], version: &str) -> Json {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    for contract in contracts {
        let entity = &contract.entity;
        let major = contract.version.major;
        let name = pascal(entity);
        messages.insert(format!("{name}Record"), record(contract));
        messages.insert(format!("{name}Patch"), patch(contract));
        messages.insert(format!("{name}Delete"), delete(contract));
        messages.insert(format!("{name}Observation"), observation(contract));
        let settled = subject::settled(entity, major, 0);
        let settled = settled
            .rsplit_once('.')
            .map_or(settled.as_str(), |(before, _)| before);
        let mut channel = json!({
            "address": format!("{settled}.{{lane}}"),
            "title": format!("Settled changes of {entity}"),
            "description": "Changes in order of each key; a record's changes are all in one lane.",
            "parameters": {
                "lane": {
                    "description": "The partition of the entity by its key.",
                    "enum": (0..contract.lanes).map(|lane| lane.to_string()).collect::<Vec<_>>()
                }
            },
            "messages": {},
            "bindings": {"nats": {}}
        });
        let kinds = ["Record", "Patch", "Delete"];
        for kind in kinds {
            channel["messages"][kind.to_lowercase()] =
                reference("messages", &format!("{name}{kind}"));
        }
        let settled = format!("{entity}.settled");
        let refer = |channel: &str, message: &str| json!({"$ref": format!("#/channels/{channel}/messages/{message}")});
        operations.insert(
            format!("receive{name}"),
            json!({
                "action": "receive",
                "channel": {"$ref": format!("#/channels/{settled}")},
                "summary": format!("Hear what is settled about {entity}."),
                "messages": kinds.map(|kind| refer(&settled, &kind.to_lowercase())),
                "bindings": {"nats": {"bindingVersion": "0.1.0"}}
            }),
        );
        channels.insert(settled, channel);
        let inbox = format!("{entity}.inbox");
        channels.insert(
            inbox.clone(),
            json!({
                "address": format!("ls.inbox.{{system}}.{entity}"),
                "title": format!("Observations of {entity}"),
                "description": "What other programs say about records; it is checked against the contract like everything else.",
                "parameters": {
                    "system": {"description": "The system of connector `inbox` that the program speaks for."}
                },
                "messages": {"observation": reference("messages", &format!("{name}Observation"))},
                "bindings": {"nats": {}}
            }),
        );
        operations.insert(
            format!("publish{name}"),
            json!({
                "action": "send",
                "channel": {"$ref": format!("#/channels/{inbox}")},
                "summary": format!("Say something about {entity}."),
                "messages": [refer(&inbox, "observation")],
                "bindings": {"nats": {"bindingVersion": "0.1.0"}}
            }),
        );
    }
    let only = match contracts {
        [one] => Some(*one),
        _ => None,
    };
    let title = only.map_or("Lockstep".to_owned(), |one| one.entity.clone());
    let about = only.and_then(|one| one.description.clone());
    json!({
        "asyncapi": version,
        "info": {
            "title": title,
            "version": only.map_or("1.0.0".to_owned(), |one| one.version.to_string()),
            "description": about.unwrap_or_else(|| "The entities that Lockstep keeps in step, as events.".to_owned())
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages}
    })
}

fn reference(kind: &str, name: &str) -> Json {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn record(contract: &Contract) -> Json {
    let mut message = message(
        contract,
        "Record",
        "The whole record.",
        &["created", "updated", "snapshot"],
        &schema::reader(contract),
    );
    message["examples"] = json!([{"name": "example", "payload": example::record(contract)}]);
    message
}

fn patch(contract: &Contract) -> Json {
    let mut payload = schema::patch(contract);
    // Readers accept fields that they do not know.
    if let Some(own) = payload.as_object_mut() {
        own.shift_remove("additionalProperties");
    }
    message(
        contract,
        "Patch",
        "The changed fields, where the source did not send all.",
        &["patched"],
        &payload,
    )
}

fn delete(contract: &Contract) -> Json {
    let reader = schema::reader(contract);
    let names: Vec<&str> = contract
        .key
        .iter()
        .filter_map(|i| contract.fields.get(*i))
        .map(|field| field.name.as_str())
        .collect();
    let properties: Map<String, Json> = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), reader["properties"].get(*name)?.clone())))
        .collect();
    let payload = json!({"type": "object", "properties": properties, "required": names});
    message(
        contract,
        "Delete",
        "The key of a record that is gone.",
        &["deleted"],
        &payload,
    )
}

fn observation(contract: &Contract) -> Json {
    let kinds = ["created", "updated", "snapshot", "patched", "deleted"];
    message(
        contract,
        "Observation",
        "What a program says; a patch or a delete carries fewer fields.",
        &kinds,
        &schema::writer(contract),
    )
}

fn message(
    contract: &Contract,
    kind: &str,
    summary: &str,
    operations: &[&str],
    payload: &Json,
) -> Json {
    let mut message = json!({
        "name": format!("{}{kind}", pascal(&contract.entity)),
        "title": format!("{} ({})", contract.entity, kind.to_lowercase()),
        "summary": summary,
        "contentType": "application/json",
        "headers": {"schemaFormat": FORMAT, "schema": headers(contract, operations)},
        "payload": {"schemaFormat": FORMAT, "schema": payload}
    });
    if contract.terms.deprecation.is_some() {
        message["deprecated"] = true.into();
    }
    message
}

/// CloudEvents in binary mode: every attribute is a header.
fn headers(contract: &Contract, operations: &[&str]) -> Json {
    let types: Vec<String> = operations
        .iter()
        .map(|operation| {
            format!(
                "io.lockstep.{}.{operation}.v{}",
                contract.entity, contract.version.major
            )
        })
        .collect();
    json!({
        "type": "object",
        "description": "CloudEvents 1.0 in binary mode. Under load several events travel as one `application/cloudevents-batch+json` message.",
        "required": ["ce-specversion", "ce-id", "ce-source", "ce-type"],
        "properties": {
            "ce-specversion": {"type": "string", "const": "1.0"},
            "ce-id": {"type": "string", "minLength": 1, "description": "The same at every replay of the change."},
            "ce-source": {"type": "string", "minLength": 1, "description": "`/lockstep/<system>/<entity>`"},
            "ce-type": {"type": "string", "enum": types},
            "ce-subject": {"type": "string", "description": "The record's key."},
            "ce-time": {"type": "string", "format": "date-time", "description": "When the system committed the change."},
            "ce-dataschema": {"type": "string", "description": "The contract and version of the payload.", "examples": [contract.urn()]},
            "ce-datacontenttype": {"type": "string", "const": "application/json"},
            "ce-sequence": {"type": "string", "description": "Grows with the changes of one source."},
            "ce-lsorigin": {"type": "string", "description": "The system where the change was born, if another."}
        }
    })
}

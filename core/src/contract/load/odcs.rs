//! The root of an ODCS v3 document and its one schema object as a [`Contract`].

use std::collections::HashSet;

use super::field::{self, Draft, custom};
use super::findings::Findings;
use super::words::{COMPATIBILITIES, DELETES, TRUTHS, system, word};
use super::yaml::{Content, Node, Span, shorten};
use super::{grammar, keys, quality};
use crate::contract::{Contract, Deletes, Truth};
use crate::diagnostic::suggestion;
use crate::shape::{Column, Shape};

const API_VERSIONS: [&str; 5] = ["v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0"];
const KIND: &str = "DataContract";
/// Most fields of an entity.
const FIELDS_MAX: usize = 1000;

/// Reads the whole document; `None` where so much is missing that nothing can be built from it.
pub(super) fn contract(root: &Node, findings: &mut Findings<'_>) -> Option<Contract> {
    grammar::walk(root, &grammar::ROOT, findings);
    if !matches!(root.content, Content::Map(_)) {
        return None;
    }
    fundamentals(root, findings);
    let version = version(root, findings);
    let object = object(root, findings)?;
    let entity = object
        .get("name")
        .and_then(|node| field::name(node, "entity", findings));
    let drafts = fields(object, findings);

    let setting = Settings { root, object };
    let owner = setting
        .get("lockstep.owner", findings)
        .and_then(|node| system(node, "`lockstep.owner`", findings));
    let truth = setting
        .get("lockstep.truth", findings)
        .map_or(Some(Truth::Owner), |node| {
            word(node, "`lockstep.truth`", TRUTHS, "LS-C014", findings)
        });
    let deletes = setting
        .get("lockstep.deletes", findings)
        .map_or(Some(Deletes::Propagate), |node| {
            word(node, "`lockstep.deletes`", DELETES, "LS-C014", findings)
        });
    governance(&setting, findings);
    ownership(object, owner.as_deref(), truth, &drafts, findings);

    let at = object.get("name").map_or(object.at, |name| name.at);
    let key = keys::key(&drafts, at, findings);
    let lane_key_node = setting.get("lockstep.laneKey", findings);
    let lane_key = keys::lane_key(lane_key_node, &drafts, &key, findings);
    let lanes = keys::lanes(setting.get("lockstep.lanes", findings), findings);
    let shape = Shape {
        name: entity.clone().unwrap_or_default(),
        columns: drafts
            .iter()
            .map(|draft| &draft.field)
            .map(|field| Column::new(field.name.clone(), field.kind, field.nullable))
            .collect(),
        key: key.clone(),
    };
    let rules = quality::rules(object, &shape, findings);
    Some(Contract {
        id: root.get("id").and_then(Node::text)?.to_owned(),
        entity: entity?,
        version: version?,
        description: description(root, object),
        fields: drafts.into_iter().map(|draft| draft.field).collect(),
        key,
        lane_key,
        lanes,
        owner,
        truth: truth?,
        deletes: deletes?,
        rules,
    })
}

fn fundamentals(root: &Node, findings: &mut Findings<'_>) {
    let written = |key: &str| root.get(key).filter(|node| node.text().is_some());
    if let Some(node) = written("apiVersion")
        && !API_VERSIONS.iter().any(|known| Some(*known) == node.text())
    {
        findings.error(
            "LS-C007",
            node.at,
            format!(
                "the standard's version {} is not read here",
                node.describe()
            ),
            suggestion(node.text().unwrap_or_default(), API_VERSIONS),
        );
    }
    if let Some(node) = written("kind")
        && node.text() != Some(KIND)
    {
        findings.error(
            "LS-C007",
            node.at,
            format!("{} is not a data contract", node.describe()),
            format!("write `kind: {KIND}`"),
        );
    }
}

fn version(root: &Node, findings: &mut Findings<'_>) -> Option<semver::Version> {
    let node = root.get("version").filter(|node| node.text().is_some())?;
    match semver::Version::parse(node.text()?) {
        Ok(version) => Some(version),
        Err(error) => {
            findings.error(
                "LS-C008",
                node.at,
                format!("{} is not a semantic version: {error}", node.describe()),
                "write three numbers, such as `1.0.0`",
            );
            None
        }
    }
}

/// The one schema object.
fn object<'n>(root: &'n Node, findings: &mut Findings<'_>) -> Option<&'n Node> {
    let schema = root.get("schema");
    let at = schema.map_or(root.at, |node| node.at);
    match schema.map_or(&[][..], Node::items) {
        [object] => Some(object),
        [] => {
            findings.error(
                "LS-C009",
                at,
                "the contract describes no entity",
                "add `schema:` with one object",
            );
            None
        }
        [_, second, ..] => {
            let name = second.get("name").unwrap_or(second);
            findings.error(
                "LS-C009",
                name.at,
                format!(
                    "the contract describes {} entities; {} is the second",
                    root.get("schema").map_or(0, |schema| schema.items().len()),
                    name.describe()
                ),
                "write one file per entity",
            );
            None
        }
    }
}

fn fields(object: &Node, findings: &mut Findings<'_>) -> Vec<Draft> {
    let properties = object.get("properties");
    let items = properties.map_or(&[][..], Node::items);
    let at = properties.map_or(object.at, |node| node.at);
    if items.is_empty() {
        findings.error(
            "LS-C009",
            at,
            "the entity has no properties",
            "add `properties:` with at least the key",
        );
    }
    if items.len() > FIELDS_MAX {
        findings.error(
            "LS-C009",
            at,
            format!(
                "the entity has {} properties; at most {FIELDS_MAX} are read",
                items.len()
            ),
            "split it into entities of their own",
        );
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut drafts = Vec::with_capacity(items.len());
    for item in items {
        if let Some(name) = item.get("name")
            && let Some(text) = name.text()
            && !names.insert(text)
        {
            findings.error(
                "LS-C011",
                name.at,
                format!("there are two properties `{}`", shorten(text)),
                "rename one of them",
            );
        }
        drafts.extend(field::field(item, findings));
    }
    drafts
}

/// What a contract says about its entity may stand at the root or at the object, not at both.
struct Settings<'n> {
    root: &'n Node,
    object: &'n Node,
}

impl<'n> Settings<'n> {
    fn get(&self, name: &str, findings: &mut Findings<'_>) -> Option<&'n Node> {
        let (root, object) = (custom(self.root, name), custom(self.object, name));
        if let (Some(_), Some(object)) = (root, object) {
            findings.error(
                "LS-C013",
                object.at,
                format!("`{name}` stands on the contract and on its schema object"),
                "keep one of them",
            );
        }
        object.or(root)
    }
}

/// Checks what only people and the compatibility check read.
fn governance(setting: &Settings<'_>, findings: &mut Findings<'_>) {
    if let Some(node) = setting.get("lockstep.compatibility", findings) {
        word(
            node,
            "`lockstep.compatibility`",
            COMPATIBILITIES,
            "LS-C014",
            findings,
        );
    }
    let Some(consumers) = setting.get("lockstep.consumers", findings) else {
        return;
    };
    if !matches!(consumers.content, Content::List(_)) {
        findings.error(
            "LS-C004",
            consumers.at,
            format!(
                "`lockstep.consumers` must be a list of systems, not {}",
                consumers.describe()
            ),
            "write `value: [billing, warehouse]`",
        );
    }
    for item in consumers.items() {
        system(item, "a consumer", findings);
    }
}

fn ownership(
    object: &Node,
    owner: Option<&str>,
    truth: Option<Truth>,
    drafts: &[Draft],
    findings: &mut Findings<'_>,
) {
    let unowned = |draft: &Draft| {
        draft.field.owner.is_none() && draft.field.truth.or(truth) == Some(Truth::Owner)
    };
    if owner.is_some() || !drafts.iter().any(unowned) {
        return;
    }
    let at: Span = object.get("name").map_or(object.at, |name| name.at);
    findings.warning(
        "LS-C015",
        at,
        "no system is named as the owner of the entity",
        "add `{property: lockstep.owner, value: <system>}` to the object's `customProperties`",
    );
}

fn description(root: &Node, object: &Node) -> Option<String> {
    let own = object.get("description").and_then(Node::text);
    let purpose = || root.get("description")?.get("purpose")?.text();
    own.or_else(purpose).map(|text| text.trim().to_owned())
}

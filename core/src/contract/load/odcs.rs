//! The root of an ODCS v3 document and one of its schema objects as a [`Contract`].

use std::collections::HashSet;

use super::field::{self, Draft, Level, custom};
use super::findings::Findings;
use super::reading::Reading;
use super::words::{DELETES, TRUTHS, system, word};
use super::yaml::{Content, Node, Span, shorten};
use super::{Mode, grammar, keys, migrations, quality, relationships, remarks, terms, written};
use crate::contract::{Contract, Deletes, Field, Truth};
use crate::diagnostic::suggestion;

/// The versions of the standard that are read.
pub(super) const API_VERSIONS: [&str; 5] = ["v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0"];
/// What the standard calls a contract.
pub(super) const KIND: &str = "DataContract";
/// Most fields of an entity.
const FIELDS_MAX: usize = 1000;

/// Holds the whole document against the standard; says whether contracts can be read from it.
pub(super) fn document(root: &Node, findings: &mut Findings) -> bool {
    grammar::walk(root, &grammar::ROOT, findings);
    if !matches!(root.content, Content::Map(_)) {
        return false;
    }
    fundamentals(root, findings);
    true
}

/// Reads the contract of the document's only object.
pub(super) fn only(root: &Node, reading: &mut Reading<'_>) -> Option<Contract> {
    let object = object(root, &mut reading.findings)?;
    contract(root, object, reading)
}

/// Reads the contract of one of the document's objects; `None` where so much is missing that nothing can be built from it.
pub(super) fn contract(root: &Node, object: &Node, reading: &mut Reading<'_>) -> Option<Contract> {
    let version = version(root, &mut reading.findings);
    let name_node = object.get("name");
    let entity = name_node.and_then(|node| field::name(node, "entity", &mut reading.findings));
    let at = name_node.map_or(object.at, |name| name.at);
    reading.mark("", at);
    reading.mark("/entity", at);
    reading.mark_node("/id", root.get("id"));
    reading.mark_node("/version", root.get("version"));
    reading.mark_node(
        "/description",
        object.get("description").or(root.get("description")),
    );
    let mut drafts = fields(object, reading);
    relationships::of_object(object, &mut drafts, reading);

    let setting = Settings { root, object };
    let owner = setting.get("lockstep.owner", reading);
    let truth = setting.get("lockstep.truth", reading);
    let deletes = setting.get("lockstep.deletes", reading);
    let findings = &mut reading.findings;
    let owner = owner.and_then(|node| system(node, "`lockstep.owner`", findings));
    let truth = truth.map_or(Some(Truth::Owner), |node| {
        word(node, "`lockstep.truth`", TRUTHS, "LS-C014", findings)
    });
    let deletes = deletes.map_or(Some(Deletes::Propagate), |node| {
        word(node, "`lockstep.deletes`", DELETES, "LS-C014", findings)
    });
    ownership(at, owner.as_deref(), truth, &drafts, findings);

    let key = keys::key(&drafts, at, findings);
    for i in &key {
        reading.mark("/key", drafts[*i].key_at);
    }
    let lane_key = setting.get("lockstep.laneKey", reading);
    let lane_key = keys::lane_key(lane_key, &drafts, &key, &mut reading.findings);
    let lanes = setting.get("lockstep.lanes", reading);
    let lanes = keys::lanes(lanes, &mut reading.findings);
    subjects(&drafts, &mut reading.findings);
    let fields: Vec<Field> = drafts.into_iter().map(|draft| draft.field).collect();
    let terms = terms::terms(&setting, &fields, reading);
    let extra = terms::extra(&setting, reading);
    let migrations = setting.get("lockstep.migrations", reading);
    let migrations = migrations::migrations(migrations, &fields, version.as_ref(), reading);
    let mut contract = Contract {
        id: root.get("id").and_then(Node::text)?.to_owned(),
        entity: entity?,
        version: version?,
        description: description(root, object),
        fields,
        key,
        lane_key,
        lanes,
        owner,
        truth: truth?,
        deletes: deletes?,
        extra,
        rules: Vec::new(),
        migrations,
        terms,
    };
    contract.rules = quality::rules(object, &contract, reading);
    reading.remarks = remarks::remarks(root, object);
    reading.written = written::written(root, object);
    Some(contract)
}

fn fundamentals(root: &Node, findings: &mut Findings) {
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
    // Lockstep runs without a status; the standard asks for one up to 3.1.
    let older = written("apiVersion").is_some_and(|node| node.text() != Some("v3.2.0"));
    if findings.mode() == Mode::Lint && older && root.get("status").is_none() {
        findings.error(
            "LS-C006",
            root.at,
            "a contract has no `status`, which the standard asks for before v3.2.0",
            "add `status: active`, or what else it is",
        );
    }
}

/// The contract's version; where nothing is to be run, `1.0` and `v1` are read as what they mean.
fn version(root: &Node, findings: &mut Findings) -> Option<semver::Version> {
    let node = root.get("version").filter(|node| node.text().is_some())?;
    let text = node.text()?;
    match semver::Version::parse(text) {
        Ok(version) => Some(version),
        Err(error) => {
            findings.needed(
                "LS-C008",
                node.at,
                format!("{} is not a semantic version: {error}", node.describe()),
                "write three numbers, such as `1.0.0`",
            );
            let mut numbers = text
                .trim_start_matches('v')
                .split('.')
                .map(|number| number.parse().unwrap_or(0));
            let mut next = || numbers.next().unwrap_or(0);
            (findings.mode() == Mode::Lint).then(|| semver::Version::new(next(), next(), next()))
        }
    }
}

/// The one schema object.
fn object<'n>(root: &'n Node, findings: &mut Findings) -> Option<&'n Node> {
    let schema = root.get("schema");
    let at = schema.map_or(root.at, |node| node.at);
    match schema.map_or(&[][..], Node::items) {
        [object] => Some(object),
        [] => {
            findings.needed(
                "LS-C009",
                at,
                "the contract describes no entity",
                "add `schema:` with one object",
            );
            None
        }
        [_, second, ..] => {
            let name = second.get("name").unwrap_or(second);
            findings.needed(
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

/// Every object of a document that nothing is to be run from.
pub(super) fn objects<'n>(root: &'n Node, findings: &mut Findings) -> &'n [Node] {
    // The count is said once; all of them are read.
    object(root, findings);
    root.get("schema").map_or(&[][..], Node::items)
}

fn fields(object: &Node, reading: &mut Reading<'_>) -> Vec<Draft> {
    let properties = object.get("properties");
    let items = properties.map_or(&[][..], Node::items);
    let at = properties.map_or(object.at, |node| node.at);
    if items.is_empty() {
        reading.findings.needed(
            "LS-C009",
            at,
            "the entity has no properties",
            "add `properties:` with at least the key",
        );
    }
    if items.len() > FIELDS_MAX {
        reading.findings.error(
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
            reading.findings.error(
                "LS-C011",
                name.at,
                format!("there are two properties `{}`", shorten(text)),
                "rename one of them",
            );
        }
        drafts.extend(field::field(item, Level::Entity, "", false, reading));
    }
    drafts
}

/// What a contract says about its entity may stand at the root or at the object, not at both.
pub(super) struct Settings<'n> {
    pub(super) root: &'n Node,
    pub(super) object: &'n Node,
}

impl<'n> Settings<'n> {
    /// The value of a Lockstep property, noting its place under the part it is about.
    pub(super) fn get(&self, name: &str, reading: &mut Reading<'_>) -> Option<&'n Node> {
        let (root, object) = (custom(self.root, name), custom(self.object, name));
        if let (Some(_), Some(object)) = (root, object) {
            reading.findings.error(
                "LS-C013",
                object.at,
                format!("`{name}` stands on the contract and on its schema object"),
                "keep one of them",
            );
        }
        let found = object.or(root);
        let part = name.trim_start_matches("lockstep.");
        reading.mark_node(format!("/{part}"), found);
        found
    }
}

fn ownership(
    at: Span,
    owner: Option<&str>,
    truth: Option<Truth>,
    drafts: &[Draft],
    findings: &mut Findings,
) {
    let unowned = |draft: &Draft| {
        draft.field.owner.is_none() && draft.field.truth.or(truth) == Some(Truth::Owner)
    };
    if owner.is_some() || !drafts.iter().any(unowned) {
        return;
    }
    findings.warning(
        "LS-C015",
        at,
        "no system is named as the owner of the entity",
        "add `{property: lockstep.owner, value: <system>}` to the object's `customProperties`",
    );
}

/// Whose data a field is must be said by a field of the same contract.
fn subjects(drafts: &[Draft], findings: &mut Findings) {
    for draft in drafts {
        let subject = draft
            .field
            .personal
            .as_ref()
            .and_then(|p| p.subject.as_ref());
        let (Some(subject), Some(at)) = (subject, draft.subject_at) else {
            continue;
        };
        let mut names = drafts.iter().map(|draft| draft.field.name.as_str());
        if !names.any(|name| name == subject) {
            let names = drafts.iter().map(|draft| draft.field.name.as_str());
            findings.error(
                "LS-C032",
                at,
                format!(
                    "there is no property `{}` that could say whose data it is",
                    shorten(subject)
                ),
                suggestion(subject, names),
            );
        }
    }
}

fn description(root: &Node, object: &Node) -> Option<String> {
    field::text(object, "description").or_else(|| field::text(root.get("description")?, "purpose"))
}

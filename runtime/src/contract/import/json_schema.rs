//! JSON Schema, of 2020-12 and of the older drafts as far as they say the same, and the schemas of an OpenAPI document.
//!
//! References inside the text are followed, others never; one that leads back to itself is refused.

mod kinds;
mod view;

use lockstep_core::contract::{Deprecation, Extra, Field, wire};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::value::Type;

use self::view::View;
use super::draft::{Asked, Record};
use super::json::{self, Node};
use super::names::Names;
use super::notes::{Notes, shorten};
use super::{DEPTH_MAX, FIELDS_MAX, Imported, sound, yaml};

/// What the comments of generated schemas begin with; behind it stands what JSON Schema cannot say.
pub(crate) const HINT: &str = "lockstep: ";

/// What a hint calls the bounds that are excluded themselves.
pub(crate) const EXCLUSIVE: [&str; 2] = ["exclusiveMinimum", "exclusiveMaximum"];

/// Keywords that say nothing about which documents are valid, or were seen to already.
const REMARKS: [&str; 26] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "allOf",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "example",
    "examples",
    "externalDocs",
    "id",
    "markdownDescription",
    "nullable",
    "readOnly",
    "required",
    "title",
    "type",
    "writeOnly",
    "xml",
];

/// Imports a schema of records; of several definitions, the one that `asked` names.
///
/// # Errors
/// Why nothing comes out, with its place.
pub fn import(file: &str, text: &str, asked: &Asked) -> Imported {
    let name = file.to_ascii_lowercase();
    let said;
    let (text, mut notes) = if name.ends_with(".yaml") || name.ends_with(".yml") {
        said = yaml::parse(&Notes::new(file, text), text)?.to_string();
        // Lines of the JSON that the YAML says are nobody's.
        (said.as_str(), Notes::unplaced(file))
    } else {
        (text, Notes::new(file, text))
    };
    let root = json::parse(&notes, text)?;
    let (name, node) = record(&root, file, asked, &notes)?;
    let mut importer = Importer {
        root: &root,
        notes: notes.fresh(),
        views: 0,
        fields: 0,
        open: Vec::new(),
    };
    let view = importer.view(node, "")?;
    let mut record = Record::new(name);
    record.description = view.text("description").map(str::to_owned);
    record.key = hint(&view)
        .and_then(|hint| hint.strip_prefix("key "))
        .map(|key| key.split(", ").map(str::to_owned).collect())
        .unwrap_or_default();
    if !view.says_object() {
        return Err(importer.notes.fail(
            "LS-I105",
            Some(node.at),
            "the schema does not describe objects with properties",
            "name the definition that is meant with `--entity`",
        ));
    }
    let depth = importer.enter(&view);
    let (fields, written) = importer.members(&view, "")?;
    importer.leave(depth);
    record.extra = importer.extra(&view, "");
    importer.left(
        &view,
        "",
        &[
            "properties",
            "additionalProperties",
            "unevaluatedProperties",
        ],
    );
    record.fields = fields;
    record.written = written;
    std::mem::swap(&mut notes, &mut importer.notes);
    Ok(vec![record.finish(asked, notes)?])
}

/// The schema that describes the record, and its name.
fn record<'n>(
    root: &'n Node,
    file: &str,
    asked: &Asked,
    notes: &Notes<'_>,
) -> Result<(String, &'n Node), Vec<Diagnostic>> {
    let title = root.get("title").and_then(Node::text).map(|title| {
        // Generated schemas are titled `order (writer)`.
        title.split(" (").next().unwrap_or(title).to_owned()
    });
    let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = stem.split('.').next().unwrap_or(stem);
    let name = title.unwrap_or_else(|| stem.to_owned());
    let own = ["properties", "$ref", "allOf"]
        .iter()
        .any(|key| root.get(key).is_some());
    if own {
        return Ok((name, root));
    }
    if let Some(items) = root.get("items").filter(|items| items.is_map()) {
        return Ok((name, items));
    }
    // An OpenAPI document keeps its schemas among its components.
    let components = root.get("components").and_then(|node| node.get("schemas"));
    let definitions: Vec<(&str, &Node)> = ["$defs", "definitions"]
        .iter()
        .filter_map(|key| root.get(key))
        .chain(components)
        .flat_map(Node::entries)
        .map(|entry| (entry.key.as_str(), &entry.value))
        .collect();
    let objects = || {
        definitions
            .iter()
            .filter(|(_, node)| node.get("properties").is_some())
    };
    let meant = match &asked.entity {
        Some(entity) => definitions
            .iter()
            .find(|(name, _)| name == entity || super::names::entity(name) == *entity),
        None if objects().count() == 1 => objects().next(),
        None => None,
    };
    if let Some((name, node)) = meant {
        return Ok(((*name).to_owned(), node));
    }
    let names: Vec<&str> = objects().map(|(name, _)| *name).collect();
    Err(notes.fail(
        "LS-I105",
        Some(root.at),
        "the schema describes no one record",
        match names.is_empty() {
            true => "it needs `properties`, or a definition with them".to_owned(),
            false => format!(
                "name the definition that is meant with `--entity`: {}",
                suggestion(asked.entity.as_deref().unwrap_or_default(), names)
            ),
        },
    ))
}

pub(super) struct Importer<'n, 't> {
    root: &'n Node,
    notes: Notes<'t>,
    /// How many schemas were looked at, which bounds what references can multiply.
    views: usize,
    fields: usize,
    /// Where the schemas begin that are being read, to find circles.
    open: Vec<usize>,
}

impl<'n> Importer<'n, '_> {
    /// The members of an object, and how the schema writes their names.
    fn members(
        &mut self,
        view: &View<'n>,
        path: &str,
    ) -> Result<(Vec<Field>, Vec<String>), Vec<Diagnostic>> {
        let required = view.required();
        let mut names = Names::default();
        let mut fields = Vec::new();
        let mut written = Vec::new();
        for (key, at, node) in view.properties() {
            let name = names.give(key);
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if node.flag() == Some(false) {
                let what = format!("that `{}` must not be there is not checked", shorten(key));
                let help = "take the field out of the contract";
                self.notes.warn("LS-I108", &path, Some(at), what, help);
            }
            let mut field = self.field(&name, &path, node)?;
            // Draft 3 says it at the property.
            let own = node.get("required").and_then(Node::flag).unwrap_or(false);
            field.required = own || required.contains(&key);
            if path.contains('.') && name != *key {
                let message = format!("`{path}` was named `{}`", shorten(key));
                self.notes
                    .tell("LS-I107", &path, Some(at), message, "map it to this name");
            }
            fields.push(field);
            written.push(key.to_owned());
        }
        for name in required {
            if !written.iter().any(|written| written == name) {
                let what = format!("`{}` is required but not described", shorten(name));
                self.notes
                    .warn("LS-I108", path, None, what, "describe it in the source");
            }
        }
        Ok((fields, written))
    }

    fn field(&mut self, name: &str, path: &str, node: &'n Node) -> Result<Field, Vec<Diagnostic>> {
        self.fields += 1;
        if self.fields > FIELDS_MAX
            || self.open.len() > 4 * DEPTH_MAX
            || path.matches('.').count() >= DEPTH_MAX
        {
            return Err(self.notes.fail(
                "LS-I103",
                Some(node.at),
                format!("the schema describes more than {FIELDS_MAX} fields, or nests deeper than {DEPTH_MAX}"),
                "import a part of it",
            ));
        }
        let mut view = self.view(node, path)?;
        let mut field = Field::new(name, Type::Json);
        field.nullable = view.flag("nullable");
        self.choices(&mut view, path, &mut field)?;
        let depth = self.enter(&view);
        let kind = self.kind(&view, path, &mut field);
        let taken = self.fill(&view, path, kind, &mut field)?;
        self.left(&view, path, taken);
        self.leave(depth);
        self.about(&view, name, &mut field);
        sound::settle(&mut field, path, Some(node.at), &mut self.notes);
        Ok(field)
    }

    /// Alternatives: one beside null is that one, lists of constants are allowed values.
    fn choices(
        &mut self,
        view: &mut View<'n>,
        path: &str,
        field: &mut Field,
    ) -> Result<(), Vec<Diagnostic>> {
        for key in ["anyOf", "oneOf"] {
            let Some(list) = view.get(key) else { continue };
            let (nulls, others): (Vec<&Node>, Vec<&Node>) =
                list.items().iter().partition(|node| is_null(node));
            let constants: Option<Vec<&Node>> =
                others.iter().map(|node| node.get("const")).collect();
            if let [one] = others.as_slice() {
                field.nullable |= !nulls.is_empty();
                let inside = self.view(one, path)?;
                view.take(key);
                view.join(inside);
            } else if let Some(constants) = constants.filter(|list| !list.is_empty()) {
                field.nullable |= !nulls.is_empty();
                view.take(key);
                view.constants = constants;
            } else {
                field.nullable |= !nulls.is_empty();
                let what = format!(
                    "`{key}` with {} alternatives is not checked, so any value is allowed",
                    others.len()
                );
                self.notes.warn(
                    "LS-I108",
                    path,
                    Some(list.at),
                    what,
                    "make the alternatives fields of their own, or say it as a rule",
                );
                view.take(key);
                view.anything = true;
            }
        }
        Ok(())
    }

    fn extra(&mut self, view: &View<'n>, path: &str) -> Extra {
        let said = view
            .get("additionalProperties")
            .or(view.get("unevaluatedProperties"));
        match said {
            Some(node) if node.flag() == Some(false) => Extra::Reject,
            Some(node) if node.is_map() && !node.entries().is_empty() => {
                self.notes.warn(
                    "LS-I108",
                    path,
                    Some(node.at),
                    "what other members hold is not checked",
                    "describe them, or make them a map",
                );
                Extra::Keep
            }
            _ => Extra::Keep,
        }
    }

    fn about(&mut self, view: &View<'n>, name: &str, field: &mut Field) {
        let title = view.text("title").filter(|title| *title != name);
        field.description = view.text("description").or(title).map(str::to_owned);
        if let Some(default) = view.get("default") {
            field.default = wire::from_json(field.kind, &default.json());
            if field.default.is_none() {
                self.notes.warn(
                    "LS-I108",
                    name,
                    Some(default.at),
                    "the default is not of the field's type, so it was left out",
                    "mend it in the source",
                );
            }
        }
        if view.flag("deprecated") {
            field.deprecation = Some(Deprecation {
                since: None,
                sunset: None,
                replacement: None,
            });
        }
    }

    /// Notes the keywords that nothing has seen to.
    fn left(&mut self, view: &View<'n>, path: &str, taken: &[&str]) {
        for (key, at) in view.keys() {
            let known = REMARKS.contains(&key) || taken.contains(&key) || view.is_taken(key);
            if known || view.anything && ["enum", "const"].contains(&key) {
                continue;
            }
            let what = format!("`{}` is not checked", shorten(key));
            if key.starts_with("x-") {
                self.notes.tell(
                    "LS-I108",
                    path,
                    Some(at),
                    what,
                    "it is an addition of some tool",
                );
            } else {
                self.notes.warn(
                    "LS-I108",
                    path,
                    Some(at),
                    what,
                    "say it as a rule (`quality`) where it matters",
                );
            }
        }
    }
}

/// What a generated schema says in a comment.
fn hint<'n>(view: &View<'n>) -> Option<&'n str> {
    view.text("$comment")?.strip_prefix(HINT)
}

/// A type by its word: `decimal(12,2)`, `time`.
pub(super) fn kind_of(word: &str) -> Option<Type> {
    Some(match word {
        "bytes" => Type::Bytes,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "uuid" => Type::Uuid,
        "json" => Type::Json,
        "decimal" => Type::DECIMAL,
        _ => {
            let (precision, scale) = word
                .strip_prefix("decimal(")?
                .strip_suffix(')')?
                .split_once(',')?;
            Type::Decimal {
                precision: Some(precision.trim().parse().ok()?),
                scale: Some(scale.trim().parse().ok()?),
            }
        }
    })
}

fn is_null(node: &Node) -> bool {
    node.get("type").and_then(Node::text) == Some("null")
        || node.get("const").is_some_and(|node| node.json().is_null())
        || node
            .get("enum")
            .is_some_and(|list| matches!(list.items(), [one] if one.json().is_null()))
}

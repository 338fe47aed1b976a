//! Files of the Open Data Contract Standard v3 that others wrote: one file per entity, with what Lockstep needs added and all else kept.

use lockstep_core::contract::{NoLibrary, document, load};
use lockstep_core::diagnostic::{Diagnostic, Severity, suggestion};
use serde_json::{Map, Value as Json, json};

use super::draft::{Asked, Draft};
use super::links;
use super::names::{self, Names};
use super::notes::{Notes, shorten};
use super::relationships::relink;
use super::yaml;
use super::{FIELDS_MAX, Imported};

/// Most entities of one file.
const OBJECTS_MAX: usize = 200;

/// Imports a file; every object of its schema becomes a contract.
///
/// # Errors
/// Why nothing comes out, with its place.
pub fn import(file: &str, text: &str, asked: &Asked) -> Imported {
    let notes = Notes::new(file, text);
    let root = yaml::parse(&notes, text)?;
    supported(&notes, &root)?;
    let objects = root
        .get("schema")
        .and_then(Json::as_array)
        .map_or(&[][..], Vec::as_slice);
    if objects.is_empty() || objects.len() > OBJECTS_MAX {
        let message = format!("the file describes {} entities", objects.len());
        let help = format!("`schema` lists them, at most {OBJECTS_MAX}");
        return Err(notes.fail("LS-I105", None, message, help));
    }
    let several = objects.len() > 1;
    let meant: Vec<&Json> = objects
        .iter()
        .filter(|object| {
            let wanted = asked.entity.as_deref().filter(|_| several);
            wanted.is_none_or(|wanted| {
                let own = name_of(object);
                own == wanted || names::entity(&own) == wanted
            })
        })
        .collect();
    if meant.is_empty() {
        let known: Vec<String> = objects.iter().map(name_of).collect();
        let asked = asked.entity.as_deref().unwrap_or_default();
        let message = format!("the file describes no entity `{}`", shorten(asked));
        return Err(notes.fail(
            "LS-I105",
            None,
            message,
            suggestion(asked, known.iter().map(String::as_str)),
        ));
    }
    let mut drafts: Vec<Draft> = Vec::new();
    let mut refused = Vec::new();
    for object in meant {
        let mut notes = notes.fresh();
        let read = one(&root, object, several, asked, &mut notes);
        match read.and_then(|document| draft(file, document, notes)) {
            Ok(draft) => drafts.push(draft),
            Err(found) => refused.extend(found),
        }
    }
    match drafts.first_mut() {
        // One entity that cannot be had does not keep the others back.
        Some(first) => first.findings.append(&mut refused),
        None => return Err(refused),
    }
    follow(file, &mut drafts, asked);
    Ok(drafts)
}

/// Makes every reference lead to an entity that is there; where the first of a property is left out, its next is looked at.
fn follow(file: &str, drafts: &mut [Draft], asked: &Asked) {
    loop {
        let left_out = links::settle(drafts, &asked.others);
        for draft in drafts.iter_mut() {
            let written = draft.document.as_ref().map(document::yaml);
            let loaded = written.map(|text| load(file, &text, &NoLibrary));
            if let Some(Ok(loaded)) = loaded {
                draft.contract = loaded.contract;
            }
        }
        // Each turn takes a relationship out, so there is a last one.
        if !left_out {
            return;
        }
    }
}

fn supported(notes: &Notes<'_>, root: &Json) -> Result<(), Vec<Diagnostic>> {
    let version = root
        .get("apiVersion")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let is_two = version.starts_with("v2")
        || root.get("datasetDomain").is_some()
        || root.get("quantumName").is_some();
    if is_two {
        return Err(notes.fail(
            "LS-I109",
            Some(0),
            "version 2 of the standard is not read",
            "rename `datasetDomain` to `domain`, `quantumName` to `name`, `dataset` to `schema` and `columns` to `properties`, and write `apiVersion: v3.1.0`",
        ));
    }
    if root.get("dataContractSpecification").is_some() {
        return Err(notes.fail(
            "LS-I109",
            Some(0),
            "this is a file of the Data Contract Specification, not of the Open Data Contract Standard",
            "export it as ODCS first (`datacontract export --format odcs`)",
        ));
    }
    if !version.starts_with("v3") {
        return Err(notes.fail(
            "LS-I109",
            Some(0),
            format!("`apiVersion` is `{}`", shorten(version)),
            "files with `apiVersion: v3.0.0` to `v3.2.0` are read",
        ));
    }
    Ok(())
}

/// The document of one object.
fn one(
    root: &Json,
    object: &Json,
    several: bool,
    asked: &Asked,
    notes: &mut Notes<'_>,
) -> Result<Json, Vec<Diagnostic>> {
    let written = name_of(object);
    let entity = entity_of(asked.entity.as_deref().unwrap_or(&written));
    let mut document = root.as_object().cloned().unwrap_or_default();
    document.insert("kind".to_owned(), "DataContract".into());
    let id = document
        .get("id")
        .and_then(Json::as_str)
        .unwrap_or(&entity)
        .to_owned();
    let id = if several {
        format!("{id}-{entity}")
    } else {
        id
    };
    document.insert("id".to_owned(), id.into());
    document.entry("status").or_insert_with(|| "draft".into());
    version(&mut document, notes);
    let Some(mut object) = object.as_object().cloned() else {
        return Err(notes.fail(
            "LS-I102",
            None,
            "an entry of `schema` is no object",
            "an entity has `name` and `properties`",
        ));
    };
    if entity != written {
        notes.tell(
            "LS-I107",
            "",
            None,
            format!("the entity was named `{}`", shorten(&written)),
            "letters, digits and `_` can stand in subjects",
        );
        if !written.is_empty() {
            object
                .entry("physicalName")
                .or_insert_with(|| written.as_str().into());
        }
    }
    object.insert("name".to_owned(), entity.into());
    let objects = root.get("schema").and_then(Json::as_array);
    let objects = objects.map_or(&[][..], Vec::as_slice);
    if let Some(owner) = &asked.owner {
        add_custom(&mut object, "lockstep.owner", owner);
    }
    let mut properties = object
        .remove("properties")
        .and_then(|list| list.as_array().cloned())
        .unwrap_or_default();
    if properties.is_empty() || properties.len() > FIELDS_MAX {
        let message = format!(
            "`{}` has {} properties",
            shorten(&written),
            properties.len()
        );
        return Err(notes.fail(
            "LS-I103",
            None,
            message,
            format!("1 to {FIELDS_MAX} are read"),
        ));
    }
    let renamed = rename(&mut properties, notes);
    // What refers to this object by the name that it had refers to it by the one that it has.
    let renamed_entity = |object: &str| {
        let own = (object == written).then_some(asked.entity.as_deref());
        entity_of(own.flatten().unwrap_or(object))
    };
    let named = |object: &str| objects.iter().any(|known| name_of(known) == object);
    let end = |end: &str| {
        let (object, name) = end.split_once('.')?;
        let name = names::legal(name, "field");
        named(object).then(|| format!("{}.{name}", renamed_entity(object)))
    };
    for property in &mut properties {
        mend(property, notes);
        relink(property, "to", &end);
    }
    key(&mut properties, &renamed, asked, notes)?;
    object.insert("properties".to_owned(), properties.into());
    let mut object = Json::Object(object);
    relink(&mut object, "from", &end);
    relink(&mut object, "to", &end);
    document.insert("schema".to_owned(), json!([object]));
    Ok(document.into())
}

/// The name that an entity gets here.
fn entity_of(wanted: &str) -> String {
    if names::legal(wanted, "record") == wanted {
        wanted.to_owned()
    } else {
        names::entity(wanted)
    }
}

fn name_of(object: &Json) -> String {
    object
        .get("name")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Versions of contracts are semantic; others get the numbers that they lack.
fn version(document: &mut Map<String, Json>, notes: &mut Notes<'_>) {
    let written = match document.get("version") {
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    if semver::Version::parse(&written).is_ok() {
        return;
    }
    let mut numbers: Vec<String> = written
        .trim_start_matches(['v', 'V'])
        .split('.')
        .map_while(|part| part.parse::<u64>().ok())
        .take(3)
        .map(|number| number.to_string())
        .collect();
    if numbers.is_empty() {
        numbers.push("1".to_owned());
    }
    numbers.resize(3, "0".to_owned());
    let version = numbers.join(".");
    notes.tell(
        "LS-I110",
        "",
        None,
        format!(
            "the version was `{}` and is `{version}` now",
            shorten(&written)
        ),
        "three numbers tell whether a change breaks somebody",
    );
    document.insert("version".to_owned(), version.into());
}

/// Gives every property a legal name; the names as they were, in order.
fn rename(properties: &mut [Json], notes: &mut Notes<'_>) -> Vec<String> {
    let mut given = Names::default();
    let mut before = Vec::with_capacity(properties.len());
    for property in properties {
        let written = name_of(property);
        let name = given.give(&written);
        if name != written
            && let Some(own) = property.as_object_mut()
        {
            notes.tell(
                "LS-I107",
                &name,
                None,
                format!("the name was `{}`", shorten(&written)),
                "map it to this name where the system is configured",
            );
            if !written.is_empty() {
                own.entry("physicalName")
                    .or_insert_with(|| written.as_str().into());
            }
            own.insert("name".to_owned(), name.into());
        }
        before.push(written);
    }
    before
}

/// Adds what Lockstep needs to know of a property.
fn mend(property: &mut Json, notes: &mut Notes<'_>) {
    let name = name_of(property);
    let Some(own) = property.as_object_mut() else {
        return;
    };
    let text = |own: &Map<String, Json>, key: &str| {
        own.get(key)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let physical = text(own, "physicalType");
    if !own.contains_key("logicalType") {
        let logical = logical(&physical);
        let what = match physical.as_str() {
            "" => "it has no type; a text was taken".to_owned(),
            physical => format!("`{}` was read as `{logical}`", shorten(physical)),
        };
        notes.warn("LS-I110", &name, None, what, "set `logicalType`");
        own.insert("logicalType".to_owned(), logical.into());
    }
    if text(own, "logicalType") == "number" && logical(&physical) == "integer" {
        let what = format!(
            "`{}` is a whole number, so it is read as an integer",
            shorten(&physical)
        );
        notes.tell("LS-I110", &name, None, what, "set `logicalType: integer`");
        own.insert("logicalType".to_owned(), "integer".into());
    }
    if text(own, "logicalType") == "number" {
        let exact = exact(&physical);
        if physical.to_lowercase() != exact {
            let what = match physical.as_str() {
                "" => format!("the number does not say how exact it is; {exact} was taken"),
                physical => format!("`{}` was read as {exact}", shorten(physical)),
            };
            notes.warn("LS-I110", &name, None, what, "write `physicalType: decimal(12,2)` for exact numbers, or `double` for measurements");
            own.insert("physicalType".to_owned(), exact.into());
        }
    }
    if let Some(options) = own
        .get_mut("logicalTypeOptions")
        .and_then(Json::as_object_mut)
    {
        let unclear: Vec<String> = options
            .iter()
            .filter(|(key, value)| {
                key.to_lowercase().contains("imum") && value.as_str().is_some_and(is_local)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in unclear {
            if let Some(Json::String(bound)) = options.get_mut(&key) {
                bound.push('Z');
                notes.tell(
                    "LS-I110",
                    &name,
                    None,
                    format!("`{key}` has no offset; UTC was taken"),
                    "timestamps are instants",
                );
            }
        }
    }
    if let Some(Json::Object(items)) = own.get_mut("items") {
        let mut inside = Json::Object(std::mem::take(items));
        mend(&mut inside, notes);
        if let Json::Object(inside) = inside {
            *items = inside;
        }
    }
    for inner in own
        .get_mut("properties")
        .and_then(Json::as_array_mut)
        .into_iter()
        .flatten()
    {
        mend(inner, notes);
    }
}

/// Whether a text is a date and time without an offset.
fn is_local(text: &str) -> bool {
    text.parse::<jiff::civil::DateTime>().is_ok()
        && text.len() > 10
        && text.parse::<jiff::Timestamp>().is_err()
}

/// The logical type that a type of some database is.
fn logical(physical: &str) -> &'static str {
    let word = physical.to_uppercase();
    let word = word.split(['(', ' ', '<']).next().unwrap_or_default();
    match word {
        "INT" | "INTEGER" | "BIGINT" | "SMALLINT" | "TINYINT" | "INT2" | "INT4" | "INT8"
        | "INT64" | "SERIAL" | "BIGSERIAL" | "LONG" => "integer",
        "NUMERIC" | "DECIMAL" | "NUMBER" | "MONEY" | "FLOAT" | "FLOAT64" | "REAL" | "DOUBLE"
        | "BIGNUMERIC" => "number",
        "BOOL" | "BOOLEAN" | "BIT" => "boolean",
        "DATE" => "date",
        "TIME" => "time",
        "TIMESTAMP" | "TIMESTAMPTZ" | "DATETIME" | "DATETIME2" | "DATETIMEOFFSET"
        | "TIMESTAMP_TZ" => "timestamp",
        "JSON" | "JSONB" | "STRUCT" | "RECORD" | "OBJECT" | "VARIANT" | "MAP" => "object",
        "ARRAY" | "LIST" => "array",
        _ => "string",
    }
}

/// The exactness of a number as Lockstep writes it.
fn exact(physical: &str) -> String {
    let lower = physical.trim().to_lowercase();
    let inside = lower
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(inside, _)| inside.to_owned());
    let word = lower.split('(').next().unwrap_or_default().trim();
    match (word, inside) {
        ("numeric" | "decimal" | "number" | "dec" | "bignumeric", Some(inside)) => {
            let (precision, scale) = inside.split_once(',').unwrap_or((&inside, "0"));
            match (precision.trim().parse::<u32>(), scale.trim().parse::<u32>()) {
                (Ok(precision), Ok(scale))
                    if (1..=100).contains(&precision) && scale <= precision =>
                {
                    format!("decimal({precision},{scale})")
                }
                _ => "decimal(38,10)".to_owned(),
            }
        }
        ("numeric" | "decimal" | "number" | "dec" | "bignumeric", None) => {
            "decimal(38,10)".to_owned()
        }
        ("money" | "smallmoney", _) => "decimal(19,4)".to_owned(),
        _ => "double".to_owned(),
    }
}

/// Marks the key; what identifies a record is always there.
fn key(
    properties: &mut [Json],
    before: &[String],
    asked: &Asked,
    notes: &mut Notes<'_>,
) -> Result<(), Vec<Diagnostic>> {
    let mut key: Vec<usize> = Vec::new();
    for name in &asked.key {
        let at = properties
            .iter()
            .zip(before)
            .position(|(property, before)| before == name || name_of(property) == *name);
        let Some(at) = at else {
            let known = before.iter().map(String::as_str);
            return Err(notes.fail(
                "LS-I106",
                None,
                format!("the key names `{}`, which is no property", shorten(name)),
                suggestion(name, known),
            ));
        };
        key.push(at);
    }
    let said = asked.key.is_empty();
    if said {
        key = (0..properties.len())
            .filter(|i| properties[*i].get("primaryKey") == Some(&Json::Bool(true)))
            .collect();
    }
    if key.is_empty() {
        let scalar = |property: &Json| match property.get("logicalType").and_then(Json::as_str) {
            Some("object" | "array" | "map" | "vector") => false,
            Some("number") => property.get("physicalType").and_then(Json::as_str) != Some("double"),
            _ => true,
        };
        let likely = |property: &Json| {
            let name = name_of(property).to_lowercase();
            property.get("unique") == Some(&Json::Bool(true))
                || name == "id"
                || name.ends_with("_id")
        };
        let fitting: Vec<usize> = (0..properties.len())
            .filter(|i| scalar(&properties[*i]))
            .collect();
        let best = fitting
            .iter()
            .find(|i| likely(&properties[**i]))
            .or(fitting.first());
        let Some(best) = best else {
            return Err(notes.fail(
                "LS-I106",
                None,
                "no property can be a key",
                "name it with `--key`",
            ));
        };
        let name = name_of(&properties[*best]);
        notes.warn(
            "LS-I106",
            &name,
            None,
            "guessed to identify a record",
            "say what identifies a record with `--key a,b`",
        );
        key.push(*best);
    }
    let positioned = said
        && key
            .iter()
            .all(|i| properties[*i].get("primaryKeyPosition").is_some());
    for (i, property) in properties.iter_mut().enumerate() {
        let name = name_of(property);
        let Some(own) = property.as_object_mut() else {
            continue;
        };
        let Some(at) = key.iter().position(|at| *at == i) else {
            own.shift_remove("primaryKeyPosition");
            if own.get("primaryKey") == Some(&Json::Bool(true)) {
                own.insert("primaryKey".to_owned(), false.into());
            }
            continue;
        };
        own.insert("primaryKey".to_owned(), true.into());
        if key.len() > 1 && !positioned {
            own.insert("primaryKeyPosition".to_owned(), (at + 1).into());
        }
        if own.get("required") != Some(&Json::Bool(true)) {
            notes.tell(
                "LS-I106",
                &name,
                None,
                "it is part of the key, so it is required",
                "name another with `--key` where it may be absent",
            );
            own.insert("required".to_owned(), true.into());
        }
    }
    Ok(())
}

fn add_custom(own: &mut Map<String, Json>, name: &str, value: &str) {
    let list = own.entry("customProperties").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.retain(|item| item.get("property").and_then(Json::as_str) != Some(name));
        list.push(json!({"property": name, "value": value}));
    }
}

/// The contract that a document is; what stands in its way becomes findings about the source.
fn draft(file: &str, own: Json, notes: Notes<'_>) -> Result<Draft, Vec<Diagnostic>> {
    let written = document::yaml(&own);
    let place = notes.usual();
    let (mut findings, remarks) = notes.finish();
    match load(file, &written, &NoLibrary) {
        Ok(loaded) => Ok(Draft {
            contract: loaded.contract,
            findings,
            remarks,
            columns: columns(&own),
            table: own.pointer("/schema/0").and_then(stands_as),
            document: Some(own),
            place,
        }),
        Err(found) => {
            // Places are those of the text that would be written, which nobody has.
            findings.push(
                Diagnostic::error("LS-I112", "what came out does not load as a contract")
                    .help("mend what the next findings name in the source"),
            );
            findings.extend(
                found
                    .into_iter()
                    .filter(|found| found.severity == Severity::Error)
                    .map(|mut found| {
                        found.place = None;
                        found
                    }),
            );
            Err(findings)
        }
    }
}

/// What the columns of an object's properties are called.
fn columns(document: &Json) -> Vec<String> {
    let properties = document.pointer("/schema/0/properties");
    let properties = properties.and_then(Json::as_array).into_iter().flatten();
    properties.filter_map(stands_as).collect()
}

/// What an object or a property is called where it stands.
fn stands_as(node: &Json) -> Option<String> {
    let name = node.get("physicalName").or_else(|| node.get("name"));
    name.and_then(Json::as_str).map(str::to_owned)
}

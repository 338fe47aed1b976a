//! Measures the containment of plain JSON Schemas: how often it is decided, how quickly, and whether any answer is wrong.
//!
//! The pairs are made from the public test data that `LOCKSTEP_TEST_DATA` names: schemas of the test suite against each other, and large published schemas against edits of them.
//! Every "no" is held against two validators, and every "yes" is attacked with documents.
//! `cargo run -p lockstep-core --example containment -- [BUDGET_MS] [SHARE] [FILTER]` takes every SHARE-th pair.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot read its data has failed, and prints what it found"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockstep_core::contract::contain::{self, Budget, Verdict};
use serde_json::{Map, Value as Json, json};

/// A question, and documents that may contradict its answer.
struct Pair {
    name: String,
    old: Arc<Json>,
    new: Arc<Json>,
    documents: Arc<Vec<Json>>,
}

/// What became of the pairs of one sort.
#[derive(Default)]
struct Count {
    yes: usize,
    no: usize,
    unproven: usize,
    errors: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (budget, share) = (
        Duration::from_millis(number(200)),
        number(1).max(1) as usize,
    );
    let filter = arguments.next().unwrap_or_default();
    let data = std::env::var_os("LOCKSTEP_TEST_DATA").expect("LOCKSTEP_TEST_DATA is not set");
    let root = Path::new(&data).join("contracts");
    let mut pairs = suite(&root.join("json-schema-test-suite/tests/draft2020-12"));
    pairs.extend(published(&root));
    pairs.retain(|pair| pair.name.contains(&filter));
    let pairs: Vec<Pair> = pairs.into_iter().step_by(share).collect();
    println!("{} pairs", pairs.len());

    let next = AtomicUsize::new(0);
    let found = Mutex::new((BTreeMap::<String, Count>::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let work = || {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (verdict, time) = ask(pair, budget);
                    let mut found = found.lock().unwrap();
                    let count = found.0.entry(pair.name.clone()).or_default();
                    match verdict {
                        Some(Verdict::Yes) => count.yes += 1,
                        Some(Verdict::No) => count.no += 1,
                        Some(Verdict::Unproven) => count.unproven += 1,
                        None => count.errors += 1,
                    }
                    found.1.push(time);
                }
            };
            let thread = std::thread::Builder::new().stack_size(contain::STACK_BYTES);
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    tell(found.into_inner().unwrap());
}

fn tell((counts, mut times): (BTreeMap<String, Count>, Vec<Duration>)) {
    let mut all = Count::default();
    for (name, count) in &counts {
        all.yes += count.yes;
        all.no += count.no;
        all.unproven += count.unproven;
        all.errors += count.errors;
        if count.unproven + count.errors > 0 {
            let Count {
                yes,
                no,
                unproven,
                errors,
            } = count;
            println!("{name}: {yes} yes, {no} no, {unproven} unproven, {errors} unread");
        }
    }
    times.sort_unstable();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    let Count {
        yes,
        no,
        unproven,
        errors,
    } = all;
    println!("all: {yes} yes, {no} no, {unproven} unproven, {errors} unread");
    println!(
        "times: half {:?}, 99 % {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
}

/// Asks, and holds the answer against validators; without a verdict where the schemas cannot be used.
fn ask(pair: &Pair, total: Duration) -> (Option<Verdict>, Duration) {
    let (old, new) = (&pair.old, &pair.new);
    let began = Instant::now();
    let elapsed = || began.elapsed();
    let budget = Budget {
        total,
        elapsed: &elapsed,
    };
    let decision = contain::decide(old, new, budget);
    let time = began.elapsed();
    let name = &pair.name;
    if time > total * 3 / 2 {
        println!("SLOW {time:?} {name}: {}", shown(pair));
    }
    if let Some(error) = decision.error {
        if std::env::var_os("SHOW_ERRORS").is_some() {
            println!("UNREAD {name}: {error}");
        }
        return (None, time);
    }
    if decision.verdict == Verdict::Unproven {
        println!("UNPROVEN {time:?} {name}: {}", shown(pair));
        return (Some(decision.verdict), time);
    }
    let judges = [Judge::of(old), Judge::of(new)];
    let parts = |document: &Json| -> Vec<&'static str> {
        let [old, new] = &judges;
        let mut told = Vec::new();
        if old.strict.is_valid(document) && !new.strict.is_valid(document) {
            told.push("jsonschema");
        }
        if old.boon_says(document) == Some(true) && new.boon_says(document) == Some(false) {
            told.push("boon");
        }
        told
    };
    match decision.verdict {
        Verdict::No => {
            let witness = decision.witness.unwrap();
            let told = parts(&witness);
            if told.len() < 2 {
                println!(
                    "DOUBT no {name}: only {told:?} for {witness}: {}",
                    shown(pair)
                );
            }
        }
        Verdict::Yes => {
            for document in pair.documents.iter().flat_map(|document| {
                let mut all = near(document);
                all.push(document.clone());
                all
            }) {
                let told = parts(&document);
                if !told.is_empty() {
                    println!(
                        "DOUBT yes {name}: {told:?} against with {document}: {}",
                        shown(pair)
                    );
                }
            }
        }
        Verdict::Unproven => {}
    }
    (Some(decision.verdict), time)
}

fn shown(pair: &Pair) -> String {
    let text = format!("{} => {}", pair.old, pair.new);
    if text.len() < 1_500 {
        return text;
    }
    let mut found = Vec::new();
    differences(&pair.old, &pair.new, "", &mut found);
    found.truncate(4);
    let mut text = format!("({} bytes) {}", text.len(), found.join("; "));
    text.truncate(
        (0..=600.min(text.len()))
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap(),
    );
    text
}

fn differences(old: &Json, new: &Json, at: &str, found: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Json::Object(a), Json::Object(b)) if found.len() < 4 => {
            for (name, inner) in a {
                differences(
                    inner,
                    b.get(name).unwrap_or(&json!("(none)")),
                    &format!("{at}/{name}"),
                    found,
                );
            }
            for (name, inner) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                found.push(format!("{at}/{name}: new {inner}"));
            }
        }
        _ => found.push(format!("{at}: {old} => {new}")),
    }
}

/// Two validators of a schema.
struct Judge {
    strict: jsonschema::Validator,
    boon: Option<(boon::Schemas, boon::SchemaIndex)>,
}

impl Judge {
    fn of(schema: &Json) -> Judge {
        let options = jsonschema::options().should_validate_formats(false);
        let compile = || {
            let mut compiler = boon::Compiler::new();
            compiler
                .add_resource("mem:///schema.json", schema.clone())
                .ok()?;
            let mut schemas = boon::Schemas::new();
            let index = compiler.compile("mem:///schema.json", &mut schemas).ok()?;
            Some((schemas, index))
        };
        Judge {
            strict: options.build(schema).unwrap(),
            boon: compile(),
        }
    }

    fn boon_says(&self, document: &Json) -> Option<bool> {
        let (schemas, index) = self.boon.as_ref()?;
        Some(schemas.validate(document, *index).is_ok())
    }
}

/// Documents one change away.
fn near(document: &Json) -> Vec<Json> {
    let mut out = Vec::new();
    match document {
        Json::Object(members) => {
            for (name, value) in members {
                let mut less = members.clone();
                less.remove(name);
                out.push(Json::Object(less));
                for other in [Json::Null, json!(1), json!("x"), json!([]), json!({})] {
                    if other != *value {
                        let mut with = members.clone();
                        with.insert(name.clone(), other);
                        out.push(Json::Object(with));
                    }
                }
            }
            let mut more = members.clone();
            more.insert("zz".to_owned(), json!(1));
            out.push(Json::Object(more));
        }
        Json::Array(items) => {
            for at in 0..items.len() {
                let mut less = items.clone();
                less.remove(at);
                out.push(Json::Array(less));
            }
            for more in [Json::Null, json!(1), json!("x"), json!({})] {
                let mut with = items.clone();
                with.push(more);
                out.push(Json::Array(with));
            }
        }
        Json::String(text) => out.push(json!(format!("{text}a"))),
        Json::Number(number) => out.extend(number.as_i64().map(|at| json!(at.saturating_add(1)))),
        _ => {}
    }
    out
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|end| end == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Schemas of the test suite: each against its neighbours, against less and more of itself, against its documents, and in other clothes.
fn suite(folder: &Path) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for file in files(folder) {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let groups = read(&file);
        let groups = groups.as_array().unwrap();
        let every: Vec<Json> = groups
            .iter()
            .flat_map(|group| group["tests"].as_array().unwrap())
            .map(|case| case["data"].clone())
            .filter(|data| data.to_string().len() < 2_000)
            .collect();
        let documents = Arc::new(every);
        let mut put = |how: &str, old: &Json, new: &Json| {
            let pair = |old: &Json, new: &Json| Pair {
                name: format!("suite {stem} {how}"),
                old: Arc::new(old.clone()),
                new: Arc::new(new.clone()),
                documents: documents.clone(),
            };
            pairs.push(pair(old, new));
            pairs.push(pair(new, old));
        };
        for (at, group) in groups.iter().enumerate() {
            let schema = &group["schema"];
            for other in groups.iter().skip(at + 1) {
                put("other", schema, &other["schema"]);
            }
            let cases = group["tests"].as_array().unwrap();
            let of = |valid: bool| -> Vec<&Json> {
                cases
                    .iter()
                    .filter(|case| case["valid"] == valid)
                    .map(|case| &case["data"])
                    .collect()
            };
            put("enum of valid", schema, &json!({ "enum": of(true) }));
            put("enum of invalid", schema, &json!({ "enum": of(false) }));
            let Some(map) = schema.as_object() else {
                continue;
            };
            for keyword in map.keys().filter(|key| !key.starts_with('$')) {
                let mut less = map.clone();
                less.remove(keyword);
                put("less", schema, &Json::Object(less));
            }
            let plain = !map
                .keys()
                .any(|key| key.starts_with("$id") || key.contains("nchor"));
            let local =
                !schema.to_string().contains("$ref") && !schema.to_string().contains("ynamic");
            if plain && local {
                let mut bare = map.clone();
                let header = bare.remove("$schema");
                let bare = Json::Object(bare);
                let with = |mut body: Json| {
                    if let Some(header) = &header {
                        body["$schema"] = header.clone();
                    }
                    body
                };
                put("allOf", schema, &with(json!({"allOf": [bare]})));
                put(
                    "ref",
                    schema,
                    &with(json!({"$ref": "#/$defs/it", "$defs": {"it": bare}})),
                );
                put("twice not", schema, &with(json!({"not": {"not": bare}})));
                put("not", schema, &with(json!({"not": bare})));
                put(
                    "or null",
                    schema,
                    &with(json!({"anyOf": [bare, {"type": "null"}]})),
                );
                put(
                    "oneOf with",
                    schema,
                    &with(json!({"oneOf": [bare, {"const": "zz"}]})),
                );
                put("if", schema, &with(json!({"if": bare, "else": false})));
                put(
                    "inside",
                    &with(json!({"properties": {"a": bare}, "required": ["a"]})),
                    &with(json!({"properties": {"a": bare}})),
                );
                put(
                    "items",
                    &with(json!({"items": bare, "minItems": 1})),
                    &with(json!({"contains": bare})),
                );
                put(
                    "split",
                    schema,
                    &with(
                        json!({"anyOf": [{"allOf": [bare, {"type": "object"}]}, {"allOf": [bare, {"not": {"type": "object"}}]}]}),
                    ),
                );
            }
        }
    }
    pairs
}

/// An edit that people make.
type Edit = (&'static str, fn(&mut Map<String, Json>) -> bool);

const EDITS: &[Edit] = &[
    ("drop required", |map| map.remove("required").is_some()),
    ("less required", |map| {
        change_list(map, "required", |list| list.pop().is_some())
    }),
    ("more required", |map| {
        map.contains_key("properties")
            && change_list(map, "required", |list| {
                list.push(json!("extraName"));
                true
            })
    }),
    ("optional property", |map| {
        change_map(map, "properties", |members| {
            members.insert("extraName".to_owned(), json!({"type": "string"}));
            true
        })
    }),
    ("property removed", |map| {
        change_map(map, "properties", |members| {
            let name = members.keys().next().cloned();
            name.is_some_and(|name| members.remove(&name).is_some())
        })
    }),
    ("close", |map| {
        map.contains_key("properties")
            && map.insert("additionalProperties".to_owned(), json!(false)) != Some(json!(false))
    }),
    ("open", |map| map.remove("additionalProperties").is_some()),
    ("open unevaluated", |map| {
        map.remove("unevaluatedProperties").is_some()
    }),
    ("close unevaluated", |map| {
        map.contains_key("properties")
            && map
                .insert("unevaluatedProperties".to_owned(), json!(false))
                .is_none()
    }),
    ("enum wider", |map| {
        change_list(map, "enum", |list| {
            list.push(json!("extraValue"));
            true
        })
    }),
    ("enum narrower", |map| {
        change_list(map, "enum", |list| list.len() > 1 && list.pop().is_some())
    }),
    ("or null", |map| match map.get("type") {
        Some(Json::String(one)) => {
            let both = json!([one, "null"]);
            map.insert("type".to_owned(), both);
            true
        }
        _ => false,
    }),
    ("other type", |map| match map.get("type") {
        Some(Json::String(one)) if one != "object" => {
            let other = if one == "string" { "integer" } else { "string" };
            map.insert("type".to_owned(), json!(other));
            true
        }
        _ => false,
    }),
    ("number or integer", |map| match map.get("type") {
        Some(Json::String(one)) if one == "integer" => {
            map.insert("type".to_owned(), json!("number")).is_some()
        }
        _ => false,
    }),
    ("oneOf to anyOf", |map| rename(map, "oneOf", "anyOf")),
    ("anyOf to oneOf", |map| rename(map, "anyOf", "oneOf")),
    ("allOf to anyOf", |map| {
        !map.contains_key("anyOf") && rename(map, "allOf", "anyOf")
    }),
    ("branch removed", |map| {
        change_union(map, |list| list.len() > 1 && list.pop().is_some())
    }),
    ("branch added", |map| {
        change_union(map, |list| {
            list.push(json!({"type": "object", "properties": {"kind": {"const": "extraKind"}}, "required": ["kind"]}));
            true
        })
    }),
    ("text branch added", |map| {
        change_union(map, |list| {
            list.push(json!({"type": "string", "maxLength": 3}));
            true
        })
    }),
    ("conjunct removed", |map| {
        change_list(map, "allOf", |list| list.pop().is_some())
    }),
    ("longer", |map| {
        map.get("type") == Some(&json!("string"))
            && map.insert("minLength".to_owned(), json!(2)).is_none()
    }),
    ("pattern", |map| {
        map.get("type") == Some(&json!("string"))
            && map
                .insert("pattern".to_owned(), json!("^[a-z]+$"))
                .is_none()
    }),
    ("no pattern", |map| map.remove("pattern").is_some()),
    ("format", |map| {
        map.get("type") == Some(&json!("string"))
            && map.insert("format".to_owned(), json!("uuid")).is_none()
    }),
    ("few items", |map| {
        map.contains_key("items") && map.insert("maxItems".to_owned(), json!(3)).is_none()
    }),
    ("some items", |map| {
        map.contains_key("items") && map.insert("minItems".to_owned(), json!(1)).is_none()
    }),
    ("unique", |map| {
        map.contains_key("items")
            && map.insert("uniqueItems".to_owned(), json!(true)) != Some(json!(true))
    }),
    ("not unique", |map| {
        map.remove("uniqueItems") == Some(json!(true))
    }),
    ("no if", |map| {
        map.remove("if").is_some() && (map.remove("then").is_some() | map.remove("else").is_some())
    }),
    ("no then", |map| map.remove("then").is_some()),
    ("no not", |map| map.remove("not").is_some()),
    ("no const", |map| map.remove("const").is_some()),
    ("bound", |map| {
        matches!(map.get("type"), Some(Json::String(one)) if one == "integer" || one == "number")
            && map.insert("minimum".to_owned(), json!(1)) != Some(json!(1))
    }),
    ("no patternProperties", |map| {
        map.remove("patternProperties").is_some()
    }),
    ("no propertyNames", |map| {
        map.remove("propertyNames").is_some()
    }),
    ("words", |map| {
        map.insert("description".to_owned(), json!("other words"))
            .is_some()
    }),
    ("wrapped", |map| {
        if map.contains_key("$id")
            || map.contains_key("$schema")
            || map.contains_key("unevaluatedProperties")
            || map.is_empty()
            || !map.values().any(|one| one.is_string() || one.is_object())
        {
            return false;
        }
        let whole = std::mem::take(map);
        map.insert("allOf".to_owned(), json!([whole]));
        true
    }),
];

fn change_list(
    map: &mut Map<String, Json>,
    name: &str,
    change: fn(&mut Vec<Json>) -> bool,
) -> bool {
    map.get_mut(name)
        .and_then(Json::as_array_mut)
        .is_some_and(change)
}

fn change_map(
    map: &mut Map<String, Json>,
    name: &str,
    change: fn(&mut Map<String, Json>) -> bool,
) -> bool {
    map.get_mut(name)
        .and_then(Json::as_object_mut)
        .is_some_and(change)
}

fn change_union(map: &mut Map<String, Json>, change: fn(&mut Vec<Json>) -> bool) -> bool {
    change_list(map, "oneOf", change) || change_list(map, "anyOf", change)
}

fn rename(map: &mut Map<String, Json>, from: &str, to: &str) -> bool {
    let Some(value) = map.remove(from) else {
        return false;
    };
    map.insert(to.to_owned(), value).is_none()
}

/// Makes the edit where it is possible for the `nth` time.
fn edit(
    value: &mut Json,
    is_schema: bool,
    left: &mut usize,
    edit: fn(&mut Map<String, Json>) -> bool,
) -> bool {
    match value {
        Json::Object(map) => {
            if is_schema {
                let before = map.clone();
                if edit(map) {
                    if *left == 0 {
                        return true;
                    }
                    *left -= 1;
                }
                *map = before;
            }
            for (key, inner) in map.iter_mut() {
                let names = is_schema
                    && matches!(
                        key.as_str(),
                        "properties"
                            | "patternProperties"
                            | "$defs"
                            | "definitions"
                            | "dependentSchemas"
                    );
                let data = is_schema
                    && matches!(
                        key.as_str(),
                        "enum" | "const" | "default" | "examples" | "required"
                    );
                if !data && self::edit(inner, !names, left, edit) {
                    return true;
                }
            }
            false
        }
        Json::Array(list) => list
            .iter_mut()
            .any(|inner| self::edit(inner, true, left, edit)),
        _ => false,
    }
}

/// Large published schemas, each against edits of it in both directions.
fn published(root: &Path) -> Vec<Pair> {
    let mut files = vec![
        root.join("asyncapi-schemas/3.0.0.json"),
        root.join("asyncapi-schemas/3.1.0.json"),
        root.join("odcs-schemas/odcs-3.0.2.schema.json"),
        root.join("odcs-schemas/odcs-3.1.0.schema.json"),
        root.join("odcs-schemas/odcs-3.2.0.schema.json"),
        root.join("sarif-schema/sarif-schema-2.1.0.json"),
    ];
    files.extend(self::files(&root.join("openlineage/spec/facets")));
    files.extend(
        self::files(&root.join("cloudevents-spec"))
            .into_iter()
            .filter(|file| {
                file.to_str()
                    .is_some_and(|name| name.ends_with("schema.json"))
            }),
    );
    let documents: Vec<Json> = self::files(&root.join("openlineage/spec/tests"))
        .iter()
        .map(|file| read(file))
        .collect();
    let documents = Arc::new(documents);
    let mut pairs = Vec::new();
    for file in files {
        let schema = Arc::new(read(&file));
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let sort = if schema.to_string().len() > 50_000 {
            stem
        } else {
            "small"
        };
        for (name, change) in EDITS {
            let mut sites = 0;
            for skip in (0..400).step_by(if sort == "small" { 3 } else { 17 }) {
                let mut new = Json::clone(&schema);
                if !edit(&mut new, true, &mut { skip }, *change) {
                    break;
                }
                let new = Arc::new(new);
                for (old, new) in [(&schema, &new), (&new, &schema)] {
                    pairs.push(Pair {
                        name: format!("published {sort} {name}"),
                        old: old.clone(),
                        new: new.clone(),
                        documents: documents.clone(),
                    });
                }
                sites += 1;
                if sites >= 3 {
                    break;
                }
            }
        }
    }
    pairs
}

//! The two validators that have the last word, and documents to attack an answer with.

use std::time::{Duration, Instant};

use lockstep_core::contract::contain::{self, Budget};
use serde_json::{Value as Json, json};

/// Two validators of a schema, as far as they can read it.
pub(super) struct Judge {
    strict: Option<jsonschema::Validator>,
    boon: Option<(boon::Schemas, boon::SchemaIndex)>,
}

impl Judge {
    pub(super) fn of(schema: &Json) -> Judge {
        let options = jsonschema::options().should_validate_formats(false);
        let compile = || {
            let mut compiler = boon::Compiler::new();
            // It would insist on formats in the older drafts.
            let mut bare = schema.clone();
            without_formats(&mut bare);
            compiler.add_resource("mem:///schema.json", bare).ok()?;
            let mut schemas = boon::Schemas::new();
            let index = compiler.compile("mem:///schema.json", &mut schemas).ok()?;
            Some((schemas, index))
        };
        Judge {
            strict: options.build(schema).ok(),
            boon: compile(),
        }
    }

    /// What each validator says.
    fn says(&self, document: &Json) -> [Option<bool>; 2] {
        let boon = self
            .boon
            .as_ref()
            .map(|(schemas, index)| schemas.validate(document, *index).is_ok());
        let strict = self.strict.as_ref();
        [strict.map(|strict| strict.is_valid(document)), boon]
    }
}

fn without_formats(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            if map.get("format").is_some_and(Json::is_string) {
                map.remove("format");
            }
            map.values_mut().for_each(without_formats);
        }
        Json::Array(list) => list.iter_mut().for_each(without_formats),
        _ => {}
    }
}

/// How many validators call a document valid under the first schema and invalid under the second.
pub(super) fn parts(judges: &[Judge; 2], document: &Json) -> usize {
    let [old, new] = judges.each_ref().map(|judge| judge.says(document));
    (0..2)
        .filter(|&at| old[at] == Some(true) && new[at] == Some(false))
        .count()
}

/// How many validators can read both schemas.
pub(super) fn asked(judges: &[Judge; 2]) -> usize {
    let strict = judges.iter().all(|judge| judge.strict.is_some());
    let boon = judges.iter().all(|judge| judge.boon.is_some());
    usize::from(strict) + usize::from(boon)
}

/// Documents that are valid under a schema, as far as the engine finds one.
pub(super) fn samples(schema: &Json) -> Vec<Json> {
    let began = Instant::now();
    let elapsed = || began.elapsed();
    let budget = Budget {
        total: Duration::from_millis(100),
        elapsed: &elapsed,
    };
    let decision = contain::decide(schema, &json!(false), budget);
    decision.witness.into_iter().collect()
}

/// Documents one change away, the changes at any depth.
pub(super) fn near(document: &Json) -> Vec<Json> {
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
                for inner in near(value).into_iter().take(40) {
                    let mut with = members.clone();
                    with.insert(name.clone(), inner);
                    out.push(Json::Object(with));
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
                for inner in near(&items[at]).into_iter().take(40) {
                    let mut with = items.clone();
                    with[at] = inner;
                    out.push(Json::Array(with));
                }
            }
            for more in [Json::Null, json!(1), json!("x"), json!({})] {
                let mut with = items.clone();
                with.push(more);
                out.push(Json::Array(with));
            }
        }
        Json::String(text) => {
            out.push(json!(format!("{text}a")));
            let mut less = text.clone();
            if less.pop().is_some() {
                out.push(json!(less));
            }
        }
        Json::Number(number) => out.extend(
            number
                .as_i64()
                .into_iter()
                .flat_map(|at| [json!(at.saturating_add(1)), json!(at.saturating_sub(1))]),
        ),
        _ => {}
    }
    out
}

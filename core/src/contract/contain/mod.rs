//! Containment of JSON Schemas: is every document that is valid under one schema valid under another?
//!
//! The answer is yes, no with a document that shows it, or unproven; it is never a guess.
//! "No" needs a document that a validator accepts under the one schema and refuses under the other.
//! "Yes" needs a proof, from this module's own decision (`solve`) or from the set algebra of the `jsonschema` crate.
//! Nothing is fetched, `format` is an annotation, `1.0` is an integer, and a schema without `$schema` is of draft 2020-12.
//! This module has no clock: the caller's [`Budget`] says when to stop.
//! Deep schemas need a deep stack: call [`decide`] on a thread with [`STACK_BYTES`].

mod algebra;
mod arrays;
mod ecma;
mod exact;
mod frame;
mod holds;
mod hunt;
mod listing;
mod node;
mod numbers;
mod objects;
mod probe;
mod read;
mod simulate;
mod solve;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod unevaluated;
mod uri;
mod value;

use std::time::Duration;

use serde_json::Value as Json;

pub use self::exact::{inexact, inexact_yaml};
use self::read::Reader;
use self::solve::{Answer, Solver};
use self::store::Store;

/// The stack that a decision needs at most.
pub const STACK_BYTES: usize = 256 << 20;

/// How long a decision may take.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// The whole time.
    pub total: Duration,
    /// The time since the decision began.
    pub elapsed: &'a dyn Fn() -> Duration,
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Budget<'_> {
    /// Whether so many hundredths of the time are over.
    fn over(&self, hundredths: u32) -> bool {
        (self.elapsed)() * 100 >= self.total * hundredths
    }
}

/// What became of the question.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every document valid under the old schema is valid under the new one.
    Yes,
    /// Some document is not.
    No,
    /// Neither was shown.
    Unproven,
}

/// The answer to the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What became of it.
    pub verdict: Verdict,
    /// With "no": a document valid under the old schema and not under the new one.
    pub witness: Option<Json>,
    /// Why the question could not be looked at.
    pub error: Option<String>,
}

impl Decision {
    fn yes() -> Decision {
        Decision {
            verdict: Verdict::Yes,
            witness: None,
            error: None,
        }
    }

    fn no(witness: Json) -> Decision {
        Decision {
            verdict: Verdict::No,
            witness: Some(witness),
            error: None,
        }
    }

    fn unproven() -> Decision {
        Decision {
            verdict: Verdict::Unproven,
            witness: None,
            error: None,
        }
    }

    /// A question that cannot be looked at.
    #[must_use]
    pub fn unreadable(error: impl Into<String>) -> Decision {
        Decision {
            error: Some(error.into()),
            ..Decision::unproven()
        }
    }
}

/// Validators of the two schemas, which have the last word on every witness.
struct Judges(Vec<[jsonschema::Validator; 2]>);

impl Judges {
    fn of(old: &Json, new: &Json) -> Result<Judges, String> {
        let pair = |old: &Json, new: &Json| {
            let old = validator(old).map_err(|error| format!("the old schema {error}"))?;
            let new = validator(new).map_err(|error| format!("the new schema {error}"))?;
            Ok::<_, String>([old, new])
        };
        let mut pairs = vec![pair(old, new)?];
        let (bare_old, bare_new) = (read::without_leftovers(old), read::without_leftovers(new));
        if bare_old.is_some() || bare_new.is_some() {
            pairs.push(pair(
                bare_old.as_ref().unwrap_or(old),
                bare_new.as_ref().unwrap_or(new),
            )?);
        }
        for matching in [true, false] {
            let other_old = read::with_foreign(old, matching);
            let other_new = read::with_foreign(new, matching);
            if other_old.is_some() || other_new.is_some() {
                pairs.push(pair(
                    other_old.as_ref().unwrap_or(old),
                    other_new.as_ref().unwrap_or(new),
                )?);
            }
        }
        Ok(Judges(pairs))
    }

    /// Whether a document is valid under the old schema and not under the new one, however they are read.
    fn part(&self, document: &Json) -> bool {
        let mut pairs = self.0.iter();
        pairs.all(|[old, new]| old.is_valid(document) && !new.is_valid(document))
    }
}

/// Tells whether every document valid under `old` is valid under `new`.
#[must_use]
pub fn decide(old: &Json, new: &Json, budget: Budget<'_>) -> Decision {
    for (name, schema) in [("old", old), ("new", new)] {
        if let Some(doubt) = read::doubt(schema) {
            return Decision::unreadable(format!("the {name} schema {doubt}"));
        }
    }
    let judges = match Judges::of(old, new) {
        Ok(judges) => judges,
        Err(error) => return Decision::unreadable(error),
    };
    if value::canonical(old) == value::canonical(new) {
        return Decision::yes();
    }
    let mut witness = None;
    match prove(old, new, &judges, budget, &mut witness) {
        None => return Decision::unreadable("a reference leads to itself with nothing between"),
        Some(Answer::Never) => return Decision::yes(),
        Some(Answer::Doc(document)) => return Decision::no(document),
        Some(Answer::Unknown) => {}
    }
    if let Some(document) = witness {
        return Decision::no(document);
    }
    if budget.over(100) {
        return Decision::unproven();
    }
    if judges.0.len() > 1 {
        // The algebra knows one reading only.
        return Decision::unproven();
    }
    match algebra::subtract(old, new) {
        algebra::Difference::Nothing => Decision::yes(),
        algebra::Difference::Unknown => Decision::unproven(),
        algebra::Difference::Rest(rest) => {
            let found = in_rest(&rest, &judges, budget);
            found.map_or_else(Decision::unproven, Decision::no)
        }
    }
}

/// The own decision over both schemas, then a search among documents like those it looked at; `None` where a schema has no meaning.
fn prove(
    old: &Json,
    new: &Json,
    judges: &Judges,
    budget: Budget<'_>,
    witness: &mut Option<Json>,
) -> Option<Answer> {
    let expired = || budget.over(55);
    let mut reader = Reader::new();
    let (Some(first), Some(second)) = (
        reader.document(old, &expired),
        reader.document(new, &expired),
    ) else {
        return Some(Answer::Unknown);
    };
    if store::has_cycle(&reader.nodes) {
        return None;
    }
    unevaluated::rewrite(&mut reader);
    let Some((store, roots)) = Store::of(reader.nodes, &[first, second], &expired) else {
        return Some(Answer::Unknown);
    };
    if roots[0] == roots[1] {
        return Some(Answer::Never);
    }
    let mut tried: Vec<Json> = Vec::new();
    let mut judge = |document: &Json| {
        if tried.len() < hunt::SEEDS_MAX {
            tried.push(document.clone());
        }
        judges.part(document)
    };
    let mut solver = Solver::new(store, &mut judge, &expired);
    let answer = solver.decide(&[(roots[0], true), (roots[1], false)]);
    if answer != Answer::Unknown {
        return Some(answer);
    }
    let mut seeds = solver.samples(roots[0], roots[1]);
    drop(solver);
    seeds.extend(tried);
    *witness = hunt::hunt(old, new, &seeds, &|document| judges.part(document), &|| {
        budget.over(80)
    });
    Some(Answer::Unknown)
}

/// A witness among the documents of a schema that describes what was lost.
fn in_rest(rest: &Json, judges: &Judges, budget: Budget<'_>) -> Option<Json> {
    let expired = || budget.over(100);
    let mut reader = Reader::new();
    let root = reader.document(rest, &expired)?;
    let (store, roots) = Store::of(reader.nodes, &[root], &expired)?;
    let mut judge = |document: &Json| judges.part(document);
    let mut solver = Solver::new(store, &mut judge, &expired);
    match solver.decide(&[(roots[0], true)]) {
        Answer::Doc(document) => Some(document),
        _ => None,
    }
}

fn validator(schema: &Json) -> Result<jsonschema::Validator, String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err("is neither an object nor a boolean".to_owned());
    }
    let built = jsonschema::options()
        .should_validate_formats(false)
        .build(schema);
    built.map_err(|error| {
        let place = error.instance_path().to_string();
        let at = if place.is_empty() {
            String::new()
        } else {
            format!(" at {place}")
        };
        let mut text = error.to_string();
        if text.len() > 300 {
            let end = (0..=300)
                .rev()
                .find(|&end| text.is_char_boundary(end))
                .unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        format!("cannot be used{at}: {text}")
    })
}

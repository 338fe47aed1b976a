//! Containment of JSON Schemas: is every document that is valid under one schema valid under another?
//!
//! The answer is yes, no with a document that shows it, or unproven; it is never a guess.
//! "No" needs a document that a validator accepts under the one schema and refuses under the other; of large schemas that is this module's own (`holds`), where nothing that it does not understand has a say.
//! "Yes" needs a proof, from this module's own decision (`solve`) or from the set algebra of the `jsonschema` crate.
//! Nothing is fetched, `format` is an annotation, `1.0` is an integer, and a schema without `$schema` is of draft 2020-12, or of the older ones whose words it uses.
//! This module has no clock: the caller's [`Budget`] says when to stop.
//! Deep schemas need a deep stack: call [`decide`] on a thread with [`STACK_BYTES`].

mod algebra;
mod arrays;
mod dialect;
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
mod variant;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value as Json;

pub use self::exact::{inexact, inexact_schema, inexact_yaml};
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

/// Bytes of both schemas above which validators are not built unless they must be: that takes longer than the decision.
const LARGE_BYTES: usize = 100_000;

/// Validators of the two schemas, which have the last word on every witness; built when they are first asked.
struct Judges<'s> {
    old: &'s Json,
    new: &'s Json,
    /// References that lead out of the document: what they stand for is not known.
    dangling: HashSet<String>,
    /// Whether there are such, or patterns that no validator here reads.
    has_holes: bool,
    built: OnceCell<Result<Vec<[jsonschema::Validator; 2]>, String>>,
}

impl<'s> Judges<'s> {
    fn new(old: &'s Json, new: &'s Json) -> Judges<'s> {
        let mut dangling = read::dangling(old);
        dangling.extend(read::dangling(new));
        Judges {
            old,
            new,
            has_holes: !dangling.is_empty()
                || variant::has_refused(old)
                || variant::has_refused(new),
            dangling,
            built: OnceCell::new(),
        }
    }

    fn pairs(&self) -> Result<&[[jsonschema::Validator; 2]], String> {
        let built = self.built.get_or_init(|| self.build());
        built.as_deref().map_err(Clone::clone)
    }

    fn build(&self) -> Result<Vec<[jsonschema::Validator; 2]>, String> {
        let (old, new) = (self.old, self.new);
        let pair = |old: &Json, new: &Json| {
            let old = validator(old).map_err(|error| format!("the old schema {error}"))?;
            let new = validator(new).map_err(|error| format!("the new schema {error}"))?;
            Ok::<_, String>([old, new])
        };
        let mut pairs = Vec::new();
        if !self.has_holes {
            pairs.push(pair(old, new)?);
            let (bare_old, bare_new) = (
                variant::without_leftovers(old),
                variant::without_leftovers(new),
            );
            if bare_old.is_some() || bare_new.is_some() {
                pairs.push(pair(
                    bare_old.as_ref().unwrap_or(old),
                    bare_new.as_ref().unwrap_or(new),
                )?);
            }
        }
        for matching in [true, false] {
            let other_old = variant::with_foreign(old, matching, &self.dangling);
            let other_new = variant::with_foreign(new, matching, &self.dangling);
            if other_old.is_some() || other_new.is_some() {
                pairs.push(pair(
                    other_old.as_ref().unwrap_or(old),
                    other_new.as_ref().unwrap_or(new),
                )?);
            }
        }
        Ok(pairs)
    }

    /// Whether a document is valid under the old schema and not under the new one, however they are read.
    fn part(&self, document: &Json) -> bool {
        let Ok(pairs) = self.pairs() else {
            return false;
        };
        let mut pairs = pairs.iter();
        pairs.all(|[old, new]| old.is_valid(document) && !new.is_valid(document))
    }
}

/// What the own decision came to.
struct Proof {
    answer: Answer,
    /// A document found by searching where the decision found none.
    witness: Option<Json>,
    /// Whether it ran out of time.
    is_late: bool,
}

impl Proof {
    fn unknown(is_late: bool) -> Proof {
        Proof {
            answer: Answer::Unknown,
            witness: None,
            is_late,
        }
    }
}

/// Tells whether every document valid under `old` is valid under `new`.
#[must_use]
pub fn decide(old: &Json, new: &Json, budget: Budget<'_>) -> Decision {
    let (old, new) = (variant::plain(old), variant::plain(new));
    let mut readings = Vec::new();
    for (name, schema) in [("old", &old), ("new", &new)] {
        match dialect::readings(schema) {
            Ok(found) => readings.push(distinct(found, budget)),
            Err(error) => return Decision::unreadable(format!("the {name} schema {error}")),
        }
    }
    let pairs = readings[0]
        .iter()
        .flat_map(|old| readings[1].iter().map(move |new| (old, new)));
    let mut first: Option<Decision> = None;
    for (old, new) in pairs {
        match &first {
            // A document that was found once must do in every reading.
            Some(Decision {
                witness: Some(witness),
                ..
            }) => {
                if !Judges::new(old, new).part(witness) {
                    return Decision::unproven();
                }
            }
            _ => {
                let decision = in_one_reading(old, new, budget);
                let is_other = first
                    .as_ref()
                    .is_some_and(|first| first.verdict != decision.verdict);
                if is_other {
                    return Decision::unproven();
                }
                if decision.verdict == Verdict::Unproven {
                    return decision;
                }
                first = Some(decision);
            }
        }
    }
    first.unwrap_or_else(Decision::unproven)
}

/// The readings that do not mean the same.
fn distinct<'s>(mut readings: Vec<Cow<'s, Json>>, budget: Budget<'_>) -> Vec<Cow<'s, Json>> {
    if readings.len() < 2 {
        return readings;
    }
    let expired = || budget.over(50);
    let mut reader = Reader::new(false);
    let roots = readings.iter().map(|one| reader.document(one, &expired));
    let Some(roots) = roots.collect::<Option<Vec<_>>>() else {
        return readings;
    };
    unevaluated::rewrite(&mut reader);
    let Some((_, roots)) = Store::of(reader.nodes, &roots, &expired) else {
        return readings;
    };
    let mut met = HashSet::new();
    let mut roots = roots.into_iter();
    readings.retain(|_| roots.next().is_none_or(|root| met.insert(root)));
    readings
}

/// The same, where the draft of each schema is settled.
fn in_one_reading(old: &Json, new: &Json, budget: Budget<'_>) -> Decision {
    for (name, schema) in [("old", old), ("new", new)] {
        if let Some(doubt) = read::doubt(schema) {
            return Decision::unreadable(format!("the {name} schema {doubt}"));
        }
    }
    let judges = Judges::new(old, new);
    let texts = [value::canonical(old), value::canonical(new)];
    let is_large = texts[0].len() + texts[1].len() > LARGE_BYTES;
    if !is_large && let Err(error) = judges.pairs() {
        return Decision::unreadable(error);
    }
    let checked = || {
        if is_large {
            usable(old, new)
        } else {
            judges.pairs().map(|_| ())
        }
    };
    if texts[0] == texts[1] {
        return match checked() {
            Ok(()) => Decision::yes(),
            Err(error) => Decision::unreadable(error),
        };
    }
    // Keywords of older drafts are read by some validators only: what is said must hold either way.
    let is_newer =
        |schema| read::Draft::of(schema).is_some_and(|draft| draft >= read::Draft::Y2019);
    let has_leftovers = [old, new]
        .into_iter()
        .zip(&texts)
        .any(|(schema, text)| is_newer(schema) && text.contains("\"dependencies\":"));
    let readings: &[bool] = if has_leftovers {
        &[true, false]
    } else {
        &[false]
    };
    let mut all_never = true;
    let mut is_late = false;
    for &leftovers in readings {
        // Of large schemas our own reading judges, where nothing in them is left to others.
        let trusts =
            is_large && !has_leftovers && read::drafts_within(old) == read::drafts_within(new);
        let Some(proof) = prove(old, new, &judges, budget, (leftovers, trusts)) else {
            return Decision::unreadable("a reference leads to itself with nothing between");
        };
        let is_open = proof.answer == Answer::Unknown && proof.witness.is_none();
        if is_large && proof.is_late && is_open {
            // Building validators would cost more time than there was.
            return Decision::unproven();
        }
        if let Err(error) = checked() {
            return Decision::unreadable(error);
        }
        is_late |= proof.is_late;
        match (proof.answer, proof.witness) {
            (Answer::Doc(document), _) | (Answer::Unknown, Some(document)) => {
                return Decision::no(document);
            }
            (Answer::Never, _) => {}
            (Answer::Unknown, None) => all_never = false,
        }
    }
    if all_never {
        return Decision::yes();
    }
    if let Some(name) = judges.dangling.iter().min() {
        return Decision::unreadable(format!(
            "what `{name}` refers to is not there, and the answer hangs on it"
        ));
    }
    // The algebra knows one reading only, and cannot be stopped once it runs.
    let has_one_reading = || judges.pairs().is_ok_and(|pairs| pairs.len() == 1);
    if is_late || is_large || judges.has_holes || budget.over(80) || !has_one_reading() {
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

/// Whether both schemas are what their drafts call a schema.
fn usable(old: &Json, new: &Json) -> Result<(), String> {
    for (name, schema) in [("old", old), ("new", new)] {
        jsonschema::meta::validate(schema)
            .map_err(|error| format!("the {name} schema {}", unusable(&error)))?;
    }
    Ok(())
}

/// The own decision over both schemas, then a search among documents like those it looked at; `None` where a schema has no meaning.
fn prove(
    old: &Json,
    new: &Json,
    judges: &Judges<'_>,
    budget: Budget<'_>,
    (leftovers, trusts): (bool, bool),
) -> Option<Proof> {
    let hundredths = if trusts { 80 } else { 60 };
    let expired = || budget.over(hundredths);
    let mut reader = Reader::new(leftovers);
    let (Some(first), Some(second)) = (
        reader.document(old, &expired),
        reader.document(new, &expired),
    ) else {
        return Some(Proof::unknown(expired()));
    };
    if store::has_cycle(&reader.nodes) {
        return None;
    }
    unevaluated::rewrite(&mut reader);
    let Some((store, roots)) = Store::of(reader.nodes, &[first, second], &expired) else {
        return Some(Proof::unknown(expired()));
    };
    if roots[0] == roots[1] {
        return Some(Proof {
            answer: Answer::Never,
            ..Proof::unknown(false)
        });
    }
    let mut tried: Vec<Json> = Vec::new();
    let mut judge = |document: &Json, is_sure: bool| {
        if tried.len() < hunt::SEEDS_MAX {
            tried.push(document.clone());
        }
        // Of a schema with holes only what does not hang on them is sure.
        let is_open = judges.has_holes && !is_sure;
        (trusts && is_sure) || (!is_open && judges.part(document))
    };
    let mut solver = Solver::new(store, &mut judge, &expired);
    let answer = solver.decide(&[(roots[0], true), (roots[1], false)]);
    let mut proof = Proof {
        answer,
        ..Proof::unknown(expired())
    };
    // Building validators of large schemas, to search with, would cost more time than there is.
    let is_dear = trusts && (proof.is_late || budget.over(30));
    if proof.answer != Answer::Unknown || judges.has_holes || is_dear {
        return Some(proof);
    }
    let mut seeds = solver.samples(roots[0], roots[1]);
    drop(solver);
    seeds.extend(tried);
    proof.witness = hunt::hunt(old, new, &seeds, &|document| judges.part(document), &|| {
        budget.over(80)
    });
    Some(proof)
}

/// A witness among the documents of a schema that describes what was lost.
fn in_rest(rest: &Json, judges: &Judges<'_>, budget: Budget<'_>) -> Option<Json> {
    let expired = || budget.over(100);
    let mut reader = Reader::new(false);
    let root = reader.document(rest, &expired)?;
    let (store, roots) = Store::of(reader.nodes, &[root], &expired)?;
    let mut judge = |document: &Json, _: bool| judges.part(document);
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
    built.map_err(|error| unusable(&error))
}

/// Why a schema cannot be used, in words that follow its name.
fn unusable(error: &jsonschema::ValidationError<'_>) -> String {
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
}

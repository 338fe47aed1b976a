//! The set algebra of the `jsonschema` crate as a second prover.
//!
//! Its interface is experimental, so it is used here only; it cannot be interrupted, so it comes last.

use jsonschema::canonical::{self, CanonicalSchema, Containment, Satisfiability};
use serde_json::Value as Json;

/// What one schema accepts and another does not.
pub(super) enum Difference {
    /// Nothing, proven.
    Nothing,
    /// What this schema describes, perhaps nothing.
    Rest(Json),
    Unknown,
}

/// What `old` accepts and `new` does not.
pub(super) fn subtract(old: &Json, new: &Json) -> Difference {
    let (Some(old), Some(new)) = (canonical(old), canonical(new)) else {
        return Difference::Unknown;
    };
    if new
        .covers(&old)
        .is_ok_and(|answer| answer == Containment::Yes)
        || old.satisfiability() == Satisfiability::No
    {
        return Difference::Nothing;
    }
    match old.subtract(&new) {
        Ok(rest) if rest.satisfiability() == Satisfiability::No => Difference::Nothing,
        Ok(rest) => Difference::Rest(rest.to_json_schema()),
        Err(_) => Difference::Unknown,
    }
}

fn canonical(schema: &Json) -> Option<CanonicalSchema> {
    let options = canonical::options()
        .should_validate_formats(false)
        .offline();
    options.canonicalize(schema).ok()
}

//! JSON documents against any JSON Schema, for those who have a schema and no contract.
//!
//! Reads every draft from 4 on; `format` is what its draft and vocabulary make of it, a remark since 2019-09, unless asserting it is asked for.
//! Nothing is ever fetched: a reference to another document is answered from what was handed in, or refused by name.
//! Messages show no values.

use std::collections::HashMap;

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value as Json;

use super::Violation;
use crate::contract::Outcome;
use crate::error::{Error, Result};

/// Most bytes of a compiled pattern, and most steps back that matching may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;
const BACKTRACK_MAX: usize = 100_000;

/// A compiled JSON Schema.
#[derive(Debug)]
pub struct PlainSchema {
    validator: Validator,
}

/// Other schemas by their URIs.
#[derive(Clone, Debug, Default)]
pub struct Resources(HashMap<String, Json>);

impl Resources {
    /// Adds a schema under a URI.
    pub fn add(&mut self, uri: impl Into<String>, schema: Json) {
        self.0.insert(uri.into(), schema);
    }
}

impl Retrieve for Resources {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> std::result::Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        let known = self.0.get(uri.as_str());
        known
            .cloned()
            .ok_or_else(|| format!("`{uri}` was not given, and nothing is fetched").into())
    }
}

impl PlainSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// The schema is none, refers to what was not given, or has a pattern that cannot be read.
    pub fn compile(schema: &Json, resources: Resources, formats: bool) -> Result<PlainSchema> {
        let patterns = jsonschema::PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_MAX)
            .size_limit(PATTERN_BYTES_MAX);
        let mut options = jsonschema::options()
            .with_retriever(resources)
            .with_pattern_options(patterns);
        if formats {
            options = options.should_validate_formats(true);
        }
        let validator = options.build(schema).map_err(|error| {
            Error::config(format!("the JSON Schema cannot be used: {error}"))
                .with("at", error.instance_path())
                .help("hand in what it refers to, and mend what is said to be wrong")
        })?;
        Ok(PlainSchema { validator })
    }

    /// Whether a document is valid.
    #[must_use]
    pub fn accepts(&self, document: &Json) -> bool {
        self.validator.is_valid(document)
    }

    /// What is wrong with a document, at most [`super::VIOLATIONS_MAX`].
    #[must_use]
    pub fn judge(&self, document: &Json) -> Vec<Violation> {
        let errors = self.validator.iter_errors(document);
        errors
            .take(super::VIOLATIONS_MAX)
            .map(|error| Violation {
                field: Some(error.instance_path().to_string()).filter(|path| !path.is_empty()),
                rule: error.kind().keyword().to_owned(),
                message: error.masked().to_string(),
                outcome: Outcome::Quarantine,
            })
            .collect()
    }
}

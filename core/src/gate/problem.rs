//! What can be wrong with a mapping: the codes, and the list that compiling fills.

use crate::diagnostic::Severity;

/// Something wrong with a mapping, found before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it only warns.
    pub severity: Severity,
    /// A stable code such as `LS-M003`.
    pub code: &'static str,
    /// Where in the mapping: the keys that lead there, such as `["fields", "country", "values"]`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

pub(crate) const UNKNOWN_COLUMN: &str = "LS-M001";
pub(crate) const UNKNOWN_FIELD: &str = "LS-M002";
pub(crate) const UNMAPPED: &str = "LS-M003";
pub(crate) const WRONG_TYPE: &str = "LS-M004";
pub(crate) const UNKNOWN_VALUES: &str = "LS-M005";
pub(crate) const NOT_TOTAL: &str = "LS-M006";
pub(crate) const BAD_VALUES: &str = "LS-M007";
pub(crate) const NOT_INVERTIBLE: &str = "LS-M008";
pub(crate) const CONFLICTING: &str = "LS-M009";
pub(crate) const BAD_FORMAT: &str = "LS-M010";
pub(crate) const BAD_EXPRESSION: &str = "LS-M011";
pub(crate) const BAD_CONSTANT: &str = "LS-M012";
pub(crate) const KEY_NOT_WRITTEN: &str = "LS-M013";
pub(crate) const TWO_WRITERS: &str = "LS-M014";
pub(crate) const BAD_CONTRACT: &str = "LS-M015";
pub(crate) const NARROWER: &str = "LS-M016";

/// Every code of a mapping's problems with what it means and what to do about it; `lockstep explain CODE` prints it.
pub const CODES: &[(&str, &str)] = &[
    (
        UNKNOWN_COLUMN,
        "The mapping names a column that the table does not have. Correct the name, or add the column to the table.",
    ),
    (
        UNKNOWN_FIELD,
        "The mapping names a field that the contract does not have. Correct the name, or add the field in a new version of the contract.",
    ),
    (
        UNMAPPED,
        "A field that every record must have is not mapped. Map it to a column, or give it a `read` expression or a `constant`.",
    ),
    (
        WRONG_TYPE,
        "A column's type can never become the field's, or the other way round. Map another column, or translate it with `values`, `scale`, `prefix`, `format` or `read`.",
    ),
    (
        UNKNOWN_VALUES,
        "The mapping names a value map that is not declared. Declare it under `[values.<name>]`, or correct the name.",
    ),
    (
        NOT_TOTAL,
        "A value map does not cover every value that the contract allows. Add the missing values.",
    ),
    (
        BAD_VALUES,
        "A value map has a side that does not fit its column or its field. Correct the value; its left side is the system's, its right side the contract's.",
    ),
    (
        NOT_INVERTIBLE,
        "A value map that is written through gives two system values for one contract value, so Lockstep cannot know which to write. Keep one of them, or use a map of its own for the system that is only read.",
    ),
    (
        CONFLICTING,
        "The rules of a field contradict each other or say nothing. A field takes a `column` with at most one of `values`, `scale`, `prefix` and `format`, a `read` expression, or a `constant` alone.",
    ),
    (
        BAD_FORMAT,
        "A `format` is not a strftime format that the field's type can be read from. Use one such as `%d.%m.%Y`.",
    ),
    (
        BAD_EXPRESSION,
        "An expression does not compile or gives another type than is wanted. The message names the place; `lockstep map try` shows what an expression gives on live rows.",
    ),
    (
        BAD_CONSTANT,
        "A constant is not a value that the field takes. Write one of the field's type, among its allowed values.",
    ),
    (
        KEY_NOT_WRITTEN,
        "A key field is not mapped to a column that can be written and read back, so rows of the target could not be found again. Map every key field to a column.",
    ),
    (
        TWO_WRITERS,
        "Two parts of the mapping write the same column. Keep one of them.",
    ),
    (
        BAD_CONTRACT,
        "The contract's own checks do not compile. `lockstep check` names the place in the contract.",
    ),
    (
        NARROWER,
        "The target's column takes less than the contract allows, so some records will be refused when they are written. Widen the column, or accept that those records go to quarantine.",
    ),
];

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Error, code, path, message.into(), help.into());
    }

    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, code, path, message.into(), help.into());
    }

    /// The warnings, or everything where there is an error among them.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        if self.0.iter().any(|p| p.severity == Severity::Error) {
            Err(self.0)
        } else {
            Ok(self.0)
        }
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: &[&str],
        message: String,
        help: String,
    ) {
        self.0.push(Problem {
            severity,
            code,
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message,
            help: (!help.is_empty()).then_some(help),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_each_says_what_to_do() {
        for (i, (code, text)) in CODES.iter().enumerate() {
            assert_eq!(*code, format!("LS-M{:03}", i + 1));
            assert!(text.contains(". ") && text.ends_with('.'), "{code}");
        }
    }
}

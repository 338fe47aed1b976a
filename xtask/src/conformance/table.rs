//! The table of connectors and checks: pure, from outcomes to Markdown, and into the README between its marks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::report::{Ending, Outcome};

const BEGIN: &str = "<!-- conformance: written by `cargo xtask conformance --write` -->";
const END: &str = "<!-- conformance: end -->";

/// The directions, in the order in which data takes them.
const DIRECTIONS: [&str; 3] = ["source", "reader", "sink"];

/// What all harnesses of a connector say of one check together.
#[derive(Default)]
struct Cell {
    passed: bool,
    unknown: bool,
    declared: BTreeSet<String>,
}

impl Cell {
    fn text(&self) -> &'static str {
        match (self.unknown, self.passed, self.declared.is_empty()) {
            (true, _, _) => "?",
            (_, true, true) => "✓",
            (_, true, false) => "in part",
            _ => "declared",
        }
    }
}

/// Direction, check and connector to what is known of them.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<String, BTreeMap<String, BTreeMap<String, Cell>>>);

impl Table {
    pub(crate) fn of(outcomes: &[Outcome]) -> Table {
        let mut table = Table::default();
        for outcome in outcomes {
            let checks = table.0.entry(outcome.direction.clone()).or_default();
            let row = checks.entry(outcome.check.clone()).or_default();
            let cell = row.entry(outcome.connector.clone()).or_default();
            match &outcome.ending {
                Ending::Passed => cell.passed = true,
                Ending::Unknown => cell.unknown = true,
                Ending::Declared(what) => {
                    cell.declared.insert(what.clone());
                }
            }
        }
        table
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something failed or was skipped, so that the table does not tell all.
    pub(crate) fn is_partial(&self) -> bool {
        self.cells().any(|(.., cell)| cell.unknown)
    }

    fn cells(&self) -> impl Iterator<Item = (&str, &str, &str, &Cell)> {
        self.0.iter().flat_map(|(direction, checks)| {
            checks.iter().flat_map(move |(check, row)| {
                row.iter().map(move |(connector, cell)| {
                    (direction.as_str(), check.as_str(), connector.as_str(), cell)
                })
            })
        })
    }

    /// One table for each direction, with the connectors that have it, and then what was declared in which words.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for (direction, checks) in DIRECTIONS.iter().filter_map(|d| self.0.get_key_value(*d)) {
            let connectors: BTreeSet<&str> = checks
                .values()
                .flat_map(|row| row.keys().map(String::as_str))
                .collect();
            let mut line = |first: &str, cells: Vec<&str>| {
                let _ = writeln!(out, "| {first} | {} |", cells.join(" | "));
            };
            line(direction, connectors.iter().copied().collect());
            line("---", vec!["---"; connectors.len()]);
            for (check, row) in checks {
                let cell = |name: &&str| row.get(*name).map_or("–", Cell::text);
                line(
                    &check.replace('_', " "),
                    connectors.iter().map(cell).collect(),
                );
            }
            out.push('\n');
        }
        let mut declared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (_, _, connector, cell) in self.cells() {
            for what in &cell.declared {
                declared.entry(what).or_default().insert(connector);
            }
        }
        for (what, connectors) in declared {
            let names: Vec<&str> = connectors.into_iter().collect();
            let _ = writeln!(out, "- Declared: {what} ({}).", names.join(", "));
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        let cells = self.cells().map(|(direction, check, connector, cell)| {
            json!({
                "direction": direction, "check": check, "connector": connector,
                "passed": cell.passed, "unknown": cell.unknown, "declared": cell.declared,
            })
        });
        json!({ "conformance": cells.collect::<Vec<_>>() })
    }
}

/// The text with the table between its marks.
pub(crate) fn put(text: &str, table: &str) -> Result<String> {
    let missing = "connectors/README.md has lost the marks of the conformance table";
    let (before, rest) = text.split_once(BEGIN).context(missing)?;
    let (_, after) = rest.split_once(END).context(missing)?;
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        table.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(connector: &str, direction: &str, check: &str, ending: Ending) -> Outcome {
        Outcome {
            connector: connector.to_owned(),
            direction: direction.to_owned(),
            check: check.to_owned(),
            ending,
        }
    }

    #[test]
    fn harnesses_of_a_connector_share_a_cell_and_what_is_declared_is_said() {
        let declared = || Ending::Declared("no progress".to_owned());
        let mut outcomes = vec![
            outcome("b", "sink", "twice_is_once", Ending::Passed),
            outcome("b", "sink", "twice_is_once", declared()),
            outcome("a", "sink", "twice_is_once", declared()),
            outcome("a", "sink", "all", Ending::Passed),
            outcome("c", "source", "all", Ending::Passed),
        ];
        let table = Table::of(&outcomes);
        let expected = "\
| source | c |
| --- | --- |
| all | ✓ |

| sink | a | b |
| --- | --- | --- |
| all | ✓ | – |
| twice is once | declared | in part |

- Declared: no progress (a, b).
";
        assert_eq!(table.markdown(), expected);
        assert!(!table.is_partial());
        let first = &table.json()["conformance"][0];
        assert_eq!(
            (&first["connector"], &first["passed"]),
            (&json!("a"), &json!(true))
        );

        outcomes.push(outcome("b", "sink", "twice_is_once", Ending::Unknown));
        let table = Table::of(&outcomes);
        assert!(table.is_partial());
        assert!(table.markdown().contains("| declared | ? |"));
    }

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let text = format!("# A\n\n{BEGIN}\nold\n{END}\n\nB\n");
        let new = put(&text, "| x |\n").unwrap();
        assert_eq!(new, format!("# A\n\n{BEGIN}\n\n| x |\n\n{END}\n\nB\n"));
        assert_eq!(put(&new, "| x |\n").unwrap(), new);
        assert!(put("# A\n", "").is_err());
    }
}

//! What was applied to a target and is there no more, because its table was made anew or a column was: the source reads its table again and brings it.
//!
//! That something is lost is written into the log when it is found, and stays there until the source took the request; a kill between forgets nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::Shape;
use lockstep_core::connector::Incarnation;
use lockstep_core::error::Result;
use lockstep_core::gate::{FieldMap, Mapping};
use lockstep_core::log::subject;

use super::Delivery;
use super::plan::Current;
use crate::quarantine::{Answer, Ask};
use crate::versions::{Table, source_key, target_key};

/// How long a source may take to say that it reads a table again.
const REFILL_MAX: Duration = Duration::from_secs(5);

impl Delivery {
    /// Looks for columns that were written and are lost, also where another one of the name is there by now, and for those that nobody wrote when the rows came, and writes them down. Gives why the source has to read its table again, if it has to.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub(super) async fn losses(
        &self,
        (key, mapping): (&str, &Mapping),
        seen: &Table,
        now: &Shape,
        incarnation: Option<&Incarnation>,
    ) -> Result<Option<String>> {
        let (flow, to, table) = (&self.plan.flow, &self.plan.to, &mapping.table);
        let lost = lost(mapping, seen, now, incarnation);
        // What a source brings along is brought by the source itself.
        let fresh = fresh(&self.plan.mapping, seen);
        let again = if !lost.is_empty() {
            let names = lost.join("`, `");
            format!(
                "columns that were written in table `{table}` of `{to}` went with their values (`{names}`)"
            )
        } else if !fresh.is_empty() {
            let names = fresh.join("`, `");
            format!(
                "columns of table `{table}` of `{to}` are mapped that were not when its rows came (`{names}`)"
            )
        } else {
            return Ok(seen.again.clone());
        };
        tracing::warn!(flow, to, "{again}");
        let table = Table {
            again: Some(again.clone()),
            writes: writes(mapping),
            ..seen.clone()
        };
        self.versions.keep_table(key, table).await?;
        Ok(Some(again))
    }

    /// Notices a target that stands before rows which went past the log, because it is a new one or was set back; the log will not bring them.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub(super) async fn lacks_direct(&self, reached: u64) -> Result<()> {
        let crate::plan::Delivered {
            flow,
            to,
            from,
            contract,
            ..
        } = &self.plan;
        let source = source_key(from, &contract.entity);
        let source = self.versions.table(&source).await?;
        let behind = source.and_then(|source| source.direct);
        if behind.is_none_or(|behind| reached >= behind) {
            return Ok(());
        }
        let key = target_key(flow, to);
        let Some(known) = self.versions.table(&key).await? else {
            return Ok(());
        };
        if known.again.is_some() {
            return Ok(());
        }
        let again = format!(
            "rows of `{}` came to other targets, or to `{to}` before it was set back, past the log",
            contract.entity
        );
        tracing::warn!(flow, to, "{again}");
        let table = Table {
            again: Some(again),
            ..known
        };
        self.versions.keep_table(&key, table).await
    }

    /// Sees to it that a target gets again what it lost: its source reads the table again. Tells whether there is nothing more to see to.
    ///
    /// # Errors
    /// A log that cannot be read or written.
    pub(super) async fn refilled(&self, current: &Current) -> Result<bool> {
        let key = target_key(&self.plan.flow, &self.plan.to);
        let Some(known) = self.versions.table(&key).await? else {
            return Ok(true);
        };
        let (flow, to, from) = (&self.plan.flow, &self.plan.to, &self.plan.from);
        let table = &current.shape.name;
        let there = current.incarnation.as_ref().map(|now| now.table.clone());
        let is_another = there.is_some() && known.incarnation != there;
        let what = match &known.again {
            _ if is_another => format!(
                "table `{table}` of `{to}` was made anew, without the rows that were applied to it"
            ),
            Some(again) => again.clone(),
            None => return Ok(true),
        };
        let ask = Ask::Refill {
            id: current.contract.entity.clone(),
            reason: what.clone(),
        };
        let asked = self
            .log
            .request(&subject::capture_control(from), ask.to_bytes(), REFILL_MAX)
            .await;
        let refused = match asked.map(|answer| serde_json::from_slice::<Answer>(&answer)) {
            Ok(Ok(Answer::Done)) => None,
            Ok(Ok(Answer::Failed { reason })) => Some(reason),
            Ok(_) => Some("its source's runtime is of another version".to_owned()),
            Err(_) => Some("its source does not run now; it is asked again".to_owned()),
        };
        if let Some(reason) = refused {
            let why = format!("{what}: `{from}` cannot bring them: {reason} (LS-E011)");
            if self.board.flow_lacks(flow, to, Some(why.clone())) {
                tracing::warn!(flow, to, "{why}");
            }
            return Ok(false);
        }
        tracing::warn!(flow, to, "{what}: `{from}` is read again");
        self.board.flow_lacks(flow, to, None);
        let table = Table {
            incarnation: there.or_else(|| known.incarnation.clone()),
            again: None,
            ..known
        };
        self.versions.keep_table(&key, table).await?;
        Ok(true)
    }
}

/// The columns that were written when all was well and are not there, or are others of the same names.
fn lost(
    mapping: &Mapping,
    seen: &Table,
    now: &Shape,
    incarnation: Option<&Incarnation>,
) -> Vec<String> {
    let is_lost = |name: &&str| {
        let was_there = seen.shape.position(name).is_some();
        let is_another = || {
            let now = incarnation.and_then(|now| now.columns.get(*name));
            let then = seen.columns.get(*name);
            now.is_some() && then.is_some() && now != then
        };
        was_there && now.position(name).is_none() || is_another()
    };
    written(mapping)
        .filter(is_lost)
        .map(str::to_owned)
        .collect()
}

/// The columns that a mapping writes and that nobody wrote so far, where it is known what was written.
fn fresh(mapping: &Mapping, seen: &Table) -> Vec<String> {
    let known = &seen.writes;
    writes(mapping)
        .into_iter()
        .filter(|name| !known.is_empty() && !known.contains(name))
        .collect()
}

/// The names of the columns that a mapping writes.
pub(super) fn writes(mapping: &Mapping) -> Vec<String> {
    let mut names: Vec<String> = written(mapping).map(str::to_owned).collect();
    names.sort();
    names
}

/// What is known of the columns that a mapping writes.
pub(super) fn mapped(
    mapping: &Mapping,
    mut columns: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    columns.retain(|name, _| written(mapping).any(|written| written == name));
    columns
}

/// The columns that a mapping writes.
fn written(mapping: &Mapping) -> impl Iterator<Item = &str> {
    let fields = mapping.fields.values().filter_map(|map| match map {
        FieldMap::Column(name) => Some(name.as_str()),
        FieldMap::Rule(rule) => rule.column.as_deref(),
    });
    fields.chain(mapping.columns.keys().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use lockstep_core::{Column, Type};

    use super::*;

    fn shape(names: &[&str]) -> Shape {
        let column = |name: &&str| Column::new(*name, Type::Text, true);
        Shape {
            name: "items".to_owned(),
            columns: names.iter().map(column).collect(),
            key: vec![0],
        }
    }

    fn incarnation(columns: &[(&str, &str)]) -> Incarnation {
        let column = |(name, of): &(&str, &str)| ((*name).to_owned(), (*of).to_owned());
        Incarnation {
            table: "1".to_owned(),
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn a_column_is_lost_that_was_written_and_is_gone_or_another() {
        let text = r#"{"table": "items", "fields": {"id": "id", "note": {"column": "memo"}, "new": "new"}, "columns": {"sum": {"cel": "1"}}}"#;
        let mapping: Mapping = serde_json::from_str(text).unwrap();
        let seen = Table {
            shape: shape(&["id", "memo", "sum", "own"]),
            terms: String::new(),
            version: semver::Version::new(1, 0, 0),
            again: None,
            was_held: false,
            incarnation: None,
            columns: mapped(
                &mapping,
                incarnation(&[("id", "1"), ("memo", "2"), ("own", "4")]).columns,
            ),
            writes: Vec::new(),
            majors: Vec::new(),
            direct: None,
        };
        let all = ["id", "memo", "sum", "own"];
        let moved = incarnation(&[("id", "1"), ("memo", "7"), ("own", "9"), ("new", "8")]);
        let same = incarnation(&[("id", "1"), ("memo", "2")]);
        type Case<'a> = (&'a [&'a str], Option<&'a Incarnation>, &'a [&'a str]);
        let table: [Case<'_>; 6] = [
            (&all, None, &[]),
            (&all, Some(&same), &[]),
            (&all, Some(&moved), &["memo"]),
            (&["id", "sum"], None, &["memo"]),
            (&["id", "memo", "new"], None, &["sum"]),
            // Nobody writes it, and nobody wrote it before.
            (&["id", "memo", "sum"], Some(&same), &[]),
        ];
        for (now, incarnation, expected) in table {
            assert_eq!(lost(&mapping, &seen, &shape(now), incarnation), expected);
        }
        // What was written when the rows came is not known of old.
        assert!(fresh(&mapping, &seen).is_empty());
        let some = ["id", "memo", "sum"].map(str::to_owned).to_vec();
        let seen = Table {
            writes: some,
            ..seen
        };
        assert_eq!(fresh(&mapping, &seen), ["new"]);
    }
}

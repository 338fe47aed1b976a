//! Removing what nobody needs any more: files that no commit named, files that were compacted away, old commits and checkpoints.
//!
//! Only what bears a name that we give is ever touched, and only after `keep_minutes` by the store's own clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::Result;
use uuid::Uuid;

use crate::journal::{CHECKPOINTS, COMMITS, OURS, number};
use crate::lake::Lake;
use crate::state::State;
use crate::store::Entry;

/// Where files are before they get their place.
const TEMPORARY: &str = "_lockstep/tmp/";
/// After how many commits the root is looked through again: a listing of everything.
const EVERY: u64 = 1000;
/// Checkpoints that are kept however old they are.
const CHECKPOINTS_MIN: usize = 2;
/// Where the number of the commit at the last sweep is.
const SWEPT: &str = "_lockstep/swept.json";

/// Sweeps, when it is time.
pub(crate) async fn sweep(lake: &Arc<Lake>) -> Result<()> {
    let state = lake.journal.known().await?;
    let swept = lake.store.get(SWEPT).await?;
    let swept: Option<u64> = swept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if swept.is_some_and(|swept| state.version < swept.saturating_add(EVERY)) {
        return Ok(());
    }
    // The listing comes first: what a later commit names is young in it, or not in it at all.
    let entries = lake.store.list("").await?;
    let state = lake.journal.now().await?;
    for path in stale(&entries, &state, lake.config.keep(), Timestamp::now()) {
        lake.store.delete(&path).await?;
    }
    lake.store
        .put(SWEPT, state.version.to_string().into())
        .await
}

/// What can go.
fn stale(entries: &[Entry], state: &State, keep: Duration, now: Timestamp) -> Vec<String> {
    // The store's clock: the newest thing in it is as old as its last commit.
    let Some(clock) = entries.iter().map(|entry| entry.modified).max() else {
        return Vec::new();
    };
    let is_past = |moment: Timestamp, clock: Timestamp| {
        let age = clock.duration_since(moment);
        !age.is_negative() && age.unsigned_abs() > keep
    };
    let kept: BTreeSet<u64> = entries
        .iter()
        .filter_map(|entry| number(CHECKPOINTS, &entry.path))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .rev()
        .take(CHECKPOINTS_MIN)
        .collect();
    let oldest = kept
        .first()
        .copied()
        .filter(|_| kept.len() >= CHECKPOINTS_MIN);
    let is_stale = |entry: &&Entry| {
        let path = entry.path.as_str();
        if !is_past(entry.modified, clock) {
            return false;
        }
        if let Some(number) = number(COMMITS, path) {
            return oldest.is_some_and(|oldest| number <= oldest);
        }
        if let Some(number) = number(CHECKPOINTS, path) {
            return !kept.contains(&number) && oldest.is_some_and(|oldest| number < oldest);
        }
        if path.starts_with(OURS) {
            return path.starts_with(TEMPORARY);
        }
        let removed = state.removed.get(path);
        is_data(path) && !state.has(path) && removed.is_none_or(|at| is_past(*at, now))
    };
    let stale = entries.iter().filter(is_stale);
    stale.map(|entry| entry.path.clone()).collect()
}

/// Whether a file bears a name as we give them, in a folder.
fn is_data(path: &str) -> bool {
    let Some((_, name)) = path.rsplit_once('/') else {
        return false;
    };
    let stem = name.strip_suffix(".parquet");
    stem.is_some_and(|stem| Uuid::try_parse(stem).is_ok_and(|id| id.get_version_num() == 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::numbered;

    #[test]
    fn only_what_is_old_and_ours_and_named_by_nobody_goes() {
        let at = |hours: i64| Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap();
        let id = Uuid::now_v7();
        let file = |folder: &str| format!("{folder}/{id}.parquet");
        let entry = |path: String, hours: i64| Entry {
            path,
            modified: at(hours),
        };
        let entries = [
            entry(file("orphan"), 0),
            entry(file("young"), 99),
            entry(file("removed"), 0),
            entry(file("just removed"), 0),
            entry("t/foreign.parquet".to_owned(), 0),
            entry(format!("{id}.parquet"), 0),
            entry(format!("_lockstep/tmp/{id}"), 0),
            entry("_lockstep/tables/t.json".to_owned(), 0),
            entry(numbered(COMMITS, 5), 0),
            entry(numbered(COMMITS, 11), 0),
            entry(numbered(CHECKPOINTS, 5), 0),
            entry(numbered(CHECKPOINTS, 10), 0),
            entry(numbered(CHECKPOINTS, 20), 100),
        ];
        let mut state = State::default();
        state.removed.insert(file("removed"), at(10));
        state.removed.insert(file("just removed"), at(90));
        let gone = stale(&entries, &state, Duration::from_secs(24 * 3600), at(100));
        let expected = [
            file("orphan"),
            file("removed"),
            format!("_lockstep/tmp/{id}"),
            numbered(COMMITS, 5),
            numbered(CHECKPOINTS, 5),
        ];
        assert_eq!(gone, expected);
    }
}

//! Making few files out of many, behind the batches.
//!
//! A table of current rows is a handful of runs, each sorted by key: small new ones are merged with those that are not much larger, so that each row is written a few times in all.
//! Files of an append table are merged inside their folders, and only where the configuration says so.
//! What comes of it enters by a commit like any other; the old files stay for whoever is reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::{Error, Result};
use uuid::Uuid;

use crate::file::{Record, Writer, forms};
use crate::journal::Committed;
use crate::lake::Lake;
use crate::merge::Merge;
use crate::read::Want;
use crate::sink::put;
use crate::state::{Commit, DataFile, Edit, Table};
use crate::sweep;

/// How much larger than all newer ones together a run may be and still be merged with them.
const RATIO: u64 = 2;
/// How often the commit of merged files is tried while other writers are first.
const TRIES: usize = 16;
/// Most files of one merge.
const INPUTS_MAX: usize = 256;

/// What to merge.
#[derive(Debug, PartialEq)]
struct Plan {
    inputs: Vec<String>,
    /// Whether nothing older than it is left, so that deleted rows need not be remembered.
    is_whole: bool,
    folder: String,
}

/// Compacts the tables of which that is due, and sweeps what nobody needs.
pub(crate) async fn tidy(lake: &Arc<Lake>) {
    let tables: Vec<String> = match lake.journal.known().await {
        Ok(state) => state.tables.keys().cloned().collect(),
        Err(_) => return,
    };
    for name in &tables {
        loop {
            match compact(lake, name).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(table = %name, error = %error.chain(), "cannot compact the table; a later batch tries again");
                    break;
                }
            }
        }
    }
    if let Err(error) = sweep::sweep(lake).await {
        tracing::warn!(error = %error.chain(), "cannot sweep what nobody needs; a later batch tries again");
    }
}

/// Merges some files of a table, if that is due; whether it did.
async fn compact(lake: &Arc<Lake>, name: &str) -> Result<bool> {
    let began = Timestamp::now();
    let state = lake.journal.known().await?;
    let table = state.table(name)?;
    let Some(plan) = plan(lake, name, table) else {
        return Ok(false);
    };
    let added = merge(lake, table, &plan).await?;
    for _ in 0..TRIES {
        let state = lake.journal.now().await?;
        let is_there = |input: &String| {
            state
                .tables
                .get(name)
                .is_some_and(|table| table.files.contains_key(input))
        };
        // The table was emptied, or somebody else merged them: what was made belongs to nothing.
        if !plan.inputs.iter().all(is_there) {
            return Ok(false);
        }
        let edit = Edit {
            add: added.clone(),
            remove: plan.inputs.clone(),
            ..Edit::default()
        };
        let commit = Commit::of(&state, BTreeMap::from([(name.to_owned(), edit)]));
        if lake.journal.commit(commit, began).await? == Committed::Done {
            lake.journal.publish([name.to_owned()].iter(), true).await;
            return Ok(true);
        }
    }
    Ok(false)
}

fn plan(lake: &Lake, name: &str, table: &Table) -> Option<Plan> {
    let (at, file_max) = (lake.config.compact_at, lake.config.file_max as u64);
    if !table.is_append() {
        return merge_runs(&table.files, at, &crate::partition::encoded(name));
    }
    let is_wanted = lake.config.keeping(name).compact;
    is_wanted
        .then(|| merge_small(&table.files, at, file_max))
        .flatten()
}

/// The newest runs of a table, as many as belong together by their size.
fn merge_runs(files: &BTreeMap<String, DataFile>, at: usize, folder: &str) -> Option<Plan> {
    let mut runs: BTreeMap<Uuid, (i64, u64, Vec<&String>)> = BTreeMap::new();
    for (path, file) in files {
        let run = runs.entry(file.run).or_default();
        run.0 = run.0.max(file.versions.1);
        run.1 += file.bytes;
        run.2.push(path);
    }
    if runs.len() < at {
        return None;
    }
    let mut runs: Vec<_> = runs.into_values().collect();
    runs.sort_by_key(|(newest, _, _)| std::cmp::Reverse(*newest));
    let (mut inputs, mut bytes) = (Vec::new(), 0u64);
    for (taken, (_, size, paths)) in runs.iter().enumerate() {
        if taken >= 2 && *size > bytes.saturating_mul(RATIO) {
            break;
        }
        bytes += size;
        inputs.extend(paths.iter().map(|path| (*path).clone()));
    }
    let newest = runs[0].0;
    let is_left =
        |(path, file): (&String, &DataFile)| !inputs.contains(path) && file.versions.0 <= newest;
    Some(Plan {
        is_whole: !files.iter().any(is_left),
        inputs,
        folder: folder.to_owned(),
    })
}

/// Small files of the folder that has most of them.
fn merge_small(files: &BTreeMap<String, DataFile>, at: usize, file_max: u64) -> Option<Plan> {
    let mut folders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, file) in files {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if file.bytes < file_max / 4 {
            folders.entry(folder).or_default().push(path.clone());
        }
    }
    let most = folders.into_iter().max_by_key(|(_, paths)| paths.len());
    let (folder, mut inputs) = most.filter(|(_, paths)| paths.len() >= at)?;
    inputs.truncate(INPUTS_MAX);
    Some(Plan {
        inputs,
        is_whole: false,
        folder: folder.to_owned(),
    })
}

async fn merge(lake: &Arc<Lake>, table: &Table, plan: &Plan) -> Result<BTreeMap<String, DataFile>> {
    let columns = table.shape.names().map(str::to_owned).zip(forms(table));
    let want = Want {
        columns: Arc::new(columns.collect()),
        from: None,
        until: None,
        keys: None,
        backwards: false,
    };
    let files = plan
        .inputs
        .iter()
        .filter_map(|path| table.files.get_key_value(path));
    let mut merge = Merge::new(lake, table, files, want)?;
    let bare = Arc::new(Table {
        files: BTreeMap::new(),
        ..table.clone()
    });
    let group_rows = lake.config.group_rows;
    let mut writer = Writer::new(bare, group_rows, lake.config.file_max);
    let (mut waiting, mut added): (Vec<Record>, _) = (Vec::new(), BTreeMap::new());
    while let Some(mut rows) = merge.next().await? {
        if table.is_append() {
            waiting.append(&mut rows);
        } else if let Some(last) = rows.pop()
            && (last.op.is_upsert() || !plan.is_whole)
        {
            waiting.push(last);
        }
        if waiting.len() >= group_rows {
            let full = std::mem::take(&mut waiting);
            writer = encode(writer, full).await?;
            put(lake, &plan.folder, writer.take(), &mut added).await?;
        }
    }
    writer = encode(writer, waiting).await?;
    let rest = tokio::task::spawn_blocking(move || writer.finish()).await;
    let rest = rest.map_err(|_| Error::stopped())??;
    put(lake, &plan.folder, rest, &mut added).await?;
    Ok(added)
}

/// Encodes rows where that holds up nobody.
async fn encode(mut writer: Writer, rows: Vec<Record>) -> Result<Writer> {
    let encoded = tokio::task::spawn_blocking(move || {
        for row in rows {
            writer.push(row)?;
        }
        Ok(writer)
    });
    encoded.await.map_err(|_| Error::stopped())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[(i64, u64)]) -> BTreeMap<String, DataFile> {
        let file = |(version, bytes): &(i64, u64)| {
            let file = DataFile {
                run: Uuid::from_u128(version.unsigned_abs().into()),
                rows: 1,
                bytes: *bytes,
                versions: (*version, *version),
                keys: None,
            };
            (format!("t/d={}/{version}", version % 2), file)
        };
        sizes.iter().map(file).collect()
    }

    #[test]
    fn new_runs_are_merged_with_those_that_are_not_much_larger() {
        let some = files(&[(1, 1000), (2, 10), (3, 10), (4, 10)]);
        assert_eq!(merge_runs(&some, 5, "t"), None);
        let plan = merge_runs(&some, 4, "t").unwrap();
        assert_eq!((plan.inputs.len(), plan.is_whole), (3, false));
        let alike = files(&[(1, 20), (2, 10), (3, 10), (4, 10)]);
        let plan = merge_runs(&alike, 4, "t").unwrap();
        assert_eq!((plan.inputs.len(), plan.is_whole), (4, true));
    }

    #[test]
    fn the_number_of_runs_stays_small_and_so_does_what_is_written() {
        let (mut all, mut written, mut entered) = (BTreeMap::new(), 0, 0);
        for version in 1..=2000 {
            all.extend(files(&[(version, 10)]));
            entered += 10;
            while let Some(plan) = merge_runs(&all, 8, "t") {
                let bytes = plan
                    .inputs
                    .iter()
                    .filter_map(|path| all.remove(path))
                    .map(|file| file.bytes)
                    .sum();
                written += bytes;
                let (path, file) = files(&[(version, bytes)]).pop_first().unwrap();
                all.insert(
                    format!("{path}-{bytes}"),
                    DataFile {
                        run: Uuid::now_v7(),
                        ..file
                    },
                );
            }
            assert!(all.len() <= 8);
        }
        assert!(written < entered * 12, "{written} bytes for {entered}");
    }

    #[test]
    fn small_files_are_merged_inside_their_folder() {
        let plan =
            merge_small(&files(&[(1, 1), (2, 1), (3, 1), (4, 900), (5, 1)]), 3, 1000).unwrap();
        assert_eq!(
            (plan.folder.as_str(), plan.inputs.len(), plan.is_whole),
            ("t/d=1", 3, false)
        );
        assert_eq!(merge_small(&files(&[(1, 1), (2, 1)]), 2, 1000), None);
    }
}

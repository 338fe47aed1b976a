//! What records hold that were corrected in quarantine and sent: their targets have the correction, and their source what was corrected.

use std::collections::BTreeMap;

use lockstep_core::contract::Contract;
use lockstep_core::{Cell, Key, Row};

use super::Side;
use crate::quarantine::{Entry, Stage};

/// Corrections as records of the contract; of several corrections of a record, the last. `source` is where what stopped at the gate came from.
pub(super) fn corrections(
    corrected: &[Entry],
    contract: &Contract,
    source: &Side,
) -> BTreeMap<Key, Row> {
    let each = corrected.iter().filter_map(|entry| {
        // At the gate a record is held as its source has it, at a target as the contract has it.
        let record = match entry.stage {
            Stage::Gate => {
                let columns = source.columns.iter().map(String::as_str);
                source.plan.readable(&cells(entry, columns))
            }
            Stage::Deliver => cells(entry, contract.fields.iter().map(|f| f.name.as_str())),
        };
        let key = Key::encode(contract.key.iter().map(|at| record.value(*at))).ok()?;
        Some((key, record))
    });
    each.collect()
}

/// What an entry holds under these names.
fn cells<'n>(entry: &Entry, names: impl Iterator<Item = &'n str>) -> Row {
    let cell = |name| match entry.held.shape.position(name) {
        Some(at) => entry.row().cell(at).clone(),
        None => Cell::Unchanged,
    };
    Row(names.map(cell).collect())
}

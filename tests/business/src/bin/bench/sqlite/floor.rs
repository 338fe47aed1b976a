//! The limit: the same rows moved in one process by SQL alone, with no contract, no log and no mapping to speak of.

use std::time::Instant;

use anyhow::Result;
use rusqlite::{Connection, params};

/// Rows a transaction, as the pipeline's sink uses.
const BATCH: usize = 1000;

/// Reads every row of the source and upserts it into an empty target; seconds taken.
pub(super) fn copy(source: &Connection, target: &mut Connection) -> Result<f64> {
    let started = Instant::now();
    let mut select = source.prepare("SELECT * FROM sales ORDER BY id")?;
    let mut rows = select.query([])?;
    let mut open = target.transaction()?;
    let mut inside = 0;
    while let Some(row) = rows.next()? {
        let cells: Vec<rusqlite::types::Value> =
            (0..10).map(|at| row.get(at)).collect::<Result<_, _>>()?;
        open.prepare_cached(
            "INSERT INTO facts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT(sale_no) DO UPDATE SET buyer = excluded.buyer, item = excluded.item, qty = excluded.qty, \
             price = excluded.price, state = excluded.state, remark = excluded.remark, day = excluded.day, \
             changed = excluded.changed, revision = excluded.revision",
        )?
        .execute(rusqlite::params_from_iter(cells))?;
        inside += 1;
        if inside == BATCH {
            open.commit()?;
            open = target.transaction()?;
            inside = 0;
        }
    }
    open.execute("DELETE FROM facts WHERE sale_no = ?1", params![-1])?;
    open.commit()?;
    Ok(started.elapsed().as_secs_f64())
}

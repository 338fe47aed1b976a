//! **Query capture**: a source over tables that can give no log of their changes, because the role may not replicate or because they are views or foreign tables.
//!
//! It asks the system's reader, which every connector for databases has, so nothing here knows a kind of system.
//! Two ways of reading: a *listing* reads a table from its first key to its last and compares every row with what is known of it; a *window* reads the rows that a growing column says are new.
//! `core::capture::listing` and `core::capture::watermark` decide; here it is read, kept and told.
//!
//! What is known of a table stands in the log's bucket `LS_QUERY` (`known`), so it is where the position is, whichever runtime reads next.
//!
//! Invariants: before a chunk is told, its rows are known without their values, and their values only after it is durable, so a crash tells a chunk again rather than never, and knows of every row that may have been told; a delete is told only after a listing that began afresh and came to its end, and after the row itself was asked for.

mod cursor;
mod known;
mod list;
mod notices;
mod part;
mod rows;
mod source;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::capture::listing::Share;
use lockstep_core::capture::watermark::Overlap;
use lockstep_core::connector::{DynReader, DynSource, OpenContext, Registry};
use lockstep_core::error::{Error, Result};
use lockstep_core::schedule::Schedule;

use crate::config::Config;
use crate::links;
use crate::log::Log;
pub(crate) use notices::take;
use source::QuerySource;

/// Code → page, for trouble with systems that are captured by query.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-Q001",
        "A listing of a table lacks more of the rows that are known than may go at once, so their deletes are withheld; what is new or changed is told as ever.\n\
         Check: whether the rows are really gone. A role that lost a right, a filter of a view, another database behind the same address or a half-loaded table look just like that.\n\
         Safe: nothing is lost by waiting: every later listing judges anew, and once the rows are back the flow goes on by itself. \
         If they are gone for good, raise `deletes_max_percent` of the table under `[systems.SYSTEM.query.tables.TABLE]`, start again, and put it back after the next listing.",
    ),
    (
        "LS-Q002",
        "Two rows of a table have one key, so nobody can tell which of them a record is.\n\
         Check: `key` of the table under `[systems.SYSTEM.query.tables.TABLE]`; for a view it has to name columns that together are never the same for two rows.\n\
         Safe: name more columns, or mend the rows; reading goes on where it stands.",
    ),
    (
        "LS-Q003",
        "A column cannot say how far a table was read.\n\
         Check: `watermark` of the table; it has to be an integer, an instant or a day that grows with every change of a row, and the system has to be able to compare it.\n\
         Safe: name another column, or leave `watermark` out: the whole table is compared every time then.",
    ),
];

/// How often a table that tells what is new is compared as a whole all the same, if nothing is said.
pub(crate) const SWEEP: Duration = Duration::from_secs(24 * 3600);

/// How a system is captured by query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// When its tables are read.
    pub schedule: Schedule,
    /// Most rows that are read at once.
    pub chunk_rows: usize,
    /// How much of a table may go at once, where the table does not say.
    pub share: Share,
    /// What is special about tables.
    pub tables: BTreeMap<String, QueryTable>,
}

impl Query {
    /// With what the reader knows of tables of which the configuration does not say it.
    fn known_to(mut self, reader: &dyn DynReader, tables: &[String]) -> Query {
        for name in tables {
            let usual = || QueryTable {
                sweep: Some(SWEEP),
                ..QueryTable::default()
            };
            let table = self.tables.entry(name.clone()).or_insert_with(usual);
            let growing = reader.growing(name).filter(|_| table.watermark.is_none());
            if let Some(growing) = growing {
                table.watermark = Some(growing.column);
                let overlap = table.overlap.unwrap_or(Overlap::Time(growing.overlap));
                table.overlap = Some(overlap);
            }
        }
        self
    }
}

/// What is special about a table that is captured by query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryTable {
    /// The columns that identify a row, where the system does not say.
    pub key: Vec<String>,
    /// The column that grows with every change; every row is compared every time where there is none.
    pub watermark: Option<String>,
    /// How far back of what was reached each reading begins.
    pub overlap: Option<Overlap>,
    /// How often the whole table is read beside that; never if absent.
    pub sweep: Option<Duration>,
    /// How much of it may go at once.
    pub share: Option<Share>,
}

/// By table, the columns that name records, which deletes have to tell beside the key.
pub(crate) type Names = BTreeMap<String, BTreeSet<String>>;

/// Opens a system to be observed: with the source of its connector, or by query. Without a log it can be looked at, but not run.
///
/// # Errors
/// A system that is not known, cannot be reached, or cannot be opened.
pub(crate) async fn open_source(
    config: &Config,
    registry: &Registry,
    cx: OpenContext,
    names: &Names,
    log: Option<&Arc<dyn Log>>,
) -> Result<Box<dyn DynSource>> {
    let Some(system) = config.systems.get(&cx.system) else {
        return Err(Error::config(format!("no such system `{}`", cx.system)));
    };
    let connector = registry.get(&system.connector)?;
    let settings = system.settings.clone();
    let Some(query) = &system.query else {
        links::none_of(config, &cx)?;
        return connector.open_source(settings, cx).await;
    };
    let reader = links::open_reader(config, registry, cx.clone()).await?;
    let query = query.clone().known_to(&*reader, &cx.tables);
    Ok(Box::new(QuerySource {
        reader,
        cx,
        query,
        names: names.clone(),
        log: log.map(Arc::clone),
    }))
}

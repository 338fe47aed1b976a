//! A part of a table that somebody wants again: its rows are told as they are, whatever is known of them.

use std::sync::Arc;

use lockstep_core::Op;
use lockstep_core::capture::listing::token;
use lockstep_core::connector::{News, Page};
use lockstep_core::error::{Error, Result};
use lockstep_core::value::Value;

use super::cursor::{Active, Owed};
use super::known::{Note, RECENT_MAX, Recent, Saves};
use super::rows::Table;
use super::source::Run;

impl Run<'_> {
    /// Reads the next rows that somebody wants again.
    pub(super) async fn part_chunk(
        &mut self,
        table: &Arc<Table>,
        owed: Owed,
        after: Option<Vec<Value>>,
    ) -> Result<()> {
        let limit = self.chunk_rows();
        let page = Page {
            table: &table.shape.name,
            columns: &table.columns,
            key: table.key(),
            after: after.as_deref(),
            filter: owed.filter.as_ref(),
            limit,
            ..Page::default()
        };
        let rows = match self.source.reader.scan(page).await {
            Err(error) if self.is_at_fault(table, &owed, &error).await => {
                return self.give_up_part(owed, &error).await;
            }
            rows => rows?,
        };
        let is_last = rows.len() < limit;
        let last = rows.last().map(|row| table.key_of(row));
        self.reading.next_chunk();
        let mut changes = Vec::with_capacity(rows.len());
        let mut told = Vec::new();
        let hasher = table.hasher(&self.store.index(table).await?.secret);
        let keeps = self.keeps_pages(table);
        self.recent(table).await?;
        for row in rows {
            let recent = self.recent.get(&table.shape.name);
            let key = token(&table.key_of(&row));
            let is_noted = recent.is_some_and(|recent| recent.get(&key).is_some());
            let known = recent.map_or(0, Recent::len) + told.len();
            if is_noted || keeps && known < RECENT_MAX {
                told.push(Note::told(table.known(&row, hasher.hash(&row.0))));
            }
            let mark = self.reading.next();
            changes.push(table.upsert(Op::Snapshot, row, None, mark));
        }
        let mut saves = Saves::default();
        self.remember(table, told, &mut saves).await?;
        self.reading.cursor.active = if is_last {
            self.news.push(News::ReadPart(owed.table.clone()));
            None
        } else {
            Some(Active::Part {
                owed,
                named: table.named(),
                after: last,
            })
        };
        self.tell(changes, saves).await
    }

    /// Whether it is what somebody wants that cannot be asked of the system, now or later, although the table can be read.
    async fn is_at_fault(&self, table: &Table, owed: &Owed, error: &Error) -> bool {
        if owed.filter.is_none() || error.kind().is_retryable() {
            return false;
        }
        let plain = Page {
            table: &table.shape.name,
            columns: &table.columns,
            key: table.key(),
            limit: 1,
            ..Page::default()
        };
        self.source.reader.scan(plain).await.is_ok()
    }

    /// Leaves out a part that would stop everything else for good.
    async fn give_up_part(&mut self, owed: Owed, error: &Error) -> Result<()> {
        tracing::error!(
            table = %owed.table,
            "the part that was to be read again is left out, because the system refuses its condition: {}",
            error.chain()
        );
        self.news.push(News::ReadPart(owed.table));
        self.reading.cursor.active = None;
        self.reading.next_chunk();
        self.tell(Vec::new(), Saves::default()).await
    }
}

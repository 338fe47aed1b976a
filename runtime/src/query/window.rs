//! A window: the rows of a table from a value of its watermark on.

use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::Op;
use lockstep_core::capture::listing::token;
use lockstep_core::capture::watermark;
use lockstep_core::error::Result;
use lockstep_core::value::Value;

use super::cursor::Active;
use super::known::{Note, Saves};
use super::rows::Table;
use super::source::Run;

impl Run<'_> {
    /// Reads the next rows of a window and tells those that were not told with these values of late.
    pub(super) async fn window_chunk(
        &mut self,
        table: &Arc<Table>,
        from: Option<Value>,
        after: Option<Vec<Value>>,
        high: Option<Value>,
        since: Timestamp,
    ) -> Result<()> {
        let name = table.shape.name.clone();
        if self.recent(table).await?.is_full() && self.keeps_pages(table) {
            // A listing makes pages of what was told, and tells what else there is.
            let state = self.state(&name);
            (state.read, state.listed) = (None, None);
            self.reading.cursor.active = None;
            return Ok(());
        }
        let limit = self.chunk_rows();
        let read = self
            .source
            .window(table, from.as_ref(), after.as_deref(), limit);
        let rows = read.await?;
        let is_last = rows.len() < limit;
        let Some(mark) = &table.watermark else {
            self.reading.cursor.active = None;
            return Ok(());
        };
        let secret = self.store.index(table).await?.secret;
        let hasher = table.hasher(&secret);
        let mut reached = high;
        let mut last = None;
        let mut changes = Vec::new();
        let mut told = Vec::new();
        self.reading.next_chunk();
        let mut saves = Saves::default();
        if self.recent(table).await?.is_full() {
            // Deletes are never told here, so what is forgotten is at worst told again.
            let recent = self.recent.get_mut(&name);
            let forgotten = recent.map(|recent| recent.keep(&self.store, &name, |_| false));
            saves.ahead = forgotten.transpose()?.unwrap_or_default();
        }
        let mut names = self.names_of(table, &rows).await?;
        for row in rows {
            let Some(value) = table.watermark_of(&row).cloned() else {
                continue;
            };
            reached = watermark::reached(reached.as_ref(), &value, Timestamp::now());
            let key = table.key_of(&row);
            let mut behind = vec![value];
            let others = table.key().iter().zip(&key);
            behind.extend(
                others
                    .filter(|(column, _)| **column != mark.column)
                    .map(|(_, value)| value.clone()),
            );
            last = Some(behind);
            let known = table.known(&row, hasher.hash(&row.0));
            let recent = self.recent.get(&name);
            let noted = recent.and_then(|recent| recent.get(&token(&key)));
            if noted.is_some_and(|noted| noted.hash == known.hash) {
                continue;
            }
            let before = noted.cloned().or_else(|| names.remove(&token(&key)));
            told.push(Note::told(known));
            let place = self.reading.next();
            changes.push(table.upsert(Op::Updated, row, before.as_ref(), place));
        }
        self.remember(table, told, &mut saves).await?;
        if is_last {
            let state = self.state(&name);
            state.read = Some(since);
            if let Some(reached) = reached {
                let now = Timestamp::now();
                state.reached = watermark::reached(state.reached.as_ref(), &reached, now);
            }
            self.reading.cursor.active = None;
        } else {
            self.reading.cursor.active = Some(Active::Window {
                table: name,
                named: table.named(),
                since,
                from,
                after: last,
                high: reached,
            });
        }
        self.tell(changes, saves).await
    }
}

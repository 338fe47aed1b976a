//! Rows of the stream, and statements about tables: what each becomes.

use std::sync::Arc;

use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Op, Result, Row};

use super::{Known, Stream, no_xa};
use crate::binlog::reader::Reader;
use crate::binlog::rows::image;
use crate::binlog::{RowOp, RowsEvent};
use crate::ddl::Effect;
use crate::tables::Layout;

impl Stream {
    pub(super) fn rows(&mut self, event: &RowsEvent<'_>) -> Result<()> {
        let known = self.layouts.get(&event.table).cloned();
        let Some(open) = &mut self.open else {
            if !matches!(known, Some(Known::Captured(_))) {
                return Ok(());
            }
            return Err(
                Error::unexpected("the binary log holds rows outside of any transaction").help(
                    "check that the server gives transactions names (gtid_mode = ON on MySQL)",
                ),
            );
        };
        // Rows stand behind where their event begins, so each has a number of its own, whoever asks for whatever.
        let base = open.read;
        open.read += event.size();
        match known {
            Some(Known::Ours) => open.ours = true,
            Some(Known::Other) => {}
            Some(Known::Captured(_)) if open.ours => {}
            Some(Known::Captured(layout)) => {
                if open.xa {
                    return Err(no_xa(&self.tables[layout.table], &self.reading.incarnation));
                }
                if !open.touched.contains(&layout.table) {
                    open.touched.push(layout.table);
                }
                return self.captured(event, &layout, base);
            }
            None => {
                return Err(Error::unexpected(format!(
                    "the binary log holds rows of table {}, which it did not describe",
                    event.table
                )));
            }
        }
        Ok(())
    }

    fn captured(&mut self, event: &RowsEvent<'_>, layout: &Arc<Layout>, base: u64) -> Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let table = &self.tables[layout.table];
        let shape = &table.shape;
        let broken = || {
            Error::unexpected(format!(
                "a row of table `{}` in the binary log cannot be read",
                table.spelled
            ))
            .with("width", event.width)
        };
        if event.width != layout.wires.len() {
            return Err(broken());
        }
        let bytes = event.bytes()?;
        let mut reader = Reader::new(&bytes);
        let mut ordinal = base;
        let width = shape.columns.len();
        while !reader.is_empty() {
            let first =
                image(&mut reader, &layout.wires, event.present, width).ok_or_else(broken)?;
            let second = match event.op {
                RowOp::Update => Some(
                    image(&mut reader, &layout.wires, event.present_after, width)
                        .ok_or_else(broken)?,
                ),
                _ => None,
            };
            ordinal += 1;
            let mark = Mark {
                commit: open.commit,
                ordinal,
            };
            if mark <= self.covered {
                continue;
            }
            let (op, row, before) = match (event.op, second) {
                (RowOp::Write, _) => (Op::Created, first, None),
                (RowOp::Update, Some(after)) => (Op::Updated, after, Some(first)),
                _ => (Op::Deleted, only_key(&first, &shape.key), Some(first)),
            };
            // A partial image would leave out what identifies the row.
            if shape
                .key
                .iter()
                .any(|column| row.cell(*column).is_unchanged())
            {
                return Err(partial_image(&table.spelled));
            }
            self.backlog.push_back(Change {
                shape: Arc::clone(shape),
                op,
                row,
                before,
                mark,
                committed_at: open.at,
                origin: None,
            });
        }
        Ok(())
    }

    /// A statement that concerns a whole table.
    pub(super) fn affected(&mut self, table: usize, effect: Effect) {
        let Some(open) = &self.open else {
            return;
        };
        let mark = Mark {
            commit: open.commit,
            // Behind every row of a transaction that is taken back, and before the next one.
            ordinal: open.read + 1 + table as u64,
        };
        if effect == Effect::Rewritten && mark > self.covered && !open.ours {
            tracing::warn!(table = %self.tables[table].spelled, "a column was dropped or declared anew, which changes do not tell: the table is read again");
            self.read_again(table);
            return;
        }
        if matches!(effect, Effect::Altered | Effect::Rewritten)
            || mark <= self.covered
            || open.ours
        {
            return;
        }
        let at = open.at;
        self.forget_chunk(table);
        if effect == Effect::Replaced {
            tracing::warn!(table = %self.tables[table].spelled, "the table was made anew: the rows of before are told to be gone, and it is read again");
            self.read_again(table);
        }
        self.backlog.push_back(Change {
            shape: Arc::clone(&self.tables[table].shape),
            op: Op::Truncated,
            row: Row::default(),
            before: None,
            mark,
            committed_at: at,
            origin: None,
        });
    }
}

fn partial_image(table: &str) -> Error {
    Error::config(format!("the binary log holds rows of table `{table}` without all their columns"))
        .help("let an administrator run: SET GLOBAL binlog_row_image = 'FULL', and keep sessions from changing it")
}

fn only_key(row: &Row, key: &[usize]) -> Row {
    let mut only = Row::unchanged(row.0.len());
    for column in key {
        only.0[*column] = row.cell(*column).clone();
    }
    only
}

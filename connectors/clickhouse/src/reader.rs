//! The reader: the newest row of each key, deleted ones left out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{Finding, OpenContext, Page, Reader};
use lockstep_core::{Cell, Error, Result, Row, Shape, Value};

use crate::client::Server;
use crate::config::Config;
use crate::convert::{decode, selected};
use crate::literal::{self, Side};
use crate::table::Table;

/// Most keys that one question asks for.
const KEYS_MAX: usize = 500;

/// Reads tables and views of a ClickHouse database.
#[derive(Debug)]
pub struct ClickhouseReader {
    server: Server,
    config: Config,
    tables: Vec<String>,
    known: Mutex<HashMap<String, Arc<Table>>>,
}

impl Reader for ClickhouseReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(ClickhouseReader {
            server: Server::open(&config, &cx).await?,
            config,
            tables: cx.tables,
            known: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            shapes.push(Arc::clone(&self.look(name).await?.shape));
        }
        Ok(shapes)
    }

    async fn check(&self) -> Result<Vec<Finding>> {
        for name in &self.tables {
            let table = self.look(name).await?;
            self.server
                .rows(&format!(
                    "SELECT 1 FROM {} LIMIT 1",
                    literal::name(&table.name)
                ))
                .await?;
        }
        Ok(Vec::new())
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        if page.limit == 0 {
            return Ok(Vec::new());
        }
        let table = self.known(page.table).await?;
        let key = places(&table, page.key)?;
        if key.is_empty() {
            return Err(Error::config(format!(
                "rows of `{}` cannot be paged without a key",
                table.name
            ))
            .help(format!(
                "name the columns that identify a row: `keys.{} = [\"…\"]`",
                table.name
            )));
        }
        let version = self.server.version;
        let mut terms = self.alive(&table);
        terms.extend(
            key.iter()
                .map(|place| &table.columns[*place])
                .filter(|column| column.form.nullable)
                .map(|column| format!("{} IS NOT NULL", literal::name(&column.name))),
        );
        if let Some(filter) = page.filter {
            terms.push(literal::condition(&table, filter, version)?);
        }
        if let Some(after) = page.after {
            let side = if page.backwards {
                Side::Before
            } else {
                Side::Behind
            };
            terms.push(literal::bound(&table, &key, after, side, version)?);
        }
        if let Some(until) = page.until {
            let side = if page.backwards {
                Side::From
            } else {
                Side::UpTo
            };
            terms.push(literal::bound(&table, &key, until, side, version)?);
        }
        let way = if page.backwards { " DESC" } else { "" };
        let order: Vec<String> = page
            .key
            .iter()
            .map(|column| format!("{}{way}", literal::name(column)))
            .collect();
        let end = format!(" ORDER BY {} LIMIT {}", order.join(", "), page.limit);
        self.read(&table, page.columns, &terms, &end).await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let table = self.known(table).await?;
        let key = places(&table, key)?;
        let mut rows = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS_MAX) {
            let Some(any) = literal::any_of(&table, &key, some, self.server.version) else {
                continue;
            };
            let mut terms = self.alive(&table);
            terms.push(any);
            rows.extend(self.read(&table, columns, &terms, "").await?);
        }
        Ok(rows)
    }
}

impl ClickhouseReader {
    /// What lets deleted rows out.
    fn alive(&self, table: &Table) -> Vec<String> {
        let deleted = literal::name(&self.config.deleted_column);
        let term = table.has_deleted.then(|| format!("{deleted} = 0"));
        term.into_iter().collect()
    }

    async fn read(
        &self,
        table: &Table,
        columns: &[String],
        terms: &[String],
        end: &str,
    ) -> Result<Vec<Row>> {
        let version = self.server.version;
        let forms: Vec<&crate::table::Column> = places(table, columns)?
            .into_iter()
            .map(|place| &table.columns[place])
            .collect();
        let mut wanted: Vec<String> = forms
            .iter()
            .map(|column| selected(&column.form, &literal::name(&column.name), version))
            .collect();
        // A row without columns is a row all the same.
        wanted.push("1".to_owned());
        let filter = if terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", terms.join(" AND "))
        };
        let sql = format!(
            "SELECT {} FROM {}{filter}{end}",
            wanted.join(", "),
            table.source()
        );
        let mut rows = Vec::new();
        for fields in self.server.rows(&sql).await? {
            if fields.len() != wanted.len() {
                return Err(Error::unexpected(
                    "the server answered with other columns than were asked for",
                ));
            }
            let cells = forms.iter().zip(&fields).map(|(column, field)| {
                decode(&column.form, field, version)
                    .map(Cell::Set)
                    .map_err(|error| error.with("column", &column.name))
            });
            rows.push(Row(cells.collect::<Result<_>>()?));
        }
        Ok(rows)
    }

    async fn look(&self, name: &str) -> Result<Arc<Table>> {
        let table = Arc::new(Table::find(&self.server, &self.config, name).await?);
        self.all().insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }

    async fn known(&self, name: &str) -> Result<Arc<Table>> {
        let known = self.all().get(name).cloned();
        match known {
            Some(table) => Ok(table),
            None => self.look(name).await,
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Table>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn places(table: &Table, names: &[String]) -> Result<Vec<usize>> {
    names.iter().map(|name| table.place(name)).collect()
}

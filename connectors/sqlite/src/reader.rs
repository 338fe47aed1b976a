//! The reader: pages in key order, and rows by key.

use std::sync::Arc;

use lockstep_core::connector::{OpenContext, Page, Reader};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Cell, Error, Result, Row, Shape, Type, Value};
use rusqlite::{Connection, Statement};

use crate::catalog::Table;
use crate::client::{Access, Client, failure, quote};
use crate::config::Config;
use crate::convert;

/// Reads rows of a SQLite file, views included.
pub struct SqliteReader {
    client: Client<()>,
    tables: Vec<String>,
}

impl Reader for SqliteReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(SqliteReader {
            client: Client::open(&config, &cx, Access::Read, ()).await?,
            tables: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let names = self.tables.clone();
        self.client
            .call(move |worker| {
                let shape = |name: &String| Ok(Table::read(&worker.conn, name)?.shape());
                names.iter().map(shape).collect()
            })
            .await
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let (table, columns, key) = (
            page.table.to_owned(),
            page.columns.to_vec(),
            page.key.to_vec(),
        );
        let (after, limit) = (page.after.map(<[Value]>::to_vec), page.limit);
        self.client
            .call(move |worker| {
                let plan = Plan::new(&worker.conn, &table, &columns, &key)?;
                scan(&worker.conn, &plan, after.as_deref(), limit)
                    .map_err(|error| plan.failed(error))?
            })
            .await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let (table, columns, key) = (table.to_owned(), columns.to_vec(), key.to_vec());
        let keys = keys.to_vec();
        self.client
            .call(move |worker| {
                let plan = Plan::new(&worker.conn, &table, &columns, &key)?;
                fetch(&worker.conn, &plan, &keys).map_err(|error| plan.failed(error))
            })
            .await
    }
}

/// Names resolved against the file.
struct Plan {
    table: String,
    columns: Vec<(String, Option<Type>)>,
    key: Vec<(String, Option<Type>)>,
}

impl Plan {
    fn new(conn: &Connection, name: &str, columns: &[String], key: &[String]) -> Result<Plan> {
        let table = Table::read(conn, name)?;
        let resolve = |column: &String| {
            let position = table.position(column).ok_or_else(|| {
                Error::config(format!("table `{name}` has no column `{column}`")).help(suggestion(
                    column,
                    table.columns.iter().map(|column| column.name.as_str()),
                ))
            })?;
            Ok((quote(column), table.columns[position].kind))
        };
        if key.is_empty() {
            return Err(Error::config(format!(
                "rows of table `{name}` cannot be paged without a key"
            ))
            .help("map the contract's key fields to columns of the table"));
        }
        Ok(Plan {
            columns: columns.iter().map(resolve).collect::<Result<_>>()?,
            key: key.iter().map(resolve).collect::<Result<_>>()?,
            table: name.to_owned(),
        })
    }

    fn select(&self) -> String {
        // A page of nothing but keys is still rows.
        let columns = if self.columns.is_empty() {
            "1".to_owned()
        } else {
            list(&self.columns)
        };
        format!("SELECT {columns} FROM {}", quote(&self.table))
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        failure("cannot read the table", error).with("table", &self.table)
    }

    fn rows(&self, statement: &mut Statement<'_>, into: &mut Vec<Row>) -> rusqlite::Result<()> {
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let cell = |(i, (_, kind)): (usize, &(String, Option<Type>))| {
                Ok(Cell::Set(convert::read(row.get_ref(i)?, *kind)))
            };
            let cells = self.columns.iter().enumerate().map(cell);
            into.push(Row(cells.collect::<rusqlite::Result<_>>()?));
        }
        Ok(())
    }

    fn bind(
        &self,
        statement: &mut Statement<'_>,
        values: &[Value],
        from: usize,
    ) -> rusqlite::Result<()> {
        for (i, (value, (_, kind))) in values.iter().zip(&self.key).enumerate() {
            statement.raw_bind_parameter(from + i, convert::write(value, *kind))?;
        }
        Ok(())
    }
}

fn list(columns: &[(String, Option<Type>)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

/// One page. Rows whose key holds a null are left out: nothing identifies them.
fn scan(
    conn: &Connection,
    plan: &Plan,
    after: Option<&[Value]>,
    limit: usize,
) -> rusqlite::Result<Result<Vec<Row>>> {
    let order = list(&plan.key);
    let mut conditions: Vec<String> = plan
        .key
        .iter()
        .map(|(name, _)| format!("{name} IS NOT NULL"))
        .collect();
    if let Some(after) = after {
        if after.len() != plan.key.len() {
            return Ok(Err(Error::invalid(format!(
                "a page after {} values was asked for, but the key has {}",
                after.len(),
                plan.key.len()
            ))));
        }
        let marks: Vec<String> = (0..after.len()).map(|i| format!("?{}", i + 2)).collect();
        conditions.push(format!("({order}) > ({})", marks.join(", ")));
    }
    let sql = format!(
        "{} WHERE {} ORDER BY {order} LIMIT ?1",
        plan.select(),
        conditions.join(" AND ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    statement.raw_bind_parameter(1, i64::try_from(limit).unwrap_or(i64::MAX))?;
    plan.bind(&mut statement, after.unwrap_or_default(), 2)?;
    let mut rows = Vec::new();
    plan.rows(&mut statement, &mut rows)?;
    Ok(Ok(rows))
}

fn fetch(conn: &Connection, plan: &Plan, keys: &[Vec<Value>]) -> rusqlite::Result<Vec<Row>> {
    let terms: Vec<String> = plan
        .key
        .iter()
        .enumerate()
        .map(|(i, (name, _))| format!("{name} = ?{}", i + 1))
        .collect();
    let sql = format!("{} WHERE {}", plan.select(), terms.join(" AND "));
    // SQLite runs in this process: one prepared statement a key costs no more than a list of keys, and compares each by its column's own rules.
    let mut statement = conn.prepare_cached(&sql)?;
    // All keys are read at one instant.
    let tx = conn.unchecked_transaction()?;
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys.iter().filter(|key| key.len() == plan.key.len()) {
        plan.bind(&mut statement, key, 1)?;
        plan.rows(&mut statement, &mut rows)?;
    }
    tx.commit()?;
    Ok(rows)
}

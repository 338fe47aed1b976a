//! The reader: pages in key order, and rows by key.

use std::sync::Arc;

use lockstep_core::connector::{Definition, Filter, OpenContext, Page, Reader};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Cell, Error, Result, Row, Shape, Type, Value};
use rusqlite::{Connection, OptionalExtension as _, Statement};

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

    async fn definition(&self, table: &str) -> Result<Option<Definition>> {
        let name = table.to_owned();
        let sql: Option<String> = self
            .client
            .call(move |worker| {
                let asked = worker.conn.query_row(
                    "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
                    [&name],
                    |row| row.get(0),
                );
                let failed = |error| {
                    failure("cannot read the file's schema", error).with("table", &name)
                };
                asked.optional().map_err(failed)
            })
            .await?;
        Ok(sql.map(|sql| Definition {
            dialect: "sqlite",
            sql,
        }))
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let (table, columns, key) = (
            page.table.to_owned(),
            page.columns.to_vec(),
            page.key.to_vec(),
        );
        let part = Part {
            after: page.after.map(<[Value]>::to_vec),
            until: page.until.map(<[Value]>::to_vec),
            filter: page.filter.cloned(),
            backwards: page.backwards,
            limit: page.limit,
        };
        self.client
            .call(move |worker| {
                let plan = Plan::new(&worker.conn, &table, &columns, &key)?;
                let condition = part.condition(&worker.conn, &plan)?;
                scan(&worker.conn, &plan, &part, &condition).map_err(|error| plan.failed(error))
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

/// Which rows a page has.
struct Part {
    after: Option<Vec<Value>>,
    until: Option<Vec<Value>>,
    filter: Option<Filter>,
    backwards: bool,
    limit: usize,
}

/// A condition and the values of its parameters, with the columns' types.
#[derive(Default)]
struct Condition {
    terms: Vec<String>,
    values: Vec<(Value, Option<Type>)>,
}

impl Part {
    /// What rows of the page fulfil. Rows whose key holds a null are left out: nothing identifies them.
    fn condition(&self, conn: &Connection, plan: &Plan) -> Result<Condition> {
        let mut condition = Condition::default();
        let names = plan.key.iter();
        condition.terms = names
            .map(|(name, _)| format!("{name} IS NOT NULL"))
            .collect();
        for (bound, sign) in [(&self.after, ">"), (&self.until, "<=")] {
            let Some(bound) = bound else { continue };
            if bound.len() != plan.key.len() {
                return Err(Error::invalid(format!(
                    "a page bounded by {} values was asked for, but the key has {}",
                    bound.len(),
                    plan.key.len()
                )));
            }
            let values = bound.iter().zip(&plan.key);
            let marks: Vec<String> = values
                .map(|(value, (_, kind))| condition.mark(value.clone(), *kind))
                .collect();
            let term = format!("({}) {sign} ({})", list(&plan.key), marks.join(", "));
            condition.terms.push(term);
        }
        if let Some(filter) = &self.filter {
            let table = Table::read(conn, &plan.table)?;
            let term =
                convert::condition(filter, &table, |value, kind| condition.mark(value, kind))?;
            condition.terms.push(term);
        }
        Ok(condition)
    }
}

impl Condition {
    /// A parameter; the first one is the limit.
    fn mark(&mut self, value: Value, kind: Option<Type>) -> String {
        self.values.push((value, kind));
        format!("?{}", self.values.len() + 1)
    }
}

fn scan(
    conn: &Connection,
    plan: &Plan,
    part: &Part,
    condition: &Condition,
) -> rusqlite::Result<Vec<Row>> {
    let order = plan.key.iter().map(|(name, _)| {
        let way = if part.backwards { " DESC" } else { "" };
        format!("{name}{way}")
    });
    let sql = format!(
        "{} WHERE {} ORDER BY {} LIMIT ?1",
        plan.select(),
        condition.terms.join(" AND "),
        order.collect::<Vec<_>>().join(", ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    statement.raw_bind_parameter(1, i64::try_from(part.limit).unwrap_or(i64::MAX))?;
    for (at, (value, kind)) in condition.values.iter().enumerate() {
        statement.raw_bind_parameter(at + 2, convert::write(value, *kind))?;
    }
    let mut rows = Vec::new();
    plan.rows(&mut statement, &mut rows)?;
    Ok(rows)
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

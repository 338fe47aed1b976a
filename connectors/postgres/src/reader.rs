//! The reader: pages in key order, and rows by key, one round trip each.
//!
//! Values are asked for as text, the form that [`crate::convert`] reads.
//! Rows come in the order of the key's own index; only a key that does not compare to the letter is ordered by its bytes instead, so that no two rows stand at one place.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::connector::{Definition, Filter, OpenContext, Page, Reader};
use lockstep_core::{Cell, Error, Kind, Result, Row, Shape, Type, Value};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, ValueRef as _};

use crate::catalog::{self, Table};
use crate::client::{Client, failure, quote, run};
use crate::config::Config;
use crate::convert::oid;
use crate::definition;
use crate::encode::{Encoder, Values};
use crate::history::History;
use crate::tables::FIRST_OWN;

/// Begins a look: an aborted one leaves no trace.
const BEGIN: &str = "BEGIN READ ONLY";
const END: &str = "COMMIT";

/// Reads rows of a PostgreSQL database, views included.
#[derive(Debug)]
pub struct PostgresReader {
    client: Client,
    tables: Vec<String>,
    histories: BTreeMap<String, Arc<History>>,
    known: Mutex<HashMap<String, Arc<Table>>>,
}

impl Reader for PostgresReader {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(PostgresReader {
            client: Client::open(&config, &cx).await?,
            tables: cx.tables,
            histories: config.tables,
            known: Mutex::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.known().clear();
        catalog::shapes(&self.client, &self.tables, &self.histories).await
    }

    async fn definition(&self, table: &str) -> Result<Option<Definition>> {
        definition::read(&self.client, table).await.map(Some)
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let names = (page.table, page.columns, page.key);
        self.read(names, |plan| plan.scan(&page)).await
    }

    async fn fetch(
        &self,
        table: &str,
        columns: &[String],
        key: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.read((table, columns, key), |plan| {
            Ok((plan.fetch(), plan.keys(keys)))
        })
        .await
    }
}

impl PostgresReader {
    /// Runs one statement on a table; once more where the table turns out to be another than it was.
    async fn read(
        &self,
        (table, columns, key): (&str, &[String], &[String]),
        ask: impl Fn(&Plan) -> Result<(String, Vec<Values>)>,
    ) -> Result<Vec<Row>> {
        let failed = |error| failure("cannot read the table", error).with("table", table);
        loop {
            let mut lease = self.client.begin(BEGIN).await?;
            let (known, fresh) = self.table(lease.conn(), table).await?;
            let history = self.histories.get(table);
            let plan = Plan::new(&known, columns, key, history)?;
            let (statement, parameters) = ask(&plan)?;
            let mut query = sqlx::query(&statement);
            for values in parameters {
                query = query.bind(values);
            }
            let rows = match query.fetch_all(lease.conn()).await.map_err(failed) {
                Ok(rows) => rows,
                Err(error) if error.kind() == Kind::Config && !fresh => {
                    self.known().remove(table);
                    continue;
                }
                Err(error) => return Err(error),
            };
            run(lease.conn(), END).await.map_err(failed)?;
            lease.keep();
            return rows.iter().map(|row| plan.row(row)).collect();
        }
    }

    /// A table, and whether it was looked up only now.
    async fn table(&self, conn: &mut PgConnection, name: &str) -> Result<(Arc<Table>, bool)> {
        let known = self.known().get(name).cloned();
        if let Some(table) = known {
            return Ok((table, false));
        }
        let table = catalog::table(conn, name).await?;
        let table = Arc::new(match self.histories.get(name) {
            Some(history) => history.hide(table),
            None => table,
        });
        self.known().insert(name.to_owned(), Arc::clone(&table));
        Ok((table, true))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Table>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names resolved against the database.
struct Plan {
    table: Arc<Table>,
    /// Positions in the table.
    columns: Vec<usize>,
    key: Vec<usize>,
    /// What rows are read from, in SQL.
    from: String,
}

impl Plan {
    fn new(
        table: &Arc<Table>,
        columns: &[String],
        key: &[String],
        history: Option<&Arc<History>>,
    ) -> Result<Plan> {
        let resolve = |column: &String| table.find(column);
        if key.is_empty() {
            return Err(Error::config(format!(
                "rows of table `{}` cannot be paged without a key",
                table.name
            ))
            .help("map the contract's key fields to columns of the table"));
        }
        Ok(Plan {
            columns: columns.iter().map(resolve).collect::<Result<_>>()?,
            key: key.iter().map(resolve).collect::<Result<_>>()?,
            from: history.map_or_else(|| table.quoted(), |history| history.current(table)),
            table: Arc::clone(table),
        })
    }

    /// One page. Rows whose key holds a null are left out: nothing identifies them.
    fn scan(&self, page: &Page<'_>) -> Result<(String, Vec<Values>)> {
        let key: Vec<String> = self
            .key
            .iter()
            .map(|column| self.key_column(*column))
            .collect();
        let mut conditions: Vec<String> = self
            .key
            .iter()
            .map(|column| format!("{} IS NOT NULL", self.name(*column)))
            .collect();
        let mut parameters = Vec::new();
        for (bound, sign) in [(page.after, ">"), (page.until, "<=")] {
            let Some(bound) = bound else { continue };
            let values = self.bound(bound, &mut parameters)?;
            conditions.push(format!(
                "({}) {sign} ({})",
                key.join(", "),
                values.join(", ")
            ));
        }
        if let Some(filter) = page.filter {
            conditions.push(self.condition(filter, &mut parameters)?);
        }
        let way = if page.backwards { " DESC" } else { "" };
        let order: Vec<String> = key.iter().map(|column| format!("{column}{way}")).collect();
        let statement = format!(
            "{} WHERE {} ORDER BY {} LIMIT {}",
            self.select(),
            conditions.join(" AND "),
            order.join(", "),
            i64::try_from(page.limit).unwrap_or(i64::MAX)
        );
        Ok((statement, parameters))
    }

    /// A key that bounds a page, as parameters.
    fn bound(&self, bound: &[Value], parameters: &mut Vec<Values>) -> Result<Vec<String>> {
        if bound.len() != self.key.len() {
            return Err(Error::invalid(format!(
                "a page bounded by {} values was asked for, but the key has {}",
                bound.len(),
                self.key.len()
            )));
        }
        let pairs = self.key.iter().zip(bound);
        pairs
            .map(|(column, value)| self.parameter(*column, value, parameters))
            .collect()
    }

    /// A value to compare a key column with, as a parameter.
    fn parameter(
        &self,
        column: usize,
        value: &Value,
        parameters: &mut Vec<Values>,
    ) -> Result<String> {
        let known = &self.table.columns[column];
        let mut values = Values::new(&known.encoder);
        values.push(&known.encoder, value).map_err(|why| {
            Error::invalid(format!(
                "rows cannot be sought by this value of column `{}`: {why}",
                known.name
            ))
        })?;
        parameters.push(values);
        let element = known.encoder.parameter();
        Ok(self.key_value(column, &format!("(${}::{element}[])[1]", parameters.len())))
    }

    /// What rows fulfil, with its values as parameters.
    fn condition(&self, filter: &Filter, parameters: &mut Vec<Values>) -> Result<String> {
        let find = |column: &str| self.table.find(column);
        filter.sql(
            &mut |column: &str| Ok(self.name(find(column)?)),
            &mut |column: &str, sign, value: &Value| {
                let at = find(column)?;
                let known = &self.table.columns[at];
                // A type that somebody made may not know the text: it is no label of its `enum`.
                if let (Value::Text(_), FIRST_OWN..) = (value, known.type_oid) {
                    let encoder = Encoder::for_type(oid::TEXT, -1, Type::Text);
                    let mut values = Values::new(&encoder);
                    values.push(&encoder, value).map_err(Error::invalid)?;
                    parameters.push(values);
                    let (name, number) = (self.name(at), parameters.len());
                    return Ok(format!(
                        "{name}::text {} (${number}::text[])[1]",
                        sign.sql()
                    ));
                }
                let value = self.parameter(at, value, parameters)?;
                Ok(format!("{} {} {value}", self.key_column(at), sign.sql()))
            },
        )
    }

    /// The rows of some keys.
    fn fetch(&self) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        let mut terms = Vec::new();
        for (i, column) in self.key.iter().enumerate() {
            let element = self.table.columns[*column].encoder.parameter();
            arrays.push(format!("${}::{element}[]", i + 1));
            names.push(format!("k{i}"));
            terms.push(format!(
                "{} = {}",
                self.key_column(*column),
                self.key_value(*column, &format!("x.k{i}"))
            ));
        }
        format!(
            "{} JOIN unnest({}) AS x({}) ON {}",
            self.select(),
            arrays.join(", "),
            names.join(", "),
            terms.join(" AND ")
        )
    }

    fn select(&self) -> String {
        let columns = self.columns.iter().map(|column| self.text(*column));
        format!(
            "SELECT {} FROM {} AS t",
            columns.collect::<Vec<_>>().join(", "),
            self.from
        )
    }

    /// A column in the text form that PostgreSQL's own output has, and so the replication stream.
    fn text(&self, column: usize) -> String {
        let name = self.name(column);
        let known = &self.table.columns[column];
        if known.kind == Type::Text && !known.is_plain_text() {
            // A cast of such a type may have a function of its own: an `inet` would become another text.
            return format!(
                "CASE WHEN {name} IS NOT NULL THEN pg_catalog.format('%s', {name}) END"
            );
        }
        format!("{name}::text")
    }

    /// A key column as rows are ordered and found by it.
    fn key_column(&self, column: usize) -> String {
        let name = self.name(column);
        if self.table.columns[column].lax {
            format!("({name}::text COLLATE \"C\")")
        } else {
            name
        }
    }

    /// A parameter to compare with it.
    fn key_value(&self, column: usize, parameter: &str) -> String {
        let column = &self.table.columns[column];
        if column.lax {
            format!("({parameter}::text COLLATE \"C\")")
        } else {
            format!("{parameter}::{}", column.type_name)
        }
    }

    fn name(&self, column: usize) -> String {
        format!("t.{}", quote(&self.table.columns[column].name))
    }

    /// The parameters of some keys. A key that its columns cannot hold has no row, and is left out.
    fn keys(&self, keys: &[Vec<Value>]) -> Vec<Values> {
        let encoder = |column: &usize| &self.table.columns[*column].encoder;
        let mut all: Vec<Values> = self
            .key
            .iter()
            .map(|column| Values::new(encoder(column)))
            .collect();
        for key in keys.iter().filter(|key| key.len() == self.key.len()) {
            let mut taken = Vec::with_capacity(key.len());
            for ((values, column), value) in all.iter_mut().zip(&self.key).zip(key) {
                match values.push(encoder(column), value) {
                    Ok(bytes) => taken.push(bytes),
                    Err(_) => break,
                }
            }
            if taken.len() < key.len() {
                all.iter_mut()
                    .zip(taken)
                    .for_each(|(values, bytes)| values.pop(bytes));
            }
        }
        all
    }

    fn row(&self, row: &PgRow) -> Result<Row> {
        let cell = |(i, column): (usize, &usize)| {
            let column = &self.table.columns[*column];
            let unread = |error: sqlx::error::BoxDynError| {
                Error::unexpected("a value cannot be read")
                    .with("column", &column.name)
                    .because(error)
            };
            let raw = row.try_get_raw(i).map_err(|error| unread(error.into()))?;
            if raw.is_null() {
                return Ok(Cell::Set(Value::Null));
            }
            let text = raw.as_bytes().map_err(unread)?;
            let value = column.decoder.decode(text);
            Ok(Cell::Set(
                value.map_err(|error| error.with("column", &column.name))?,
            ))
        };
        let cells = self.columns.iter().enumerate().map(cell);
        Ok(Row(cells.collect::<Result<_>>()?))
    }
}

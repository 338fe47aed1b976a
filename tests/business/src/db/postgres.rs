//! A PostgreSQL database, reached by plain text: values are written into the SQL as quoted literals, so that the server finds their types, and come back as the text that the server writes.
//!
//! It connects again by itself when the server was away, and finds out from a table of marks whether a transaction whose commit went unanswered took effect.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Column, Connection, Executor as _, PgConnection, Row, TypeInfo, ValueRef};
use tokio::runtime::Runtime;

use crate::record::plain;
use crate::shape::Raw;

/// How long a server may be away.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How often a server that is away is tried.
const POLL: Duration = Duration::from_millis(50);
/// How many rows one statement inserts.
const INSERT_ROWS: usize = 500;
/// Errors of a server that goes away or is not there yet; all others are answers.
const AWAY: [&str; 3] = ["57P01", "57P02", "57P03"];
const GONE: &str = "the connection to PostgreSQL is gone";

/// A connection to a PostgreSQL database.
pub struct Postgres {
    options: PgConnectOptions,
    runtime: Runtime,
    connection: Option<PgConnection>,
    read_only: bool,
    inside: bool,
}

impl Postgres {
    pub(super) fn connect(url: &str) -> Result<Postgres> {
        // The address holds a password, so it is not named in the message.
        let options: PgConnectOptions = url
            .parse()
            .map_err(|_| anyhow!("no address of a PostgreSQL database"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut db = Postgres {
            options: options.application_name("stage"),
            runtime,
            connection: None,
            read_only: false,
            inside: false,
        };
        db.connect_if_away()?;
        Ok(db)
    }

    pub(super) fn read_only(&mut self) -> Result<()> {
        self.read_only = true;
        self.connection = None;
        self.connect_if_away()
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let sql = filled(sql, values);
        self.connect_if_away()?;
        let connection = self.connection.as_mut().context(GONE)?;
        let done = self.runtime.block_on(connection.execute(sql.as_str()));
        Ok(self.heard(done)?.rows_affected())
    }

    /// Outside of a transaction asks again where the server was away.
    pub(super) fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Raw>> {
        let text = filled(sql, values);
        loop {
            self.connect_if_away()?;
            let connection = self.connection.as_mut().context(GONE)?;
            let rows = self.runtime.block_on(connection.fetch_all(text.as_str()));
            match self.heard(rows) {
                Ok(rows) => return rows.iter().map(raw).collect(),
                Err(error) if is_gone(&error) && !self.inside => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn insert(&mut self, table: &str, rows: &[Raw]) -> Result<()> {
        for rows in rows.chunks(INSERT_ROWS) {
            let columns: Vec<&str> = rows[0].keys().map(String::as_str).collect();
            let tuples: Vec<String> = rows
                .iter()
                .map(|row| {
                    let values: Vec<String> = row.values().map(literal).collect();
                    format!("({})", values.join(", "))
                })
                .collect();
            let sql = format!(
                "INSERT INTO {table} ({}) VALUES {}",
                columns.join(", "),
                tuples.join(", ")
            );
            self.execute(&sql, &[])?;
        }
        Ok(())
    }

    /// Begins a transaction that leaves its mark.
    pub(super) fn begin(&mut self, mark: &str) -> Result<()> {
        self.execute("BEGIN", &[])?;
        self.inside = true;
        self.execute("INSERT INTO marks (mark) VALUES (?)", &[json!(mark)])?;
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        let done = self.execute("COMMIT", &[]);
        self.forget();
        done.map(|_| ())
    }

    pub(super) fn rollback(&mut self) {
        // A connection that cannot even do that is thrown away.
        if self.execute("ROLLBACK", &[]).is_err() {
            self.connection = None;
        }
        self.forget();
    }

    /// The transaction is over, one way or another.
    pub(super) fn forget(&mut self) {
        self.inside = false;
    }

    /// Tells whether the transaction of a mark took effect.
    pub(super) fn is_committed(&mut self, mark: &str) -> Result<bool> {
        let found = self.query("SELECT mark FROM marks WHERE mark = ?", &[json!(mark)])?;
        Ok(!found.is_empty())
    }

    /// Lets go of a connection that turns out to be dead.
    fn heard<T>(&mut self, answer: sqlx::Result<T>) -> Result<T> {
        answer.map_err(|error| {
            let error = Error::from(error);
            if is_gone(&error) {
                self.connection = None;
            }
            error
        })
    }

    /// Connects where there is no connection, waiting for a server that is away.
    fn connect_if_away(&mut self) -> Result<()> {
        if self.connection.is_some() || self.inside {
            return Ok(());
        }
        let end = Instant::now() + AWAY_MAX;
        loop {
            match self.runtime.block_on(open(&self.options, self.read_only)) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) if is_away(&error) && Instant::now() < end => sleep(POLL),
                Err(error) => {
                    return Err(Error::from(error).context("cannot connect to PostgreSQL"));
                }
            }
        }
    }
}

async fn open(options: &PgConnectOptions, read_only: bool) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(options).await?;
    let read_only = if read_only { "on" } else { "off" };
    let sql = format!("SET TIME ZONE 'UTC'; SET default_transaction_read_only = {read_only}");
    connection.execute(sql.as_str()).await?;
    Ok(connection)
}

/// Tells whether something failed because the server went away, so that nobody knows what became of it.
pub(super) fn is_gone(error: &Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| cause.downcast_ref().is_some_and(is_away) || cause.to_string() == GONE)
}

fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(answer) => answer
            .code()
            .is_some_and(|code| AWAY.contains(&&*code) || code.starts_with("08")),
        _ => false,
    }
}

/// Puts the values where the marks are: `?` for the next one, `?2` for the second.
fn filled(sql: &str, values: &[Value]) -> String {
    let mut text = String::with_capacity(sql.len() + 32 * values.len());
    let mut next = 0;
    // Every other part stands between quotes, where a question mark is just one.
    for (at, part) in sql.split('\'').enumerate() {
        if at > 0 {
            text.push('\'');
        }
        if at % 2 == 1 {
            text.push_str(part);
            continue;
        }
        let mut pieces = part.split('?');
        text.push_str(pieces.next().unwrap_or(""));
        for piece in pieces {
            let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = piece.split_at(digits);
            let at = number
                .parse()
                .map_or(next, |number: usize| number.saturating_sub(1));
            next = at + 1;
            // A mark without a value stays, and the server says what is wrong with it.
            text.push_str(&values.get(at).map_or_else(|| "?".to_owned(), literal));
            text.push_str(rest);
        }
    }
    text
}

/// A value as a literal without a type: the server takes the type from the place where it stands.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => format!("'{}'", u8::from(*value)),
        other => format!("'{}'", plain(other).replace('\'', "''")),
    }
}

fn raw(row: &PgRow) -> Result<Raw> {
    let mut raw = Raw::new();
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        let json = if value.is_null() {
            Value::Null
        } else {
            let text = value.as_str().map_err(|error| anyhow!("{error}"))?;
            from_text(column.type_info().name(), text)
        };
        raw.insert(column.name().to_owned(), json);
    }
    Ok(raw)
}

fn from_text(kind: &str, text: &str) -> Value {
    match kind {
        "BOOL" => json!(u8::from(text == "t")),
        "INT2" | "INT4" | "INT8" => text
            .parse()
            .map_or_else(|_| json!(text), |int: i64| json!(int)),
        _ => json!(text),
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold a password.
        f.debug_struct("Postgres")
            .field("inside", &self.inside)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_where_their_marks_are() {
        for (sql, filled_in) in [
            ("SELECT ?", "SELECT 'it''s'"),
            ("SELECT ?2, ?1", "SELECT '7', 'it''s'"),
            ("SELECT 'P-?' || ?1, ?", "SELECT 'P-?' || 'it''s', '7'"),
            ("SELECT ?1, ?, ?", "SELECT 'it''s', '7', NULL"),
            ("SELECT ?9", "SELECT ?"),
        ] {
            let values = [json!("it's"), json!(7), Value::Null];
            assert_eq!(filled(sql, &values), filled_in);
        }
    }

    #[test]
    fn values_come_back_as_sqlite_would_hold_them() {
        for (kind, text, value) in [
            ("BOOL", "t", json!(1)),
            ("BOOL", "f", json!(0)),
            ("INT8", "-12", json!(-12)),
            ("NUMERIC", "12.50", json!("12.50")),
            (
                "TIMESTAMPTZ",
                "2017-12-30 18:00:00+00",
                json!("2017-12-30 18:00:00+00"),
            ),
        ] {
            assert_eq!(from_text(kind, text), value);
        }
    }

    #[test]
    fn an_address_is_not_told_in_an_error() {
        let error = Postgres::connect("postgres://me:hunter2@[").unwrap_err();
        assert!(!format!("{error:#}").contains("hunter2"), "{error:#}");
    }
}

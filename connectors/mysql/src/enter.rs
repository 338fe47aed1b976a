//! How a run begins: the server is asked what it is, the position is judged against its log, and streaming starts.

use std::time::Duration;

use futures_util::StreamExt as _;
use lockstep_core::position::Mark;
use lockstep_core::{Error, Kind, Position, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn};

use crate::client::{self, Client, Server, code, failure, texts};
use crate::config::{Config, Snapshot};
use crate::gtid::Gtids;
use crate::names::literal;
use crate::position::{Cursor, Place, Reading, incarnation, is_of};
use crate::snapshot;
use crate::stream::accept;
use crate::tables::Captured;

/// A run that is ready to read.
pub(crate) struct Entered {
    /// The stream.
    pub(crate) streaming: BinlogStream,
    /// Where it goes on.
    pub(crate) reading: Reading,
    /// Where the server's log ended.
    pub(crate) target: Place,
    /// Whether this is the beginning of a life.
    pub(crate) begins: bool,
}

/// What a server is set to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    pub(crate) log_bin: bool,
    pub(crate) format: String,
    pub(crate) image: String,
    pub(crate) metadata: String,
    pub(crate) value_options: String,
    /// MySQL's; MariaDB has no such switch.
    pub(crate) gtid_mode: String,
    /// What the server calls itself: MySQL's own number, MariaDB's `server_id`.
    pub(crate) identity: String,
}

/// Where a server's log stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// The transactions that it holds or held.
    pub(crate) gtids: Gtids,
    /// Those that it held and threw away; MySQL only.
    pub(crate) purged: Gtids,
    /// The file in which it ends.
    pub(crate) file: String,
    /// The place where it ends.
    pub(crate) end: Place,
}

/// What to do with a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on from it.
    GoOn,
    /// It is another server's, which continues the same log: a new life goes on where the old one stood.
    Move,
    /// It is of another server, whose log says nothing about this one's.
    Other,
    /// What comes after it is gone, and why.
    Lost(String),
}

impl Settings {
    /// Asks a server what it is set to.
    pub(crate) async fn ask(conn: &mut Conn) -> Result<Settings> {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'binlog_row_value_options', 'gtid_mode', 'server_uuid', 'server_id')";
        let lines = texts(conn, sql)
            .await
            .map_err(|error| failure("cannot read the server's settings", error))?;
        let of = |name: &str| {
            let line = lines
                .iter()
                .find(|line| line.first().is_some_and(|key| key.as_deref() == Some(name)));
            line.and_then(|line| line.get(1)?.clone())
        };
        let text = |name: &str| of(name).unwrap_or_default().to_ascii_uppercase();
        let identity = of("server_uuid")
            .unwrap_or_else(|| format!("maria-{}", of("server_id").unwrap_or_default()));
        Ok(Settings {
            log_bin: text("log_bin") == "ON",
            format: text("binlog_format"),
            image: text("binlog_row_image"),
            metadata: text("binlog_row_metadata"),
            value_options: text("binlog_row_value_options"),
            gtid_mode: text("gtid_mode"),
            identity,
        })
    }

    /// What keeps the server from being a source, each with the statement that mends it.
    pub(crate) fn faults(&self, server: &Server) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |message: String, help: &str| faults.push((message, help.to_owned()));
        if server.maria && server.version < (10, 5, 0) {
            fault(
                format!(
                    "the server is MariaDB {}.{}",
                    server.version.0, server.version.1
                ),
                "a source needs MariaDB 10.5 or newer, whose log names columns",
            );
        }
        if !server.maria && server.version < (8, 0, 1) {
            fault(
                format!(
                    "the server is MySQL {}.{}",
                    server.version.0, server.version.1
                ),
                "a source needs MySQL 8.0.1 or newer, whose log names columns",
            );
        }
        if !self.log_bin {
            fault(
                "the server writes no binary log".to_owned(),
                "put log_bin and a server_id of its own into the server's configuration, and restart it",
            );
        }
        if self.format != "ROW" {
            fault(
                format!("the server's binlog_format is `{}`, not `ROW`", self.format),
                "let an administrator run: SET GLOBAL binlog_format = 'ROW', put it into the server's configuration, and let sessions connect anew",
            );
        }
        if self.image != "FULL" {
            fault(
                format!(
                    "the server's binlog_row_image is `{}`, not `FULL`",
                    self.image
                ),
                "let an administrator run: SET GLOBAL binlog_row_image = 'FULL', put it into the server's configuration, and let sessions connect anew",
            );
        }
        if self.metadata != "FULL" {
            fault(
                format!(
                    "the server's binlog_row_metadata is `{}`, not `FULL`",
                    self.metadata
                ),
                "let an administrator run: SET GLOBAL binlog_row_metadata = 'FULL', and put it into the server's configuration",
            );
        }
        if !self.value_options.is_empty() {
            fault(
                format!(
                    "the server's binlog_row_value_options is `{}`",
                    self.value_options
                ),
                "let an administrator run: SET GLOBAL binlog_row_value_options = ''",
            );
        }
        if !server.maria && self.gtid_mode != "ON" {
            fault(
                format!("the server's gtid_mode is `{}`, not `ON`", self.gtid_mode),
                "let an administrator set enforce_gtid_consistency = ON, then gtid_mode step by step to ON_PERMISSIVE and ON",
            );
        }
        faults
    }
}

/// Where a server's log stands.
pub(crate) async fn standing(conn: &mut Conn, server: &Server) -> Result<Standing> {
    let failed = |error| failure("cannot ask where the binary log stands", error);
    // The place first: the names may only be further.
    let end = snapshot::end(conn, server).await?;
    let (file, end) = end.ok_or_else(|| {
        Error::config("the server writes no binary log, or names its files without numbers")
            .help("put log_bin and a server_id of its own into the server's configuration, and restart it")
    })?;
    let sql = if server.maria {
        format!("SELECT BINLOG_GTID_POS({}, {}), ''", literal(&file), end.at)
    } else {
        "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged".to_owned()
    };
    let line = texts(conn, &sql)
        .await
        .map_err(failed)?
        .into_iter()
        .next()
        .unwrap_or_default();
    let read = |place: usize| {
        let text = line.get(place).cloned().flatten().unwrap_or_default();
        Gtids::parse(&text.replace('\n', ""), server.maria).map_err(|error| {
            Error::unexpected("the server's GTID position cannot be read").because(error)
        })
    };
    Ok(Standing {
        gtids: read(0)?,
        purged: read(1)?,
        file,
        end,
    })
}

/// Whether a run can go on from a position.
async fn judge(
    conn: &mut Conn,
    server: &Server,
    identity: &str,
    standing: &Standing,
    position: &Position,
    cursor: &Cursor,
) -> Result<Verdict> {
    let failed = |error| failure("cannot compare a position with the binary log", error);
    let Ok(gtids) = Gtids::parse(&cursor.gtid, server.maria) else {
        return Ok(Verdict::Other);
    };
    let same = is_of(&position.incarnation, identity);
    if !server.maria {
        return Ok(judge_mysql(&gtids, standing, same));
    }
    // MariaDB's names of transactions are no more unique than the numbers of servers are.
    if !same {
        return Ok(Verdict::Other);
    }
    if let Some(domain) = gtids.beyond(&standing.gtids) {
        return Ok(Verdict::Lost(format!(
            "the server's log has not come as far in domain {domain}: it was reset, or restored from a backup"
        )));
    }
    let known = |file: &str, at: u64| format!("SELECT BINLOG_GTID_POS({}, {at})", literal(file));
    let line = texts(conn, &known(&cursor.file, cursor.at))
        .await
        .map_err(failed)?;
    if let Some(text) = line
        .first()
        .and_then(|line| line.first().cloned().flatten())
    {
        let there = Gtids::parse(&text, true).ok();
        return Ok(if there.as_ref() == Some(&gtids) {
            Verdict::GoOn
        } else {
            Verdict::Lost(format!(
                "at {}:{} the server's log holds other transactions: it was reset, or restored from a backup",
                cursor.file, cursor.at
            ))
        });
    }
    // The file is gone; nothing is lost where the oldest one begins with the same state.
    let files = texts(conn, "SHOW BINARY LOGS").await.map_err(failed)?;
    let first = files
        .first()
        .and_then(|line| line.first().cloned().flatten())
        .unwrap_or_default();
    let line = texts(conn, &known(&first, 4)).await.map_err(failed)?;
    let begins = line
        .first()
        .and_then(|line| line.first().cloned().flatten())
        .unwrap_or_default();
    let newer = Place::of(&first, 4).is_some_and(|place| place > cursor.place());
    // The server gives no answer for places that its file does not hold, either.
    if files.iter().any(|line| {
        line.first()
            .is_some_and(|name| name.as_deref() == Some(&*cursor.file))
    }) {
        return Ok(Verdict::Lost(format!(
            "file {} of the server's log holds no transaction that ends at {}: it was reset, or restored from a backup",
            cursor.file, cursor.at
        )));
    }
    if newer && Gtids::parse(&begins, true).ok().as_ref() == Some(&gtids) {
        return Ok(Verdict::GoOn);
    }
    Ok(Verdict::Lost(format!(
        "the server threw file {} of its binary log away",
        cursor.file
    )))
}

fn judge_mysql(gtids: &Gtids, standing: &Standing, same: bool) -> Verdict {
    if !same && (gtids == &Gtids::none(false) || !gtids.is_within(&standing.gtids)) {
        return Verdict::Other;
    }
    if !gtids.is_within(&standing.gtids) {
        return Verdict::Lost("the server's log lacks transactions that were told: it was reset, or restored from a backup".to_owned());
    }
    if !standing.purged.is_within(gtids) {
        return Verdict::Lost(
            "the server threw away a part of its binary log that was not told yet".to_owned(),
        );
    }
    if same { Verdict::GoOn } else { Verdict::Move }
}

/// Why a file is not the one that the cursor is in, though it bears its name: names of transactions and places repeat after a reset.
async fn reborn(client: &Client, id: u32, cursor: &Cursor) -> Result<Option<String>> {
    let Some(was) = cursor.born else {
        return Ok(None);
    };
    let now = born(client, id, &cursor.file).await?;
    Ok(now.filter(|now| *now != was).map(|_| {
        format!(
            "the server began another file {} since: its log was reset, or restored from a backup",
            cursor.file
        )
    }))
}

/// When the server began a file of its log; none where it no longer has it.
async fn born(client: &Client, id: u32, file: &str) -> Result<Option<u32>> {
    const DESCRIPTION: u8 = 15;
    let failed = |error| failure("cannot read the binary log", error);
    let mut conn = client::connect(client.endpoint()).await?;
    // Without it MariaDB takes the reader for one that does not know its events.
    conn.query_drop("SET @mariadb_slave_capability = 4")
        .await
        .map_err(failed)?;
    let request = BinlogStreamRequest::new(id)
        .with_filename(file.as_bytes())
        .with_pos(4)
        .with_non_blocking();
    let mut streaming = conn.get_binlog_stream(request).await.map_err(denied)?;
    let mut found = None;
    while found.is_none() {
        match tokio::time::timeout(client::CONNECT_MAX, streaming.next()).await {
            Ok(Some(Ok(event))) if event.header().event_type_raw() == DESCRIPTION => {
                found = Some(event.header().timestamp());
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) if code(&error) != 1236 => return Err(failed(error)),
            Ok(Some(Err(_)) | None) => break,
            Err(_) => {
                return Err(Error::transient(
                    "the server does not say when it began a file of its binary log",
                )
                .with("file", file)
                .help("it is tried again"));
            }
        }
    }
    Ok(found)
}

/// The error of a stream that did not begin.
fn denied(error: mysql_async::Error) -> Error {
    let denied = matches!(code(&error), 1045 | 1227 | 1142);
    let error = failure("cannot read the binary log", error);
    if denied {
        return error.help(
            "run: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO <the user of `url`>",
        );
    }
    error
}

/// Begins a run.
pub(crate) async fn enter(
    client: &Client,
    config: &Config,
    system: &str,
    tables: &[Captured],
    resume: Option<&Position>,
) -> Result<Entered> {
    let server = client.server();
    let id = config.server_id(system);
    let mut conn = client::connect(client.endpoint()).await?;
    let settings = Settings::ask(&mut conn).await?;
    if let Some((message, help)) = settings.faults(server).into_iter().next() {
        return Err(Error::config(message).help(help));
    }
    let standing = standing(&mut conn, server).await?;
    let identity = settings.identity;
    let accepted =
        |position: &Position| config.accept_gap_of.as_deref() == Some(&*position.incarnation);
    let resumed = match resume {
        None => None,
        Some(position) if accepted(position) => None,
        Some(position) => match Cursor::of(position) {
            None => {
                return Err(lost(
                    position,
                    "the position holds no note that can be read",
                ));
            }
            Some(cursor) => {
                let mut verdict =
                    judge(&mut conn, server, &identity, &standing, position, &cursor).await?;
                if verdict == Verdict::GoOn
                    && let Some(why) = reborn(client, id, &cursor).await?
                {
                    verdict = Verdict::Lost(why);
                }
                match verdict {
                    Verdict::Lost(why) if config.snapshot == Snapshot::WhenNeeded => {
                        tracing::warn!(system, why, %position, "changes are lost: a new life begins with a snapshot");
                        None
                    }
                    Verdict::Lost(why) => return Err(lost(position, &why)),
                    Verdict::Other => {
                        tracing::warn!(system, %position, "the last position is of another server: a new life begins with a snapshot");
                        None
                    }
                    verdict => Some((position, cursor, verdict)),
                }
            }
        },
    };
    let begins = !matches!(&resumed, Some((_, _, Verdict::GoOn)));
    let mut reading = match resumed {
        Some((position, mut cursor, verdict)) => {
            go_on(&mut cursor, tables, config.snapshot);
            let gtids = Gtids::parse(&cursor.gtid, server.maria)
                .map_err(|error| Error::unexpected("a position cannot be read").because(error))?;
            let mut reading = Reading {
                incarnation: position.incarnation.clone(),
                mark: position.mark(),
                gtids,
                cursor,
            };
            if verdict == Verdict::Move {
                // Places of the other server's files mean nothing here; its transactions are the same.
                tracing::warn!(system, %position, "the log is continued by another server: a new life goes on where the old one stood");
                reading.cursor.file = first_file(&mut conn).await?;
                reading.cursor.at = 4;
                reading.cursor.born = None;
                let place = reading.cursor.place();
                reading.incarnation = incarnation(&identity, standing.end);
                reading.mark = Mark {
                    commit: place.commit(),
                    ordinal: 0,
                };
            }
            reading
        }
        None => beginning(&mut conn, config, tables, &identity, &standing, server).await?,
    };
    if reading.cursor.born.is_none() {
        reading.cursor.born = born(client, id, &reading.cursor.file).await?;
    }
    let streaming = stream(conn, config, server, id, &reading).await?;
    Ok(Entered {
        streaming,
        reading,
        target: standing.end,
        begins,
    })
}

async fn first_file(conn: &mut Conn) -> Result<String> {
    let files = texts(conn, "SHOW BINARY LOGS")
        .await
        .map_err(|error| failure("cannot list the binary log's files", error))?;
    Ok(files
        .first()
        .and_then(|line| line.first().cloned().flatten())
        .unwrap_or_default())
}

/// A life that begins.
async fn beginning(
    conn: &mut Conn,
    config: &Config,
    tables: &[Captured],
    identity: &str,
    standing: &Standing,
    server: &Server,
) -> Result<Reading> {
    let names = || tables.iter().map(|table| table.spelled.clone()).collect();
    let known = tables
        .iter()
        .map(|table| (table.spelled.clone(), table.stamp()))
        .collect();
    let never = config.snapshot == Snapshot::Never;
    let mut cursor = Cursor {
        file: standing.file.clone(),
        at: standing.end.at,
        done: if never { names() } else { Vec::new() },
        todo: if never { Vec::new() } else { names() },
        known,
        ..Cursor::default()
    };
    let mut gtids = standing.gtids.clone();
    if let Some(text) = &config.start_at {
        gtids = Gtids::parse(text, server.maria)
            .map_err(|error| Error::config("`start_at` cannot be read").because(error))?;
        let unknown = match &gtids {
            Gtids::Maria(_) => gtids.beyond(&standing.gtids).is_some(),
            Gtids::Mysql(_) => !gtids.is_within(&standing.gtids),
        };
        if unknown {
            return Err(Error::config(format!(
                "`start_at = \"{text}\"` is beyond the server's log, which stands at {}",
                standing.gtids
            ))
            .help("take a position that the server has reached"));
        }
        cursor.file = first_file(conn).await?;
        cursor.at = 4;
    }
    let place = cursor.place();
    Ok(Reading {
        incarnation: incarnation(identity, standing.end),
        mark: Mark {
            commit: place.commit(),
            ordinal: 0,
        },
        gtids,
        cursor,
    })
}

/// Fits a note to the tables of now: those that joined, or of which changes did not tell everything, are read from their first row.
fn go_on(cursor: &mut Cursor, tables: &[Captured], snapshot: Snapshot) {
    let in_work = cursor.todo.first().cloned();
    let mut rewritten = Vec::new();
    for table in tables {
        let name = &table.spelled;
        let changed = cursor
            .known
            .get(name)
            .is_some_and(|stamp| stamp.is_rewritten(table));
        if changed || snapshot == Snapshot::Always {
            rewritten.push(name.clone());
        }
        if changed {
            tracing::warn!(table = %name, "the table's columns changed, which changes do not tell: it is read again");
        }
    }
    let wanted = |name: &String| tables.iter().any(|table| table.spelled == *name);
    cursor
        .done
        .retain(|name| wanted(name) && !rewritten.contains(name));
    cursor.todo.retain(wanted);
    for table in tables {
        let name = &table.spelled;
        if cursor.done.contains(name) || cursor.todo.contains(name) {
            continue;
        }
        if snapshot == Snapshot::Never {
            cursor.done.push(name.clone());
        } else {
            cursor.todo.push(name.clone());
        }
    }
    let kept = cursor.todo.first() == in_work.as_ref()
        && !in_work.is_some_and(|name| rewritten.contains(&name));
    if !kept {
        cursor.after = None;
    }
    cursor.known = tables
        .iter()
        .map(|table| (table.spelled.clone(), table.stamp()))
        .collect();
}

/// Asks for the log, from behind what was told.
async fn stream(
    mut conn: Conn,
    config: &Config,
    server: &Server,
    id: u32,
    reading: &Reading,
) -> Result<BinlogStream> {
    let failed = |error| failure("cannot read the binary log", error);
    let beat = Duration::from_millis(config.heartbeat_ms).as_nanos();
    let mut settings = format!(
        "SET @master_heartbeat_period = {beat}, @source_heartbeat_period = {beat}, SESSION net_write_timeout = 3600, SESSION net_read_timeout = 3600"
    );
    if server.maria {
        settings += &format!(
            ", @mariadb_slave_capability = 4, @slave_connect_state = {}, @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0",
            literal(&reading.gtids.to_string())
        );
    }
    conn.query_drop(settings).await.map_err(failed)?;
    let request = BinlogStreamRequest::new(id);
    let opened = if server.maria {
        conn.get_binlog_stream(request).await
    } else {
        conn.get_binlog_stream(request.with_gtid().with_gtid_set(reading.gtids.sids()))
            .await
    };
    opened.map_err(denied)
}

/// The error of a log that no longer holds what a position needs.
fn lost(position: &Position, why: &str) -> Error {
    Error::new(
        Kind::Config,
        "changes are lost: the binary log cannot be read on from the last position",
    )
    .with("why", why)
    .with("life", &position.incarnation)
    .help(accept(&position.incarnation))
}

/// The same, by the server's own word.
pub(crate) fn lost_at(reading: &Reading, error: Error) -> Error {
    Error::new(
        Kind::Config,
        "changes are lost: the server cannot tell what comes after the last position",
    )
    .with("life", &reading.incarnation)
    .because(error)
    .help(accept(&reading.incarnation))
}

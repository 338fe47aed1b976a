//! How a run begins: the server is asked what it is, the publication is seen to, the slot is judged, and streaming starts.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::position::Mark;
use lockstep_core::{Error, Kind, Position, Result};

use crate::config::{Config, Endpoint, Snapshot, own_name};
use crate::position::{Cursor, Lsn, Reading, incarnation};
use crate::publication;
use crate::slot::{self, Accepted, Slot, Verdict};
use crate::stamp::{Since, Stamp};
use crate::tables::Captured;
use crate::wire::{self, Connection, Pace, Purpose, Streaming};

/// The oldest release whose replication stream carries messages.
pub(crate) const VERSION_MIN: u32 = 140_000;
/// The server hears from us at least this often.
const SPEAK_EVERY: Duration = Duration::from_secs(10);
/// A server that was asked and is silent for longer counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A run that is ready to read.
pub(crate) struct Entered {
    /// The stream.
    pub(crate) streaming: Streaming,
    /// Where it goes on.
    pub(crate) reading: Reading,
    /// The tables.
    pub(crate) tables: Vec<Captured>,
    /// Where the server's log ended.
    pub(crate) target: u64,
    /// Whether this is the beginning of a life.
    pub(crate) begins: bool,
    /// The server's version, as a number.
    pub(crate) version: u32,
}

/// What a server is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its version, as a number.
    pub(crate) version: u32,
    /// How much its log says.
    pub(crate) wal_level: String,
    /// Whether it only follows another server.
    pub(crate) is_standby: bool,
    /// The database.
    pub(crate) database: String,
    /// After how much silence it gives a connection up.
    pub(crate) patience: Duration,
}

/// Begins a run.
pub(crate) async fn enter(
    endpoint: &Endpoint,
    config: &Config,
    system: &str,
    tables: Vec<Captured>,
    resume: Option<&Position>,
) -> Result<Entered> {
    let application = own_name(system);
    let mut conn = open(endpoint, &application).await?;
    let server = Server::ask(&mut conn).await?;
    server.must_fit(endpoint)?;
    let identity = slot::identify(&mut conn).await?;
    let (name, publication) = (config.slot(system), config.publication(system));
    let found = slot::look(&mut conn, &name).await?;
    let accepted = match &config.accept_gap_of {
        _ if config.heals() => Accepted::Anything,
        Some(life) => Accepted::Life(life),
        None => Accepted::Nothing,
    };
    let mut verdict = slot::judge(
        resume,
        &identity,
        &server.database,
        found.as_ref(),
        accepted,
    );
    let told = publication::look(&mut conn, &publication, server.version).await?;
    if told.is_none()
        && let (Verdict::GoOn(_), Some(position)) = (&verdict, resume)
    {
        // From PostgreSQL 18 on the server leaves out what was written without it, and says so to nobody.
        let why = format!(
            "publication `{publication}` was dropped: nobody can tell what was written since"
        );
        verdict = slot::without_publication(position, accepted, why);
    }
    match (&verdict, resume) {
        (Verdict::Foreign(why), _) => return Err(foreign(&name, why)),
        (Verdict::Lost(why), Some(position)) => return Err(slot::lost(&name, position, why)),
        _ => {}
    }
    let cut_over = config.start_at()?.filter(|_| resume.is_none());
    if let Some(at) = cut_over {
        let untold = told.map_or_else(|| (0..tables.len()).collect(), |told| told.missing(&tables));
        let untold = untold.first().map(|table| tables[*table].name.as_str());
        takes_over(at, &name, found.as_ref(), identity.flushed, untold)?;
    }
    // Before the slot is made: the plug-in looks for the publication as it stood at the time of each change.
    let (added, told) =
        publication::ensure(&mut conn, &publication, &tables, server.version).await?;
    let stamps: Vec<Stamp> = tables.iter().map(|table| told.stamp(table)).collect();
    let (reading, begins) = match (verdict, resume) {
        (Verdict::GoOn(mut cursor), Some(position)) => {
            cursor.timeline = identity.timeline;
            go_on(&mut cursor, &tables, &added, &stamps, config.snapshot);
            let reading = Reading {
                incarnation: position.incarnation.clone(),
                mark: position.mark(),
                cursor,
            };
            (reading, false)
        }
        (Verdict::Begin { drop, at, because }, _) => {
            if let Some(why) = because {
                tracing::warn!(
                    system,
                    slot = name,
                    why,
                    position = resume.map(tracing::field::display),
                    "changes are lost, which is accepted: a new life begins; `lockstep verify` names the deletes that fell into the gap"
                );
            }
            if drop {
                slot::drop(&mut conn, &name).await?;
            }
            let start = match cut_over.or(at) {
                Some(at) => at,
                None => {
                    tracing::info!(
                        system,
                        slot = name,
                        "creating the replication slot; this waits until every transaction that is under way has ended"
                    );
                    slot::create(&mut conn, &name, server.version).await?
                }
            };
            let names = tables.iter().map(|table| table.name.clone()).collect();
            let reads = config.snapshot != Snapshot::Never && cut_over.is_none();
            let (todo, done) = if reads {
                (names, Vec::new())
            } else {
                (Vec::new(), names)
            };
            let cursor = Cursor {
                from: start,
                timeline: identity.timeline,
                todo,
                done,
                known: by_name(&tables, &stamps),
                ..Cursor::default()
            };
            let mark = Mark {
                commit: start.0,
                ordinal: 0,
            };
            let reading = Reading {
                incarnation: incarnation(&identity.server, start),
                mark,
                cursor,
            };
            (reading, true)
        }
        _ => {
            return Err(Error::unexpected(
                "a position was judged that does not exist",
            ));
        }
    };
    let from = reading.cursor.from;
    slot::start(
        &mut conn,
        &name,
        &publication,
        from,
        &application,
        config.protocol,
        !begins,
    )
    .await?;
    let pace = Pace {
        every: SPEAK_EVERY.min(server.patience / 4),
        silence_max: SILENCE_MAX,
    };
    Ok(Entered {
        streaming: wire::stream(conn, from.0, pace),
        reading,
        tables,
        target: identity.flushed.0,
        begins,
        version: server.version,
    })
}

/// Refuses to take over from another tool where changes after `at` would be missing.
fn takes_over(
    at: Lsn,
    name: &str,
    slot: Option<&Slot>,
    flushed: Lsn,
    untold: Option<&str>,
) -> Result<()> {
    let confirmed = slot
        .filter(|slot| !slot.lost)
        .and_then(|slot| slot.confirmed);
    let why = match (confirmed, untold) {
        (None, _) => format!(
            "replication slot `{name}`, which would hold what comes after it, is not there or lost it"
        ),
        (Some(confirmed), _) if confirmed > at => {
            format!("replication slot `{name}` has moved on to {confirmed}")
        }
        _ if flushed < at => format!("the server's log ends at {flushed}"),
        (_, Some(table)) => format!("the publication does not tell changes of table `{table}`"),
        _ => return Ok(()),
    };
    Err(Error::config(format!("cannot begin at `start_at = \"{at}\"`"))
        .with("why", why)
        .help("stop the other tool first, let `slot` and `publication` name its own, and take the place up to which it has told everything; or leave `start_at` out, and the tables are read"))
}

/// Fits a note to the tables of now: those that joined, or of which changes did not tell everything, are read from their first row.
fn go_on(
    cursor: &mut Cursor,
    tables: &[Captured],
    added: &[usize],
    stamps: &[Stamp],
    snapshot: Snapshot,
) {
    let in_work = cursor.todo.first().cloned();
    let mut untold = Vec::new();
    for (place, (table, stamp)) in tables.iter().zip(stamps).enumerate() {
        let name = &table.name;
        let known = cursor.known.get(name);
        let since = known.map_or(Since::Nothing, |known| known.since(stamp, table));
        let since = match since {
            Since::Nothing if added.contains(&place) => Since::Untold,
            since => since,
        };
        if since == Since::Nothing {
            continue;
        }
        if snapshot == Snapshot::Never || since == Since::Parted {
            say(table, since, false);
            continue;
        }
        untold.push(name);
        if since == Since::Anew && !cursor.anew.contains(name) {
            cursor.anew.push(name.clone());
        }
        if cursor.done.contains(name) || in_work.as_ref() == Some(name) {
            say(table, since, true);
        }
    }
    let wanted = |name: &String| tables.iter().any(|table| table.name == *name);
    cursor
        .done
        .retain(|name| wanted(name) && !untold.contains(&name));
    cursor.todo.retain(wanted);
    cursor.anew.retain(wanted);
    if snapshot == Snapshot::Always && cursor.todo.is_empty() {
        cursor.done.clear();
    }
    for table in tables {
        if !cursor.done.contains(&table.name) && !cursor.todo.contains(&table.name) {
            let place = if snapshot == Snapshot::Never {
                &mut cursor.done
            } else {
                &mut cursor.todo
            };
            place.push(table.name.clone());
        }
    }
    let kept = cursor.todo.first() == in_work.as_ref()
        && !in_work.as_ref().is_some_and(|name| untold.contains(&name));
    if !kept {
        cursor.after = None;
        cursor.again.clear();
    }
    // What was known of a table that is not there now tells, once one of its name is, whether it is another.
    cursor.known.extend(by_name(tables, stamps));
}

/// Says why a table is read again, or would have to be, and what that cannot mend.
pub(crate) fn say(table: &Captured, since: Since, reads: bool) {
    let table = &table.name;
    let why = match since {
        Since::Nothing => return,
        Since::Rewritten => "the table's columns changed, which changes do not tell",
        Since::Untold => "the publication did not tell of the table for a while",
        Since::Anew => "the table was made anew",
        Since::Parted => "partitions were attached, detached, truncated or rewritten one by one",
    };
    match since {
        Since::Parted => {
            tracing::warn!(%table, "{why}, of which the server tells nothing: `lockstep verify` names the rows, and a backfill tells those that came");
        }
        _ if !reads => {
            tracing::warn!(%table, "{why}, and `snapshot = \"never\"` keeps it from being read again: ask for a backfill, then `lockstep verify`");
        }
        Since::Untold => {
            tracing::warn!(%table, "{why}: it is read again; rows that were deleted meanwhile are still in the targets, and `lockstep verify` names them");
        }
        Since::Anew => {
            tracing::warn!(%table, "{why}: the rows of before are told to be gone, and it is read again");
        }
        _ => tracing::warn!(%table, "{why}: it is read again"),
    }
}

fn by_name(tables: &[Captured], stamps: &[Stamp]) -> BTreeMap<String, Stamp> {
    let names = tables.iter().map(|table| table.name.clone());
    names.zip(stamps.iter().cloned()).collect()
}

/// Connects for replication.
pub(crate) async fn open(endpoint: &Endpoint, application: &str) -> Result<Connection> {
    let opened = Connection::open(endpoint, application, Purpose::Replication).await;
    opened.map_err(|error| {
        if wire::is_state(&error, "42501") {
            let user = crate::client::quote(&endpoint.user);
            return Error::new(
                Kind::Unauthorized,
                format!("role `{}` may not replicate", endpoint.user),
            )
            .because(error)
            .help(format!(
                "let a superuser run: ALTER ROLE {user} REPLICATION"
            ));
        }
        error
    })
}

impl Server {
    /// Asks a server what it is set to.
    pub(crate) async fn ask(conn: &mut Connection) -> Result<Server> {
        let sql = "SELECT current_setting('server_version_num'), current_setting('wal_level'), pg_is_in_recovery(), current_database(), setting FROM pg_settings WHERE name = 'wal_sender_timeout'";
        let lines = conn.query(sql).await?;
        let line = lines.into_iter().next().unwrap_or_default();
        let [version, wal_level, is_standby, database, patience] =
            <[Option<String>; 5]>::try_from(line).unwrap_or_default();
        let number =
            |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        Ok(Server {
            version: number(version),
            wal_level: wal_level.unwrap_or_default(),
            is_standby: is_standby.as_deref() == Some("t"),
            database: database.unwrap_or_default(),
            patience: match number(patience) {
                // Switched off: the server waits for ever.
                0 => SILENCE_MAX,
                milliseconds => Duration::from_millis(milliseconds.into()),
            },
        })
    }

    /// Refuses a server that cannot be a source as it is set, and says how to set it.
    pub(crate) fn must_fit(&self, endpoint: &Endpoint) -> Result<()> {
        if self.version < VERSION_MIN {
            return Err(Error::unsupported(format!(
                "the server at {endpoint} is version {}",
                self.version / 10_000
            ))
            .help("a source needs PostgreSQL 14 or newer"));
        }
        if self.is_standby {
            return Err(
                Error::config(format!("the server at {endpoint} is a standby"))
                    .help("let the url name the primary"),
            );
        }
        if self.wal_level != "logical" {
            return Err(Error::config(format!("the server's wal_level is `{}`, not `logical`", self.wal_level))
                .help("let a superuser run: ALTER SYSTEM SET wal_level = logical; then restart the server"));
        }
        Ok(())
    }
}

/// The error of a slot that belongs to somebody else.
pub(crate) fn foreign(name: &str, why: &str) -> Error {
    Error::config(format!(
        "replication slot `{name}` is not Lockstep's: {why}"
    ))
    .help("name another slot with `slot`")
}

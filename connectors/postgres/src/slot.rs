//! The replication slot: whether it still holds what comes after a position, how a life begins, and how streaming starts.
//!
//! Judging is pure ([`judge`]); the rest asks the server.
//! Invariant: a slot that a position depends on is never made anew unless the operator named the life whose end that accepts.

use std::time::{Duration, Instant};

use lockstep_core::{Error, Position, Result};

use crate::client::{literal, quote};
use crate::position::{Cursor, Lsn, server_of};
use crate::wire::{self, Connection, Line};

/// How long to wait for a slot that another session of ours still holds.
const LEFTOVER_MAX: Duration = Duration::from_secs(10);
/// After this long a session of ours that holds the slot is ended.
const LEFTOVER_PATIENCE: Duration = Duration::from_millis(500);
/// How often to look whether the slot is free.
const LEFTOVER_POLL: Duration = Duration::from_millis(20);

/// What the server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its number, which no other server has.
    pub(crate) server: String,
    /// The timeline of its history.
    pub(crate) timeline: u32,
    /// How far its log is on disk.
    pub(crate) flushed: Lsn,
    /// Where the timelines before it ended: what a position of them may not lie behind.
    pub(crate) switches: Vec<(u32, Lsn)>,
}

/// A slot as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The output plug-in; none for a physical slot.
    pub(crate) plugin: Option<String>,
    /// Its database.
    pub(crate) database: Option<String>,
    /// Where it streams from at the earliest.
    pub(crate) confirmed: Option<Lsn>,
    /// Whether the server threw away log that it needs.
    pub(crate) lost: bool,
    /// The session that reads from it.
    pub(crate) active: Option<i32>,
}

/// What to do about a position and a slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Go on after the position.
    GoOn(Cursor),
    /// Begin a new life.
    Begin {
        /// Whether a slot stands in the way that is good for nothing.
        drop: bool,
        /// Where, if there is a slot already that nobody depends on.
        at: Option<Lsn>,
        /// Why the position cannot be gone on from, where there is one.
        because: Option<String>,
    },
    /// What comes after the position is gone.
    Lost(String),
    /// The slot of this name is not ours.
    Foreign(String),
}

/// Which losses need nobody's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted<'a> {
    /// None.
    Nothing,
    /// That of this life's end.
    Life(&'a str),
    /// All of them.
    Anything,
}

impl Accepted<'_> {
    fn covers(self, life: &str) -> bool {
        match self {
            Accepted::Nothing => false,
            Accepted::Life(accepted) => accepted == life,
            Accepted::Anything => true,
        }
    }
}

/// Judges whether streaming can go on after a position.
pub(crate) fn judge(
    resume: Option<&Position>,
    identity: &Identity,
    database: &str,
    slot: Option<&Slot>,
    accepted: Accepted<'_>,
) -> Verdict {
    if let Some(slot) = slot {
        if slot.plugin.as_deref() != Some("pgoutput") {
            let plugin = slot.plugin.as_deref().unwrap_or("none");
            return Verdict::Foreign(format!("its output plug-in is {plugin}, not pgoutput"));
        }
        if slot.database.as_deref() != Some(database) {
            let other = slot.database.as_deref().unwrap_or_default();
            return Verdict::Foreign(format!("it belongs to database `{other}`"));
        }
    }
    let begin = |because: Option<String>| Verdict::Begin {
        drop: slot.is_some_and(|slot| slot.lost || slot.confirmed.is_none()),
        at: slot
            .filter(|slot| !slot.lost)
            .and_then(|slot| slot.confirmed),
        because,
    };
    let Some(position) = resume else {
        return begin(None);
    };
    if server_of(&position.incarnation) != identity.server {
        return begin(Some("it is of another server".to_owned()));
    }
    match gone(position, identity, slot) {
        // What the slot holds may be unreadable all the same, as when the publication was dropped: none of it is wanted.
        Ok(_) if accepted == Accepted::Life(&position.incarnation) => Verdict::Begin {
            drop: true,
            at: None,
            because: Some("its end was accepted".to_owned()),
        },
        Ok(cursor) => Verdict::GoOn(cursor),
        Err(why) if accepted.covers(&position.incarnation) => begin(Some(why)),
        Err(why) => Verdict::Lost(why),
    }
}

/// Judges a position whose slot is whole, and whose publication is not there.
pub(crate) fn without_publication(
    position: &Position,
    accepted: Accepted<'_>,
    why: String,
) -> Verdict {
    if accepted.covers(&position.incarnation) {
        // What the slot holds is wanted by nobody.
        Verdict::Begin {
            drop: true,
            at: None,
            because: Some(why),
        }
    } else {
        Verdict::Lost(why)
    }
}

/// Says why what comes after a position is gone, if it is.
fn gone(position: &Position, identity: &Identity, slot: Option<&Slot>) -> Result<Cursor, String> {
    let cursor = Cursor::of(position).ok_or("the position holds no note that can be read")?;
    let slot = slot.ok_or("it does not exist any more")?;
    if slot.lost {
        return Err("the server threw away the log that it needs".to_owned());
    }
    let from = cursor.from;
    match slot.confirmed {
        Some(confirmed) if confirmed <= from => {}
        Some(confirmed) => {
            return Err(format!(
                "it has moved on to {confirmed} without Lockstep, which stands at {from}: it was made anew, or somebody else reads from it"
            ));
        }
        None => return Err("it was never ready".to_owned()),
    }
    if identity.flushed < from {
        return Err(format!(
            "the server's log ends at {}, before {from} where Lockstep stands: the server was restored from a backup",
            identity.flushed
        ));
    }
    let switch = identity
        .switches
        .iter()
        .find(|(timeline, _)| *timeline == cursor.timeline);
    if let Some((timeline, end)) = switch.filter(|(_, end)| *end < from) {
        return Err(format!(
            "timeline {timeline} ended at {end}, before {from} where Lockstep stands: the new primary lacks what the old one had told"
        ));
    }
    Ok(cursor)
}

/// The error of a slot that no longer holds what a position needs.
pub(crate) fn lost(name: &str, position: &Position, why: &str) -> Error {
    Error::config(format!("changes are lost: replication slot `{name}` cannot go on from the last position"))
        .with("why", why)
        .with("life", &position.incarnation)
        .help(format!(
            "nothing is skipped silently: to accept the gap, set `accept_gap_of = \"{}\"` for the system; a new life then begins with a snapshot, and `lockstep verify` names the deletes that fell into the gap",
            position.incarnation
        ))
}

/// Asks the server who it is.
pub(crate) async fn identify(conn: &mut Connection) -> Result<Identity> {
    let lines = conn.query("IDENTIFY_SYSTEM").await?;
    let column = |i: usize| {
        lines
            .first()
            .and_then(|line| line.get(i))
            .and_then(Option::clone)
    };
    let known = || -> Option<Identity> {
        Some(Identity {
            server: column(0)?,
            timeline: column(1)?.parse().ok()?,
            flushed: column(2)?.parse().ok()?,
            switches: Vec::new(),
        })
    };
    let mut identity = known().ok_or_else(|| {
        Error::unexpected("the server did not say who it is")
            .help("check that it is PostgreSQL 14 or newer")
    })?;
    if identity.timeline > 1 {
        let command = format!("TIMELINE_HISTORY {}", identity.timeline);
        let lines = conn.query(&command).await?;
        let content = lines
            .first()
            .and_then(|line| line.get(1))
            .and_then(Option::as_deref);
        identity.switches = switches(content.unwrap_or_default());
    }
    Ok(identity)
}

/// Reads a history file: a line per earlier timeline, its number and where it ended, then a reason.
fn switches(history: &str) -> Vec<(u32, Lsn)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    history.lines().filter_map(line).collect()
}

/// Looks for a slot.
pub(crate) async fn look(conn: &mut Connection, name: &str) -> Result<Option<Slot>> {
    let sql = format!(
        "SELECT plugin, database, confirmed_flush_lsn, coalesce(wal_status = 'lost', false), active_pid FROM pg_replication_slots WHERE slot_name = {}",
        literal(name)
    );
    let lines = conn.query(&sql).await?;
    Ok(lines.into_iter().next().map(|line| {
        let mut columns = line.into_iter();
        let mut next = || columns.next().flatten();
        Slot {
            plugin: next(),
            database: next(),
            confirmed: next().and_then(|lsn| lsn.parse().ok()),
            lost: next().as_deref() == Some("t"),
            active: next().and_then(|pid| pid.parse().ok()),
        }
    }))
}

/// Makes the slot; gives the place from which it misses nothing.
///
/// The server waits for every transaction that is under way to end first.
pub(crate) async fn create(conn: &mut Connection, name: &str, version: u32) -> Result<Lsn> {
    // A slot that follows a failover costs nothing where there is no standby.
    let options = match version {
        170_000.. => "(SNAPSHOT 'nothing', FAILOVER true)",
        150_000.. => "(SNAPSHOT 'nothing')",
        _ => "NOEXPORT_SNAPSHOT",
    };
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}",
        quote(name)
    );
    let lines = conn.query(&sql).await.map_err(|error| {
        if wire::is_state(&error, "53400") {
            return Error::config("the server has no replication slot left")
                .because(error)
                .help("raise max_replication_slots and restart the server, or drop a slot that nobody uses: SELECT slot_name FROM pg_replication_slots WHERE NOT active");
        }
        error
    })?;
    let point = lines
        .first()
        .and_then(|line| line.get(1))
        .and_then(Option::as_deref);
    point.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::unexpected("the server did not say where the new replication slot begins")
            .with("slot", name)
    })
}

/// Drops a slot, once the session that read from it has ended.
pub(crate) async fn drop(conn: &mut Connection, name: &str) -> Result<()> {
    let command = format!("DROP_REPLICATION_SLOT {}", quote(name));
    let begun = Instant::now();
    loop {
        match conn.query(&command).await {
            Err(error) if wire::is_state(&error, "55006") && begun.elapsed() < LEFTOVER_MAX => {
                tokio::time::sleep(LEFTOVER_POLL).await;
            }
            dropped => return dropped.map(|_| ()),
        }
    }
}

/// Starts to stream. A slot that a session of our own name still holds is waited for; it is taken from that session only where this run `resumes`: one that begins may be of another deployment that bears the same name.
pub(crate) async fn start(
    conn: &mut Connection,
    name: &str,
    publication: &str,
    from: Lsn,
    application: &str,
    protocol: u8,
    resumes: bool,
) -> Result<()> {
    // The grammar of replication commands knows no other literals; a backslash means itself in it.
    let publication = quote(publication).replace('\'', "''");
    // What is under way comes in blocks, into the spool.
    let blocks = if protocol == 2 {
        ", streaming 'on'"
    } else {
        ""
    };
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '{protocol}', publication_names '{publication}', messages 'true'{blocks})",
        quote(name),
    );
    let begun = Instant::now();
    loop {
        let refused = match conn.copy_both(&command).await {
            Ok(()) => return Ok(()),
            Err(error) if wire::is_state(&error, "55006") => error,
            Err(error) => return Err(error),
        };
        let Some(holder) = holder(conn, name).await? else {
            // It went away between the refusal and the look.
            if begun.elapsed() > LEFTOVER_MAX {
                return Err(refused);
            }
            tokio::time::sleep(LEFTOVER_POLL).await;
            continue;
        };
        let patience = if resumes {
            LEFTOVER_MAX
        } else {
            LEFTOVER_PATIENCE
        };
        if holder.application != application || begun.elapsed() > patience {
            return Err(in_use(name, &holder, refused));
        }
        if resumes && begun.elapsed() > LEFTOVER_PATIENCE {
            tracing::warn!(
                pid = holder.pid,
                slot = name,
                "ending an earlier session of this source, which still holds the slot"
            );
            conn.query(&format!("SELECT pg_terminate_backend({})", holder.pid))
                .await?;
        }
        tokio::time::sleep(LEFTOVER_POLL).await;
    }
}

/// Who reads from a slot.
pub(crate) struct Holder {
    pid: i32,
    application: String,
    client: String,
}

async fn holder(conn: &mut Connection, slot: &str) -> Result<Option<Holder>> {
    let sql = format!(
        "SELECT s.active_pid, a.application_name, coalesce(host(a.client_addr), 'this machine') FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = {} AND s.active_pid IS NOT NULL",
        literal(slot)
    );
    let lines = conn.query(&sql).await?;
    let read = |line: Line| {
        let [pid, application, client] = <[Option<String>; 3]>::try_from(line).ok()?;
        Some(Holder {
            pid: pid?.parse().ok()?,
            application: application.unwrap_or_default(),
            client: client.unwrap_or_default(),
        })
    };
    Ok(lines.into_iter().next().and_then(read))
}

fn in_use(slot: &str, holder: &Holder, refused: Error) -> Error {
    Error::transient(format!("replication slot `{slot}` is in use by another session"))
        .with("pid", holder.pid)
        .with("application", format!("`{}`", holder.application))
        .with("from", &holder.client)
        .because(refused)
        .help(format!(
            "stop that program, or name another slot with `slot`; to end the session: SELECT pg_terminate_backend({})",
            holder.pid
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "7300000000000000001";

    fn identity() -> Identity {
        Identity {
            server: SERVER.to_owned(),
            timeline: 2,
            flushed: Lsn(500),
            switches: vec![(1, Lsn(300))],
        }
    }

    fn slot(confirmed: u64) -> Slot {
        Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("erp".to_owned()),
            confirmed: Some(Lsn(confirmed)),
            lost: false,
            active: None,
        }
    }

    fn position(from: u64, timeline: u32) -> Position {
        let from = Lsn(from);
        format!(
            "{SERVER}-64/0000000000000100.00000001/{{\"from\":\"{from}\",\"timeline\":{timeline}}}"
        )
        .parse()
        .unwrap()
    }

    #[test]
    fn a_position_is_gone_on_from_only_while_the_slot_holds_what_follows() {
        let lost = Slot {
            lost: true,
            ..slot(100)
        };
        for (case, position, slot, goes_on) in [
            ("all is well", position(200, 2), Some(slot(200)), true),
            (
                "the slot is behind",
                position(400, 2),
                Some(slot(150)),
                true,
            ),
            ("before the switch", position(300, 1), Some(slot(100)), true),
            (
                "behind the switch",
                position(301, 1),
                Some(slot(100)),
                false,
            ),
            ("the slot is gone", position(200, 2), None, false),
            ("its log is gone", position(200, 2), Some(lost), false),
            ("it moved on", position(200, 2), Some(slot(201)), false),
            (
                "the server went back",
                position(501, 2),
                Some(slot(100)),
                false,
            ),
        ] {
            let verdict = judge(
                Some(&position),
                &identity(),
                "erp",
                slot.as_ref(),
                Accepted::Nothing,
            );
            match verdict {
                Verdict::GoOn(_) => assert!(goes_on, "{case}"),
                Verdict::Lost(why) => assert!(!goes_on, "{case}: {why}"),
                other => panic!("{case}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_new_life_begins_only_where_nothing_is_given_up_unasked() {
        let begin = |drop, at: Option<u64>| (drop, at.map(Lsn));
        let lost = Slot {
            lost: true,
            ..slot(100)
        };
        let life = format!("{SERVER}-64");
        let other: Position = "999-1/0.1/{\"from\":\"0/1\"}".parse().unwrap();
        for (case, resume, slot, accepted, expected) in [
            ("the first start", None, None, None, begin(false, None)),
            (
                "after a crash before the first position",
                None,
                Some(slot(100)),
                None,
                begin(false, Some(100)),
            ),
            (
                "a slot nobody depends on",
                None,
                Some(lost.clone()),
                None,
                begin(true, None),
            ),
            (
                "another server",
                Some(other),
                None,
                None,
                begin(false, None),
            ),
            (
                "accepted",
                Some(position(200, 2)),
                None,
                Some(life.as_str()),
                begin(false, None),
            ),
            (
                "accepted, though the slot holds what follows",
                Some(position(200, 2)),
                Some(slot(200)),
                Some(&life),
                begin(true, None),
            ),
            (
                "accepted, moved on",
                Some(position(200, 2)),
                Some(slot(300)),
                Some(&life),
                begin(false, Some(300)),
            ),
            (
                "accepted, lost",
                Some(position(200, 2)),
                Some(lost),
                Some(&life),
                begin(true, None),
            ),
        ] {
            let accepted = accepted.map_or(Accepted::Nothing, Accepted::Life);
            match judge(resume.as_ref(), &identity(), "erp", slot.as_ref(), accepted) {
                Verdict::Begin { drop, at, .. } => assert_eq!((drop, at), expected, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
        }
        let verdict = judge(
            Some(&position(200, 2)),
            &identity(),
            "erp",
            None,
            Accepted::Life("an older life"),
        );
        assert!(matches!(verdict, Verdict::Lost(_)), "{verdict:?}");
        let judged = |slot: Option<&Slot>| {
            let resume = position(200, 2);
            judge(Some(&resume), &identity(), "erp", slot, Accepted::Anything)
        };
        assert!(matches!(judged(None), Verdict::Begin { .. }));
        // What is not lost is gone on from.
        assert!(matches!(judged(Some(&slot(200))), Verdict::GoOn(_)));
    }

    #[test]
    fn a_slot_of_somebody_else_is_left_alone() {
        let physical = Slot {
            plugin: None,
            ..slot(1)
        };
        let elsewhere = Slot {
            database: Some("crm".to_owned()),
            ..slot(1)
        };
        for slot in [physical, elsewhere] {
            let verdict = judge(None, &identity(), "erp", Some(&slot), Accepted::Nothing);
            assert!(matches!(verdict, Verdict::Foreign(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_history_names_where_timelines_ended() {
        let history = "1\t0/3000160\tno recovery target specified\n\n2\t1/AB\tx\nnonsense\n";
        assert_eq!(
            switches(history),
            [(1, Lsn(0x300_0160)), (2, Lsn(0x1_0000_00AB))]
        );
    }
}

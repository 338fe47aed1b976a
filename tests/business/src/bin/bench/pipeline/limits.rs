//! What Lockstep is compared with: PostgreSQL's own programs on the same journal.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Drain;
use super::databases::{Backlog, Databases, Meter, PUBLICATION, SHOP};
use super::lockstep::FIELDS;
use crate::process::finish;

/// How long `pg_recvlogical` may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The slot of one `pg_recvlogical`.
const SLOT: &str = "bench_recvlogical";

/// Lets `pg_recvlogical` read a backlog to nowhere: the least that reading a slot takes.
pub(super) fn recvlogical(databases: &Databases, backlog: &Backlog) -> Result<Drain> {
    databases.in_source(&format!(
        "SELECT slot_name FROM pg_copy_logical_replication_slot('bench_begin', '{SLOT}')"
    ))?;
    let errors = tempfile::NamedTempFile::new()?;
    let mut reader = Command::new(databases.source().bin("pg_recvlogical"));
    reader
        .args(["--start", "--no-loop", "-f", "-", "--slot", SLOT])
        .args(["-o", "proto_version=1"])
        .args(["-o", &format!("publication_names={PUBLICATION}")])
        .args(["--endpos", &backlog.end])
        .args(["-d", &databases.source().url(SHOP)])
        .stdin(Stdio::null())
        .stdout(File::options().write(true).open("/dev/null")?)
        .stderr(errors.reopen()?);
    let start = || reader.spawn().context("cannot run pg_recvlogical");
    let (mut child, meter) = Meter::once_read(databases, SLOT, &[], start)?;
    let client = finish(&mut child, DEADLINE);
    let mut drain = meter.stop(backlog.changes)?;
    let client = client.with_context(|| {
        let said = std::fs::read_to_string(errors.path()).unwrap_or_default();
        format!("pg_recvlogical: {}", said.trim())
    })?;
    drain.cpu_s.insert("client".to_owned(), client);
    drain.cpu_s.remove("destination");
    databases.in_source(&format!("SELECT pg_drop_replication_slot('{SLOT}')"))?;
    Ok(drain)
}

/// Copies the table through a pipe, binary on both ends: the least that a copy of its rows takes.
pub(super) fn copy_pipe(databases: &Databases, target: &str) -> Result<Drain> {
    databases.target(target)?;
    let rows = databases.rows()?;
    let columns = FIELDS.join(", ");
    let meter = Meter::start(databases, &[])?;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg("\"$1\" -qX \"$2\" -c \"$3\" | \"$1\" -qX \"$4\" -c \"$5\"")
        .arg("copy")
        .arg(databases.source().bin("psql"))
        .arg(databases.source().url(SHOP))
        .arg("COPY sales TO STDOUT (FORMAT binary)")
        .arg(databases.destination().url(target))
        .arg(format!("COPY sales ({columns}) FROM STDIN (FORMAT binary)"))
        .stdin(Stdio::null())
        .spawn()
        .context("cannot copy through a pipe")?;
    finish(&mut child, DEADLINE)?;
    let drain = meter.stop(rows)?;
    databases.compare(target)?;
    databases.drop_target(target)?;
    Ok(drain)
}

/// PostgreSQL's own logical replication into a target.
pub(super) struct Native;

/// The target's database, and the subscription in it.
pub(super) const NATIVE: &str = "native";

impl Native {
    /// Makes the target with the source's rows; changes wait until somebody asks for them.
    pub(super) fn create(databases: &Databases) -> Result<Native> {
        databases.target(NATIVE)?;
        let url = databases.source().url(SHOP);
        databases.destination().sql(
            NATIVE,
            &format!("CREATE SUBSCRIPTION {NATIVE} CONNECTION '{url}' PUBLICATION {PUBLICATION}"),
        )?;
        databases.until_loaded(NATIVE)?;
        let native = Native;
        native.pause(databases)?;
        Ok(native)
    }

    /// Lets it apply a backlog.
    pub(super) fn carry(&self, databases: &Databases, backlog: &Backlog) -> Result<Drain> {
        let start = || self.go_on(databases);
        let ((), meter) = Meter::once_read(databases, NATIVE, &[], start)?;
        databases.until_applied(NATIVE, backlog)?;
        let drain = meter.stop(backlog.changes)?;
        self.pause(databases)?;
        databases.compare(NATIVE)?;
        Ok(drain)
    }

    /// Lets it apply what there is and what comes.
    pub(super) fn go_on(&self, databases: &Databases) -> Result<()> {
        let enable = format!("ALTER SUBSCRIPTION {NATIVE} ENABLE");
        databases.destination().sql(NATIVE, &enable)?;
        Ok(())
    }

    /// Waits until it reads.
    pub(super) fn until_reading(&self, databases: &Databases) -> Result<()> {
        let silent =
            "SELECT 1 - count(*) FROM pg_stat_subscription WHERE latest_end_time IS NOT NULL";
        self.until_none(databases, silent)
    }

    /// Stops it, and waits until it has.
    pub(super) fn pause(&self, databases: &Databases) -> Result<()> {
        let synchronised = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
        let stopped = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL";
        self.until_none(databases, synchronised)?;
        let disable = format!("ALTER SUBSCRIPTION {NATIVE} DISABLE");
        databases.destination().sql(NATIVE, &disable)?;
        self.until_none(databases, stopped)
    }

    fn until_none(&self, databases: &Databases, count: &str) -> Result<()> {
        let counted = || databases.destination().sql(NATIVE, count);
        let started = std::time::Instant::now();
        while counted()? != "0" {
            if started.elapsed() > DEADLINE {
                bail!("the subscription did not come to `{count}` = 0");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

//! The source and the destination: two clusters with one table each, the edits, and the comparison.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lockstep_servers::postgres::{Options, Server};

use super::Drain;
use crate::process::tree_cpu_s;
use crate::report::Figures;

/// How long one reader may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The publication that every reader reads.
pub(super) const PUBLICATION: &str = "bench";

/// The database of the source.
pub(super) const SHOP: &str = "shop";

/// Room enough that no cluster stops to tidy up while it is measured.
const SETTINGS: [&str; 7] = [
    "shared_buffers = '256MB'",
    "max_wal_size = '8GB'",
    "checkpoint_timeout = '1h'",
    "autovacuum = off",
    "jit = off",
    "wal_sender_timeout = 0",
    // Otherwise a subscription that is enabled again sleeps first.
    "wal_retrieve_retry_interval = '10ms'",
];

/// The table: ten columns of every common kind, and where it is a copy the time at which a row came.
const TABLE: &str = "CREATE TABLE sales (id bigint PRIMARY KEY, customer text NOT NULL, product text NOT NULL, \
    quantity int NOT NULL, price numeric(12,2) NOT NULL, status text NOT NULL, note text, \
    sold_on date NOT NULL, changed_at timestamptz NOT NULL, revision bigint NOT NULL)";

const SOURCE: &str = "
CREATE FUNCTION sale(id bigint) RETURNS SETOF sales LANGUAGE sql STABLE AS $$
    SELECT id, 'customer-' || lpad((id % 50000)::text, 6, '0'), 'FUR-BO-' || lpad((id % 2000)::text, 8, '0'),
        (id % 20 + 1)::int, (id * 37 % 1000000) / 100.0, CASE WHEN id % 3 = 0 THEN 'shipped' ELSE 'open' END,
        CASE WHEN id % 4 = 0 THEN 'call before delivery, door ' || id % 97 END,
        date '2000-01-01' + (id % 9000)::int, timestamptz '2026-01-01' + id % 30000000 * interval '1 second', 1::bigint
$$;

-- 60 % inserts, 30 % updates, 10 % deletes. Rows are deleted in the order they were made and updated far behind that,
-- so that every edit finds its row and no row is edited twice within a batch.
CREATE PROCEDURE edit(changes bigint, per_transaction bigint) LANGUAGE plpgsql AS $$
DECLARE
    lowest bigint := (SELECT min(id) FROM sales WHERE id > 100);
    kept bigint := lowest + changes / 10 + 1;
    highest bigint := (SELECT max(id) FROM sales);
    width bigint := highest - kept;
    fresh bigint := highest;
BEGIN
    FOR n IN 0 .. changes - 1 LOOP
        IF n % 10 < 6 THEN
            fresh := fresh + 1;
            INSERT INTO sales SELECT * FROM sale(fresh);
        ELSIF n % 10 < 9 THEN
            UPDATE sales SET quantity = quantity + 1, revision = revision + 1 WHERE id = kept + (n::bigint * 7919) % width;
        ELSE
            DELETE FROM sales WHERE id = lowest;
            lowest := lowest + 1;
        END IF;
        IF n % per_transaction = per_transaction - 1 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;
";

/// The rows that the last transaction of a backlog marks.
///
/// One row would not do: order is kept per key, so its lane may be done before the others are. Among a hundred keys every lane has one.
const MARKED: u64 = 100;

/// How long a target may take to become what the source is, once all its marked rows are there.
const REST_DEADLINE: Duration = Duration::from_secs(30);

/// Everything a row holds, in one number for the table.
const HASH: &str = "SELECT count(*), coalesce(sum(hashtextextended(ROW(id, customer, product, quantity, price, status, \
    note, sold_on, changed_at, revision)::text, 0)), 0) FROM sales";

/// Two clusters; the destination may hold several targets.
pub(super) struct Databases {
    source: Server,
    destination: Server,
}

/// Changes that are committed in the source and read by nobody yet.
pub(super) struct Backlog {
    pub(super) changes: u64,
    /// The revision that the last transaction gives the marked rows.
    mark: u64,
    /// A place in the journal within the last transaction: confirmed once that transaction is.
    pub(super) within_last: String,
    /// The end of the journal after the last transaction.
    pub(super) end: String,
}

impl Databases {
    /// Starts both clusters; the source has `rows` rows.
    pub(super) fn start(rows: u64) -> Result<Databases> {
        ensure!(
            rows > MARKED,
            "{rows} rows are too few; give more than {MARKED} with --rows"
        );
        let options = Options {
            settings: SETTINGS.map(str::to_owned).to_vec(),
            ..Options::default()
        };
        let databases = Databases {
            source: Server::launch(&options)?,
            destination: Server::launch(&options)?,
        };
        databases
            .source
            .sql("postgres", &format!("CREATE DATABASE {SHOP}"))?;
        databases.in_source(&format!(
            "{TABLE}; {SOURCE}; INSERT INTO sales SELECT sale.* FROM generate_series(1, {rows}) n, sale(n); \
             CREATE PUBLICATION {PUBLICATION} FOR TABLE sales; VACUUM ANALYZE sales"
        ))?;
        Ok(databases)
    }

    pub(super) fn source(&self) -> &Server {
        &self.source
    }

    pub(super) fn destination(&self) -> &Server {
        &self.destination
    }

    /// Runs statements in the source.
    pub(super) fn in_source(&self, text: &str) -> Result<String> {
        self.source.sql(SHOP, text)
    }

    /// Makes a target with an empty table.
    pub(super) fn target(&self, name: &str) -> Result<()> {
        self.destination
            .sql("postgres", &format!("CREATE DATABASE {name}"))?;
        let arrival = "ALTER TABLE sales ADD COLUMN arrived timestamptz DEFAULT clock_timestamp()";
        self.destination.sql(name, &format!("{TABLE}; {arrival}"))?;
        Ok(())
    }

    /// Commits changes, and a last one that marks the end.
    pub(super) fn change(&self, changes: u64, per_transaction: u64) -> Result<Backlog> {
        ensure!(
            per_transaction > 0 && changes.is_multiple_of(per_transaction),
            "{changes} changes cannot be parted into transactions of {per_transaction}"
        );
        let rows = self.rows()?;
        ensure!(
            rows > changes / 5,
            "{rows} rows are too few for {changes} changes; give more with --rows"
        );
        // A slot that stays where the backlog begins: readers who come and go get copies of it.
        self.in_source(
            "SELECT slot_name FROM pg_create_logical_replication_slot('bench_begin', 'pgoutput')",
        )?;
        self.in_source(&format!(
            "SET synchronous_commit = off; CALL edit({changes}, {per_transaction})"
        ))?;
        let marked = self.in_source(
            &format!(
                "BEGIN; UPDATE sales SET revision = (SELECT max(revision) + 1 FROM sales) WHERE id <= {MARKED}; \
                 SELECT revision FROM sales WHERE id = 1; SELECT pg_current_wal_insert_lsn(); COMMIT; \
                 SELECT pg_current_wal_lsn(); CHECKPOINT"
            ),
        )?;
        self.destination.sql("postgres", "CHECKPOINT")?;
        let mut lines = marked.lines().map(str::to_owned);
        let mut next = || lines.next().context("the source did not say where it ends");
        Ok(Backlog {
            changes: changes + MARKED,
            mark: next()?.parse()?,
            within_last: next()?,
            end: next()?,
        })
    }

    /// How many rows the source has.
    pub(super) fn rows(&self) -> Result<u64> {
        Ok(self.in_source("SELECT count(*) FROM sales")?.parse()?)
    }

    /// Forgets a target, and the slot that it was filled from.
    pub(super) fn drop_target(&self, name: &str) -> Result<()> {
        self.in_source(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}'"
        ))?;
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        self.destination.sql("postgres", &drop)?;
        Ok(())
    }

    /// Commits one transaction over many rows, and gives a place in the journal within it.
    pub(super) fn change_at_once(&self, rows: u64) -> Result<String> {
        let said = self.in_source(&format!(
            "BEGIN; INSERT INTO sales SELECT sale.* FROM generate_series((SELECT max(id) FROM sales) + 1, (SELECT max(id) FROM sales) + {rows}) n, sale(n); \
             SELECT pg_current_wal_insert_lsn(); COMMIT"
        ))?;
        Ok(said.trim().to_owned())
    }

    /// Removes the rows of one large transaction.
    pub(super) fn take_back(&self, rows: u64) -> Result<()> {
        let newest = "(SELECT max(id) FROM sales)";
        self.in_source(&format!("DELETE FROM sales WHERE id > {newest} - {rows}"))?;
        self.in_source("VACUUM sales")?;
        Ok(())
    }

    /// Lets the journal of a backlog go, once everybody has read it.
    pub(super) fn forget(&self, _read: &Backlog) -> Result<()> {
        self.in_source("SELECT pg_drop_replication_slot('bench_begin')")?;
        Ok(())
    }

    /// Waits until a target holds the last transaction.
    pub(super) fn until_applied(&self, target: &str, backlog: &Backlog) -> Result<()> {
        let applied = format!(
            "(CASE WHEN EXISTS (SELECT FROM sales WHERE id = 1 AND revision = {mark}) \
             THEN (SELECT count(*) FROM sales WHERE id <= {MARKED} AND revision = {mark}) = {MARKED} END) IS TRUE",
            mark = backlog.mark
        );
        until(&self.destination, target, &applied)
    }

    /// Waits until somebody reads a slot.
    fn until_read(&self, slot: &str) -> Result<()> {
        let active = format!(
            "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}' AND active)"
        );
        until(&self.source, SHOP, &active)
    }

    /// Waits until the reader of a slot has confirmed the last change.
    pub(super) fn until_confirmed(&self, slot: &str, within_last: &str) -> Result<()> {
        let confirmed = format!(
            "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}' AND confirmed_flush_lsn >= '{within_last}')"
        );
        until(&self.source, SHOP, &confirmed)
    }

    /// Waits until a target has as many rows as the source.
    pub(super) fn until_loaded(&self, target: &str) -> Result<()> {
        let rows = self.in_source("SELECT count(*) FROM sales")?;
        let newest = self.in_source("SELECT max(id) FROM sales")?;
        // Counting takes as much from the server as copying: it waits until the newest row is there.
        let loaded = format!(
            "(CASE WHEN EXISTS (SELECT FROM sales WHERE id = {newest}) \
             THEN (SELECT count(*) FROM sales) = {rows} END) IS TRUE"
        );
        until(&self.destination, target, &loaded)
    }

    /// Fails unless the target comes to hold exactly the source's rows.
    pub(super) fn compare(&self, target: &str) -> Result<()> {
        let source = self.in_source(HASH)?;
        let started = Instant::now();
        loop {
            let copy = self.destination.sql(target, HASH)?;
            if source == copy {
                return Ok(());
            }
            if started.elapsed() > REST_DEADLINE {
                bail!(
                    "`{target}` is not what the source is: count and hash {copy} instead of {source}"
                );
            }
        }
    }
}

/// Waits inside the server, which is quicker and cheaper than asking again and again from outside.
///
/// The tables have no statistics, so the planner has to be told that looking up a few keys takes no scan.
fn until(server: &Server, database: &str, condition: &str) -> Result<()> {
    server
        .sql(
            database,
            &format!(
                "SET statement_timeout = '{}s'; SET enable_seqscan = off; DO $$ BEGIN \
                 WHILE NOT ({condition}) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
                DEADLINE.as_secs()
            ),
        )
        .with_context(|| format!("it did not come to `{condition}`"))?;
    Ok(())
}

/// Counts the CPU time of both clusters, and of whatever else takes part, from now on.
pub(super) struct Meter {
    started: Instant,
    programs: Vec<(&'static str, u32, f64)>,
}

impl Meter {
    /// Begins to count; `others` are processes by name.
    pub(super) fn start(
        databases: &Databases,
        others: &[(&'static str, Option<u32>)],
    ) -> Result<Meter> {
        let mut all = vec![
            ("source", databases.source.pid()),
            ("destination", databases.destination.pid()),
        ];
        all.extend_from_slice(others);
        let mut programs = Vec::new();
        for (name, pid) in all {
            let pid = pid.with_context(|| format!("{name} does not run"))?;
            programs.push((name, pid, tree_cpu_s(pid)?));
        }
        Ok(Meter {
            started: Instant::now(),
            programs,
        })
    }

    /// Starts the reader of a slot, and begins to count once it reads: how long a program takes to start says nothing of how fast it reads.
    pub(super) fn once_read<T>(
        databases: &Databases,
        slot: &str,
        others: &[(&'static str, Option<u32>)],
        start: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Meter)> {
        thread::scope(|scope| {
            // Asked before, so that nothing of what it reads goes by.
            let counting = scope.spawn(|| {
                databases.until_read(slot)?;
                Meter::start(databases, others)
            });
            let reader = start()?;
            let meter = counting.join();
            let meter = meter.map_err(|_| anyhow!("waiting panicked"))?;
            Ok((
                reader,
                meter.with_context(|| format!("nobody reads `{slot}`"))?,
            ))
        })
    }

    /// What was used since the start, for so many rows.
    pub(super) fn stop(&self, rows: u64) -> Result<Drain> {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut cpu_s = Figures::new();
        for (name, pid, before) in &self.programs {
            cpu_s.insert((*name).to_owned(), tree_cpu_s(*pid)? - before);
        }
        Ok(Drain {
            rows,
            seconds,
            cpu_s,
        })
    }
}

//! Every kind of fault that a server, a network or a process has, at moments nobody chose, for every kind of database.
//!
//! One thread edits the source and does the harm, so that a round is repeated by its seed.
//! A trigger in the target keeps every write that it saw: the last one of a key has to be the source's, and no version comes twice or after a later one.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lockstep_servers::mongodb::Field;
use lockstep_servers::{mariadb, mongodb, nats, postgres};

use crate::kill::{Random, rounds, seed};
use crate::stage::{Runtime, Stage};

/// Keys that are edited.
const KEYS: u64 = 400;
/// Where everything stands in each server.
const DATABASE: &str = "books";

const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: entry
version: 1.0.0
status: active
schema:
  - name: entry
    customProperties:
      - {property: lockstep.owner, value: from}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: version, logicalType: integer, required: true}
      - {name: note, logicalType: string}
"#;

/// A database server, the faults it may have, and the table in it.
enum Side {
    Postgres(postgres::Server),
    Mariadb(mariadb::Server),
    Mongodb(mongodb::Server),
}

impl Side {
    fn postgres() -> Option<Side> {
        let server = postgres::Server::start(&postgres::Options::default())?;
        let create = format!("CREATE DATABASE {DATABASE}");
        server.sql("postgres", &create).unwrap();
        Some(Side::Postgres(server))
    }

    fn mariadb() -> Option<Side> {
        let server = mariadb::Server::start(&mariadb::Options::default())?;
        let create = format!("CREATE DATABASE {DATABASE}");
        server.sql("mysql", &create).unwrap();
        Some(Side::Mariadb(server))
    }

    fn mongodb() -> Option<Side> {
        mongodb::Server::start(&mongodb::Options::default()).map(Side::Mongodb)
    }

    /// The table, and for a target what keeps its writes.
    fn prepare(&self, is_target: bool) {
        let audit = match self {
            Side::Postgres(_) => {
                "CREATE TABLE seen (n bigserial PRIMARY KEY, id text, version bigint);
                 CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen (id, version) VALUES (new.id, new.version); RETURN new; END $$;
                 CREATE TRIGGER see AFTER INSERT OR UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION see();"
            }
            Side::Mariadb(_) => {
                "CREATE TABLE seen (n bigint AUTO_INCREMENT PRIMARY KEY, id varchar(40), version bigint);
                 CREATE TRIGGER see_i AFTER INSERT ON entries FOR EACH ROW INSERT INTO seen (id, version) VALUES (new.id, new.version);
                 CREATE TRIGGER see_u AFTER UPDATE ON entries FOR EACH ROW INSERT INTO seen (id, version) VALUES (new.id, new.version);"
            }
            Side::Mongodb(server) => {
                let images = Field::Document(vec![("enabled".to_owned(), Field::Bool(true))]);
                let create = [
                    ("create", text("entries")),
                    ("changeStreamPreAndPostImages", images),
                ];
                server.command(DATABASE, &create).unwrap();
                return;
            }
        };
        let lettered = match self {
            Side::Mariadb(_) => "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            _ => "",
        };
        self.sql(&format!("CREATE TABLE entries (id varchar(40) {lettered} PRIMARY KEY, version bigint NOT NULL, note varchar(200))"))
            .unwrap();
        if is_target {
            self.sql(audit).unwrap();
        }
    }

    fn sql(&self, sql: &str) -> Option<String> {
        match self {
            Side::Postgres(server) => server.sql(DATABASE, sql).ok(),
            Side::Mariadb(server) => server
                .sql(DATABASE, sql)
                .ok()
                .map(|said| said.replace('\t', "|")),
            Side::Mongodb(_) => None,
        }
    }

    /// Its part of the configuration, but for the mapping.
    fn system(&self) -> String {
        match self {
            Side::Postgres(server) => {
                format!(
                    "connector = \"postgres\"\nurl = \"{}\"\n",
                    server.url(DATABASE)
                )
            }
            Side::Mariadb(server) => {
                format!(
                    "connector = \"mysql\"\nurl = \"{}\"\nheartbeat_ms = 200\n",
                    server.url(DATABASE)
                )
            }
            Side::Mongodb(server) => {
                format!(
                    "connector = \"mongodb\"\nurl = \"{}\"\n",
                    server.url(DATABASE)
                )
            }
        }
    }

    /// One transaction, or for a document store one command, that writes versions and deletes; a server that is away does not do it.
    fn edit(&self, random: &mut Random, versions: &mut i64, told: &mut History) {
        let written: Vec<(String, i64)> = (0..1 + random.below(60))
            .map(|_| {
                *versions += 1;
                (format!("K{:03}", random.below(KEYS)), *versions)
            })
            .collect();
        for (id, version) in &written {
            told.entry(id.clone()).or_default().push(*version);
        }
        let gone = format!("K{:03}", random.below(KEYS));
        if let Side::Mongodb(server) = self {
            let _ = document_edits(server, &written, &gone);
            return;
        }
        let upsert = match self {
            Side::Postgres(_) => {
                "ON CONFLICT (id) DO UPDATE SET version = excluded.version, note = excluded.note"
            }
            _ => "ON DUPLICATE KEY UPDATE version = VALUES(version), note = VALUES(note)",
        };
        let mut sql = "BEGIN;".to_owned();
        for (id, version) in &written {
            sql += &format!(
                "INSERT INTO entries VALUES ('{id}', {version}, 'note {version} ä') {upsert};"
            );
        }
        sql += &format!("DELETE FROM entries WHERE id = '{gone}'; COMMIT;");
        let _ = self.sql(&sql);
    }

    fn kill(&mut self) {
        match self {
            Side::Postgres(server) => server.kill().unwrap(),
            Side::Mariadb(server) => server.kill().unwrap(),
            Side::Mongodb(server) => server.kill().unwrap(),
        }
    }

    fn restart(&mut self) {
        match self {
            Side::Postgres(server) => server.restart().unwrap(),
            Side::Mariadb(server) => server.restart().unwrap(),
            Side::Mongodb(server) => server.restart().unwrap(),
        }
    }

    fn freeze(&self) {
        match self {
            Side::Postgres(server) => server.freeze().unwrap(),
            Side::Mariadb(server) => server.freeze().unwrap(),
            Side::Mongodb(server) => server.freeze().unwrap(),
        }
    }

    fn thaw(&self) {
        match self {
            Side::Postgres(server) => server.thaw().unwrap(),
            Side::Mariadb(server) => server.thaw().unwrap(),
            Side::Mongodb(server) => server.thaw().unwrap(),
        }
    }

    /// Cuts every connection of others, whatever they are about: what was committed a moment ago is never told to who committed it.
    fn cut(&self) {
        match self {
            Side::Postgres(_) => {
                self.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')");
            }
            Side::Mariadb(_) => {
                let others = "SELECT group_concat(concat('KILL ', id) SEPARATOR ';') FROM information_schema.processlist WHERE id <> connection_id() AND user <> 'system user'";
                for kill in self.sql(others).unwrap_or_default().split(';') {
                    // One that has gone since cannot be cut.
                    self.sql(kill);
                }
            }
            // It keeps no list of connections that could be cut one by one.
            Side::Mongodb(_) => {
                self.freeze();
                self.thaw();
            }
        }
    }
}

/// The versions that each key was given, whether they were committed or not.
type History = BTreeMap<String, Vec<i64>>;

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}

fn document_edits(
    server: &mongodb::Server,
    written: &[(String, i64)],
    gone: &str,
) -> Option<mongodb::Reply> {
    let key = |id: &str| Field::Document(vec![("_id".to_owned(), text(id))]);
    let updates = written.iter().map(|(id, version)| {
        let set = Field::Document(vec![
            (
                "version".to_owned(),
                Field::Int(i32::try_from(*version).unwrap()),
            ),
            ("note".to_owned(), text(&format!("note {version} ä"))),
        ]);
        Field::Document(vec![
            ("q".to_owned(), key(id)),
            (
                "u".to_owned(),
                Field::Document(vec![("$set".to_owned(), set)]),
            ),
            ("upsert".to_owned(), Field::Bool(true)),
        ])
    });
    let update = [
        ("update", text("entries")),
        ("updates", Field::Array(updates.collect())),
    ];
    server.command(DATABASE, &update).ok()?;
    let delete = Field::Document(vec![
        ("q".to_owned(), key(gone)),
        ("limit".to_owned(), Field::Int(1)),
    ]);
    let delete = [
        ("delete", text("entries")),
        ("deletes", Field::Array(vec![delete])),
    ];
    server.command(DATABASE, &delete).ok()
}

/// Two databases, a log between them, and the runtime.
struct Chain {
    from: Side,
    to: Side,
    log: Option<nats::Server>,
}

impl Chain {
    /// A folder that joins them.
    fn stage(&self) -> Stage {
        let Chain { from, to, log } = self;
        from.prepare(false);
        to.prepare(true);
        let stage = Stage::new();
        let at = stage.path();
        fs::remove_file(at.join("contracts/account.odcs.yaml")).unwrap();
        fs::write(at.join("contracts/entry.odcs.yaml"), CONTRACT).unwrap();
        let mut config = "contracts = \"contracts\"\n\n[log]\n".to_owned();
        config += &match log {
            Some(server) => format!("engine = \"nats\"\nservers = [\"{}\"]\n", server.url()),
            None => "path = \"lockstep.log\"\n".to_owned(),
        };
        for (name, side) in [("from", from), ("to", to)] {
            let key = match side {
                Side::Mongodb(_) => "_id",
                _ => "id",
            };
            config += &format!(
                "\n[systems.{name}]\n{}\n[systems.{name}.map.entry]\ntable = \"entries\"\n[systems.{name}.map.entry.fields]\nid = \"{key}\"\nversion = \"version\"\nnote = \"note\"\n",
                side.system()
            );
        }
        config += "\n[flows.entries]\nentity = \"entry\"\nfrom = \"from\"\nto = [\"to\"]\n";
        fs::write(at.join("lockstep.toml"), config).unwrap();
        stage
    }

    /// Rounds of edits and faults, and then the account of it.
    fn live_through(mut self) {
        let seed = seed();
        let stage = self.stage();
        let mut random = Random(seed);
        let (mut versions, mut told) = (0, History::new());
        // Enough that the first faults fall into the snapshot.
        for _ in 0..10 {
            self.from.edit(&mut random, &mut versions, &mut told);
        }
        let mut runtime = stage.spawn();
        for round in 0..rounds(10) {
            for _ in 0..1 + random.below(8) {
                self.from.edit(&mut random, &mut versions, &mut told);
            }
            std::thread::sleep(Duration::from_millis(random.below(700)));
            // Each of them in turn, so that a short run leaves none out.
            runtime = self.harm(
                (seed + round) % 10,
                runtime,
                &stage,
                &mut random,
                |chain, random| {
                    chain.from.edit(random, &mut versions, &mut told);
                },
            );
        }
        drop(runtime);
        let runtime = stage.run();
        stage.until("both hold the same", || {
            stage.state() == "idle" && stage.json(&["verify", "--json"])["equal"] == true
        });
        assert!(stage.quarantined().is_empty());
        self.assert_same();
        self.assert_each_once_and_in_order(&told);
        assert_eq!(runtime.stop(), 0);
    }

    /// Does one kind of harm and makes it good again; edits go on meanwhile wherever the source can be edited.
    fn harm<'s>(
        &mut self,
        kind: u64,
        runtime: Runtime<'s>,
        stage: &'s Stage,
        random: &mut Random,
        mut edit: impl FnMut(&Chain, &mut Random),
    ) -> Runtime<'s> {
        let moment = Duration::from_millis(random.below(1200));
        match kind {
            0 | 1 => {
                runtime.kill();
                edit(self, random);
                return stage.spawn();
            }
            2 => {
                self.from.kill();
                std::thread::sleep(moment / 4);
                self.from.restart();
            }
            3 => {
                self.to.kill();
                edit(self, random);
                std::thread::sleep(moment / 4);
                self.to.restart();
            }
            4 => {
                self.from.freeze();
                std::thread::sleep(moment);
                self.from.thaw();
            }
            5 => {
                self.to.freeze();
                edit(self, random);
                std::thread::sleep(moment);
                self.to.thaw();
            }
            6 => {
                self.from.cut();
                edit(self, random);
            }
            7 => {
                for _ in 0..6 {
                    edit(self, random);
                    self.to.cut();
                }
            }
            8 => {
                if let Some(log) = &mut self.log {
                    log.kill().unwrap();
                }
                edit(self, random);
                std::thread::sleep(moment / 4);
                if let Some(log) = &mut self.log {
                    log.restart().unwrap();
                }
            }
            _ => {
                // Everything at once, as where the power fails.
                self.from.kill();
                self.to.kill();
                if let Some(log) = &mut self.log {
                    log.kill().unwrap();
                }
                runtime.kill();
                self.from.restart();
                self.to.restart();
                if let Some(log) = &mut self.log {
                    log.restart().unwrap();
                }
                return stage.spawn();
            }
        }
        runtime
    }

    /// Compared by the databases alone, where both speak SQL.
    fn assert_same(&self) {
        let all = "SELECT id, version, note FROM entries ORDER BY id";
        if let Some(left) = self.from.sql(all) {
            assert_eq!(Some(left), self.to.sql(all));
        } else if let Side::Mongodb(server) = &self.from {
            let counted = server.command(DATABASE, &[("count", text("entries"))]);
            let counted = counted.unwrap().number("n").unwrap().to_string();
            assert_eq!(self.to.sql("SELECT count(*) FROM entries"), Some(counted));
        }
    }

    fn assert_each_once_and_in_order(&self, told: &History) {
        let seen = self.to.sql("SELECT id, version FROM seen ORDER BY n");
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        let seen = seen.unwrap();
        for line in seen.lines() {
            let (id, version) = line.split_once('|').unwrap();
            let version: i64 = version.parse().unwrap();
            assert!(
                told[id].contains(&version),
                "{id}: nobody wrote version {version}"
            );
            let before = last.insert(id, version);
            assert!(
                before < Some(version),
                "{id}: version {version} came after {before:?}"
            );
        }
    }
}

#[test]
fn postgres_to_postgres_over_nats_outlives_every_fault() {
    if let (Some(from), Some(to), Some(log)) = (
        Side::postgres(),
        Side::postgres(),
        nats::Server::start(&nats::Options::default()),
    ) {
        Chain {
            from,
            to,
            log: Some(log),
        }
        .live_through();
    }
}

#[test]
fn mariadb_to_mariadb_over_nats_outlives_every_fault() {
    if let (Some(from), Some(to), Some(log)) = (
        Side::mariadb(),
        Side::mariadb(),
        nats::Server::start(&nats::Options::default()),
    ) {
        Chain {
            from,
            to,
            log: Some(log),
        }
        .live_through();
    }
}

#[test]
fn mongodb_to_postgres_with_the_embedded_log_outlives_every_fault() {
    if let (Some(from), Some(to)) = (Side::mongodb(), Side::postgres()) {
        Chain {
            from,
            to,
            log: None,
        }
        .live_through();
    }
}

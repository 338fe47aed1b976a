//! Capture from MariaDB and MongoDB into JetStream, beside a reader of the same changes that drops them.
//!
//! Both count from their first word: Lockstep from when it takes the system over in the log until the log holds the position of the last change, the reader from when it connects.
//! Nothing is delivered meanwhile: the flow waits for a day of the year.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use lockstep_core::Position;
use lockstep_servers::{find, mariadb, mongodb as mongo, nats};
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc};
use mongodb::options::FullDocumentType;
use mysql_async::BinlogStreamRequest;
use mysql_async::prelude::Queryable as _;

use super::lockstep::{CONTRACT, FIELDS};
use super::{Drain, Run};
use crate::process::{Runtime, tree_cpu_s};
use crate::report::Figures;
use crate::say;

/// Changes of one transaction, or of one round of statements: inserts, updates, deletes.
const ROUND: [u64; 3] = [600, 300, 100];
/// How long one reader may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// The number under which the reader asks MariaDB for its log.
const READER: u32 = 7001;

/// A system of another kind, with a backlog to be read.
trait System {
    /// What its ratio is named after.
    const NAME: &'static str;
    /// Its part of the configuration.
    fn settings(&self) -> String;
    /// Makes rows that are there before.
    fn fill(&mut self, rows: u64) -> Result<()>;
    /// Makes so many rounds of changes; gives the commit of the last change as positions tell it.
    fn change(&mut self, rounds: u64) -> Result<u64>;
    /// Reads what was changed and drops it.
    fn read(&mut self, changes: u64) -> Result<Drain>;
}

/// Measures each system that is installed here.
pub(super) fn measure(changes: u64, binary: &Path, run: &mut Run) -> Result<()> {
    if find::mariadb().is_some() {
        let server = mariadb::Server::launch(&mariadb::Options::default())?;
        let system = Maria {
            server,
            begin: (String::new(), 0),
        };
        capture(system, changes, binary, run)?;
    } else {
        say("MariaDB is not installed: its capture is not measured");
    }
    if find::mongod().is_some() {
        capture(Mongo::start()?, changes, binary, run)?;
    } else {
        say("mongod is not installed: its capture is not measured");
    }
    Ok(())
}

fn capture<S: System>(mut system: S, changes: u64, binary: &Path, run: &mut Run) -> Result<()> {
    let name = S::NAME;
    let folder = tempfile::tempdir()?;
    let log = nats::Server::launch(&nats::Options::default())?;
    let rounds = changes / ROUND.iter().sum::<u64>();
    let changes = rounds * ROUND.iter().sum::<u64>();
    // As many as are updated and deleted, none of them twice.
    system.fill(rounds * (ROUND[1] + ROUND[2]) + 1)?;
    configure(folder.path(), &system.settings(), &log.url())?;
    let binary = binary.canonicalize()?;
    // Its beginning, and the rows that are there, are read before.
    let mut positions = Positions::of(&log)?;
    let runtime = Runtime::start(&binary, folder.path())?;
    let mark = system.change(0)?;
    positions.until(mark, &runtime)?;
    runtime.stop()?;
    let last = system.change(rounds)?;
    let limit = system.read(changes)?;
    let mut positions = Positions::of(&log)?;
    let log_cpu_s = || tree_cpu_s(log.pid().unwrap_or_default());
    let before = log_cpu_s()?;
    let runtime = Runtime::start(&binary, folder.path())?;
    let seconds = positions.until(last, &runtime)?;
    let cpu_s: Figures = [
        ("lockstep".to_owned(), runtime.cpu_s()?),
        ("nats_server".to_owned(), log_cpu_s()? - before),
    ]
    .into();
    runtime.stop()?;
    let drain = Drain {
        rows: changes,
        seconds,
        cpu_s,
    };
    let way = format!("{name}_capture_to_nats");
    say(&format!(
        "{way:<24} {:>8.0} rows/s, reader {:.0}",
        drain.rate(),
        limit.rate()
    ));
    let ratio = drain.rate() / limit.rate();
    run.ratios.insert(format!("{way}_vs_reader"), ratio);
    run.drains.insert(way, drain);
    run.drains.insert(format!("reader_{name}"), limit);
    Ok(())
}

fn configure(folder: &Path, system: &str, log: &str) -> Result<()> {
    fs::create_dir_all(folder.join("contracts"))?;
    fs::write(folder.join("contracts/sale.odcs.yaml"), CONTRACT)?;
    let copy = rusqlite::Connection::open(folder.join("copy.db"))?;
    copy.execute_batch(
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, customer TEXT, product TEXT, quantity INTEGER, price TEXT, status TEXT, note TEXT, sold_on TEXT, changed_at TEXT, revision INTEGER)",
    )?;
    let fields = |key: &str| -> String {
        let column = |field: &str| {
            if field == "id" {
                key.to_owned()
            } else {
                field.to_owned()
            }
        };
        let line = |field: &&str| format!("{field} = \"{}\"\n", column(field));
        FIELDS.iter().map(line).collect()
    };
    let key = if system.contains("mongodb") {
        "_id"
    } else {
        "id"
    };
    fs::write(
        folder.join("lockstep.toml"),
        format!(
            "contracts = \"contracts\"\n\n[log]\nengine = \"nats\"\nservers = [\"{log}\"]\n\n\
             {system}\
             [systems.shop.map.sale]\ntable = \"sales\"\n[systems.shop.map.sale.fields]\n{}\n\
             [systems.copy]\nconnector = \"sqlite\"\npath = \"copy.db\"\n\
             [systems.copy.map.sale]\ntable = \"sales\"\n[systems.copy.map.sale.fields]\n{}\n\
             [flows.sales]\nentity = \"sale\"\nfrom = \"shop\"\nto = [\"copy\"]\nmode = \"scheduled\"\ncron = \"0 0 29 2 *\"\n",
            fields(key),
            fields("id")
        ),
    )
    .context("cannot write the configuration")
}

/// Hears what the log is told of the source's position: each is stored before anybody hears of it.
struct Positions {
    reader: BufReader<TcpStream>,
    first: Option<Instant>,
}

impl Positions {
    fn of(server: &nats::Server) -> Result<Positions> {
        let url = server.url();
        let address = url.strip_prefix("nats://").context("no address")?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut positions = Positions {
            reader: BufReader::new(stream),
            first: None,
        };
        let words = "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB ls.pos.shop 1\r\nPING\r\n";
        positions.reader.get_mut().write_all(words.as_bytes())?;
        while positions.line()? != "PONG" {}
        Ok(positions)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the log's server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits for a position at this commit or behind it; gives the seconds since the first one.
    fn until(&mut self, commit: u64, runtime: &Runtime) -> Result<f64> {
        let said = || format!("the runtime said:\n{}", runtime.log());
        loop {
            let line = self.line().with_context(said)?;
            if line == "PING" {
                self.reader.get_mut().write_all(b"PONG\r\n")?;
            }
            if !line.starts_with("HMSG") && !line.starts_with("MSG") {
                continue;
            }
            let length: usize = line.rsplit(' ').next().unwrap_or_default().parse()?;
            let mut body = vec![0; length + 2];
            self.reader.read_exact(&mut body)?;
            let first = *self.first.get_or_insert_with(Instant::now);
            let text = String::from_utf8_lossy(&body);
            let at = text.lines().find_map(|line| line.strip_prefix("ls-pos:"));
            let at = at.and_then(|at| at.trim().parse::<Position>().ok());
            if at.is_some_and(|at| at.commit >= commit) {
                return Ok(first.elapsed().as_secs_f64());
            }
        }
    }
}

/// MariaDB, whose reader asks for the binary log as a replica does.
struct Maria {
    server: mariadb::Server,
    /// Where the backlog begins: file and place.
    begin: (String, u64),
}

impl Maria {
    fn place(&self) -> Result<(String, u64)> {
        let said = self.server.sql("mysql", "SHOW MASTER STATUS")?;
        let mut words = said.split_whitespace();
        let file = words.next().context("no binary log")?.to_owned();
        let place = words.next().context("no place")?.parse()?;
        Ok((file, place))
    }
}

impl System for Maria {
    const NAME: &'static str = "mariadb";

    fn settings(&self) -> String {
        let url = self.server.url("shop");
        format!("[systems.shop]\nconnector = \"mysql\"\nurl = \"{url}\"\n")
    }

    fn fill(&mut self, rows: u64) -> Result<()> {
        self.server.sql("mysql", "CREATE DATABASE shop")?;
        self.server.sql(
            "shop",
            &format!(
                "CREATE TABLE sales (id BIGINT PRIMARY KEY, customer VARCHAR(64) NOT NULL, product VARCHAR(32) NOT NULL, quantity INT NOT NULL, \
                 price DECIMAL(12,2) NOT NULL, status VARCHAR(16) NOT NULL, note VARCHAR(200), sold_on DATE NOT NULL, changed_at TIMESTAMP(6) NOT NULL, revision BIGINT NOT NULL); \
                 CREATE VIEW sale AS SELECT seq AS id, CONCAT('customer-', LPAD(seq % 50000, 6, '0')) AS customer, CONCAT('FUR-BO-', LPAD(seq % 2000, 8, '0')) AS product, \
                 seq % 20 + 1 AS quantity, (seq * 37 % 1000000) / 100 AS price, IF(seq % 3 = 0, 'shipped', 'open') AS status, \
                 IF(seq % 4 = 0, CONCAT('call before delivery, door ', seq % 97), NULL) AS note, DATE '2000-01-01' + INTERVAL seq % 9000 DAY AS sold_on, \
                 TIMESTAMP '2026-01-01 00:00:00' AS changed_at, 1 AS revision FROM seq_1_to_100000000; \
                 INSERT INTO sales SELECT * FROM sale WHERE id <= {rows}"
            ),
        )?;
        Ok(())
    }

    fn change(&mut self, rounds: u64) -> Result<u64> {
        self.begin = self.place()?;
        let [inserts, updates, deletes] = ROUND;
        let said = self
            .server
            .sql("shop", "SELECT MAX(id), MIN(id) FROM sales")?;
        let bounds: Vec<u64> = said.split_whitespace().flat_map(str::parse).collect();
        let [highest, lowest] = bounds[..] else {
            bail!("the table is empty");
        };
        let mut script = String::new();
        for round in 0..rounds {
            let fresh = highest + round * inserts;
            let old = lowest + round * deletes;
            let kept = lowest + rounds * deletes + round * updates;
            script += &format!(
                "BEGIN; INSERT INTO sales SELECT * FROM sale WHERE id BETWEEN {} AND {}; \
                 UPDATE sales SET quantity = quantity + 1, revision = revision + 1 WHERE id BETWEEN {kept} AND {}; \
                 DELETE FROM sales WHERE id BETWEEN {old} AND {}; COMMIT;\n",
                fresh + 1,
                fresh + inserts,
                kept + updates - 1,
                old + deletes - 1,
            );
        }
        if rounds > 0 {
            self.server.sql("shop", &script)?;
        }
        // The last change begins here.
        let (file, place) = self.place()?;
        self.server.sql(
            "shop",
            "UPDATE sales SET revision = revision + 1 ORDER BY id DESC LIMIT 1",
        )?;
        let number: u64 = file.rsplit('.').next().unwrap_or_default().parse()?;
        Ok(number << 32 | place)
    }

    fn read(&mut self, changes: u64) -> Result<Drain> {
        let (file, place) = self.begin.clone();
        let url = self.server.url("shop");
        let reading = async {
            let started = Instant::now();
            let mut conn = mysql_async::Conn::from_url(&url).await?;
            conn.query_drop("SET @mariadb_slave_capability = 4").await?;
            let request = BinlogStreamRequest::new(READER)
                .with_filename(file.as_bytes())
                .with_pos(place)
                .with_non_blocking();
            let mut events = conn.get_binlog_stream(request).await?;
            while let Some(event) = events.next().await {
                event?;
            }
            anyhow::Ok(started.elapsed())
        };
        dropped(changes, block_on(reading)?)
    }
}

/// MongoDB, whose reader watches the collection.
struct Mongo {
    server: mongo::Server,
    client: mongodb::Client,
    runtime: tokio::runtime::Runtime,
    begin: Option<Timestamp>,
}

impl Mongo {
    fn start() -> Result<Mongo> {
        let server = mongo::Server::launch(&mongo::Options::default())?;
        let runtime = tokio::runtime::Runtime::new()?;
        let client = runtime.block_on(mongodb::Client::with_uri_str(server.url("shop")))?;
        Ok(Mongo {
            server,
            client,
            runtime,
            begin: None,
        })
    }

    /// Runs one command; gives the time of what it did.
    fn run(&self, command: Document) -> Result<Timestamp> {
        let shop = self.client.database("shop");
        let said = self
            .runtime
            .block_on(async { shop.run_command(command).await })?;
        if let Ok(failed) = said.get_array("writeErrors") {
            bail!("mongod refused {} writes", failed.len());
        }
        Ok(said.get_timestamp("operationTime")?)
    }

    fn insert(&self, ids: std::ops::Range<u64>) -> Result<Timestamp> {
        let documents: Vec<Document> = ids.map(sale).collect();
        self.run(doc! { "insert": "sales", "documents": documents })
    }
}

fn sale(id: u64) -> Document {
    let number = id.cast_signed();
    let note = id
        .is_multiple_of(4)
        .then(|| format!("call before delivery, door {}", id % 97));
    let price: Result<mongodb::bson::Decimal128, _> =
        format!("{}.{:02}", id * 37 % 10_000, id % 100).parse();
    let day = i64::try_from(id % 9000).unwrap_or(0) * 86_400_000 + 946_684_800_000;
    let mut sale = doc! {
        "_id": number,
        "customer": format!("customer-{:06}", id % 50_000),
        "product": format!("FUR-BO-{:08}", id % 2000),
        "quantity": number % 20 + 1,
        "status": if id.is_multiple_of(3) { "shipped" } else { "open" },
        "sold_on": mongodb::bson::DateTime::from_millis(day),
        "changed_at": mongodb::bson::DateTime::from_millis(1_767_225_600_000),
        "revision": 1_i64,
    };
    if let Ok(price) = price {
        sale.insert("price", price);
    }
    if let Some(note) = note {
        sale.insert("note", note);
    }
    sale
}

impl System for Mongo {
    const NAME: &'static str = "mongodb";

    fn settings(&self) -> String {
        let url = self.server.url("shop");
        format!(
            "[systems.shop]\nconnector = \"mongodb\"\nurl = \"{url}\"\n[systems.shop.columns.sales]\n\
             _id = \"int\"\ncustomer = \"text\"\nproduct = \"text\"\nquantity = \"int\"\nprice = \"decimal\"\nstatus = \"text\"\n\
             note = \"text\"\nsold_on = \"date\"\nchanged_at = \"timestamp\"\nrevision = \"int\"\n\n"
        )
    }

    fn fill(&mut self, rows: u64) -> Result<()> {
        let mut next = 1;
        while next <= rows {
            let end = (next + 5000).min(rows + 1);
            self.begin = Some(self.insert(next..end)?);
            next = end;
        }
        Ok(())
    }

    fn change(&mut self, rounds: u64) -> Result<u64> {
        let [inserts, updates, deletes] = ROUND;
        self.begin = Some(self.run(doc! { "ping": 1 })?);
        let fresh = 1_000_000_000;
        for round in 0..rounds {
            let from = fresh + round * inserts;
            self.insert(from..from + inserts)?;
            let kept = (1 + rounds * deletes + round * updates).cast_signed();
            let these = doc! { "_id": { "$gte": kept, "$lt": kept + updates.cast_signed() } };
            let more = doc! { "$inc": { "quantity": 1_i64, "revision": 1_i64 } };
            self.run(
                doc! { "update": "sales", "updates": [{ "q": these, "u": more, "multi": true }] },
            )?;
            let old = (1 + round * deletes).cast_signed();
            let these = doc! { "_id": { "$gte": old, "$lt": old + deletes.cast_signed() } };
            self.run(doc! { "delete": "sales", "deletes": [{ "q": these, "limit": 0 }] })?;
        }
        let last = self.insert(fresh - 2 - rounds..fresh - 1 - rounds)?;
        Ok(u64::from(last.time) << 32 | u64::from(last.increment))
    }

    fn read(&mut self, changes: u64) -> Result<Drain> {
        let begin = self.begin.context("nothing was changed")?;
        let behind = Timestamp {
            increment: begin.increment + 1,
            ..begin
        };
        let sales = self
            .client
            .database("shop")
            .collection::<RawDocumentBuf>("sales");
        let reading = async {
            let started = Instant::now();
            let watch = sales.watch().start_at_operation_time(behind);
            let watch = watch.full_document(FullDocumentType::UpdateLookup);
            let mut events = watch.await?;
            for _ in 0..changes {
                let next = tokio::time::timeout(DEADLINE, events.next()).await?;
                next.context("the stream ended")??;
            }
            anyhow::Ok(started.elapsed())
        };
        dropped(changes, self.runtime.block_on(reading)?)
    }
}

fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(task)
}

fn dropped(rows: u64, took: Duration) -> Result<Drain> {
    Ok(Drain {
        rows,
        seconds: took.as_secs_f64(),
        cpu_s: Figures::new(),
    })
}

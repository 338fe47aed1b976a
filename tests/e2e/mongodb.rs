//! MongoDB and PostgreSQL, each the source of one entity and the target of another, while the runtime is killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::mongodb::{self, Field};
use lockstep_servers::postgres;
use serde_json::Value;

use crate::kill::{Random, rounds, seed};
use crate::stage::{DEADLINE, binary};

/// Records of each entity at the beginning.
const RECORDS: i32 = 1500;

const CUSTOMER: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: customer
version: 1.0.0
status: active
schema:
  - name: customer
    customProperties:
      - property: lockstep.owner
        value: shop
    properties:
      - { name: id, logicalType: string, primaryKey: true, required: true }
      - { name: name, logicalType: string, required: true }
      - { name: city, logicalType: string }
      - { name: version, logicalType: integer, required: true }
"#;

const PRODUCT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: product
version: 1.0.0
status: active
schema:
  - name: product
    customProperties:
      - property: lockstep.owner
        value: office
    properties:
      - { name: sku, logicalType: string, primaryKey: true, required: true }
      - { name: shelf, logicalType: string }
      - { name: price, logicalType: number, physicalType: "decimal(12,2)", required: true }
      - { name: changed, logicalType: timestamp, required: true }
"#;

const CONFIG: &str = r#"
contracts = "contracts"

[log]
path = "lockstep.log"

[systems.shop]
connector = "mongodb"
url = "${file:shop.url}"

[systems.shop.columns.products]
_id = "text"
"place.shelf" = "text"
price = "decimal"
changed = "timestamp"

[systems.shop.map.customer]
table = "customers"
[systems.shop.map.customer.fields]
id = "_id"
name = "name"
city = "address.city"
version = "version"

[systems.shop.map.product]
table = "products"
[systems.shop.map.product.fields]
sku = "_id"
shelf = "place.shelf"
price = "price"
changed = "changed"

[systems.office]
connector = "postgres"
url = "${file:office.url}"

[systems.office.map.customer]
table = "clients"
[systems.office.map.customer.fields]
id = "code"
name = "title"
city = "city"
version = "version"

[systems.office.map.product]
table = "products"
[systems.office.map.product.fields]
sku = "sku"
shelf = "shelf"
price = "price"
changed = "changed"

[flows.customers]
entity = "customer"
from = "shop"
to = ["office"]

[flows.products]
entity = "product"
from = "office"
to = ["shop"]
"#;

const TABLES: &str = "CREATE TABLE clients (code text PRIMARY KEY, title text NOT NULL, city text, version bigint NOT NULL);
    CREATE TABLE products (sku text PRIMARY KEY, shelf text, price numeric(12,2) NOT NULL, changed timestamptz(3) NOT NULL DEFAULT now());";

#[test]
fn mongodb_and_postgresql_are_kept_in_step_both_ways_while_the_runtime_is_killed() {
    let (Some(shop), Some(office)) = (mongodb::Database::fresh(), postgres::Database::fresh())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &shop, &office);
    let mut random = Random(seed());
    let last = i32::try_from(rounds(6)).unwrap();
    for round in 1..=last {
        let running = start(folder.path());
        for _ in 0..8 {
            edit(&shop, &office, round, &mut random);
        }
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        drop(running);
    }
    let _running = start(folder.path());
    let left: i64 = office
        .sql("SELECT count(*) FROM products")
        .unwrap()
        .parse()
        .unwrap();
    until(
        folder.path(),
        "both targets hold what their sources do",
        || {
            count(&shop, "products") == left
                && office.sql("SELECT count(*) FROM clients").unwrap()
                    == count(&shop, "customers").to_string()
                && states(folder.path()).iter().all(|state| state == "idle")
        },
    );
    let verified = lockstep(folder.path(), &["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
    let compared = verified["pairs"].as_array().unwrap().iter();
    let compared: Vec<i64> = compared
        .map(|pair| pair["compared"].as_i64().unwrap())
        .collect();
    assert!(
        compared.len() == 2 && compared.iter().all(|n| *n > 1000),
        "{verified}"
    );
    // Nothing came back to where it was from: the last edits of both are still theirs.
    let (name, last) = (format!("name {last}"), format!("{last}.25"));
    assert!(count_where(&shop, "customers", "name", &name) > 0);
    let priced = format!("SELECT count(*) > 0 FROM products WHERE price = {last}");
    assert_eq!(office.sql(&priced).unwrap(), "t");
    assert_eq!(
        lockstep(folder.path(), &["quarantine", "list", "--json"])["entries"],
        Value::Array(Vec::new())
    );
}

fn prepare(folder: &Path, shop: &mongodb::Database, office: &postgres::Database) {
    fs::create_dir(folder.join("contracts")).unwrap();
    fs::write(folder.join("contracts/customer.odcs.yaml"), CUSTOMER).unwrap();
    fs::write(folder.join("contracts/product.odcs.yaml"), PRODUCT).unwrap();
    fs::write(folder.join("shop.url"), shop.url()).unwrap();
    fs::write(folder.join("office.url"), office.url()).unwrap();
    // Replication slots belong to the whole cluster, so the system's name has the database's in it.
    let config = CONFIG.replace("office", office.name());
    fs::write(folder.join("lockstep.toml"), config).unwrap();
    let product = PRODUCT.replace("office", office.name());
    fs::write(folder.join("contracts/product.odcs.yaml"), product).unwrap();
    fs::write(folder.join(format!("{}.url", office.name())), office.url()).unwrap();

    office.sql(TABLES).unwrap();
    let fill = format!(
        "INSERT INTO products SELECT 'P' || n, 'shelf ' || n % 7, n * 1.25 FROM generate_series(1, {RECORDS}) n"
    );
    office.sql(&fill).unwrap();
    let images = Field::Document(vec![("enabled".to_owned(), Field::Bool(true))]);
    let create = [
        ("create", text("customers")),
        ("changeStreamPreAndPostImages", images),
    ];
    shop.command(&create).unwrap();
    shop.command(&[("create", text("products"))]).unwrap();
    let documents = (0..RECORDS).map(|n| {
        let mut document = vec![("_id".to_owned(), text(&format!("C{n}")))];
        document.extend(customer(0, n));
        Field::Document(document)
    });
    let insert = [
        ("insert", text("customers")),
        ("documents", Field::Array(documents.collect())),
    ];
    shop.command(&insert).unwrap();
}

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}

fn customer(round: i32, n: i32) -> Vec<(String, Field)> {
    let address = Field::Document(vec![("city".to_owned(), text(&format!("city {}", n % 9)))]);
    vec![
        ("name".to_owned(), text(&format!("name {round}"))),
        ("version".to_owned(), Field::Int(round * 1000 + n)),
        ("address".to_owned(), address),
        ("nobody maps".to_owned(), Field::Array(vec![Field::Int(n)])),
    ]
}

/// Edits both systems as their applications do.
fn edit(shop: &mongodb::Database, office: &postgres::Database, round: i32, random: &mut Random) {
    let updates = (0..20).map(|_| {
        let n = i32::try_from(random.below(2000)).unwrap();
        let key = Field::Document(vec![("_id".to_owned(), text(&format!("C{n}")))]);
        // All of it, or only a field within.
        let set = match n % 3 {
            0 => vec![("address.city".to_owned(), text(&format!("moved {round}")))],
            _ => customer(round, n),
        };
        Field::Document(vec![
            ("q".to_owned(), key),
            (
                "u".to_owned(),
                Field::Document(vec![("$set".to_owned(), Field::Document(set))]),
            ),
            ("upsert".to_owned(), Field::Bool(n % 3 > 0)),
        ])
    });
    let update = [
        ("update", text("customers")),
        ("updates", Field::Array(updates.collect())),
    ];
    shop.command(&update).unwrap();
    let gone = random.below(2000);
    let key = Field::Document(vec![("_id".to_owned(), text(&format!("C{gone}")))]);
    let delete = Field::Document(vec![
        ("q".to_owned(), key),
        ("limit".to_owned(), Field::Int(1)),
    ]);
    let delete = [
        ("delete", text("customers")),
        ("deletes", Field::Array(vec![delete])),
    ];
    shop.command(&delete).unwrap();

    let (some, other) = (random.below(900), random.below(2000));
    let sql = format!(
        "BEGIN; UPDATE products SET price = {round}.25, changed = now() WHERE sku IN (SELECT 'P' || n FROM generate_series({some}, {some} + 20) n);
         INSERT INTO products VALUES ('P{other}', NULL, {round}.25) ON CONFLICT (sku) DO UPDATE SET shelf = NULL;
         DELETE FROM products WHERE sku = 'P{gone}'; COMMIT"
    );
    office.sql(&sql).unwrap();
}

fn count(shop: &mongodb::Database, collection: &str) -> i64 {
    shop.command(&[("count", text(collection))])
        .unwrap()
        .number("n")
        .unwrap()
}

fn count_where(shop: &mongodb::Database, collection: &str, field: &str, is: &str) -> i64 {
    let query = Field::Document(vec![(field.to_owned(), text(is))]);
    let counted = shop.command(&[("count", text(collection)), ("query", query)]);
    counted.unwrap().number("n").unwrap()
}

/// The runtime; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> Running {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("runtime.txt"))
        .unwrap();
    let mut command = Command::new(binary());
    command.arg("run").current_dir(folder).stdin(Stdio::null());
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

fn lockstep(folder: &Path, args: &[&str]) -> Value {
    let output = Command::new(binary())
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{args:?} printed no JSON ({error}): {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn states(folder: &Path) -> Vec<String> {
    let status = lockstep(folder, &["status", "--json"]);
    let flows = status["flows"].as_array().cloned().unwrap_or_default();
    flows
        .iter()
        .map(|flow| flow["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn until(folder: &Path, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > DEADLINE {
            let log = fs::read_to_string(folder.join("runtime.txt")).unwrap_or_default();
            let status = lockstep(folder, &["status", "--json"]);
            panic!("not in time: {what}\n{status}\n{log}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

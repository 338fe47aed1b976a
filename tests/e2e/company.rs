//! A whole company: a shop, a real ERP, a billing system and a warehouse, each asked through its own interface, with a runtime that is killed in between.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use lockstep_servers::{clickhouse, stripe, tryton};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::things::{Running, until_in};

const CUSTOMERS: usize = 24;

/// What asks servers over HTTP.
struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Http {
    fn new() -> Http {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Another test of the process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Http {
            runtime: runtime.unwrap(),
            client: reqwest::Client::new(),
        }
    }

    fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let bytes = self.runtime.block_on(async {
            let answer = request.timeout(Duration::from_secs(30)).send().await;
            answer.unwrap().bytes().await.unwrap()
        });
        let text = String::from_utf8_lossy(&bytes);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    fn basic(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }
}

/// The ERP, as one of its own users sees it.
struct Erp<'s> {
    server: &'s tryton::Server,
    http: Http,
    session: String,
}

impl<'s> Erp<'s> {
    fn new(server: &'s tryton::Server) -> Erp<'s> {
        let http = Http::new();
        let login = json!({ "id": 1, "method": "common.db.login", "params": [tryton::USER, { "password": tryton::PASSWORD }] });
        let url = format!("{}/{}/rpc/", server.url(), tryton::DATABASE);
        let answer = http.ask(json_to(http.client.post(url)).body(login.to_string()));
        let (id, key) = (&answer["result"][0], answer["result"][1].as_str().unwrap());
        let session = Http::basic(&format!("{}:{id}:{key}", tryton::USER));
        Erp {
            server,
            http,
            session,
        }
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let url = format!("{}/{}/rpc/", self.server.url(), tryton::DATABASE);
        let body = json!({ "id": 1, "method": method, "params": params }).to_string();
        let asked = self
            .http
            .client
            .post(url)
            .header("Authorization", format!("Session {}", self.session));
        let answer = self.http.ask(json_to(asked).body(body));
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }

    fn all(&self, model: &str, domain: &Value, fields: &Value) -> Vec<Value> {
        let params = json!([domain, 0, null, [["id", "ASC"]], fields, {}]);
        let found = self.call(&format!("model.{model}.search_read"), &params);
        found.as_array().unwrap().clone()
    }

    /// Codes and names of the parties that came from the shop.
    fn parties(&self) -> Vec<(String, String)> {
        let found = self.all(
            "party.party",
            &json!([["code", "like", "SHOP-%"]]),
            &json!(["code", "name"]),
        );
        sorted(found.iter().map(|one| pair(one, "code", "name")))
    }

    /// The deals, with the code of the party that each names.
    fn deals(&self) -> Vec<(String, String)> {
        let found = self.all(
            "sale.opportunity",
            &json!([["reference", "like", "D%"]]),
            &json!(["reference", "party.code"]),
        );
        sorted(found.iter().map(|one| {
            let code = one["party."]["code"].as_str().unwrap_or_default();
            (
                one["reference"].as_str().unwrap().to_owned(),
                code.to_owned(),
            )
        }))
    }
}

/// The billing system, asked by its own interface.
struct Billing<'s> {
    server: &'s stripe::Server,
    http: Http,
}

impl Billing<'_> {
    fn request(&self, request: reqwest::RequestBuilder) -> Value {
        self.http
            .ask(request.header("Authorization", format!("Bearer {}", stripe::KEY)))
    }

    fn all(&self, table: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut url = format!("{}/v1/{table}?limit=100", self.server.url());
            if let Some(last) = all.last() {
                url += &format!("&starting_after={}", last["id"].as_str().unwrap());
            }
            let page = self.request(self.http.client.get(url));
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                return all;
            }
        }
    }

    fn customers(&self) -> Vec<(String, String)> {
        let all = self.all("customers");
        sorted(all.iter().map(|one| {
            let no = one["metadata"]["customer_no"].as_str().unwrap_or_default();
            (
                no.to_owned(),
                one["name"].as_str().unwrap_or_default().to_owned(),
            )
        }))
    }

    fn id_of(&self, no: &str) -> String {
        let all = self.all("customers");
        let of = all.iter().find(|one| one["metadata"]["customer_no"] == no);
        of.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Asks somebody for money, as a person at the billing system would.
    fn charge(&self, no: &str, cents: i64) -> String {
        let url = format!("{}/v1/payment_intents", self.server.url());
        let body = format!("customer={}&amount={cents}&currency=eur", self.id_of(no));
        let asked = self.http.client.post(url).body(body);
        let made = self.request(asked.header("Content-Type", "application/x-www-form-urlencoded"));
        let id = made["id"].as_str();
        id.unwrap_or_else(|| panic!("no payment: {made}"))
            .to_owned()
    }
}

fn json_to(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("Content-Type", "application/json")
}

fn pair(one: &Value, a: &str, b: &str) -> (String, String) {
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    (text(a), text(b))
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort();
    all
}

fn contract(entity: &str, owner: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {entity}\nversion: 1.0.0\nstatus: active\nschema:\n  - name: {entity}\n    customProperties:\n      - property: lockstep.owner\n        value: {owner}\n    properties:\n"
    );
    for (at, (name, kind)) in fields.iter().enumerate() {
        text +=
            &format!("      - name: {name}\n        logicalType: {kind}\n        required: true\n");
        if *kind == "number" {
            text += "        physicalType: decimal(12,2)\n";
        }
        if at == 0 {
            text += "        primaryKey: true\n";
        }
    }
    text
}

fn configuration(erp: &str, billing: &str, warehouse: &clickhouse::Server) -> String {
    format!(
        r#"
contracts = "contracts"

[log]
path = "lockstep.log"

[systems.shop]
connector = "sqlite"
path = "shop.db"
[systems.shop.map.customer]
table = "customers"
fields = {{ no = "no", name = "name" }}
[systems.shop.map.deal]
table = "deals"
fields = {{ no = "no", customer_no = "customer_no", title = "title" }}

[systems.erp]
connector = "tryton"
url = "{erp}"
database = "{database}"
user = "{user}"
password = "{password}"
[systems.erp.map.customer]
table = "party.party"
fields = {{ no = "code", name = "name" }}
[systems.erp.map.deal]
table = "sale.opportunity"
fields = {{ no = "reference", customer_no = {{ column = "party", link = "customer" }}, title = "description" }}

[systems.billing]
connector = "stripe"
url = "{billing}"
api_key = "{key}"
calls_per_second = 200
[systems.billing.columns.customers]
"metadata.customer_no" = "text"
[systems.billing.map.customer]
table = "customers"
fields = {{ no = "metadata.customer_no", name = "name" }}
[systems.billing.map.payment]
table = "payment_intents"
fields = {{ no = "id", customer_no = {{ column = "customer", link = "customer" }}, due = {{ column = "amount", scale = 2 }} }}
[systems.billing.query]
every = "300ms"
[systems.billing.query.tables.payment_intents]
sweep = "1s"

[systems.warehouse]
connector = "clickhouse"
url = "{warehouse}"
password = "{secret}"
create_tables = true
[systems.warehouse.map.payment]
table = "payments"
fields = {{ no = "no", customer_no = "customer_no", due = "due" }}

[flows.customers]
entity = "customer"
from = "shop"
to = ["erp", "billing"]

[flows.deals]
entity = "deal"
from = "shop"
to = ["erp"]

[flows.payments]
entity = "payment"
from = "billing"
to = ["warehouse"]
"#,
        database = tryton::DATABASE,
        user = tryton::USER,
        password = tryton::PASSWORD,
        key = stripe::KEY,
        warehouse = warehouse.url(),
        secret = warehouse.password(),
    )
}

#[test]
fn a_company_of_four_systems_agrees_whenever_the_runtime_is_killed() {
    let Some(erp_server) = tryton::Server::start() else {
        return;
    };
    let Some(billing_server) = stripe::Server::start(stripe::Kind::Local) else {
        return;
    };
    let Some(warehouse) = clickhouse::Server::start() else {
        return;
    };
    let folder: TempDir = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("contracts")).unwrap();
    let customer = [("no", "string"), ("name", "string")];
    let deal = [
        ("no", "string"),
        ("customer_no", "string"),
        ("title", "string"),
    ];
    let payment = [
        ("no", "string"),
        ("customer_no", "string"),
        ("due", "number"),
    ];
    for (entity, owner, fields) in [
        ("customer", "shop", &customer[..]),
        ("deal", "shop", &deal[..]),
        ("payment", "billing", &payment[..]),
    ] {
        let file = at.join(format!("contracts/{entity}.odcs.yaml"));
        fs::write(file, contract(entity, owner, fields)).unwrap();
    }
    let text = configuration(&erp_server.url(), &billing_server.url(), &warehouse);
    fs::write(at.join("lockstep.toml"), text).unwrap();
    let shop = Connection::open(at.join("shop.db")).unwrap();
    shop.busy_timeout(Duration::from_secs(10)).unwrap();
    shop.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE customers (no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL);
         CREATE TABLE deals (no TEXT PRIMARY KEY NOT NULL, customer_no TEXT NOT NULL, title TEXT NOT NULL)",
    )
    .unwrap();
    let erp = Erp::new(&erp_server);
    let billing = Billing {
        server: &billing_server,
        http: Http::new(),
    };
    let put = |n: usize, name: &str| {
        let no = format!("SHOP-{n:03}");
        shop.execute(
            "INSERT INTO customers VALUES (?1, ?2) ON CONFLICT (no) DO UPDATE SET name = excluded.name",
            [&no, name],
        )
        .unwrap();
    };
    for n in 0..CUSTOMERS {
        put(n, &format!("Customer {n} Ünal & Söhne"));
        let deal = [format!("D{n:03}"), format!("SHOP-{n:03}")];
        shop.execute("INSERT INTO deals VALUES (?1, ?2, 'Chairs')", deal)
            .unwrap();
    }
    // Killed while records are being made: between any creation and its receipt.
    for made in [1, 7, 13] {
        let running = Running::start(at);
        until_in(at, "some are made", &|| {
            erp.parties().len() >= made && billing.customers().len() >= made
        });
        drop(running);
    }
    let running = Running::start(at);
    let expected = |edited: bool| -> Vec<(String, String)> {
        let name = |n: usize| match n {
            3 if edited => "Renamed".to_owned(),
            n => format!("Customer {n} Ünal & Söhne"),
        };
        let all = (0..CUSTOMERS).filter(|n| !edited || *n != 5);
        all.map(|n| (format!("SHOP-{n:03}"), name(n))).collect()
    };
    until_in(at, "every customer is in both systems", &|| {
        erp.parties() == expected(false) && billing.customers() == expected(false)
    });
    let deals: Vec<(String, String)> = (0..CUSTOMERS)
        .map(|n| (format!("D{n:03}"), format!("SHOP-{n:03}")))
        .collect();
    until_in(at, "every deal names its party", &|| erp.deals() == deals);
    // Edits go on, and billing tells its own.
    put(3, "Renamed");
    shop.execute_batch(
        "DELETE FROM deals WHERE no = 'D005'; DELETE FROM customers WHERE no = 'SHOP-005'",
    )
    .unwrap();
    let payments: Vec<String> = [("SHOP-003", 1995), ("SHOP-007", 1), ("SHOP-003", 120_000)]
        .iter()
        .map(|(no, cents)| billing.charge(no, *cents))
        .collect();
    until_in(at, "edits and a delete arrive", &|| {
        erp.parties() == expected(true) && billing.customers() == expected(true)
    });
    let stored = || {
        let asked = "SELECT no, customer_no, toString(due) FROM default.payments FINAL WHERE _deleted = 0 ORDER BY no FORMAT TSV";
        let text = warehouse.sql(asked).unwrap_or_default();
        let rows = text
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect());
        rows.collect::<Vec<Vec<String>>>()
    };
    let mut wanted: Vec<Vec<String>> = payments
        .iter()
        .zip([
            ("SHOP-003", "19.95"),
            ("SHOP-007", "0.01"),
            ("SHOP-003", "1200"),
        ])
        .map(|(id, (no, due))| vec![id.clone(), no.to_owned(), due.to_owned()])
        .collect();
    wanted.sort();
    let same = |rows: &[Vec<String>]| {
        rows.len() == wanted.len()
            && rows.iter().zip(&wanted).all(|(a, b)| {
                a[..2] == b[..2] && a[2].parse::<f64>().ok() == b[2].parse::<f64>().ok()
            })
    };
    until_in(at, "payments are in the warehouse", &|| same(&stored()));
    drop(running);
}

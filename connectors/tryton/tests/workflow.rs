//! Steps that cannot be taken twice, and what a real Tryton does not let go, over both of its interfaces.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

mod common;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/sink.rs"]
mod sink;

use std::time::Duration;

use common::Erp;
use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Kind, Row, Value};
use proxy::{Script, Trouble};
use serde_json::{Value as Json, json};
use sink::Sink;

const SALE: &str = "sale.sale";
const INVOICE: &str = "account.invoice";
const MOVE: &str = "stock.move";
const SHIPMENT: &str = "stock.shipment.in";

const APIS: [&str; 2] = ["rpc", "rest"];

/// What an order needs.
struct Shop {
    erp: Erp,
    party: i64,
    address: i64,
    product: i64,
    unit: i64,
    currency: Json,
}

impl Shop {
    async fn open() -> Shop {
        let erp = Erp::start().await;
        let addresses = json!([["create", [{ "street": "Here" }]]]);
        let party = json!({ "code": "C-1", "name": "Ann", "addresses": addresses });
        let party = erp.create("party.party", party).await;
        let address = erp
            .search("party.address", json!([["party", "=", party]]), &["id"])
            .await[0]["id"]
            .as_i64()
            .unwrap();
        let unit = erp.named("product.uom", "Unit").await;
        let template = json!({
            "code": "P", "name": "Pen", "type": "goods", "default_uom": unit, "salable": true, "sale_uom": unit,
            "account_category": erp.named("product.category", "Goods").await,
            "list_price": decimal("12.5"), "products": [["create", [{ "suffix_code": "1" }]]],
        });
        let template = erp.create("product.template", template).await;
        let product = erp
            .search(
                "product.product",
                json!([["template", "=", template]]),
                &["id"],
            )
            .await[0]["id"]
            .as_i64()
            .unwrap();
        let company = erp
            .search("company.company", json!([]), &["currency"])
            .await;
        let currency = company[0]["currency"].clone();
        Shop {
            erp,
            party,
            address,
            product,
            unit,
            currency,
        }
    }

    /// A draft sale of three pens.
    async fn sale(&self, reference: &str) -> i64 {
        let line = json!({ "product": self.product, "quantity": 3.0, "unit": self.unit, "unit_price": decimal("12.5") });
        let sale = json!({
            "reference": reference, "party": self.party, "currency": self.currency,
            "invoice_address": self.address, "shipment_address": self.address,
            "lines": [["create", [line]]],
        });
        self.erp.create(SALE, sale).await
    }

    async fn state(&self, model: &str, id: i64) -> Json {
        let found = self
            .erp
            .search(model, json!([["id", "=", id]]), &["state"])
            .await;
        found[0]["state"].clone()
    }

    /// A sink for the states of a model, found by own ids, behind a proxy; it confirms what Tryton asks.
    async fn sink(&self, model: &str, script: &Script, api: &str) -> Sink {
        let url = proxy::start(&self.erp.server.url(), script.clone()).await;
        let columns = [("id", true), ("state", false)];
        let settings = json!({ "api": api, "accept_warnings": true });
        Sink::open(&url, model, &columns, settings).await
    }
}

fn decimal(text: &str) -> Json {
    json!({ "__class__": "Decimal", "decimal": text })
}

/// The name of a press, as the proxy sees it.
fn press(api: &str, model: &'static str, button: &'static str) -> &'static str {
    match (api, model, button) {
        ("rpc", SALE, "confirm") => "sale.sale.confirm",
        ("rpc", SALE, "quote") => "sale.sale.quote",
        ("rpc", INVOICE, "post") => "account.invoice.post",
        ("rpc", SHIPMENT, "do") => "stock.shipment.in.do",
        ("rest", SALE, "confirm") => "POST sale.sale/#/confirm",
        ("rest", SALE, "quote") => "POST sale.sale/#/quote",
        ("rest", INVOICE, "post") => "POST account.invoice/#/post",
        ("rest", SHIPMENT, "do") => "POST stock.shipment.in/#/do",
        other => panic!("{other:?}"),
    }
}

fn applied(id: i64) -> [Outcome; 1] {
    [Outcome::Applied {
        target_id: Some(Value::Int(id)),
    }]
}

#[tokio::test]
async fn a_button_whose_answer_was_lost_is_not_pressed_again() {
    if !common::is_installed() {
        return;
    }
    for api in APIS {
        let shop = Shop::open().await;
        let sale = shop.sale("R-1").await;
        let presses = ["quote", "confirm"].map(|button| press(api, SALE, button));
        let script = Script::default();
        for press in presses {
            let _ = script.clone().then(press, Trouble::DoneThenFailed);
        }
        let sink = shop.sink(SALE, &script, api).await;
        let change = [sink.upsert([json!(sale), json!("processing")])];
        // Without a queue of its own, this server processes what is confirmed at once.
        for expected in ["quotation", "processing"] {
            let error = sink.apply(&change).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Transient, "{error:?}");
            assert_eq!(shop.state(SALE, sale).await, expected);
        }
        assert_eq!(sink.apply(&change).await.unwrap(), applied(sale));
        assert_eq!(presses.map(|press| script.count(press)), [1, 1], "{api}");
        // What the steps have made is there once: another press would have made it again or failed.
        let invoices = shop.erp.search(INVOICE, json!([]), &["id"]).await;
        assert_eq!(invoices.len(), 1);
        let invoice = invoices[0]["id"].as_i64().unwrap();
        let post = press(api, INVOICE, "post");
        let script = Script::default().then(post, Trouble::DoneThenFailed);
        let sink = shop.sink(INVOICE, &script, api).await;
        let change = [sink.upsert([json!(invoice), json!("posted")])];
        sink.apply(&change).await.unwrap_err();
        assert_eq!(sink.apply(&change).await.unwrap(), applied(invoice));
        assert_eq!(script.count(post), 1, "{api}");
    }
}

#[tokio::test]
async fn a_caller_that_dies_between_a_press_and_its_answer_leaves_nothing_to_be_pressed_twice() {
    if !common::is_installed() {
        return;
    }
    for api in APIS {
        let shop = Shop::open().await;
        let shipment = shipment(&shop).await;
        let press = press(api, SHIPMENT, "do");
        let script = Script::default().then(press, Trouble::DoneThenSilent);
        let dying = shop.sink(SHIPMENT, &script, api).await;
        let change = [dying.upsert([json!(shipment), json!("done")])];
        let call = dying.apply(&change);
        let done = async {
            while shop.state(SHIPMENT, shipment).await != "done" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(60), done);
        tokio::select! {
            result = call => panic!("answered: {result:?}"),
            result = done => result.expect("the shipment was not done in time"),
        }
        // Another process, which knows nothing of the first.
        let sink = shop.sink(SHIPMENT, &script, api).await;
        assert_eq!(sink.apply(&change).await.unwrap(), applied(shipment));
        assert_eq!(script.count(press), 1, "{api}");
    }
}

/// A shipment of a supplier's that was not received yet.
async fn shipment(shop: &Shop) -> i64 {
    let erp = &shop.erp;
    let place = async |kind: &str| {
        let found = erp.search("stock.location", json!([["type", "=", kind]]), &["id"]);
        found.await[0]["id"].clone()
    };
    let warehouse = place("warehouse").await;
    let fields = ["input_location", "storage_location"];
    let house = erp
        .search("stock.location", json!([["id", "=", warehouse]]), &fields)
        .await
        .remove(0);
    let [input, storage] = fields.map(|name| house[name].clone());
    let moves = json!({
        "product": shop.product, "quantity": 5.0, "unit": shop.unit,
        "unit_price": decimal("10"), "currency": shop.currency,
        "from_location": place("supplier").await, "to_location": input,
    });
    let values = json!({
        "supplier": shop.party, "warehouse": warehouse,
        "warehouse_input": input, "warehouse_storage": storage,
        "incoming_moves": [["create", [moves]]],
    });
    erp.create(SHIPMENT, values).await
}

#[tokio::test]
async fn stock_moves_by_its_buttons() {
    if !common::is_installed() {
        return;
    }
    for api in APIS {
        let shop = Shop::open().await;
        let received = shipment(&shop).await;
        let sink = shop.sink(SHIPMENT, &Script::default(), api).await;
        let change = [sink.upsert([json!(received), json!("received")])];
        // Pens that come from nowhere are something to be asked about.
        let url = shop.erp.server.url();
        let columns = [("id", true), ("state", false)];
        let careful = Sink::open(&url, SHIPMENT, &columns, json!({ "api": api })).await;
        let asked = careful.apply(&change).await.unwrap();
        assert!(
            matches!(&asked[..], [Outcome::Rejected { reason }] if reason.contains("no origin")),
            "{api}: {asked:?}"
        );
        assert_eq!(sink.apply(&change).await.unwrap(), applied(received));
        let change = [sink.upsert([json!(received), json!("done")])];
        for _ in 0..2 {
            assert_eq!(sink.apply(&change).await.unwrap(), applied(received));
        }
        assert_eq!(shop.state(SHIPMENT, received).await, "done");
        let back = [sink.upsert([json!(received), json!("received")])];
        assert_eq!(sink.apply(&back).await.unwrap(), [Outcome::Stale]);
        let moved = shop
            .erp
            .search(MOVE, json!([["state", "=", "done"]]), &["id"])
            .await;
        assert!(!moved.is_empty(), "nothing was moved");
    }
}

#[tokio::test]
async fn what_tryton_does_not_let_go_is_rejected_in_its_words_and_the_rest_goes_on() {
    if !common::is_installed() {
        return;
    }
    for api in APIS {
        let shop = Shop::open().await;
        let [sale, draft] = [shop.sale("R-1").await, shop.sale("R-2").await];
        let quiet = Script::default();
        let sales = shop.sink(SALE, &quiet, api).await;
        let processing = [sales.upsert([json!(sale), json!("processing")])];
        assert_eq!(sales.apply(&processing).await.unwrap(), applied(sale));
        let received = shipment(&shop).await;
        let shipments = shop.sink(SHIPMENT, &quiet, api).await;
        let done = [shipments.upsert([json!(received), json!("done")])];
        assert_eq!(shipments.apply(&done).await.unwrap(), applied(received));
        let invoice = shop.erp.search(INVOICE, json!([]), &["id"]).await[0]["id"]
            .as_i64()
            .unwrap();
        let invoices = shop.sink(INVOICE, &quiet, api).await;
        let posted = [invoices.upsert([json!(invoice), json!("posted")])];
        assert_eq!(invoices.apply(&posted).await.unwrap(), applied(invoice));
        let moved = shop
            .erp
            .search(MOVE, json!([["state", "=", "done"]]), &["id"])
            .await[0]["id"]
            .as_i64()
            .unwrap();
        let url = shop.erp.server.url();
        let gone = |sink: &Sink, id: i64| {
            let mut row = Row::unchanged(1);
            row.0[0] = Value::Int(id).into();
            sink.change(Op::Deleted, row)
        };
        for (model, id) in [
            (SALE, sale),
            (INVOICE, invoice),
            (SHIPMENT, received),
            (MOVE, moved),
            ("party.party", shop.party),
            ("product.product", shop.product),
            ("product.uom", shop.unit),
        ] {
            let sink = Sink::open(&url, model, &[("id", true)], json!({ "api": api })).await;
            let outcomes = sink.apply(&[gone(&sink, id)]).await.unwrap();
            let [Outcome::Rejected { reason }] = &outcomes[..] else {
                panic!("{api} {model}: {outcomes:?}");
            };
            assert!(
                reason.len() > 20 && !reason.contains("server failed"),
                "{api} {model}: {reason}"
            );
        }
        // One that may go, beside one that may not.
        shop.erp.call(SALE, "cancel", json!([[draft]])).await;
        let sink = Sink::open(&url, SALE, &[("id", true)], json!({ "api": api })).await;
        let both = [gone(&sink, sale), gone(&sink, draft)];
        let outcomes = sink.apply(&both).await.unwrap();
        assert!(
            matches!(
                outcomes[..],
                [Outcome::Rejected { .. }, Outcome::Applied { .. }]
            ),
            "{outcomes:?}"
        );
    }
}

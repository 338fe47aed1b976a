//! An order on its way through a real Tryton, written by the sink alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

mod common;
#[path = "common/sink.rs"]
mod sink;

use common::Erp;
use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::{Row, Value};
use serde_json::{Value as Json, json};
use sink::Sink;

fn decimal(text: &str) -> Json {
    json!({ "__class__": "Decimal", "decimal": text })
}

/// The id that the only outcome tells.
fn id(outcomes: &[Outcome]) -> Json {
    match outcomes {
        [
            Outcome::Applied {
                target_id: Some(Value::Int(id)),
            },
        ] => json!(id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_order_moves_forward_by_its_buttons_and_a_repeat_presses_none() {
    if !common::is_installed() {
        return;
    }
    for api in ["rpc", "rest"] {
        an_order_moves(json!({ "api": api })).await;
    }
}

async fn an_order_moves(settings: Json) {
    let erp = Erp::start().await;
    let url = erp.server.url();
    let open = async |table, columns: &[(&str, bool)]| {
        Sink::open(&url, table, columns, settings.clone()).await
    };
    let party = open("party.party", &[("code", true), ("name", false)]).await;
    let party = id(&party
        .apply(&[party.upsert([json!("C-1"), json!("Ann")])])
        .await
        .unwrap());
    let address = open("party.address", &[("party", true), ("street", true)]).await;
    let address = id(&address
        .apply(&[address.upsert([party.clone(), json!("Here")])])
        .await
        .unwrap());
    let unit = json!(erp.named("product.uom", "Unit").await);
    let category = json!(erp.named("product.category", "Goods").await);
    let template = open(
        "product.template",
        &[
            ("code", true),
            ("name", false),
            ("default_uom", false),
            ("salable", false),
            ("sale_uom", false),
            ("account_category", false),
            ("list_price", false),
        ],
    )
    .await;
    let row = [
        json!("P"),
        json!("Pen"),
        unit.clone(),
        json!(true),
        unit.clone(),
        category,
        decimal("12.3456"),
    ];
    let template = id(&template.apply(&[template.upsert(row)]).await.unwrap());
    let product = open(
        "product.product",
        &[("template", true), ("suffix_code", true)],
    )
    .await;
    let product = id(&product
        .apply(&[product.upsert([template, json!("1")])])
        .await
        .unwrap());
    let currency = erp
        .search("company.company", json!([]), &["currency"])
        .await[0]["currency"]
        .clone();

    let sale = open(
        "sale.sale",
        &[
            ("reference", true),
            ("party", false),
            ("currency", false),
            ("invoice_address", false),
            ("shipment_address", false),
            ("state", false),
        ],
    )
    .await;
    let order = |state: &str| {
        sale.upsert([
            json!("R-1"),
            party.clone(),
            currency.clone(),
            address.clone(),
            address.clone(),
            json!(state),
        ])
    };
    let made = id(&sale.apply(&[order("draft")]).await.unwrap());
    let line = open(
        "sale.line",
        &[
            ("sale", true),
            ("sequence", true),
            ("product", false),
            ("quantity", false),
            ("unit", false),
            ("unit_price", false),
        ],
    )
    .await;
    let item = line.upsert([
        made.clone(),
        json!(1),
        product,
        json!(3.0),
        unit,
        decimal("12.3456"),
    ]);
    id(&line.apply(std::slice::from_ref(&item)).await.unwrap());

    let state = async || {
        let read = erp
            .search(
                "sale.sale",
                json!([["id", "=", made]]),
                &["state", "write_date", "total_amount", "lines"],
            )
            .await;
        read[0].clone()
    };
    assert_eq!(id(&sale.apply(&[order("quotation")]).await.unwrap()), made);
    assert_eq!(state().await["state"], "quotation");
    assert_eq!(id(&sale.apply(&[order("processing")]).await.unwrap()), made);
    let processing = state().await;
    assert_eq!(processing["state"], "processing");
    assert_eq!(processing["total_amount"], decimal("37.04"));
    // All of it again: nothing is written, nothing is pressed.
    assert_eq!(id(&sale.apply(&[order("processing")]).await.unwrap()), made);
    id(&line.apply(std::slice::from_ref(&item)).await.unwrap());
    assert_eq!(state().await, processing);
    // It has gone further than an older change says.
    assert_eq!(
        sale.apply(&[order("quotation")]).await.unwrap(),
        [Outcome::Stale]
    );
    let refused = sale.apply(&[order("cancelled")]).await.unwrap();
    assert!(
        matches!(&refused[..], [Outcome::Rejected { reason }] if reason.contains("no button")),
        "{refused:?}"
    );

    let invoice = open("account.invoice", &[("id", true), ("state", false)]).await;
    let found = erp.search("account.invoice", json!([]), &["id"]).await;
    let post = invoice.upsert([found[0]["id"].clone(), json!("posted")]);
    for _ in 0..2 {
        assert_eq!(
            id(&invoice.apply(std::slice::from_ref(&post)).await.unwrap()),
            found[0]["id"]
        );
        let read = erp
            .search("account.invoice", json!([]), &["state", "number"])
            .await;
        assert_eq!((&read[0]["state"], read.len()), (&json!("posted"), 1));
    }
}

#[tokio::test]
async fn refusals_name_the_record_and_hide_what_it_holds() {
    if !common::is_installed() {
        return;
    }
    let erp = Erp::start().await;
    let sink = Sink::open(
        &erp.server.url(),
        "party.party",
        &[
            ("code", true),
            ("name", false),
            ("lang", false),
            ("categories", false),
        ],
        json!({}),
    )
    .await;
    let friend = erp
        .create("party.category", json!({ "name": "friend" }))
        .await;
    let row = |code: &str, name: &str, tags: Json| {
        sink.upsert([json!(code), json!(name), Json::Null, tags])
    };
    let outcomes = sink
        .apply(&[
            row("S-1", "Ann", json!([friend])),
            row(" S-2", "Bob", json!([])),
            row("", "Bob", json!([])),
            row("S-3", "Cyd", json!([])),
        ])
        .await
        .unwrap();
    let is_rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { .. });
    let rejected: Vec<bool> = outcomes.iter().map(is_rejected).collect();
    assert_eq!(rejected, [false, true, true, false], "{outcomes:?}");
    let tags = erp
        .search(
            "party.party",
            json!([["code", "=", "S-1"]]),
            &["categories"],
        )
        .await;
    assert_eq!(tags[0]["categories"], json!([friend]));
    // A record that is not active takes no values; the reason does not quote them.
    let sleeping = erp
        .search("party.party", json!([["code", "=", "S-3"]]), &["id"])
        .await[0]["id"]
        .clone();
    erp.call(
        "party.party",
        "write",
        json!([[sleeping], { "active": false }]),
    )
    .await;
    let outcomes = sink
        .apply(&[row("S-3", "Dee", json!([])), row("S-1", "Eve", json!([]))])
        .await
        .unwrap();
    let Outcome::Rejected { reason } = &outcomes[0] else {
        panic!("{outcomes:?}");
    };
    assert!(
        reason.contains("not allowed") && !reason.contains("Dee"),
        "{reason}"
    );
    let now = erp
        .search(
            "party.party",
            json!([["code", "=", "S-1"]]),
            &["name", "categories"],
        )
        .await;
    assert_eq!(
        (&now[0]["name"], &now[0]["categories"]),
        (&json!("Eve"), &json!([]))
    );
    // The company's own party cannot go; one that nobody needs can, and once more.
    let mut row = Row::unchanged(4);
    row.0[0] = Value::text("S-1").into();
    let delete = sink.change(Op::Deleted, row.clone());
    for _ in 0..2 {
        let outcomes = sink.apply(std::slice::from_ref(&delete)).await.unwrap();
        assert!(
            matches!(outcomes[..], [Outcome::Applied { .. }]),
            "{outcomes:?}"
        );
    }
    row.0[0] = Value::text("1").into();
    let outcomes = sink.apply(&[sink.change(Op::Deleted, row)]).await.unwrap();
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
}

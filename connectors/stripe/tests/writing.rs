//! What is special to writing: answers that are lost, keys that are used up, actions that are taken once.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{Fate, Stand, context};
use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynSink, Outcome, Receipt};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Error, Kind, Row, Shape, Type, Value};
use lockstep_servers::stripe::Kind as Which;
use serde_json::{Value as Json, json};

fn shape(table: &str, columns: &[&str]) -> Arc<Shape> {
    Arc::new(Shape {
        name: table.to_owned(),
        columns: columns
            .iter()
            .map(|name| Column::new(*name, Type::Text, true))
            .collect(),
        key: vec![0],
    })
}

fn change(shape: &Arc<Shape>, op: Op, mark: u64, values: &[Value]) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row: Row::of(values.iter().cloned()),
        before: None,
        mark: Mark {
            commit: mark,
            ordinal: 0,
        },
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

fn customer(crm_id: &str, name: &str, mark: u64) -> Change {
    let shape = shape("customers", &["metadata.crm_id", "description"]);
    change(
        &shape,
        Op::Updated,
        mark,
        &[Value::text(crm_id), Value::text(name)],
    )
}

/// Opens a sink as a process does that knows nothing of earlier ones.
async fn sink(stand: &Stand) -> Box<dyn DynSink> {
    let name = format!("writing-{}", stand.between.port);
    let tables = [
        "customers",
        "invoices",
        "prices",
        "products",
        "subscriptions",
    ];
    let connector = lockstep_stripe::connector();
    let opened = connector.open_sink(stand.config(&json!({})), context(&name, &tables));
    opened.await.unwrap()
}

async fn apply(sink: &dyn DynSink, changes: &[Change]) -> Result<Vec<Outcome>, Error> {
    let batch = Batch {
        flow: "flow".to_owned(),
        changes: changes.to_vec(),
        progress: Vec::new(),
        follows: false,
    };
    match sink.apply(&batch).await? {
        Receipt::Committed(outcomes) => Ok(outcomes),
        receipt => panic!("{receipt:?}"),
    }
}

fn is_applied(outcomes: &[Outcome]) -> bool {
    let applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. });
    outcomes.iter().all(applied)
}

fn is_create(asked: &common::Asked) -> bool {
    asked.method == "POST" && asked.path == "/v1/customers"
}

async fn with_each(test: impl AsyncFn(Stand)) {
    for which in [Which::Local, Which::Stateful] {
        if let Some(stand) = Stand::start(which).await {
            test(stand).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_answer_was_lost_is_never_made_twice() {
    with_each(async |stand| {
        for round in 0..2 {
            let first = sink(&stand).await;
            let mut cut = true;
            stand
                .between
                .rule(move |asked| match is_create(asked) && cut {
                    true => {
                        cut = false;
                        Fate::DoneAndCut
                    }
                    false => Fate::Pass,
                });
            let changes = [
                customer(&format!("a{round}"), "Ann", 1),
                customer(&format!("b{round}"), "Bob", 2),
            ];
            let error = apply(&*first, &changes).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Transient, "{error:?}");
            // The same process goes on, or another one that was told nothing.
            let next = if round == 0 {
                first
            } else {
                sink(&stand).await
            };
            assert!(is_applied(&apply(&*next, &changes).await.unwrap()));
            assert!(is_applied(&apply(&*next, &changes).await.unwrap()));
            assert_eq!(stand.all("v1/customers").await.len(), 2 * (round + 1));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_in_where_nothing_can_be_found_yet() {
    let Some(stand) = Stand::start(Which::Stateful).await else {
        return;
    };
    let sink = sink(&stand).await;
    // As a search that is behind: every list is empty.
    stand
        .between
        .rule(|asked| match asked.path.starts_with("/v1/customers?") {
            true => Fate::Answer(200, "", json!({"data": [], "has_more": false}).to_string()),
            false if asked.path.contains("/search") => {
                Fate::Answer(200, "", json!({"data": [], "has_more": false}).to_string())
            }
            false => Fate::Pass,
        });
    let one = [customer("a", "Ann", 1)];
    apply(&*sink, &one).await.unwrap();
    let other = self::sink(&stand).await;
    apply(&*other, &one).await.unwrap();
    assert_eq!(stand.all("v1/customers").await.len(), 1);
    // The same change, mapped otherwise: the key was used for something else.
    let third = self::sink(&stand).await;
    assert!(is_applied(
        &apply(&*third, &[customer("a", "Bob", 1)]).await.unwrap()
    ));
    let refused = stand.between.count(is_create);
    assert_eq!(
        refused, 4,
        "the key's other use was answered, and another key taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_stopped_in_its_middle_goes_on_where_it_was() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let sink = sink(&stand).await;
    let changes: Vec<Change> = (0..6).map(|n| customer(&format!("c{n}"), "x", n)).collect();
    let answers = [
        (Fate::Answer(500, "", "{}".to_owned()), Kind::Transient),
        (
            Fate::Answer(503, "", "<html>down</html>".to_owned()),
            Kind::Transient,
        ),
        (
            Fate::Answer(429, "Retry-After: 7\r\n", "{}".to_owned()),
            Kind::Throttled,
        ),
        (Fate::Answer(401, "", "{}".to_owned()), Kind::Unauthorized),
        (
            Fate::Answer(200, "", "<html>login</html>".to_owned()),
            Kind::Unexpected,
        ),
        (Fate::Cut, Kind::Transient),
    ];
    for (at, (fate, kind)) in answers.into_iter().enumerate() {
        let mut made = 0;
        stand.between.rule(move |asked| {
            made += usize::from(is_create(asked));
            if is_create(asked) && made == 2 {
                fate.clone()
            } else {
                Fate::Pass
            }
        });
        let error = match apply(&*sink, &changes).await {
            Ok(_) if at == 5 => break,
            Ok(outcomes) => panic!("{kind:?}: {outcomes:?}"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(stand.all("v1/customers").await.len(), at + 1);
        if kind == Kind::Throttled {
            assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(7)));
            break;
        }
    }
    let next = sink_of_its_own(&stand).await;
    stand.between.rule(|_| Fate::Pass);
    assert!(is_applied(&apply(&*next, &changes).await.unwrap()));
    assert_eq!(stand.all("v1/customers").await.len(), 6);
    let writes = stand.between.writes();
    apply(&*next, &changes).await.unwrap();
    assert_eq!(
        stand.between.writes(),
        writes,
        "what was right was written again"
    );
}

/// A sink whose budget is not that of others: they may have been asked to wait.
async fn sink_of_its_own(stand: &Stand) -> Box<dyn DynSink> {
    let connector = lockstep_stripe::connector();
    let opened = connector.open_sink(
        stand.config(&json!({})),
        context("of-its-own", &["customers"]),
    );
    opened.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_of_one_identity_are_a_conflict_and_stay_as_they_are() {
    with_each(async |stand| {
        for _ in 0..2 {
            let pairs = [("metadata[crm_id]", "a"), ("description", "made by hand")];
            stand.make("v1/customers", &pairs).await;
        }
        let sink = sink(&stand).await;
        let outcomes = apply(&*sink, &[customer("a", "Ann", 1)]).await.unwrap();
        assert!(
            matches!(outcomes[0], Outcome::Conflict { .. }),
            "{outcomes:?}"
        );
        assert_eq!(stand.between.writes(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_archived_instead_of_deleted_and_gives_its_identity_up() {
    let Some(stand) = Stand::start(Which::Stateful).await else {
        return;
    };
    let sink = sink(&stand).await;
    let product = stand.make("v1/products", &[("name", "Tea")]).await;
    let product = Value::text(product["id"].as_str().unwrap());
    let shape = shape(
        "prices",
        &["metadata.sku", "product", "currency", "unit_amount"],
    );
    let row = |amount| {
        [
            Value::text("T-1"),
            product.clone(),
            Value::text("eur"),
            Value::Int(amount),
        ]
    };
    let make = change(&shape, Op::Created, 1, &row(450));
    let outcomes = apply(&*sink, std::slice::from_ref(&make)).await.unwrap();
    let Outcome::Applied {
        target_id: Some(Value::Text(id)),
    } = &outcomes[0]
    else {
        panic!("{outcomes:?}");
    };
    assert!(id.starts_with("price_"));
    // What can be said only once is not changed, and says so without the value.
    let outcomes = apply(&*sink, &[change(&shape, Op::Updated, 2, &row(451))])
        .await
        .unwrap();
    let Outcome::Rejected { reason } = &outcomes[0] else {
        panic!("{outcomes:?}");
    };
    assert!(
        reason.contains("`unit_amount`") && !reason.contains("451"),
        "{reason}"
    );
    let mut gone = change(&shape, Op::Deleted, 3, &row(450));
    gone.row.0.truncate(1);
    for _ in 0..2 {
        assert!(is_applied(
            &apply(&*sink, std::slice::from_ref(&gone)).await.unwrap()
        ));
    }
    let prices = stand.all("v1/prices").await;
    assert_eq!(prices.len(), 1);
    assert_eq!(prices[0]["active"], json!(false));
    assert_eq!(prices[0]["metadata"]["sku"], json!(""));
    // A later record of that identity is another price.
    let again = change(&shape, Op::Created, 4, &row(500));
    assert!(is_applied(&apply(&*sink, &[again]).await.unwrap()));
    assert_eq!(stand.all("v1/prices").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_paid_once_however_often_that_is_asked_for() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let sink = sink(&stand).await;
    let customer = stand.customer("ann@example.com", true).await;
    let item = [
        ("customer", customer.as_str()),
        ("amount", "250"),
        ("currency", "eur"),
    ];
    stand.make("v1/invoiceitems", &item).await;
    let before = stand.all("v1/invoices").await.len();
    let shape = shape("invoices", &["metadata.erp_id", "customer", "status"]);
    let wanted = |status: &str| {
        let row = [
            Value::text("R-1"),
            Value::text(&customer),
            Value::text(status),
        ];
        change(&shape, Op::Updated, 1, &row)
    };
    for _ in 0..3 {
        let outcomes = apply(&*sink, &[wanted("paid")]).await.unwrap();
        assert!(is_applied(&outcomes), "{outcomes:?}");
    }
    let invoices = stand.all("v1/invoices").await;
    assert_eq!(invoices.len(), before + 1);
    let ours = |invoice: &&Json| invoice["metadata"]["erp_id"] == "R-1";
    let ours = invoices.iter().find(ours).unwrap();
    assert_eq!(ours["status"], json!("paid"));
    let paid = |asked: &common::Asked| asked.path.ends_with("/pay");
    assert_eq!(stand.between.count(paid), 1);
    let outcomes = apply(&*sink, &[wanted("void")]).await.unwrap();
    assert!(
        matches!(outcomes[0], Outcome::Rejected { .. }),
        "{outcomes:?}"
    );
    let mut gone = wanted("paid");
    gone.op = Op::Deleted;
    let outcomes = apply(&*sink, &[gone]).await.unwrap();
    assert!(
        matches!(outcomes[0], Outcome::Rejected { .. }),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_waits_for_the_one_it_refers_to_and_ends_without_being_lost() {
    let Some(stand) = Stand::start(Which::Local).await else {
        return;
    };
    let sink = sink(&stand).await;
    let customer = stand.customer("ann@example.com", false).await;
    let shape = shape(
        "subscriptions",
        &["metadata.erp_id", "customer", "item.plan", "item.quantity"],
    );
    let wanted = |customer: &str, quantity| {
        let row = [
            Value::text("S-1"),
            Value::text(customer),
            Value::text("plan_tea"),
            Value::Int(quantity),
        ];
        change(&shape, Op::Updated, 1, &row)
    };
    let outcomes = apply(&*sink, &[wanted("cus_missing", 1)]).await.unwrap();
    assert!(
        matches!(&outcomes[0], Outcome::Waiting { on } if on.contains("customer")),
        "{outcomes:?}"
    );
    for quantity in [1, 2, 2] {
        let outcomes = apply(&*sink, &[wanted(&customer, quantity)]).await.unwrap();
        assert!(is_applied(&outcomes), "{outcomes:?}");
    }
    let all = stand.all("v1/subscriptions").await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["items"]["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(all[0]["items"]["data"][0]["quantity"], json!(2));
    let mut gone = wanted(&customer, 2);
    gone.op = Op::Deleted;
    for _ in 0..2 {
        assert!(is_applied(
            &apply(&*sink, std::slice::from_ref(&gone)).await.unwrap()
        ));
    }
    let all: Vec<Json> = stand.all("v1/subscriptions?status=all").await;
    assert_eq!(all[0]["status"], json!("canceled"));
    // localstripe does not take the identity away from a subscription; that it is asked to is all that shows here.
    let released = |asked: &common::Asked| asked.body == "metadata%5Berp_id%5D=";
    assert!(stand.between.count(released) > 0);
}

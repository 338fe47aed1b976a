//! What is special to writing: batches that are refused in part, answers that are lost, associations, and identities without a place.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynSink, OpenContext, Outcome, RawConfig, Receipt};
use lockstep_core::diagnostic::Severity;
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Row, Shape, Type, Value};
use lockstep_simulators::hubspot::{Options, Simulator, TOKEN};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn shape(table: &str, columns: &[(&str, Type)]) -> Arc<Shape> {
    Arc::new(Shape {
        name: table.to_owned(),
        columns: columns
            .iter()
            .map(|(name, kind)| Column::new(*name, *kind, true))
            .collect(),
        key: vec![0],
    })
}

fn upsert(shape: &Arc<Shape>, values: &[Value]) -> Change {
    Change {
        shape: Arc::clone(shape),
        op: Op::Updated,
        row: Row::of(values.iter().cloned()),
        before: None,
        mark: Mark::default(),
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

async fn simulator() -> Simulator {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for object in ["contacts", "companies", "deals"] {
        simulator.unique(object, "erp_id");
    }
    simulator
}

async fn sink(url: &str) -> Box<dyn DynSink> {
    let config: RawConfig = [
        ("access_token".to_owned(), json!(TOKEN)),
        ("url".to_owned(), json!(url)),
        ("calls_per_second".to_owned(), json!(1000)),
    ]
    .into();
    let context = OpenContext {
        system: format!("writing {url}"),
        folder: ".".into(),
        tables: vec!["contacts".to_owned(), "deals".to_owned()],
        reads: Default::default(),
    };
    let connector = lockstep_hubspot::connector();
    let opened = connector.open_sink(config, context);
    opened.await.unwrap()
}

async fn apply(sink: &dyn DynSink, changes: &[Change]) -> Vec<Outcome> {
    let batch = Batch {
        flow: "flow".to_owned(),
        changes: changes.to_vec(),
        progress: Vec::new(),
        follows: false,
    };
    match sink.apply(&batch).await.unwrap() {
        Receipt::Committed(outcomes) => outcomes,
        receipt => panic!("{receipt:?}"),
    }
}

fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_is_refused_in_part_the_rest_is_written_and_the_bad_is_named() {
    let simulator = simulator().await;
    let sink = sink(&simulator.url()).await;
    let shape = shape("contacts", &[("erp_id", Type::Text), ("email", Type::Text)]);
    let contact =
        |n: i32, email: &str| upsert(&shape, &[Value::text(format!("C{n}")), Value::text(email)]);
    let changes: Vec<Change> = (0..8)
        .map(|n| {
            contact(
                n,
                if n == 5 {
                    "no-address"
                } else {
                    "ann@example.com"
                },
            )
        })
        .collect();
    let outcomes = apply(&*sink, &changes).await;
    for (at, outcome) in outcomes.iter().enumerate() {
        assert_eq!(is_applied(outcome), at != 5, "{outcome:?}");
    }
    let Outcome::Rejected { reason } = &outcomes[5] else {
        panic!("{outcomes:?}");
    };
    assert!(
        reason.contains("VALIDATION_ERROR") && !reason.contains("no-address"),
        "{reason}"
    );
    assert_eq!(simulator.records("contacts").len(), 7);
    let writes = simulator.writes();
    apply(&*sink, &changes[..5]).await;
    assert_eq!(
        simulator.writes(),
        writes,
        "what was right was written again"
    );
}

/// Passes calls on, and loses the answer to the first upsert.
async fn losing(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lost = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(pass(client, to, Arc::clone(&lost)));
        }
    });
    port
}

async fn pass(mut client: TcpStream, to: u16, lost: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
    let mut is_upsert = false;
    loop {
        let (mut asked, mut told) = ([0; 16_384], [0; 16_384]);
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read?;
                if read == 0 { return Ok(()); }
                is_upsert |= String::from_utf8_lossy(&asked[..read]).contains("/batch/upsert");
                server.write_all(&asked[..read]).await?;
            }
            read = server.read(&mut told) => {
                let read = read?;
                if read == 0 || (is_upsert && !lost.swap(true, Ordering::SeqCst)) { return Ok(()); }
                client.write_all(&told[..read]).await?;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_answer_was_lost_is_never_made_twice() {
    let simulator = simulator().await;
    let port: u16 = simulator.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let between = format!("http://127.0.0.1:{}", losing(port).await);
    let shape = shape(
        "contacts",
        &[("erp_id", Type::Text), ("lastname", Type::Text)],
    );
    let change = upsert(&shape, &[Value::text("C1"), Value::text("Ann")]);
    let first = sink(&between).await;
    assert!(is_applied(
        &apply(&*first, std::slice::from_ref(&change)).await[0]
    ));
    let next = sink(&between).await;
    assert!(is_applied(&apply(&*next, &[change]).await[0]));
    assert_eq!(simulator.records("contacts").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_associated_with_exactly_the_one_it_refers_to() {
    let simulator = simulator().await;
    let sink = sink(&simulator.url()).await;
    let [one, two] = ["One", "Two"].map(|name| {
        simulator
            .edit("companies", None, &[("name", name)])
            .to_string()
    });
    let shape = shape(
        "deals",
        &[
            ("erp_id", Type::Text),
            ("amount", Type::DECIMAL),
            ("associations.companies", Type::Text),
        ],
    );
    let deal = |company: Value| {
        let amount = Value::Decimal("12.50".parse().unwrap());
        upsert(&shape, &[Value::text("D1"), amount, company])
    };
    let waiting = apply(&*sink, &[deal(Value::text("4711"))]).await;
    assert!(matches!(waiting[0], Outcome::Waiting { .. }), "{waiting:?}");
    for company in [
        Value::text(&one),
        Value::text(&two),
        Value::text(&two),
        Value::Null,
    ] {
        let outcomes = apply(&*sink, &[deal(company.clone())]).await;
        assert!(is_applied(&outcomes[0]), "{outcomes:?}");
        let id = simulator.records("deals")[0].id;
        let expected: Vec<String> = match &company {
            Value::Text(id) => vec![id.clone()],
            _ => Vec::new(),
        };
        assert_eq!(simulator.associated("deals", id, "companies"), expected);
    }
    assert_eq!(simulator.records("deals").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_place_is_refused_before_anything_is_written() {
    let simulator = simulator().await;
    let sink = sink(&simulator.url()).await;
    for (columns, part) in [
        (
            &[("email", Type::Text), ("lastname", Type::Text)][..],
            "unique",
        ),
        (
            &[("erp_id", Type::Text), ("createdate", Type::Timestamp)],
            "filled by HubSpot",
        ),
        (
            &[("erp_id", Type::Text), ("lastnam", Type::Text)],
            "no property `lastnam`",
        ),
    ] {
        let findings = sink.check(&[shape("contacts", columns)]).await.unwrap();
        let found = findings
            .iter()
            .any(|finding| finding.severity == Severity::Error && finding.message.contains(part));
        assert!(found, "{findings:?}");
    }
    let keyless = shape("contacts", &[("email", Type::Text)]);
    assert!(sink.prepare(&[keyless]).await.is_err());
    let good = shape(
        "contacts",
        &[("erp_id", Type::Text), ("lastname", Type::Text)],
    );
    let findings = sink.check(&[good]).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Info),
        "{findings:?}"
    );
    assert_eq!(simulator.writes(), 0);
}

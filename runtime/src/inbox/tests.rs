//! What publishers rely on, over a real log in a file.

use std::path::Path;

use lockstep_core::gate::ReadPlan;
use lockstep_core::log::{BATCH, CONTENT_TYPE, Channel, Event, REPLY_TO, decode};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::capture::Capture;
use crate::config::System;
use crate::log::embedded::{Embedded, EmbeddedOptions};
use crate::log::{AckPolicy, ConsumerConfig, Message, POSITIONS, SETTLED, Service, Start};
use crate::plan::Captured;
use crate::quarantine::{Answer, Ask, Edit, Entry, Quarantine, State, corrected, from_json};
use crate::status::Board;

const DEADLINE: Duration = Duration::from_secs(20);

const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: article
name: Articles
version: 1.0.0
status: active
schema:
  - name: article
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: shop}
      - {property: lockstep.lanes, value: 2}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - name: stock
        logicalType: integer
        required: true
        logicalTypeOptions: {minimum: 0}
"#;

fn contract(text: &str) -> Contract {
    let none = &lockstep_core::contract::NoLibrary;
    let loaded = lockstep_core::contract::load("article.odcs.yaml", text, none);
    loaded.unwrap().contract
}

/// A log, with what captures `shop` from it.
struct Shop {
    log: Arc<dyn Log>,
    quarantine: Arc<Quarantine>,
    board: Arc<Board>,
    versions: Arc<crate::versions::Versions>,
    contract: Arc<Contract>,
    begin: Option<u64>,
}

impl Shop {
    async fn new(folder: &Path) -> Shop {
        Shop::with_stream(folder, stream(None, None)).await
    }

    async fn with_stream(folder: &Path, inbox: StreamConfig) -> Shop {
        let options = EmbeddedOptions::default();
        let log: Arc<dyn Log> = Embedded::open(&folder.join("log"), options).await.unwrap();
        for (name, subject, max) in [
            (SETTLED, "ls.set.>", None),
            (POSITIONS, "ls.pos.*", Some(1)),
        ] {
            let config = StreamConfig {
                name: name.into(),
                subjects: vec![subject.into()],
                max_age: None,
                max_bytes: None,
                max_per_subject: max,
                duplicate_window: DUPLICATE_WINDOW,
            };
            log.ensure_stream(&config).await.unwrap();
        }
        log.ensure_stream(&inbox).await.unwrap();
        let contract = contract(CONTRACT);
        Shop {
            quarantine: Arc::new(Quarantine::open(Arc::clone(&log)).await.unwrap()),
            versions: Arc::new(crate::versions::Versions::open(&*log).await.unwrap()),
            log,
            board: Arc::default(),
            contract: Arc::new(contract),
            begin: None,
        }
    }

    fn capture(&self) -> Capture {
        let contract = &self.contract;
        let mapping = mapping(contract);
        let values = Default::default();
        let read = ReadPlan::compile(&mapping, &contract.shape(), contract, &values, false);
        let desk = Arc::new(Desk::new(Arc::clone(&self.log)));
        let settings = self.begin.map(|begin| ("begin".to_owned(), begin.into()));
        let system = System {
            name: "shop".into(),
            connector: NAME.into(),
            settings: settings.into_iter().collect(),
            map: Default::default(),
            drift: Default::default(),
            create_tables: false,
            query: None,
            secrets: Vec::new(),
        };
        let contracts = Contracts::from([("article".to_owned(), Arc::clone(contract))]);
        Capture {
            system: "shop".into(),
            open: opener(&system, contracts, &self.log, &desk).unwrap(),
            entities: vec![Captured {
                contract: Arc::clone(contract),
                shape: contract.shape(),
                found: contract.shape(),
                policy: Default::default(),
                publish: Vec::new(),
                direct: None,
                read: Arc::new(read.unwrap()),
                mapping,
                values: Arc::new(values),
            }],
            log: Arc::clone(&self.log),
            quarantine: Arc::clone(&self.quarantine),
            board: Arc::clone(&self.board),
            versions: Arc::clone(&self.versions),
            backfills: Default::default(),
            direct: Default::default(),
            look_every: Duration::from_secs(600),
            desk: Some(desk),
        }
    }

    async fn publish(&self, subject: &str, headers: &[(&str, &str)], body: &str) -> u64 {
        let headers = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let message = Message {
            subject: format!("ls.inbox.{subject}"),
            headers: headers.collect(),
            payload: body.to_owned().into(),
            ..Message::default()
        };
        let acks = self.log.publish(INBOX, vec![message]).await;
        acks[0].clone().unwrap().seq
    }

    /// Every settled event so far, in order.
    async fn settled(&self) -> Vec<Event> {
        let config = ConsumerConfig {
            durable: None,
            filters: Vec::new(),
            start: Start::All,
            ack: AckPolicy::None,
            ack_wait: DEADLINE,
            max_ack_pending: 0,
        };
        let mut consumer = self.log.consume(SETTLED, config).await.unwrap();
        let channel = Channel::new("shop", Arc::clone(&self.contract));
        let messages = consumer
            .fetch(1000, Duration::from_millis(1))
            .await
            .unwrap();
        let events = messages.iter().flat_map(|message| {
            decode(&channel, &message.headers, &message.payload)
                .unwrap()
                .events
        });
        events.collect()
    }

    async fn quarantined(&self) -> Vec<Entry> {
        self.quarantine.list(true).await.unwrap()
    }

    /// How far the log says the inbox is read.
    async fn position(&self) -> u64 {
        let last = self.log.last(POSITIONS, "ls.pos.shop").await.unwrap();
        let position = last.and_then(|stored| stored.header("ls-pos").map(str::to_owned));
        position.map_or(0, |text| {
            text.parse::<lockstep_core::Position>().unwrap().commit
        })
    }

    /// Runs the capture until a condition holds.
    async fn until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) {
        let stop = CancellationToken::new();
        let capture = self.capture();
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(capture.run(&stop), waiting) };
        tokio::time::timeout(DEADLINE, both).await.expect("in time");
    }
}

async fn verdict(service: &mut Service) -> Json {
    let told = tokio::time::timeout(DEADLINE, service.requests.recv()).await;
    serde_json::from_slice(&told.unwrap().unwrap().payload).unwrap()
}

const JSON: &str = r#"{"id": "A", "stock": 3}"#;

#[tokio::test]
async fn every_observation_is_settled_or_in_quarantine_and_its_publisher_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(folder.path()).await;
    let mut told = shop.log.serve("me.verdicts").await.unwrap();
    let reply = (REPLY_TO, "me.verdicts");
    let event = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e2"),
        ("ce-type", "article.updated"),
        reply,
    ];
    shop.publish("shop.article", &[reply], JSON).await;
    shop.publish("shop.article", &event, r#"{"id": "B", "stock": -1}"#)
        .await;
    shop.publish("shop.article", &[reply], "no json").await;
    shop.publish("shop.articel", &[reply], JSON).await;
    shop.publish("shop.deep.subject", &[reply], JSON).await;
    let frame = r#"[{"specversion":"1.0","id":"f1","type":"article.created","data":{"id":"C","stock":1}},
        {"specversion":"1.0","id":"f2","type":"article.patched","data":{"id":"D","stock":"7"}},
        {"specversion":"1.0","id":"f3","type":"article.deleted","data":{"id":"A"}}]"#;
    shop.publish("shop.article", &[(CONTENT_TYPE, BATCH), reply], frame)
        .await;
    // Another inbox's messages are not of this one.
    shop.publish("other.article", &[reply], JSON).await;
    shop.until(|| async { shop.position().await >= 6 }).await;

    let settled: Vec<String> = shop
        .settled()
        .await
        .iter()
        .map(|event| format!("{} {}", event.key.as_ref().unwrap(), event.change.op.name()))
        .collect();
    assert_eq!(settled, ["A updated", "C created", "A deleted"]);
    let entries = shop.quarantined().await;
    let rules: Vec<&str> = entries
        .iter()
        .map(|entry| entry.violations[0].rule.as_str())
        .collect();
    assert_eq!(rules, ["minimum", "message", "entity", "entity", "type"]);
    assert_eq!(entries[2].entity, "articel");

    let mut verdicts = Vec::new();
    for _ in 0..6 {
        verdicts.push(verdict(&mut told).await);
    }
    assert_eq!(
        verdicts[0],
        serde_json::json!({"outcome": "accepted", "sequence": 1})
    );
    assert_eq!(verdicts[1]["outcome"], "refused");
    assert_eq!(
        (
            &verdicts[1]["id"],
            &verdicts[1]["field"],
            &verdicts[1]["rule"]
        ),
        (&"e2".into(), &"stock".into(), &"minimum".into())
    );
    assert!(
        verdicts[3]["reason"].as_str().unwrap().contains("article"),
        "{}",
        verdicts[3]
    );
    assert_eq!(
        (&verdicts[5]["accepted"], &verdicts[5]["refused"]),
        (&2.into(), &1.into())
    );
    assert_eq!(verdicts[5]["events"][1]["field"], "stock");
}

#[tokio::test]
async fn a_restart_reads_nothing_twice_and_a_good_version_closes_the_bad_ones_entry() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(folder.path()).await;
    shop.publish("shop.article", &[], JSON).await;
    shop.publish("shop.article", &[], r#"{"id": "B"}"#).await;
    shop.until(|| async { shop.position().await >= 2 }).await;
    assert_eq!(
        shop.quarantined().await.len(),
        1,
        "a required field is missing"
    );
    assert_eq!(shop.quarantine.places().await.unwrap()[0].system, "shop");
    shop.publish("shop.article", &[], r#"{"id": "B", "stock": 4}"#)
        .await;
    shop.until(|| async { shop.position().await >= 3 }).await;
    let keys: Vec<String> = shop
        .settled()
        .await
        .iter()
        .map(|e| e.key.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(keys, ["A", "B"]);
    assert_eq!(shop.quarantined().await, []);
    // Who begins a session is not given what is settled; who asks for it is.
    assert_eq!(shop.quarantine.list(false).await.unwrap(), []);
    assert_eq!(shop.quarantine.places().await.unwrap(), []);
    assert_eq!(shop.quarantine.all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_quiet_inbox_keeps_up_with_the_stream_it_shares() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(folder.path()).await;
    for _ in 0..5 {
        shop.publish("other.article", &[], JSON).await;
    }
    shop.until(|| async { shop.position().await >= 5 }).await;
    assert_eq!(shop.settled().await.len(), 0);
}

#[tokio::test]
async fn messages_that_are_gone_before_they_were_read_hold_the_inbox_until_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let kept = stream(Some(Duration::from_millis(300)), None);
    let mut shop = Shop::with_stream(folder.path(), kept).await;
    shop.publish("shop.article", &[], JSON).await;
    shop.until(|| async { shop.position().await >= 1 }).await;
    // Nothing runs while this one grows old.
    let lost = shop
        .publish("shop.article", &[], r#"{"id": "L", "stock": 1}"#)
        .await;
    while shop.log.stream(INBOX).await.unwrap().first_seq <= lost {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shop.log.enforce_limits(INBOX).await.unwrap();
    }
    shop.board.flow("f", "erp", "article", "shop");
    let reason = || {
        let flows = shop.board.flows(jiff::Timestamp::now(), |_, _, _| 0);
        flows[0].reason.clone().unwrap_or_default()
    };
    shop.until(|| async { reason().contains("begin = 3") })
        .await;
    assert_eq!(shop.settled().await.len(), 1);
    shop.begin = Some(3);
    shop.publish("shop.article", &[], r#"{"id": "M", "stock": 1}"#)
        .await;
    shop.until(|| async { shop.settled().await.len() == 2 })
        .await;
}

#[tokio::test]
async fn a_frame_of_very_many_events_is_one_refusal_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(folder.path()).await;
    let mut told = shop.log.serve("me.verdicts").await.unwrap();
    let headers = [(CONTENT_TYPE, BATCH), (REPLY_TO, "me.verdicts")];
    let frame = format!("[{}1]", "1,".repeat(199_999));
    shop.publish("shop.article", &headers, &frame).await;
    // Several at the limit in one fetch: they are taken, each event by itself.
    let event = |n: usize| {
        format!(
            r#"{{"specversion":"1.0","id":"{n}","type":"article.updated","data":{{"id":"{n}","stock":1}}}}"#
        )
    };
    let events: Vec<String> = (0..1000).map(event).collect();
    let most = format!("[{}]", events.join(","));
    for _ in 0..2 {
        shop.publish("shop.article", &headers, &most).await;
    }
    shop.until(|| async { shop.position().await >= 3 }).await;
    let entries = shop.quarantined().await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].violations[0].rule, "batch");
    assert_eq!(shop.settled().await.len(), 2000);
    let refused = verdict(&mut told).await;
    assert_eq!(
        (&refused["accepted"], &refused["refused"]),
        (&0.into(), &1.into())
    );
    let taken = verdict(&mut told).await;
    assert_eq!(taken["accepted"], 1000);
}

/// A rule per outcome, by the stock of the article.
const RULES: &str = r#"
    quality:
      - {name: odd, type: custom, engine: cel, implementation: stock != 1, severity: info}
      - {name: scarce, type: custom, engine: cel, implementation: stock != 2, severity: warning}
      - name: silly
        type: custom
        engine: cel
        implementation: stock != 4
        customProperties: [{property: lockstep.outcome, value: reject}]
      - name: alarming
        type: custom
        engine: cel
        implementation: stock != 5
        customProperties: [{property: lockstep.outcome, value: halt}]
    properties:"#;

#[tokio::test]
async fn a_publisher_is_told_what_became_of_its_observation_by_each_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::new(folder.path()).await;
    let ruled = CONTRACT.replace("\n    properties:", RULES);
    shop.contract = Arc::new(contract(&ruled));
    let mut told = shop.log.serve("me.verdicts").await.unwrap();
    let reply = [(REPLY_TO, "me.verdicts")];
    let bodies = [(1, "A"), (2, "A"), (4, "A"), (5, "B"), (7, "C")]
        .map(|(stock, id)| format!(r#"{{"stock" : {stock}, "id": "{id}"}}"#));
    for body in &bodies {
        shop.publish("shop.article", &reply, body).await;
    }
    shop.until(|| async { shop.position().await >= 5 }).await;

    let mut verdicts = Vec::new();
    for _ in 0..5 {
        verdicts.push(verdict(&mut told).await);
    }
    assert_eq!(
        verdicts[0],
        serde_json::json!({"outcome": "accepted", "sequence": 1}),
        "what only counts is not told"
    );
    assert_eq!(verdicts[1]["outcome"], "accepted");
    assert_eq!(verdicts[1]["warnings"][0]["rule"], "scarce");
    for (at, outcome, rule) in [(2, "reject", "silly"), (3, "halt", "alarming")] {
        let told = &verdicts[at];
        assert_eq!(
            (&told["outcome"], &told["verdict"], &told["rule"]),
            (&"refused".into(), &outcome.into(), &rule.into())
        );
    }
    assert_eq!(verdicts[4]["outcome"], "waiting");

    // What was refused is kept as it came, byte by byte.
    let all = shop.quarantine.all().await.unwrap();
    let kept = |state: State| {
        let entry = all.iter().find(|entry| entry.state == state).unwrap();
        String::from_utf8(entry.original.as_ref().unwrap().kept()).unwrap()
    };
    assert_eq!(kept(State::Rejected), bodies[2]);
    assert_eq!(kept(State::Open), bodies[3]);
    let rules = shop.board.rules();
    assert!(
        rules
            .iter()
            .any(|count| count.rule == "odd" && count.changes == 1)
    );

    // A refused observation was never made: the good one before it still stands, and a later one supersedes nothing.
    let settled = shop.settled().await;
    let last = settled.last().unwrap();
    assert_eq!(
        last.change.row.value(1),
        Some(&lockstep_core::Value::Int(2))
    );
}

#[tokio::test]
async fn an_observation_that_cannot_be_read_can_be_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::new(folder.path()).await;
    let body = r#"{"id": "A", "stock": "many"}"#;
    shop.publish("shop.article", &[], body).await;
    shop.until(|| async { shop.position().await >= 1 }).await;
    let entry = shop.quarantined().await.remove(0);
    let kept = entry.original.as_ref().unwrap().kept();
    assert_eq!(kept, body.as_bytes());
    let object = serde_json::json!({"id": "A", "stock": 6});
    let values = from_json(&entry, object.as_object().unwrap()).unwrap();
    let (row, columns) = corrected(&entry, Some(&shop.contract), values).unwrap();
    let edit = Edit {
        at: jiff::Timestamp::now(),
        by: "somebody".into(),
        reason: None,
        columns,
        row,
    };
    let ask = Ask::Edit {
        id: entry.id.clone(),
        edit,
    };
    let stop = CancellationToken::new();
    let capture = shop.capture();
    let asking = async {
        loop {
            let answer = shop.quarantine.ask(&ask, DEADLINE).await.unwrap();
            // Nobody serves before the capture runs.
            if !matches!(answer, Answer::Failed { .. }) {
                stop.cancel();
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let both = async { tokio::join!(capture.run(&stop), asking).1 };
    let answer = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    assert_eq!(answer, Answer::Done);
    let settled = shop.settled().await;
    assert_eq!(settled.len(), 1);
    assert_eq!(
        settled[0].change.row.value(1),
        Some(&lockstep_core::Value::Int(6))
    );
}

#[tokio::test]
async fn what_cannot_be_read_takes_its_turn_behind_a_halt() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::new(folder.path()).await;
    let ruled = CONTRACT.replace("\n    properties:", RULES);
    shop.contract = Arc::new(contract(&ruled));
    for stock in ["5", "\"many\"", "6"] {
        let body = format!(r#"{{"id": "A", "stock": {stock}}}"#);
        shop.publish("shop.article", &[], &body).await;
    }
    shop.until(|| async { shop.position().await >= 3 }).await;
    let halting = shop.quarantined().await;
    assert_eq!(halting.len(), 1, "{halting:?}");
    let id = &halting[0].id;
    let dropped = shop.quarantine.discard(id, &Default::default()).await;
    assert_eq!(dropped.unwrap(), Answer::Done);
    shop.until(|| async { shop.settled().await.len() == 1 && shop.quarantined().await.is_empty() })
        .await;
    let all = shop.quarantine.all().await.unwrap();
    let states: Vec<State> = all.iter().map(|entry| entry.state).collect();
    assert_eq!(
        states,
        [State::Superseded, State::Superseded, State::Retried],
        "the good one closes both before it"
    );
}

//! Calls of the system: signatures, times, kinds of events.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lockstep_core::connector::{Call, Notice};
use lockstep_core::{Kind, Value};
use lockstep_http_client::sign::{Hash, hex, mac};

use crate::desk::{Desk, Style};
use crate::trouble::reader;

const BODY: &str = r#"{"events": [
    {"type": "item.created", "data": {"id": "i1"}},
    {"type": "item.deleted", "data": {"id": "i1"}},
    {"type": "agent.created", "data": {"id": 7}}
]}"#;

fn call(body: &str, header: &str, at: Timestamp) -> Call {
    Call {
        method: "POST".to_owned(),
        url: "https://lockstep.example.com/hook".to_owned(),
        headers: BTreeMap::from([("x-signature".to_owned(), header.to_owned())]),
        body: body.as_bytes().to_vec(),
        at,
    }
}

fn signed(body: &str, key: &str, at: Timestamp) -> String {
    let time = at.as_second().to_string();
    let parts: &[&[u8]] = &[time.as_bytes(), b".", body.as_bytes()];
    format!(
        "t={time}, v0=ab, v1={}",
        hex(&mac(Hash::Sha256, key.as_bytes(), parts))
    )
}

#[tokio::test]
async fn a_signed_call_names_its_records_however_often_it_comes() {
    let desk = Desk::start(Style::Cursor).await;
    let reader = reader(&desk, &desk.description()).await;
    let now = Timestamp::now();
    let heard = || {
        reader
            .hear(&call(BODY, &signed(BODY, "whsec", now), now))
            .unwrap()
    };
    let notice = Notice {
        table: "items".to_owned(),
        key: vec![Value::text("i1")],
    };
    assert_eq!(heard().notices, [notice.clone(), notice]);
    assert_eq!(heard(), heard());
    assert!(
        desk.books.lock().unwrap().seen.is_empty(),
        "it was looked up"
    );
    // While the secret is changed, the vendor signs with the old one and the new one.
    let both = format!("v1=00ff, {}", signed(BODY, "whsec", now));
    assert!(reader.hear(&call(BODY, &both, now)).is_ok());
}

#[tokio::test]
async fn forged_old_and_unreadable_calls_are_refused() {
    let desk = Desk::start(Style::Cursor).await;
    let reader = reader(&desk, &desk.description()).await;
    let now = Timestamp::now();
    let good = signed(BODY, "whsec", now);
    let far = SignedDuration::from_secs(302);
    for (what, call, kind) in [
        (
            "wrong key",
            call(BODY, &signed(BODY, "other", now), now),
            Kind::Unauthorized,
        ),
        ("other body", call("{}", &good, now), Kind::Unauthorized),
        ("too old", call(BODY, &good, now + far), Kind::Unauthorized),
        (
            "from the future",
            call(BODY, &good, now - far),
            Kind::Unauthorized,
        ),
        ("no time", call(BODY, "v1=00", now), Kind::Unauthorized),
        ("no signature", call(BODY, "t=1", now), Kind::Unauthorized),
        ("nonsense", call(BODY, ",,==ü", now), Kind::Unauthorized),
        (
            "no JSON",
            call("x", &signed("x", "whsec", now), now),
            Kind::Invalid,
        ),
        (
            "no events",
            call("{}", &signed("{}", "whsec", now), now),
            Kind::Invalid,
        ),
    ] {
        let error = reader.hear(&call).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
    }
    let other_time = good.replace("t=1", "t=2");
    assert_eq!(
        reader
            .hear(&call(BODY, &other_time, now))
            .unwrap_err()
            .kind(),
        Kind::Unauthorized
    );
}

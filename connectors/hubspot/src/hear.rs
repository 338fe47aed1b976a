//! Webhooks: whether a call comes from HubSpot (signature version 3), and which records it names.
//!
//! A signature is over method, address, body and time; nothing in a body is looked at before it is right.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lockstep_core::connector::{Call, Heard, Notice, Secret};
use lockstep_core::{Error, Kind, Result, Value};
use lockstep_http_client::sign::{Hash, is_mac};
use serde_json::Value as Json;

use crate::table::by_type;

const SIGNATURE: &str = "x-hubspot-signature-v3";
const TIME: &str = "x-hubspot-request-timestamp";
/// What is not encoded in an address when it is signed, whatever it was when it was called.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

/// Takes a call, once it is certain that it comes from HubSpot.
pub(crate) fn hear(
    call: &Call,
    secret: Option<&Secret<String>>,
    tolerance_s: u32,
    tables: &[String],
) -> Result<Heard> {
    let Some(secret) = secret else {
        return Err(refused("the system has no `webhook_secret`")
            .help("put the app's client secret into `webhook_secret`"));
    };
    let header = |name: &str| {
        call.headers.get(name).map(String::as_str).ok_or_else(|| {
            refused(format!("the call has no `{name}`"))
                .help("only HubSpot calls this address, with signatures of version 3")
        })
    };
    let (signature, time) = (header(SIGNATURE)?, header(TIME)?);
    let signature = BASE64_STANDARD.decode(signature).unwrap_or_default();
    let address = DECODED.iter().fold(call.url.clone(), |url, (code, plain)| {
        url.replace(code, plain)
            .replace(&code.to_lowercase(), plain)
    });
    let parts: &[&[u8]] = &[
        call.method.as_bytes(),
        address.as_bytes(),
        &call.body,
        time.as_bytes(),
    ];
    if !is_mac(Hash::Sha256, secret.expose().as_bytes(), parts, &signature) {
        return Err(refused("the signature is not of the known secret").help(
            "compare `webhook_secret` with the app's client secret, and the address that HubSpot calls with the one this runtime sees (a proxy may change it)",
        ));
    }
    let apart = time
        .parse::<i64>()
        .map(|ms| call.at.as_millisecond().abs_diff(ms) / 1000);
    match apart {
        Ok(apart) if apart <= u64::from(tolerance_s) => {}
        _ => {
            return Err(refused("the signature was made too far from now").help(
                "a call is being repeated by somebody, or this machine's clock is wrong; a slow network needs a greater `webhook_tolerance_s`",
            ));
        }
    }
    let body: Json = serde_json::from_slice(&call.body).map_err(|error| {
        Error::invalid("the body of a webhook is no JSON")
            .help("the app has to send events of the webhooks API")
            .because(error)
    })?;
    let events = match &body {
        Json::Array(events) => events.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut notices: Vec<Notice> = Vec::new();
    for notice in events.iter().flat_map(|event| named(event, tables)) {
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }
    Ok(Heard {
        notices,
        answer: None,
    })
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Unauthorized, message)
}

/// The records that an event names: one, both ends of an association, or all that a merge concerns.
fn named(event: &Json, tables: &[String]) -> Vec<Notice> {
    let word = |name: &str| event.get(name).and_then(Json::as_str);
    let what = word("subscriptionType")
        .or_else(|| word("eventType"))
        .unwrap_or_default();
    let object = what.split_once('.').map_or(what, |(object, _)| object);
    let table = by_type(word("objectTypeId").unwrap_or(object), tables);
    let mut notices = Vec::new();
    let mut add = |table: Option<&String>, id: Option<&Json>| {
        let id = match id {
            Some(Json::Number(number)) => number.to_string(),
            Some(Json::String(text)) => text.clone(),
            _ => return,
        };
        notices.extend(table.map(|table| Notice {
            table: table.clone(),
            key: vec![Value::Text(id)],
        }));
    };
    for name in ["objectId", "primaryObjectId", "newObjectId"] {
        add(table, event.get(name));
    }
    for id in event
        .get("mergedObjectIds")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        add(table, Some(id));
    }
    // `CONTACT_TO_COMPANY`, or the types of both ends.
    let ends = word("associationType").and_then(|types| types.split_once("_TO_"));
    let end = |name: &str, word: Option<&str>| {
        let said = event.get(name).and_then(Json::as_str);
        said.or(word)
            .and_then(|kind| by_type(&kind.to_lowercase(), tables))
    };
    add(
        end("fromObjectTypeId", ends.map(|ends| ends.0)),
        event.get("fromObjectId"),
    );
    add(
        end("toObjectTypeId", ends.map(|ends| ends.1)),
        event.get("toObjectId"),
    );
    notices
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lockstep_http_client::sign::mac;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const URL: &str = "https://lockstep.example/hooks/crm?a=b%3Ac";

    fn call(body: &[u8], at: i64, secret: &str) -> Call {
        let time = at.to_string();
        // As the vendor signs it, with the colon as it is.
        let url = "https://lockstep.example/hooks/crm?a=b:c";
        let parts: &[&[u8]] = &[b"POST", url.as_bytes(), body, time.as_bytes()];
        let signature = BASE64_STANDARD.encode(mac(Hash::Sha256, secret.as_bytes(), parts));
        Call {
            method: "POST".to_owned(),
            url: URL.to_owned(),
            headers: [(SIGNATURE.to_owned(), signature), (TIME.to_owned(), time)].into(),
            body: body.to_vec(),
            at: Timestamp::from_millisecond(NOW).unwrap(),
        }
    }

    fn heard(call: &Call) -> Result<Heard> {
        let tables = ["contacts", "companies", "2-7"].map(str::to_owned);
        hear(call, Some(&Secret::new("s".to_owned())), 300, &tables)
    }

    #[test]
    fn every_record_that_an_event_concerns_is_named_once() {
        for (event, expected) in [
            (
                json!([{"subscriptionType": "contact.propertyChange", "objectId": 7}, {"subscriptionType": "contact.deletion", "objectId": 7}]),
                "contacts 7",
            ),
            (
                json!([{"subscriptionType": "object.creation", "objectTypeId": "2-7", "objectId": 9}]),
                "2-7 9",
            ),
            (
                json!([{"subscriptionType": "deal.creation", "objectId": 1}]),
                "",
            ),
            (
                json!([{"subscriptionType": "contact.merge", "objectId": 1, "primaryObjectId": 1, "mergedObjectIds": [2]}]),
                "contacts 1, contacts 2",
            ),
            (
                json!([{"subscriptionType": "contact.associationChange", "associationType": "CONTACT_TO_COMPANY", "fromObjectId": 3, "toObjectId": 4}]),
                "contacts 3, companies 4",
            ),
        ] {
            let heard = heard(&call(event.to_string().as_bytes(), NOW - 1000, "s")).unwrap();
            let text: Vec<String> = heard
                .notices
                .iter()
                .map(|n| format!("{} {}", n.table, n.key[0]))
                .collect();
            assert_eq!(text.join(", "), expected, "{event}");
        }
    }

    #[test]
    fn forged_changed_and_repeated_calls_are_refused() {
        let body = br#"[{"subscriptionType": "contact.creation", "objectId": 7}]"#;
        let good = || call(body, NOW, "s");
        let mut calls = vec![
            call(body, NOW, "x"),
            call(body, NOW - 301_000, "s"),
            call(body, NOW + 301_000, "s"),
        ];
        calls.push(Call {
            body: b"[]".to_vec(),
            ..good()
        });
        calls.push(Call {
            url: format!("{URL}&x"),
            ..good()
        });
        calls.push(Call {
            method: "GET".to_owned(),
            ..good()
        });
        calls.push(Call {
            headers: Default::default(),
            ..good()
        });
        let mut later = good();
        later.headers.insert(TIME.to_owned(), (NOW + 1).to_string());
        calls.push(later);
        for call in calls {
            assert_eq!(heard(&call).unwrap_err().kind(), Kind::Unauthorized);
        }
        assert!(heard(&good()).is_ok());
        assert_eq!(
            hear(&good(), None, 300, &[]).unwrap_err().kind(),
            Kind::Unauthorized
        );
        assert_eq!(
            heard(&call(b"<html>", NOW, "s")).unwrap_err().kind(),
            Kind::Invalid
        );
    }

    proptest! {
        #[test]
        fn nothing_unsigned_comes_in(signature in "\\PC{0,80}", time in "\\PC{0,20}", body: Vec<u8>) {
            let mut call = call(&body, NOW, "x");
            call.headers.insert(SIGNATURE.to_owned(), signature);
            call.headers.insert(TIME.to_owned(), time);
            prop_assert!(heard(&call).is_err());
        }

        #[test]
        fn no_event_is_a_panic(text in "\\PC{0,60}", id: i64) {
            let event = json!([{"subscriptionType": text, "objectId": id, "associationType": text}, text, id, null]);
            prop_assert!(heard(&call(event.to_string().as_bytes(), NOW, "s")).is_ok());
        }
    }
}

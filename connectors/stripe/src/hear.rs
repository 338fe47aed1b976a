//! Webhooks: whether a call comes from Stripe, and which object it names.
//!
//! A signature is over the time and the bytes of the body; nothing in a body is looked at before it is right.

use jiff::Timestamp;
use lockstep_core::connector::{Call, Heard, Notice, Secret};
use lockstep_core::{Error, Kind, Result, Value};
use lockstep_http_client::sign::{Hash, is_mac, unhex};
use serde_json::Value as Json;

use crate::convert::text;
use crate::table::KINDS;

/// The header that holds the signature.
const HEADER: &str = "stripe-signature";
/// Most signatures of one call that are compared.
const SIGNATURES_MAX: usize = 16;

/// Takes a call, once it is certain that it comes from Stripe.
pub(crate) fn hear(
    call: &Call,
    secrets: &[Secret<String>],
    tolerance_s: u32,
    tables: &[String],
) -> Result<Heard> {
    if secrets.is_empty() {
        return Err(refused("the system has no `webhook_secrets`")
            .help("put the endpoint's signing secret (`whsec_…`) into `webhook_secrets`"));
    }
    let signature = call.headers.get(HEADER).ok_or_else(|| {
        refused("the call bears no signature").help("only Stripe calls this address")
    })?;
    let (at, given) = parse(signature)?;
    let matches = |secret: &Secret<String>| is_signed(secret, at, &call.body, &given);
    if !secrets.iter().any(matches) {
        return Err(refused("the signature is of none of the known secrets")
            .help("compare `webhook_secrets` with the signing secret of the endpoint that calls"));
    }
    let apart = call.at.as_second().abs_diff(at);
    if apart > u64::from(tolerance_s) {
        return Err(
            refused(format!("the signature was made {apart} s away from now")).help(
                "a call is being repeated by somebody, or this machine's clock is wrong; a slow network needs a greater `webhook_tolerance_s`",
            ),
        );
    }
    let event: Json = serde_json::from_slice(&call.body).map_err(|error| {
        Error::invalid("the body of a webhook is no JSON")
            .help("the endpoint has to send events of the API as JSON")
            .because(error)
    })?;
    Ok(Heard {
        notices: notice(&event, tables).into_iter().collect(),
        answer: None,
    })
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Unauthorized, message)
}

/// The object that an event is about, where its table is one of these.
pub(crate) fn notice(event: &Json, tables: &[String]) -> Option<Notice> {
    let (object, id) = match event.get("data").and_then(|data| data.get("object")) {
        Some(about) => (text(about, "object")?, text(about, "id")?),
        // A thin event names its object only.
        None => {
            let about = event.get("related_object")?;
            (text(about, "type")?, text(about, "id")?)
        }
    };
    let kind = KINDS.iter().find(|kind| kind.object == object)?;
    tables
        .iter()
        .any(|table| table == kind.table)
        .then(|| Notice {
            table: kind.table.to_owned(),
            key: vec![Value::text(id)],
        })
}

/// Reads `t=…,v1=…,v1=…,v0=…`.
fn parse(header: &str) -> Result<(i64, Vec<Vec<u8>>)> {
    let mut at = None;
    let mut given = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", time)) => at = time.parse::<i64>().ok(),
            Some(("v1", digits)) if given.len() < SIGNATURES_MAX => given.extend(unhex(digits)),
            _ => {}
        }
    }
    let at = at.filter(|at| Timestamp::from_second(*at).is_ok());
    match at {
        Some(at) if !given.is_empty() => Ok((at, given)),
        _ => {
            Err(refused("the signature has no time or no `v1`")
                .help("only Stripe calls this address"))
        }
    }
}

fn is_signed(secret: &Secret<String>, at: i64, body: &[u8], given: &[Vec<u8>]) -> bool {
    let time = at.to_string();
    let parts: &[&[u8]] = &[time.as_bytes(), b".", body];
    let key = secret.expose().as_bytes();
    given
        .iter()
        .any(|given| is_mac(Hash::Sha256, key, parts, given))
}

#[cfg(test)]
mod tests {
    use lockstep_http_client::sign::{hex, mac};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn sign(secret: &str, at: i64, body: &[u8]) -> String {
        let at = format!("{at}.");
        hex(&mac(
            Hash::Sha256,
            secret.as_bytes(),
            &[at.as_bytes(), body],
        ))
    }

    fn heard(signature: Option<String>, body: &[u8], secrets: &[&str]) -> Result<Heard> {
        let call = Call {
            method: "POST".to_owned(),
            url: "https://lockstep.example/hooks/billing".to_owned(),
            headers: signature
                .map(|signature| (HEADER.to_owned(), signature))
                .into_iter()
                .collect(),
            body: body.to_vec(),
            at: Timestamp::from_second(NOW).unwrap(),
        };
        let secrets: Vec<Secret<String>> = secrets
            .iter()
            .map(|secret| Secret::new((*secret).to_owned()))
            .collect();
        hear(&call, &secrets, 300, &["customers".to_owned()])
    }

    fn body() -> Vec<u8> {
        let event = json!({"type": "customer.deleted", "data": {"object": {"object": "customer", "id": "cus_1"}}});
        event.to_string().into_bytes()
    }

    #[test]
    fn a_signed_call_names_its_object() {
        let body = body();
        let good = sign("new", NOW - 10, &body);
        let other = sign("other", NOW - 10, &body);
        for signature in [
            format!("t={},v1={good}", NOW - 10),
            format!("t={},v1={other},v1={good},v0=abc", NOW - 10),
        ] {
            let heard = heard(Some(signature), &body, &["old", "new"]).unwrap();
            assert_eq!(heard.notices.len(), 1);
            assert_eq!(heard.notices[0].table, "customers");
            assert_eq!(heard.notices[0].key, [Value::text("cus_1")]);
        }
    }

    #[test]
    fn forged_changed_and_repeated_calls_are_refused() {
        let body = body();
        let good = |at: i64| format!("t={at},v1={}", sign("s", at, &body));
        let mut changed = body.clone();
        changed[20] ^= 1;
        for (signature, body, part) in [
            (None, &body, "no signature"),
            (Some("t=1".to_owned()), &body, "no `v1`"),
            (Some("v1=abc".to_owned()), &body, "no time"),
            (
                Some(format!("t={NOW},v1={}", sign("x", NOW, &body))),
                &body,
                "none of the known",
            ),
            (
                Some(good(NOW).replace(&format!("t={NOW}"), &format!("t={}", NOW + 1))),
                &body,
                "none of the known",
            ),
            (Some(good(NOW)), &changed, "none of the known"),
            (Some(good(NOW - 301)), &body, "301 s away"),
            (Some(good(NOW + 301)), &body, "301 s away"),
        ] {
            let error = heard(signature, body, &["s"]).unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthorized);
            assert!(error.to_string().contains(part), "{error:?}");
        }
        assert!(heard(Some(good(NOW)), &body, &[]).is_err());
        assert!(heard(Some(good(NOW - 300)), &body, &["s"]).is_ok());
    }

    #[test]
    fn what_is_signed_and_no_event_is_named_as_such() {
        let signature = |body: &[u8]| format!("t={NOW},v1={}", sign("s", NOW, body));
        let error = heard(Some(signature(b"<html>")), b"<html>", &["s"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        for body in [
            "{}",
            "[]",
            r#"{"data": {"object": {"object": "card", "id": "c"}}}"#,
        ] {
            let body = body.as_bytes();
            assert_eq!(
                heard(Some(signature(body)), body, &["s"]).unwrap(),
                Heard::default()
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_is_a_panic_or_a_way_in(header in "\\PC{0,80}", body: Vec<u8>) {
            prop_assert!(heard(Some(header), &body, &["s"]).is_err());
        }
    }
}

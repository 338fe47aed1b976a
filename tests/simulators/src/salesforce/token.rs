//! Tokens: the client-credentials flow, and the JWT bearer flow, whose signatures nobody looks at here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use super::answer::Told;
use super::store::Store;
use super::{CLIENT_ID, CLIENT_SECRET, USER};

/// How far ahead an assertion may end, in seconds.
const LIFE_MAX_S: i64 = 300;

pub(super) fn token(store: &mut Store, body: &[u8]) -> Result<Told, Told> {
    let form = form(&String::from_utf8_lossy(body));
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    let refuse = |error: &str, words: &str| {
        Err(Told::json(
            400,
            &json!({"error": error, "error_description": words}),
        ))
    };
    match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {
            if !is("client_id", CLIENT_ID) {
                return refuse("invalid_client_id", "client identifier invalid");
            }
            if !is("client_secret", CLIENT_SECRET) {
                return refuse("invalid_client", "invalid client credentials");
            }
        }
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            let assertion = form.get("assertion").map(String::as_str);
            if let Err(words) = judged(assertion.unwrap_or_default(), store.now()) {
                return refuse("invalid_grant", words);
            }
        }
        _ => return refuse("unsupported_grant_type", "grant type not supported"),
    }
    store.granted += 1;
    let token = format!("00Dtest!{}", store.granted);
    store.tokens.insert(token.clone());
    let told = json!({
        "access_token": token, "instance_url": store.instance, "id": "https://login.salesforce.com/id/00D/005",
        "token_type": "Bearer", "issued_at": store.now().to_string(), "signature": "x", "scope": "api",
    });
    Ok(Told::json(200, &told))
}

/// Whether an assertion is one that Salesforce would take, if its signature were right.
fn judged(assertion: &str, now: i64) -> Result<(), &'static str> {
    let parts: Vec<&str> = assertion.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        return Err("expected a signed token");
    };
    let read = |part: &str| -> Option<Json> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (Some(head), Some(claims)) = (read(head), read(claims)) else {
        return Err("expected JSON");
    };
    let audiences = [
        "https://login.salesforce.com",
        "https://test.salesforce.com",
    ];
    let ends = claims["exp"].as_i64().unwrap_or(0);
    match () {
        () if head["alg"] != "RS256" || signature.len() < 300 => Err("invalid signature"),
        () if claims["iss"] != CLIENT_ID => Err("client identifier invalid"),
        () if claims["sub"] != USER => Err("user hasn't approved this consumer"),
        () if !audiences.iter().any(|audience| claims["aud"] == **audience) => {
            Err("audience is invalid")
        }
        () if ends < now || ends > now + LIFE_MAX_S => Err("expired authorization code"),
        () => Ok(()),
    }
}

/// The pairs of a form or a query.
pub(super) fn form(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// A text without its percent signs.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| {
            bytes
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) => plain.push(b' '),
            (byte, ..) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

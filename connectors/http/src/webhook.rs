//! Calls of the system: certain by their signature, fresh by their time, and only ever a reason to read a record again.

use jiff::Timestamp;
use lockstep_core::connector::{Call, Heard, Notice};
use lockstep_core::{Decimal, Error, Kind, Result, Value};
use lockstep_http_client::{Json, sign};

use crate::auth::{algorithm, decoded, parts, secret};
use crate::client::Api;
use crate::convert::kind as type_of;
use crate::describe::{Clock, Signature, Webhook};

/// Takes a call.
pub(crate) fn hear(api: &Api, call: &Call) -> Result<Heard> {
    let Some(webhook) = &api.described.webhook else {
        return Err(
            Error::unsupported("the description says nothing of calls by the system")
                .help("add `webhook` to it"),
        );
    };
    verify(api, &webhook.signature, call)?;
    let body = Json::parse(&call.body)
        .map_err(|error| Error::invalid("the body of a call is no JSON").because(error))?;
    let events = body.at(&webhook.events).ok_or_else(|| {
        Error::invalid(format!("a call has no events under `{}`", webhook.events))
    })?;
    let events = match events {
        Json::List(events) => events.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut notices = Vec::new();
    for event in events {
        notices.extend(notice(api, webhook, event)?);
    }
    Ok(Heard {
        notices,
        answer: None,
    })
}

/// The record that an event names; none of an event of another kind.
fn notice(api: &Api, webhook: &Webhook, event: &Json) -> Result<Option<Notice>> {
    let named = webhook
        .kind
        .as_ref()
        .and_then(|path| event.at(path)?.plain());
    let table = named
        .and_then(|named| webhook.tables.get(&named))
        .or_else(|| webhook.tables.get("*"));
    let Some(table) = table else {
        return Ok(None);
    };
    let kind = api.kind(table)?;
    let mut key = Vec::with_capacity(webhook.key.len());
    for (path, name) in webhook.key.iter().zip(&kind.table.key) {
        let value = event.at(path).and_then(Json::plain);
        let described = kind
            .table
            .fields
            .get(name)
            .and_then(|field| type_of(&field.kind));
        let value = value.zip(described).and_then(|(text, kind)| {
            Some(match kind {
                lockstep_core::Type::Int => Value::Int(text.parse().ok()?),
                lockstep_core::Type::Uuid => Value::Uuid(text.parse().ok()?),
                lockstep_core::Type::Decimal { .. } => Value::Decimal(text.parse().ok()?),
                _ => Value::Text(text),
            })
        });
        key.push(value.ok_or_else(|| {
            Error::invalid(format!(
                "an event about `{table}` has no `{name}` under `{path}`"
            ))
        })?);
    }
    Ok(Some(Notice {
        table: table.clone(),
        key,
    }))
}

fn verify(api: &Api, signature: &Signature, call: &Call) -> Result<()> {
    let refuse = |why: &str| {
        Error::new(
            Kind::Unauthorized,
            format!("a call of system `{}` {why}", api.system),
        )
        .help("check that the webhook's secret is the vendor's; a forged call looks the same")
    };
    let header = |name: &str| call.headers.get(&name.to_lowercase()).map(String::as_str);
    let written = header(&signature.header).ok_or_else(|| refuse("has no signature"))?;
    let time = signature.timestamp_header.as_deref().map(|name| {
        let text = header(name)?;
        match &signature.timestamp_part {
            Some(part) => values(text, part).next(),
            None => Some(text.trim()),
        }
    });
    let time = match time {
        Some(None) => return Err(refuse("has no time")),
        Some(Some(time)) => Some(time),
        None => None,
    };
    let key = secret(&api.secrets, &signature.secret)?;
    let signed = parts(&signature.signed, |name| match name {
        "body" => Some(call.body.clone()),
        "timestamp" => Some(time?.as_bytes().to_vec()),
        "method" => Some(call.method.clone().into_bytes()),
        "url" => Some(call.url.clone().into_bytes()),
        _ => None,
    });
    // While a secret is being changed, vendors sign with both: one good signature is enough.
    let candidates: Vec<&str> = match &signature.part {
        Some(part) => values(written, part).collect(),
        None => vec![written.trim()],
    };
    let is_good = candidates.iter().any(|text| {
        text.strip_prefix(signature.prefix.as_str())
            .and_then(|text| decoded(text, signature.encoding))
            .is_some_and(|mac| {
                let hash = algorithm(signature.hash);
                sign::is_mac(hash, key.expose().as_bytes(), &[&signed], &mac)
            })
    });
    if !is_good {
        return Err(refuse("has a wrong signature"));
    }
    match time {
        Some(time) if !is_fresh(time, signature, call.at) => {
            Err(refuse("is too old, or from the future"))
        }
        _ => Ok(()),
    }
}

fn is_fresh(time: &str, signature: &Signature, now: Timestamp) -> bool {
    let scale = match signature.timestamp {
        Clock::Seconds => 6,
        Clock::Millis => 3,
    };
    let at = time
        .parse::<Decimal>()
        .ok()
        .and_then(|number| number.rescale(scale)?.to_units(scale))
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    at.is_some_and(|at| now.duration_since(at).unsigned_abs().as_secs() <= signature.tolerance_secs)
}

/// The values of a part of a header such as `t=1,v1=a,v1=b`.
fn values<'a>(header: &'a str, part: &'a str) -> impl Iterator<Item = &'a str> {
    header.split(',').filter_map(move |piece| {
        let (name, value) = piece.trim().split_once('=')?;
        (name == part).then_some(value)
    })
}

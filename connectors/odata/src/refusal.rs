//! What a service says to a request that it does not carry out, told without the values of records.

use lockstep_core::connector::Outcome;
use lockstep_core::{Error, Kind};
use lockstep_http_client::{HttpError, Json};

use crate::batch::Reply;

/// Most characters of a service's words.
const WORDS_MAX: usize = 400;

/// Why a service does not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The code of the error.
    pub(crate) code: String,
    /// What it says; it may quote values.
    message: String,
}

impl Refusal {
    /// Reads an answer's body.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Refusal {
        let tree = Json::parse(body).unwrap_or(Json::Null);
        let error = tree.get("error").unwrap_or(&Json::Null);
        let word = |tree: &Json, name: &str| match tree.get(name) {
            // OData 2 and some gateways have the language beside the text.
            Some(Json::Object(_)) => tree.at(&format!("{name}.value")).and_then(Json::plain),
            other => other.and_then(Json::plain),
        };
        let mut message = word(error, "message").unwrap_or_default();
        let details = error.get("details").and_then(Json::as_list).unwrap_or(&[]);
        let inner = error
            .get("innererror")
            .and_then(|inner| word(inner, "message"));
        let more = details
            .iter()
            .take(5)
            .filter_map(|one| word(one, "message"));
        for more in more.chain(inner) {
            if !more.is_empty() && !message.contains(&more) {
                message = format!("{message}; {more}");
            }
        }
        Refusal {
            status,
            code: word(error, "code").unwrap_or_default(),
            message,
        }
    }

    pub(crate) fn of(reply: &Reply) -> Refusal {
        Refusal::parse(reply.status, &reply.body)
    }

    /// What the service says, without these values.
    pub(crate) fn words(&self, values: &[String]) -> String {
        let mut message = self.message.clone();
        let mut values: Vec<&String> = values.iter().filter(|value| value.len() > 2).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in values {
            message = message.replace(value.as_str(), "…");
        }
        let message: String = message.chars().take(WORDS_MAX).collect();
        let code: String = self.code.chars().take(80).collect();
        match (code.is_empty(), message.is_empty()) {
            (_, true) => format!("answered {} {code}", self.status).trim().to_owned(),
            (true, _) => format!("({}) {message}", self.status),
            (false, _) => format!("{code} ({}): {message}", self.status),
        }
    }

    /// What becomes of the change that was refused.
    pub(crate) fn outcome(&self, values: &[String]) -> Outcome {
        Outcome::Rejected {
            reason: self.words(values),
        }
    }
}

/// What of an answer inside a batch stands in the way of everything, and not of one record.
pub(crate) fn stands_in_the_way(reply: &Reply, system: &str) -> Option<Error> {
    let kind = match reply.status {
        401 | 403 => Kind::Unauthorized,
        429 => Kind::Throttled,
        503 if reply.header("retry-after").is_some() => Kind::Throttled,
        408 | 425 | 500.. | 0..=99 => Kind::Transient,
        _ => return None,
    };
    let code = Refusal::of(reply).code;
    let code: String = code.chars().take(80).collect();
    let error = Error::new(
        kind,
        format!("system `{system}` answered {} inside a batch", reply.status),
    );
    let error = if code.is_empty() {
        error
    } else {
        error.with("code", code)
    };
    let wait = reply
        .header("retry-after")
        .and_then(|wait| wait.parse().ok());
    Some(match (kind, wait) {
        (Kind::Throttled, Some(seconds)) => error.after(std::time::Duration::from_secs(seconds)),
        (Kind::Unauthorized, _) => {
            error.help("give these credentials the permission that the request needs")
        }
        _ => error,
    })
}

/// Adds the code of the error that a service told.
pub(crate) fn explain(error: Error) -> Error {
    let code = HttpError::of(&error).map(|http| Refusal::parse(http.status, &http.body).code);
    match code.filter(|code| !code.is_empty()) {
        Some(code) => error.with("code", code.chars().take(80).collect::<String>()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_no_values() {
        let body = br#"{"error":{"code":"CX/001","message":"Name Anna is wrong","details":[{"message":"Anna B"}],"innererror":{"message":"in Anna"}}}"#;
        let words = Refusal::parse(400, body).words(&["Anna".to_owned(), "Anna B".to_owned()]);
        assert_eq!(words, "CX/001 (400): Name … is wrong; …; in …");
        assert_eq!(Refusal::parse(409, b"<html>").words(&[]), "answered 409");
    }
}

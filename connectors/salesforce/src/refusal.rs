//! What Salesforce says when it does not do something; pure.

use lockstep_http_client::{Answer, Json};

/// Why Salesforce does not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its code, such as `REQUIRED_FIELD_MISSING`.
    pub(crate) code: String,
    /// What it says; it may quote values.
    pub(crate) message: String,
    /// The fields that it names.
    pub(crate) fields: Vec<String>,
}

impl Refusal {
    /// What a whole answer says.
    pub(crate) fn of(answer: &Answer) -> Refusal {
        let refusal = Refusal::parse(&answer.body);
        if !refusal.code.is_empty() {
            return refusal;
        }
        Refusal {
            code: answer.status.to_string(),
            ..refusal
        }
    }

    /// What the body of an error says.
    pub(crate) fn parse(body: &[u8]) -> Refusal {
        Json::parse(body).map_or_else(|_| Refusal::default(), |body| Refusal::first(&body))
    }

    /// The first of several errors, or the only one.
    pub(crate) fn first(errors: &Json) -> Refusal {
        let error = errors.as_list().map_or(Some(errors), <[Json]>::first);
        let word = |name: &str| {
            let word = error.and_then(|error| error.get(name)?.as_str());
            word.unwrap_or_default().to_owned()
        };
        let code = word("errorCode");
        let fields = error.and_then(|error| error.get("fields")?.as_list());
        Refusal {
            code: if code.is_empty() {
                word("statusCode")
            } else {
                code
            },
            message: word("message"),
            fields: fields
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What Salesforce says, without these values.
    pub(crate) fn words<'a>(&self, values: impl Iterator<Item = &'a str>) -> String {
        let mut message: String = self.message.chars().take(400).collect();
        for value in values.filter(|value| value.len() > 2) {
            message = message.replace(value, "…");
        }
        let fields = match self.fields.is_empty() {
            true => String::new(),
            false => format!(" [{}]", self.fields.join(", ")),
        };
        format!("{}: {message}{fields}", self.code)
    }

    /// What Salesforce says of a query, without the part of the query that it quotes: that holds values.
    pub(crate) fn words_of_query(&self) -> String {
        let starts = [
            "No such column",
            "No such relation",
            "sObject type",
            "field '",
        ];
        let start = starts.iter().find_map(|start| self.message.find(start));
        let Some(start) = start else {
            return self.code.clone();
        };
        let sentence = self.message[start..].split(['.', '\n', '(']).next();
        let sentence: String = sentence.unwrap_or_default().chars().take(200).collect();
        format!("{}: {}", self.code, sentence.trim_end())
    }

    /// Whether the same may be done in a moment: somebody else holds the record.
    pub(crate) fn is_passing(&self) -> bool {
        ["UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT"].contains(&self.code.as_str())
    }

    /// Whether the record that it is about is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        [
            "ENTITY_IS_DELETED",
            "INVALID_CROSS_REFERENCE_KEY",
            "NOT_FOUND",
        ]
        .contains(&self.code.as_str())
    }

    /// Whether a column or the object itself is not what it was described as.
    pub(crate) fn is_of_shape(&self) -> bool {
        ["INVALID_FIELD", "INVALID_TYPE", "NOT_FOUND"].contains(&self.code.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_the_values_that_were_sent() {
        let body = br#"[{"message":"Email: invalid email address: ann@x","errorCode":"INVALID_EMAIL_ADDRESS","fields":["Email"]}]"#;
        let refusal = Refusal::parse(body);
        assert_eq!(
            refusal.words(["ann@x"].into_iter()),
            "INVALID_EMAIL_ADDRESS: Email: invalid email address: … [Email]"
        );
        let query = Refusal {
            code: "INVALID_FIELD".to_owned(),
            message: "\nSELECT Id,Foo FROM Account WHERE Name = 'Ann'\n ^\nERROR at Row:1:Column:11\nNo such column 'Foo' on entity 'Account'. If you are…".to_owned(),
            fields: Vec::new(),
        };
        assert_eq!(
            query.words_of_query(),
            "INVALID_FIELD: No such column 'Foo' on entity 'Account'"
        );
        let one = br#"{"statusCode":"UNABLE_TO_LOCK_ROW","message":"m","fields":[]}"#;
        assert!(Refusal::parse(one).is_passing());
        for odd in [&b""[..], b"<html>", b"[]", b"[1]", b"null"] {
            assert_eq!(Refusal::parse(odd), Refusal::default());
        }
    }
}

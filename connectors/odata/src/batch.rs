//! Many requests in one: multipart and JSON, written and read; pure.
//!
//! Bodies are compact JSON, in which no line ends, so that no boundary can stand in one.

use lockstep_http_client::Json;

/// What separates the parts of a request; no text of a request holds a line that begins with it.
const OUTER: &str = "batch_lockstep";
const INNER: &str = "changes_lockstep";
/// The type of a multipart request.
pub(crate) const MULTIPART: &str = "multipart/mixed; boundary=batch_lockstep";

/// One request of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    /// Relative to the service, encoded.
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Empty for none.
    pub(crate) body: String,
}

/// One answer of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Option<Json> {
        Json::parse(&self.body).ok()
    }
}

/// A multipart body; `together` puts all operations into one change set, else each write has one of its own.
pub(crate) fn multipart(operations: &[Operation], together: bool) -> String {
    let mut text = String::new();
    let one = |id: usize, operation: &Operation| {
        let Operation {
            method, url, body, ..
        } = operation;
        let headers: String = operation
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!(
            "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {id}\r\n\r\n{method} {url} HTTP/1.1\r\n{headers}\r\n{body}\r\n"
        )
    };
    let begin = format!("--{OUTER}\r\nContent-Type: multipart/mixed; boundary={INNER}\r\n\r\n");
    let end = format!("--{INNER}--\r\n");
    for (at, operation) in operations.iter().enumerate() {
        let part = one(at + 1, operation);
        if operation.method == "GET" {
            text.push_str(&format!("--{OUTER}\r\n{part}"));
            continue;
        }
        if !together || at == 0 {
            text.push_str(&begin);
        }
        text.push_str(&format!("--{INNER}\r\n{part}"));
        if !together || at + 1 == operations.len() {
            text.push_str(&end);
        }
    }
    text.push_str(&format!("--{OUTER}--\r\n"));
    text
}

/// A JSON body.
pub(crate) fn json(operations: &[Operation], together: bool) -> String {
    let text = |text: &str| Json::Text(text.to_owned());
    let member = |name: &str, value: Json| (name.to_owned(), value);
    let requests = operations.iter().enumerate().map(|(at, operation)| {
        let mut members = vec![
            member("id", text(&(at + 1).to_string())),
            member("method", text(operation.method)),
            member("url", text(&operation.url)),
        ];
        if together {
            members.push(member("atomicityGroup", text("changes")));
        }
        let headers = operation.headers.iter();
        let headers = headers.map(|(name, value)| member(&name.to_lowercase(), text(value)));
        members.push(member("headers", Json::Object(headers.collect())));
        if let Ok(body) = Json::parse(operation.body.as_bytes()) {
            members.push(member("body", body));
        }
        Json::Object(members)
    });
    let requests = Json::List(requests.collect());
    Json::Object(vec![member("requests", requests)]).to_string()
}

/// The answers of a JSON batch in the order of its requests; none for those that were not answered.
pub(crate) fn read_json(tree: &Json, count: usize) -> Vec<Option<Reply>> {
    let mut replies = vec![None; count];
    for answer in tree.get("responses").and_then(Json::as_list).unwrap_or(&[]) {
        let id = answer
            .get("id")
            .and_then(Json::plain)
            .and_then(|id| id.parse::<usize>().ok());
        let status = answer.get("status").and_then(Json::as_int);
        let status = status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0);
        let headers = match answer.get("headers") {
            Some(Json::Object(headers)) => headers
                .iter()
                .filter_map(|(name, value)| Some((name.to_lowercase(), value.plain()?)))
                .collect(),
            _ => Vec::new(),
        };
        let body = answer.get("body").filter(|body| !body.is_null());
        let reply = Reply {
            status,
            headers,
            body: body
                .map(|body| body.to_string().into_bytes())
                .unwrap_or_default(),
        };
        match id {
            Some(id) if (1..=count).contains(&id) => replies[id - 1] = Some(reply),
            // A group that is refused may be answered as a whole.
            _ if status >= 400 => {
                for missing in replies.iter_mut().filter(|known| known.is_none()) {
                    *missing = Some(reply.clone());
                }
            }
            _ => {}
        }
    }
    replies
}

/// A part of a multipart answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// An answer for itself: to a request, or to a change set that was refused.
    One(Reply),
    /// The answers of a change set.
    Set(Vec<Reply>),
}

/// The parts of a multipart answer; none where it is no such.
pub(crate) fn read_multipart(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    let boundary = boundary(content_type)?;
    let mut parts = Vec::new();
    for part in split(body, &boundary) {
        let (head, rest) = head(part)?;
        let kind = header(&head, "content-type").unwrap_or_default();
        if kind.to_lowercase().starts_with("multipart/") {
            let inner = self::boundary(kind)?;
            let replies = split(rest, &inner)
                .into_iter()
                .map(|part| reply(self::head(part)?.1));
            parts.push(Part::Set(replies.collect::<Option<_>>()?));
        } else {
            parts.push(Part::One(reply(rest)?));
        }
    }
    Some(parts)
}

fn boundary(content_type: &str) -> Option<String> {
    let is_it = |parameter: &&str| parameter.trim().to_lowercase().starts_with("boundary=");
    let found = content_type.split(';').find(is_it)?;
    let (_, value) = found.split_once('=')?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

/// What stands between lines of a boundary.
fn split<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut begin = None;
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let is_end = text.strip_prefix(mark.as_bytes()) == Some(b"--");
        if text == mark.as_bytes() || is_end {
            if let Some(begin) = begin {
                let part: &[u8] = &body[begin..at];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            begin = (!is_end).then_some(at + line.len());
            if is_end {
                break;
            }
        }
        at += line.len();
    }
    parts
}

type Headers = Vec<(String, String)>;

/// The headers of a part, and what is behind the empty line.
fn head(part: &[u8]) -> Option<(Headers, &[u8])> {
    let mut headers = Vec::new();
    let mut at = 0;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        let line = std::str::from_utf8(line).ok()?.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    Some((headers, &part[at..]))
}

fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// An answer in the form of HTTP.
fn reply(text: &[u8]) -> Option<Reply> {
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(text.len(), |end| end + 1);
    let line = std::str::from_utf8(&text[..end]).ok()?;
    let status = line.trim().strip_prefix("HTTP/")?.split(' ').nth(1)?;
    let (headers, body) = head(&text[end..])?;
    Some(Reply {
        status: status.parse().ok()?,
        headers,
        body: body.trim_ascii().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &[u8] = b"preamble\r\n--a\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nETag: W/\"1\"\r\n\r\n{\"x\":1}\r\n--a\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nHTTP/1.1 204 No Content\r\nOData-EntityId: Sets(5)\r\n\r\n\r\n--b--\r\n--a--\r\n";

    #[test]
    fn answers_come_apart() {
        let parts = read_multipart("multipart/mixed;boundary=a", ANSWER).unwrap();
        let [Part::One(one), Part::Set(set)] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((one.status, one.header("ETag")), (200, Some("W/\"1\"")));
        assert_eq!(one.json().unwrap().get("x").and_then(Json::as_int), Some(1));
        assert_eq!(set[0].header("odata-entityid"), Some("Sets(5)"));
        assert!(read_multipart("text/html", ANSWER).is_none());
    }

    #[test]
    fn requests_stand_in_change_sets_of_their_own_or_in_one() {
        let operation = |method| Operation {
            method,
            url: "Sets(1)".to_owned(),
            headers: vec![("If-Match", "*".to_owned())],
            body: "{}".to_owned(),
        };
        let operations = [operation("PATCH"), operation("DELETE")];
        let sets = |text: &str| text.matches("multipart/mixed").count();
        assert_eq!(sets(&multipart(&operations, false)), 2);
        assert_eq!(sets(&multipart(&operations, true)), 1);
        let text = json(&operations, true);
        assert!(text.contains(r#""atomicityGroup":"changes""#), "{text}");
    }

    #[test]
    fn json_answers_find_their_requests_in_any_order() {
        let tree = Json::parse(
            br#"{"responses":[{"id":"2","status":204},{"id":"1","status":201,"body":{"a":1.50}}]}"#,
        );
        let replies = read_json(&tree.unwrap(), 3);
        let statuses: Vec<_> = replies
            .iter()
            .map(|one| one.as_ref().map(|one| one.status))
            .collect();
        assert_eq!(statuses, [Some(201), Some(204), None]);
        assert_eq!(replies[0].as_ref().unwrap().body, br#"{"a":1.50}"#);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..ANSWER.len(), other: Vec<u8>) {
            let bytes = [&ANSWER[..at], &other, &ANSWER[at..]].concat();
            let _ = read_multipart("multipart/mixed;boundary=a", &bytes);
            let _ = read_multipart("multipart/mixed;boundary=a", &ANSWER[..at]);
        }
    }
}

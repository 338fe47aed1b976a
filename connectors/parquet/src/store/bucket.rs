//! A bucket of an S3-compatible store, by its REST interface.
//!
//! Two creates of one object are told apart by `If-None-Match: *`; a store without it cannot hold a lake.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{
    Answer, Auth, Budget, Client, HttpError, Method, Settings, Timeouts, Url,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;

use super::sigv4::Signer;
use super::xml::{element, elements};
use super::{Entry, LISTED_MAX};
use crate::config::Config;

/// What signatures leave as it is; slashes part the segments of a key.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The same in a query, where slashes are encoded.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// From how many bytes on an object is sent in parts, and how many each has.
const PART: usize = if cfg!(test) { 5 } else { 16 } * 1024 * 1024;
/// Most bytes of one answer: a part of a file, or a list of files.
const ANSWER_MAX: usize = 1 << 30;
/// How often a create is repeated while another one of the same object is under way.
const CREATES: usize = 5;

/// A bucket and the prefix of a lake in it.
#[derive(Debug)]
pub(crate) struct Bucket {
    client: Client,
    /// What paths begin with: the bucket where it stands in the path, and the prefix, encoded.
    base: String,
    /// What keys begin with, with a slash at its end, or nothing.
    prefix: String,
    /// The path of the bucket itself.
    root: String,
    name: String,
}

impl Bucket {
    pub(super) fn open(config: &Config, cx: &OpenContext, rest: &str) -> Result<Bucket> {
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Error::config(format!("`root` names no bucket: `{name}`"))
                .help("say `s3://bucket/prefix`"));
        }
        let prefix = prefix.trim_matches('/');
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        if !prefix.is_empty() && prefix.split('/').any(odd) {
            return Err(
                Error::config("the prefix in `root` has an empty segment, `.` or `..`")
                    .help("say `s3://bucket/some/prefix`"),
            );
        }
        let (Some(access_key), Some(secret_key)) = (&config.access_key, &config.secret_key) else {
            return Err(Error::config(
                "`root` is a bucket, and `access_key` or `secret_key` is missing",
            )
            .help("give both, the secret as ${NAME} from the environment"));
        };
        let in_path = config
            .path_style
            .unwrap_or(config.endpoint.is_some() || name.contains('.'));
        let auth = Auth::Custom(Arc::new(Signer {
            region: config.region.clone(),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            session_token: config.session_token.clone(),
        }));
        let client = Client::new(Settings {
            system: cx.system.clone(),
            base: endpoint(config, (!in_path).then_some(name))?,
            auth,
            budget: Budget {
                concurrent: config.connections,
                ..Budget::default()
            },
            timeouts: Timeouts {
                total: Duration::from_secs(300),
                ..Timeouts::default()
            },
            body_max: ANSWER_MAX,
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            ..Settings::default()
        })?;
        let root = if in_path { name } else { "" };
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        let slash = if root.is_empty() { "" } else { "/" };
        Ok(Bucket {
            client,
            base: format!("{root}{slash}{}", utf8_percent_encode(&prefix, KEY)),
            prefix,
            root: root.to_owned(),
            name: name.to_owned(),
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let sent = self.client.get(self.at(path)).header("accept", "*/*");
        self.found(sent.accept_status(&[404]).send().await)
    }

    pub(super) async fn range(&self, path: &str, start: u64, length: u64) -> Result<Option<Bytes>> {
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        let range = format!("bytes={start}-{}", start.saturating_add(length) - 1);
        let sent = self
            .client
            .get(self.at(path))
            .header("accept", "*/*")
            .header("range", range);
        let answer = sent.accept_status(&[404]).send().await;
        let is_whole = matches!(&answer, Ok(answer) if answer.status == 200);
        let Some(body) = self.found(answer)? else {
            return Ok(None);
        };
        // A store that knows no ranges answers everything.
        let from = usize::try_from(start)
            .ok()
            .filter(|from| is_whole && *from <= body.len());
        Ok(Some(match from {
            Some(from) => body.slice(from..body.len().min(from.saturating_add(length as usize))),
            None => body,
        }))
    }

    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        if bytes.len() > PART {
            return self.put_parts(path, &bytes).await;
        }
        let sent = self
            .client
            .put(self.at(path))
            .body(bytes, "application/octet-stream");
        sent.send()
            .await
            .map(|_| ())
            .map_err(|error| self.explained(error))
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool> {
        for _ in 0..CREATES {
            let sent = self
                .client
                .put(self.at(path))
                .header("if-none-match", "*")
                .body(bytes.clone(), "application/json")
                .accept_status(&[409, 412]);
            match sent.send().await {
                Ok(answer) if answer.status == 412 => return Ok(false),
                // Another one is under way: which of them comes first is not known yet.
                Ok(answer) if answer.status == 409 => {}
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == Kind::Unsupported => {
                    return Err(Error::config(format!("the store of bucket `{}` knows no conditional writes", self.name))
                        .because(error)
                        .help("without `If-None-Match` two writers could commit at once; use a store that knows it (Amazon S3, MinIO, R2), or a folder"));
                }
                Err(error) => return Err(self.explained(error)),
            }
        }
        Err(Error::transient(format!(
            "`{path}` is being created by several writers at once"
        )))
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let sent = self.client.delete(self.at(path)).accept_status(&[404]);
        sent.send()
            .await
            .map(|_| ())
            .map_err(|error| self.explained(error))
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let prefix = match folder {
            "" => self.prefix.clone(),
            folder => format!("{}{}/", self.prefix, folder.trim_end_matches('/')),
        };
        let mut entries = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = format!("list-type=2&prefix={}", utf8_percent_encode(&prefix, QUERY));
            if let Some(token) = &token {
                query = format!(
                    "continuation-token={}&{query}",
                    utf8_percent_encode(token, QUERY)
                );
            }
            let answer = self
                .client
                .get(format!("{}?{query}", self.root))
                .header("accept", "*/*");
            let answer = answer.send().await.map_err(|error| self.explained(error))?;
            let text = std::str::from_utf8(&answer.body).unwrap_or_default();
            if elements(text, "Name").is_empty() {
                return Err(Error::unexpected(format!(
                    "the store of bucket `{}` answers no listing",
                    self.name
                ))
                .help(
                    "check `endpoint`: something else than an S3-compatible store may answer there",
                ));
            }
            for one in elements(text, "Contents") {
                let key = element(one, "Key").unwrap_or_default();
                let modified = element(one, "LastModified").and_then(|text| text.parse().ok());
                if let (Some(path), Some(modified)) = (key.strip_prefix(&self.prefix), modified) {
                    let path = path.to_owned();
                    entries.push(Entry { path, modified });
                }
            }
            let next = element(text, "NextContinuationToken").filter(|next| !next.is_empty());
            let is_last = element(text, "IsTruncated").as_deref() != Some("true");
            if is_last || next.is_none() || next == token || entries.len() > LISTED_MAX {
                return Ok(entries);
            }
            token = next;
        }
    }

    async fn put_parts(&self, path: &str, bytes: &Bytes) -> Result<()> {
        let key = self.at(path);
        let begun = self.client.post(format!("{key}?uploads="));
        let begun = begun
            .header("accept", "*/*")
            .safe_to_repeat(true)
            .send()
            .await;
        let begun = begun.map_err(|error| self.explained(error))?;
        let id = text(&begun).and_then(|text| element(text, "UploadId"));
        let id = id.ok_or_else(|| Error::unexpected("the store began no upload"))?;
        let id = utf8_percent_encode(&id, QUERY).to_string();
        let sent = self.send_parts(&key, &id, bytes).await;
        if sent.is_err() {
            // Parts that nobody completes are paid for; a rule of the bucket removes what this does not.
            let aborted = self.client.delete(format!("{key}?uploadId={id}"));
            let _ = aborted.accept_status(&[404]).send().await;
        }
        sent
    }

    async fn send_parts(&self, key: &str, id: &str, bytes: &Bytes) -> Result<()> {
        let mut list = String::from(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
        );
        for (at, from) in (0..bytes.len()).step_by(PART).enumerate() {
            let part = bytes.slice(from..bytes.len().min(from + PART));
            let number = at + 1;
            let sent = self
                .client
                .put(format!("{key}?partNumber={number}&uploadId={id}"))
                .body(part, "application/octet-stream");
            let answer = sent.send().await.map_err(|error| self.explained(error))?;
            let tag = answer.header("etag").unwrap_or_default();
            if tag.is_empty() || tag.contains(['<', '&']) {
                return Err(Error::unexpected("the store gave a part no tag"));
            }
            list.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        list.push_str("</CompleteMultipartUpload>");
        let done = self
            .client
            .post(format!("{key}?uploadId={id}"))
            .header("accept", "*/*")
            .body(list, "application/xml")
            .safe_to_repeat(true)
            .accept_status(&[404]);
        let done = done.send().await.map_err(|error| self.explained(error))?;
        // A completion may fail after its status was sent, and one whose answer was lost finds no upload when it is repeated.
        if text(&done).is_none_or(|text| elements(text, "ETag").is_empty()) {
            let there = self
                .client
                .request(Method::HEAD, key.to_owned())
                .send()
                .await;
            let length = there
                .ok()
                .and_then(|there| there.header("content-length")?.parse::<usize>().ok());
            if length != Some(bytes.len()) {
                return Err(Error::transient("the store did not complete an upload"));
            }
        }
        Ok(())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{}", self.base, utf8_percent_encode(path, KEY))
    }

    /// The body, or none where there is no such object; a bucket that is not there is an error.
    fn found(&self, answer: Result<Answer>) -> Result<Option<Bytes>> {
        let answer = answer.map_err(|error| self.explained(error))?;
        if answer.status != 404 {
            return Ok(Some(answer.body));
        }
        match text(&answer)
            .and_then(|text| element(text, "Code"))
            .as_deref()
        {
            Some("NoSuchKey") | None => Ok(None),
            Some(code) => {
                let code: String = code.chars().take(60).collect();
                Err(
                    Error::config(format!("the store says `{code}` of bucket `{}`", self.name))
                        .help("make the bucket, or check `root`, `endpoint` and `region`"),
                )
            }
        }
    }

    /// The error with what the store calls it, which says more than a status.
    fn explained(&self, error: Error) -> Error {
        let code = HttpError::of(&error).and_then(|answer| {
            let text = std::str::from_utf8(&answer.body).ok()?;
            element(text, "Code")
        });
        let Some(code) = code else {
            return error;
        };
        let code: String = code
            .chars()
            .take(60)
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let help = match code.as_str() {
            "NoSuchBucket" => "make the bucket, or check `root`",
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" => {
                "check `access_key`, `secret_key`, `session_token` and `region`"
            }
            "AccessDenied" => {
                "let the key get, put, delete and list objects under the prefix (s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload)"
            }
            "RequestTimeTooSkewed" => "set this machine's clock",
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => "set `region` to the bucket's",
            "SlowDown" => "the store asks for fewer requests; it is tried again",
            _ => "see what the store's documentation says of this code",
        };
        let kind = match code.as_str() {
            "SlowDown" | "RequestLimitExceeded" => Kind::Throttled,
            "ExpiredToken" | "InvalidToken" => Kind::Unauthorized,
            "NoSuchBucket" => Kind::Config,
            _ => error.kind(),
        };
        Error::new(
            kind,
            format!("the store says `{code}` of bucket `{}`", self.name),
        )
        .because(error)
        .help(help)
    }
}

fn text(answer: &Answer) -> Option<&str> {
    std::str::from_utf8(&answer.body).ok()
}

/// Where the store is; with the bucket in the host unless it stands in the path.
fn endpoint(config: &Config, bucket: Option<&str>) -> Result<Url> {
    let text = match &config.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => format!("https://s3.{}.amazonaws.com", config.region),
    };
    let wrong = |why: &str| {
        Error::config(format!("`endpoint` {why}"))
            .help("give an address such as https://s3.example.com")
    };
    let mut url = Url::parse(&text).map_err(|error| wrong("is no address").because(error))?;
    let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
    if let Some(bucket) = bucket {
        let host = format!("{bucket}.{host}");
        url.set_host(Some(&host)).map_err(|error| {
            wrong("takes no bucket in its host; say `path_style = true`").because(error)
        })?;
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_files_go_in_parts_and_come_back_whole() {
        let Some(server) = lockstep_servers::s3::Server::start() else {
            return;
        };
        server.make_bucket("shop").unwrap();
        let text = format!(
            r#"{{"root": "s3://shop/x", "endpoint": "{}", "access_key": "a", "secret_key": "s"}}"#,
            server.url()
        );
        let bucket = open(&text).unwrap();
        let bytes: Vec<u8> = (0..PART * 2 + 7).map(|at| (at % 251) as u8).collect();
        let bytes = Bytes::from(bytes);
        bucket.put("t/large file", bytes.clone()).await.unwrap();
        assert_eq!(
            bucket.get("t/large file").await.unwrap(),
            Some(bytes.clone())
        );
        let part = bucket
            .range("t/large file", PART as u64 - 3, 10)
            .await
            .unwrap();
        assert_eq!(part, Some(bytes.slice(PART - 3..PART + 7)));
        assert_eq!(bucket.range("t/none", 0, 10).await.unwrap(), None);
        assert!(
            bucket
                .create("t/one", Bytes::from_static(b"1"))
                .await
                .unwrap()
        );
        assert!(
            !bucket
                .create("t/one", Bytes::from_static(b"2"))
                .await
                .unwrap()
        );
        let paths: Vec<String> = bucket
            .list("t")
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.path)
            .collect();
        assert_eq!(paths, ["t/large file", "t/one"]);
        bucket.delete("t/one").await.unwrap();
        assert_eq!(bucket.get("t/one").await.unwrap(), None);
    }

    fn open(text: &str) -> Result<Bucket> {
        let config: Config = serde_json::from_str(text).unwrap();
        let cx = OpenContext {
            system: "lake".to_owned(),
            folder: "/".into(),
            tables: Vec::new(),
            reads: Default::default(),
        };
        let rest = config.root.strip_prefix("s3://").unwrap().to_owned();
        Bucket::open(&config, &cx, &rest)
    }

    #[test]
    fn buckets_stand_in_the_host_or_in_the_path() {
        let keys = r#""access_key": "a", "secret_key": "s""#;
        for (text, base, path) in [
            (
                format!(r#"{{"root": "s3://shop/some data", {keys}}}"#),
                "https://shop.s3.us-east-1.amazonaws.com/",
                "some%20data/t%2541/1.parquet",
            ),
            (
                format!(r#"{{"root": "s3://my.shop", "region": "eu-west-1", {keys}}}"#),
                "https://s3.eu-west-1.amazonaws.com/",
                "my.shop/t%2541/1.parquet",
            ),
            (
                format!(r#"{{"root": "s3://shop/", "endpoint": "http://127.0.0.1:9", {keys}}}"#),
                "http://127.0.0.1:9/",
                "shop/t%2541/1.parquet",
            ),
        ] {
            let bucket = open(&text).unwrap();
            assert_eq!(bucket.client.base().as_str(), base);
            assert_eq!(bucket.at("t%41/1.parquet"), path);
        }
        let error = open(r#"{"root": "s3://shop"}"#).unwrap_err();
        assert!(error.to_string().contains("access_key"), "{error}");
        let error = open(&format!(r#"{{"root": "s3://shop/../x", {keys}}}"#)).unwrap_err();
        assert!(error.to_string().contains("`..`"), "{error}");
    }
}

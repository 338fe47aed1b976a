//! What a system answered, and reading it without repeating what is in it.

use bytes::Bytes;
use lockstep_core::{Error, Kind, Result};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use url::Url;

use crate::json::Json;

/// Most characters of a page's text that a message quotes.
const WORDS_MAX: usize = 80;

/// An answer that was read whole.
pub struct Answer {
    /// The status: 2xx, or one that was accepted.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The address that answered, after redirects.
    pub url: Url,
    pub(crate) what: String,
    pub(crate) system: String,
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// Numbers become what `T` makes of them: for exact decimals take [`Answer::tree`].
    ///
    /// # Errors
    /// [`Kind::Transient`] for JSON that ends early, [`Kind::Unexpected`] for anything else that cannot be read; no message quotes values.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Only the place: serde's message quotes values.
            let place = format!("line {} column {}", error.line(), error.column());
            if error.is_data() {
                return self.unreadable(Kind::Unexpected, &format!("has another shape at {place}"));
            }
            self.no_json(error.is_eof(), &place)
        })
    }

    /// Reads the body as JSON whose numbers keep every digit.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub fn tree(&self) -> Result<Json> {
        Json::parse(&self.body)
            .map_err(|error| self.no_json(error.is_early_end(), &error.to_string()))
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole address of a link in the answer, relative or not; to be given to [`Client::request`](crate::Client::request).
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what is no address.
    pub fn link(&self, link: &str) -> Result<String> {
        let joined = self.url.join(link).map_err(|error| {
            Error::invalid(format!(
                "a link in the answer of system `{}` to `{}` cannot be read",
                self.system, self.what
            ))
            .because(error)
        })?;
        Ok(joined.into())
    }

    fn no_json(&self, early: bool, place: &str) -> Error {
        let content_type = self.header("content-type").unwrap_or("no content type");
        let content_type: String = content_type.chars().take(60).collect();
        let start = self.body.iter().find(|byte| !byte.is_ascii_whitespace());
        if self.body.is_empty() {
            return self.unreadable(Kind::Unexpected, "is empty");
        }
        if start == Some(&b'<') {
            let words = words(&self.body);
            return self
                .unreadable(
                    Kind::Unexpected,
                    &format!("is {content_type} and no JSON: \"{words}\""),
                )
                .help("a login page or a gateway may stand before the system: check the address and the credentials");
        }
        if early {
            let bytes = self.body.len();
            return self.unreadable(
                Kind::Transient,
                &format!("ends early, after {bytes} bytes ({content_type})"),
            );
        }
        self.unreadable(
            Kind::Unexpected,
            &format!("is no JSON at {place} ({content_type})"),
        )
    }

    fn unreadable(&self, kind: Kind, why: &str) -> Error {
        Error::new(
            kind,
            format!(
                "the answer of system `{}` to `{}` {why}",
                self.system, self.what
            ),
        )
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answer { status, body, .. } = self;
        write!(f, "Answer({status} to {}, {} bytes)", self.what, body.len())
    }
}

/// The first words of a page, without its tags and styles.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let title = text.split_once("<title>").map_or(&*text, |(_, rest)| {
        rest.split("</title>").next().unwrap_or(rest)
    });
    let mut plain = String::new();
    let mut is_inside = false;
    for c in title.chars() {
        match c {
            '<' => is_inside = true,
            '>' if is_inside => {
                is_inside = false;
                plain.push(' ');
            }
            c if !is_inside => plain.push(if c.is_control() { ' ' } else { c }),
            _ => {}
        }
    }
    let joined = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(WORDS_MAX).collect()
}

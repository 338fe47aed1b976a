//! Signatures of requests, version 4, as Amazon publishes them. Pure but for the clock.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lockstep_core::Result;
use lockstep_core::connector::{Boxed, Secret};
use lockstep_http_client::sign::{Hash, hex, mac};
use lockstep_http_client::{Authorize, Headers, Outgoing, Url};
use sha2::{Digest as _, Sha256};

/// Signs requests to S3.
pub(super) struct Signer {
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: Secret<String>,
    pub(super) session_token: Option<Secret<String>>,
}

impl Authorize for Signer {
    fn headers<'a>(&'a self, request: &'a Outgoing<'a>) -> Boxed<'a, Result<Headers>> {
        Box::pin(async move { Ok(self.sign(request, Timestamp::now(), &[])) })
    }
}

impl Signer {
    /// The headers that authorize a request at a moment; `others` are headers that are signed besides.
    fn sign(&self, request: &Outgoing<'_>, now: Timestamp, others: &[(&str, &str)]) -> Headers {
        let now = now.to_zoned(TimeZone::UTC);
        let (date, moment) = (
            now.strftime("%Y%m%d").to_string(),
            now.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        let content = hex(&Sha256::digest(request.body));
        let mut signed: Vec<(&str, String)> = vec![
            ("host", host(request.url)),
            ("x-amz-content-sha256", content.clone()),
            ("x-amz-date", moment.clone()),
        ];
        if let Some(token) = &self.session_token {
            signed.push(("x-amz-security-token", token.expose().clone()));
        }
        signed.extend(
            others
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        signed.sort_by(|a, b| a.0.cmp(b.0));
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = signed
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{content}",
            request.method,
            request.url.path(),
            query(request.url),
        );
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let hashed = hex(&Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}");
        let signature = hex(&mac(Hash::Sha256, &self.key(&date), &[text.as_bytes()]));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key
        );
        let mut headers = vec![("authorization".to_owned(), Secret::new(authorization))];
        for (name, value) in signed {
            if name.starts_with("x-amz-") && !others.iter().any(|(other, _)| *other == name) {
                headers.push((name.to_owned(), Secret::new(value)));
            }
        }
        headers
    }

    fn key(&self, date: &str) -> Vec<u8> {
        let secret = format!("AWS4{}", self.secret_key.expose());
        let parts = [date, self.region.as_str(), "s3", "aws4_request"];
        parts.iter().fold(secret.into_bytes(), |key, part| {
            mac(Hash::Sha256, &key, &[part.as_bytes()])
        })
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The query with its parameters in their order; they are encoded already.
fn query(url: &Url) -> String {
    let mut pairs: Vec<(&str, &str)> = (url.query().unwrap_or_default().split('&'))
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_http_client::Method;

    /// The examples of the vendor's documentation, "Signature calculations for the Authorization header".
    #[test]
    fn signatures_are_those_of_the_vendors_examples() {
        let signer = Signer {
            region: "us-east-1".to_owned(),
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
        };
        let at = "2013-05-24T00:00:00Z".parse().unwrap();
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(&str, &str, &str, Pairs, &str); 4] = [
            (
                "GET",
                "/test.txt",
                "",
                &[("range", "bytes=0-9")],
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test%24file.text",
                "Welcome to Amazon S3.",
                &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/?lifecycle",
                "",
                &[],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/?prefix=J&max-keys=2",
                "",
                &[],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ];
        for (method, path, body, others, expected) in cases {
            let url = Url::parse(&format!("https://examplebucket.s3.amazonaws.com{path}")).unwrap();
            let method: Method = method.parse().unwrap();
            let request = Outgoing {
                method: &method,
                url: &url,
                body: body.as_bytes(),
            };
            let headers = signer.sign(&request, at, others);
            let authorization = headers[0].1.expose();
            assert!(authorization.ends_with(expected), "{path}: {authorization}");
            assert!(!format!("{headers:?}").contains("Signature"));
        }
    }

    #[test]
    fn a_session_token_is_signed_and_sent() {
        let signer = Signer {
            region: "eu-central-1".to_owned(),
            access_key: "A".to_owned(),
            secret_key: Secret::new("S".to_owned()),
            session_token: Some(Secret::new("T".to_owned())),
        };
        let url = Url::parse("http://127.0.0.1:5000/b/k").unwrap();
        let request = Outgoing {
            method: &Method::GET,
            url: &url,
            body: b"",
        };
        let headers = signer.sign(&request, Timestamp::UNIX_EPOCH, &[]);
        assert!(
            headers[0]
                .1
                .expose()
                .contains("x-amz-date;x-amz-security-token,")
        );
        assert!(
            headers
                .iter()
                .any(|(name, value)| name == "x-amz-security-token" && value.expose() == "T")
        );
    }
}

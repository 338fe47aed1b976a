//! Authorization as a description wants it, with the secrets of the configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use lockstep_core::connector::{Boxed, Secret};
use lockstep_core::{Error, Result};
use lockstep_http_client as web;
use lockstep_http_client::{Authorize, Grant, Headers, OAuth2, Outgoing, Secretly, Url, sign};

use crate::describe::{Auth, Clock, Encoding, Hash};
use crate::template;

/// The secrets of a configuration, by name.
pub(crate) type Secrets = BTreeMap<String, Secret<String>>;

/// The secret of a name.
pub(crate) fn secret(secrets: &Secrets, name: &str) -> Result<Secret<String>> {
    secrets.get(name).cloned().ok_or_else(|| {
        Error::config(format!("the secret `{name}` is not given"))
            .help(format!("add `secrets.{name}` to the system's settings"))
    })
}

/// The secrets that an authorization names.
pub(crate) fn names(auth: &Auth) -> Vec<&str> {
    match auth {
        Auth::None => Vec::new(),
        Auth::Basic { secret, .. } => secret.iter().map(String::as_str).collect(),
        Auth::Bearer { secret }
        | Auth::Header { secret, .. }
        | Auth::Query { secret, .. }
        | Auth::Hmac { secret, .. } => vec![secret],
        Auth::Oauth2 {
            secret,
            refresh_token,
            ..
        } => secret
            .iter()
            .chain(refresh_token)
            .map(String::as_str)
            .collect(),
    }
}

/// What the client authorizes its requests with.
pub(crate) fn auth(described: &Auth, secrets: &Secrets, base: &Url) -> Result<web::Auth> {
    Ok(match described {
        Auth::None => web::Auth::None,
        Auth::Bearer { secret: name } => web::Auth::Bearer(secret(secrets, name)?),
        Auth::Basic { user, secret: name } => web::Auth::Basic {
            user: user.clone(),
            password: match name {
                Some(name) => secret(secrets, name)?,
                None => Secret::new(String::new()),
            },
        },
        Auth::Header {
            name,
            secret: of,
            prefix,
        } => web::Auth::Header {
            name: name.clone(),
            value: Secret::new(format!("{prefix}{}", secret(secrets, of)?.expose())),
        },
        Auth::Query { name, secret: of } => web::Auth::Query {
            name: name.clone(),
            value: secret(secrets, of)?,
        },
        Auth::Oauth2 { .. } => web::Auth::OAuth2(oauth(described, secrets, base)?),
        Auth::Hmac { secret: of, .. } => web::Auth::Custom(std::sync::Arc::new(Signer {
            key: secret(secrets, of)?,
            described: described.clone(),
        })),
    })
}

fn oauth(described: &Auth, secrets: &Secrets, base: &Url) -> Result<OAuth2> {
    let Auth::Oauth2 {
        token_url,
        client_id,
        secret: name,
        refresh_token,
        scopes,
        extra,
        basic,
    } = described
    else {
        return Err(Error::config("no OAuth 2.0 is described"));
    };
    let token_url = if token_url.contains("://") {
        token_url.clone()
    } else {
        let base = base.as_str().trim_end_matches('/');
        format!("{base}/{}", token_url.trim_start_matches('/'))
    };
    let of = |name: &String| secret(secrets, name);
    let shown = name.as_ref().map(of).transpose()?;
    let grant = match refresh_token {
        Some(token) => Grant::RefreshToken {
            secret: shown,
            refresh_token: of(token)?,
        },
        None => Grant::ClientCredentials {
            secret: shown.ok_or_else(|| {
                Error::config("a client without a secret gets no token")
                    .help("name its `secret` or a `refresh_token` in `auth`")
            })?,
        },
    };
    Ok(OAuth2 {
        token_url: Url::parse(&token_url)
            .map_err(|error| Error::config("`auth.token_url` is no address").because(error))?,
        client_id: client_id.clone(),
        grant,
        scopes: scopes.clone(),
        extra: extra.clone().into_iter().collect(),
        secret_in: if *basic {
            Secretly::Basic
        } else {
            Secretly::Body
        },
    })
}

/// Signs each request.
struct Signer {
    key: Secret<String>,
    described: Auth,
}

impl Signer {
    fn sign(&self, request: &Outgoing<'_>, now: Timestamp) -> Headers {
        let Auth::Hmac {
            header,
            prefix,
            signed,
            hash,
            encoding,
            timestamp_header,
            timestamp,
            ..
        } = &self.described
        else {
            return Headers::new();
        };
        let at = clock(now, *timestamp);
        let path = match request.url.query() {
            Some(query) => format!("{}?{query}", request.url.path()),
            None => request.url.path().to_owned(),
        };
        let parts = parts(signed, |name| match name {
            "method" => Some(request.method.as_str().as_bytes().to_vec()),
            "path" => Some(path.clone().into_bytes()),
            "timestamp" => Some(at.clone().into_bytes()),
            "body" => Some(request.body.to_vec()),
            _ => None,
        });
        let mac = sign::mac(algorithm(*hash), self.key.expose().as_bytes(), &[&parts]);
        let prefix = template::fill(prefix, |name| (name == "timestamp").then(|| at.clone()));
        let signature = format!("{prefix}{}", encoded(&mac, *encoding));
        let mut headers = vec![(header.clone(), Secret::new(signature))];
        headers.extend(timestamp_header.clone().map(|name| (name, Secret::new(at))));
        headers
    }
}

impl Authorize for Signer {
    fn headers<'a>(&'a self, request: &'a Outgoing<'a>) -> Boxed<'a, Result<Headers>> {
        Box::pin(async move { Ok(self.sign(request, Timestamp::now())) })
    }
}

/// A template whose values are bytes.
pub(crate) fn parts(text: &str, value: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        bytes.extend_from_slice(before.as_bytes());
        let filled = after
            .split_once('}')
            .and_then(|(name, behind)| Some((value(name)?, behind)));
        match filled {
            Some((value, behind)) => {
                bytes.extend_from_slice(&value);
                rest = behind;
            }
            None => {
                bytes.push(b'{');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

pub(crate) fn algorithm(hash: Hash) -> sign::Hash {
    match hash {
        Hash::Sha1 => sign::Hash::Sha1,
        Hash::Sha256 => sign::Hash::Sha256,
        Hash::Sha512 => sign::Hash::Sha512,
    }
}

fn encoded(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => sign::hex(bytes),
        Encoding::Base64 => BASE64_STANDARD.encode(bytes),
    }
}

/// The bytes that a signature stands for.
pub(crate) fn decoded(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => sign::unhex(text),
        Encoding::Base64 => BASE64_STANDARD.decode(text).ok(),
    }
}

fn clock(at: Timestamp, clock: Clock) -> String {
    match clock {
        Clock::Seconds => at.as_second().to_string(),
        Clock::Millis => at.as_millisecond().to_string(),
    }
}

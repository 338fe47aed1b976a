//! Tokens of OAuth 2.0: fetched when they are needed, kept until shortly before they end, renewed by one request for everybody.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use lockstep_core::connector::Secret;
use lockstep_core::{Error, Kind, Result};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::client::read_body;
use crate::failure::transport;

/// A token is renewed this long before it ends, so that it does not end on its way.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token without a stated end is kept; a 401 ends it earlier.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// How long an assertion holds: long enough for clocks that differ a little, short enough for every vendor.
const ASSERTION_LIFE_SECS: i64 = 180;
/// Most tries to fetch a token.
const TRIES: u32 = 3;
/// Most bytes of a token's answer.
const BODY_MAX: usize = 1024 * 1024;

/// Where and how a token is fetched.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Url,
    /// The client's id.
    pub client_id: String,
    /// What is given for the token.
    pub grant: Grant,
    /// The scopes that are asked for; none where empty.
    pub scopes: Vec<String>,
    /// Further parameters of the token request, such as `audience` or `resource`.
    pub extra: Vec<(String, String)>,
    /// How the client shows who it is.
    pub secret_in: Secretly,
}

/// What is given for a token.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The client's own credentials.
    ClientCredentials {
        /// The client's secret.
        secret: Secret<String>,
    },
    /// A refresh token. A new one that comes with an answer is used from then on, until the process ends.
    RefreshToken {
        /// The client's secret, where it has one.
        secret: Option<Secret<String>>,
        /// The refresh token.
        refresh_token: Secret<String>,
    },
    /// An assertion that the client signs itself (RFC 7523, RS256).
    JwtBearer {
        /// For whom the token is.
        subject: String,
        /// Who checks the assertion, such as `https://login.salesforce.com`.
        audience: String,
        /// The RSA key in PEM, PKCS #8 or PKCS #1.
        key_pem: Secret<String>,
        /// The key's id, where the vendor wants it.
        key_id: Option<String>,
    },
}

/// Where the client's id and secret stand in a token request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secretly {
    /// In the body.
    #[default]
    Body,
    /// As basic authorization.
    Basic,
}

/// Keeps the token of one client.
pub(crate) struct Tokens {
    settings: OAuth2,
    key: Option<RsaKeyPair>,
    http: reqwest::Client,
    system: String,
    /// The member of the token's answer that says where the API is.
    base_in: Option<String>,
    state: Mutex<State>,
}

/// A token that holds.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: Secret<String>,
    /// Which one it is, so that two requests that fail together renew it once.
    pub(crate) number: u64,
    /// Where the API is, where the token's answer said so.
    pub(crate) base: Option<Url>,
}

#[derive(Default)]
struct State {
    token: Option<(Token, Instant)>,
    number: u64,
    /// The newest refresh token, where the vendor changes it.
    refresh: Option<Secret<String>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
}

impl Tokens {
    pub(crate) fn new(
        settings: OAuth2,
        http: reqwest::Client,
        system: String,
        base_in: Option<String>,
    ) -> Result<Self> {
        let key = match &settings.grant {
            Grant::JwtBearer { key_pem, .. } => Some(rsa_key(key_pem.expose())?),
            _ => None,
        };
        Ok(Tokens {
            settings,
            key,
            http,
            system,
            base_in,
            state: Mutex::default(),
        })
    }

    /// A token that holds.
    pub(crate) async fn current(&self) -> Result<Token> {
        let mut state = self.state.lock().await;
        if let Some((token, until)) = &state.token
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let granted = self.fetch(state.refresh.as_ref()).await?;
        let base = self.base(&granted)?;
        let life = match &granted.expires_in {
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            Some(number) => number.as_u64(),
            None => None,
        };
        let life = life.map_or(LIFE, Duration::from_secs);
        // A token that lives shorter than the margin is good for the request it was fetched for.
        let until = Instant::now() + life.saturating_sub(MARGIN).max(life / 2);
        if let Some(refresh) = granted.refresh_token {
            state.refresh = Some(Secret::new(refresh));
        }
        state.number += 1;
        let token = Token {
            text: Secret::new(granted.access_token),
            number: state.number,
            base,
        };
        state.token = Some((token.clone(), until));
        Ok(token)
    }

    /// Where the API is by the token's answer: a host that is as well protected as the one that gave the token.
    fn base(&self, granted: &Granted) -> Result<Option<Url>> {
        let Some(member) = &self.base_in else {
            return Ok(None);
        };
        let Some(text) = granted.more.get(member) else {
            return Ok(None);
        };
        let base = text.as_str().and_then(|text| Url::parse(text).ok());
        let is_fine = |base: &Url| {
            let is_known = matches!(base.scheme(), "http" | "https") && base.host_str().is_some();
            let is_safe = base.scheme() == "https" || self.settings.token_url.scheme() == "http";
            is_known && is_safe && base.username().is_empty() && base.password().is_none()
        };
        base.filter(is_fine).map(Some).ok_or_else(|| {
            Error::unexpected(format!(
                "the token endpoint of system `{}` answered a `{member}` that is no safe address",
                self.system
            ))
            .help("check the token address")
        })
    }

    /// The system refused a token: it is not used again.
    pub(crate) async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.token = None;
        }
    }

    async fn fetch(&self, refresh: Option<&Secret<String>>) -> Result<Granted> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask(refresh).await {
                Err(error) if error.kind() == Kind::Transient && tries < TRIES => {
                    tracing::debug!(system = self.system, tries, "no token yet");
                    tokio::time::sleep(Duration::from_millis(200) * tries).await;
                }
                result => return result,
            }
        }
    }

    async fn ask(&self, refresh: Option<&Secret<String>>) -> Result<Granted> {
        let (form, basic) = self.form(refresh)?;
        let mut request = self
            .http
            .post(self.settings.token_url.clone())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(pair) = basic {
            request = request.header("authorization", format!("Basic {pair}"));
        }
        let sent = request.body(form).send().await;
        let mut response = sent.map_err(|error| transport(&self.system, "token", error).error)?;
        let status = response.status().as_u16();
        let body = read_body(&mut response, BODY_MAX, &self.system, "token")
            .await
            .map_err(|failure| failure.error)?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|_| {
                Error::unexpected(format!(
                    "the token endpoint of system `{}` answered something that is no token",
                    self.system
                ))
                .help("check the token address")
            });
        }
        Err(self.denied(status, &body))
    }

    /// The form of a token request, and the basic authorization beside it.
    fn form(&self, refresh: Option<&Secret<String>>) -> Result<(String, Option<String>)> {
        let settings = &self.settings;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let secret = self.grant(&mut form, refresh)?;
        if !settings.scopes.is_empty() {
            form.append_pair("scope", &settings.scopes.join(" "));
        }
        for (name, value) in &settings.extra {
            form.append_pair(name, value);
        }
        if let (Secretly::Basic, Some(secret)) = (settings.secret_in, &secret) {
            let pair = format!(
                "{}:{}",
                encoded(&settings.client_id),
                encoded(secret.expose())
            );
            return Ok((form.finish(), Some(BASE64_STANDARD.encode(pair))));
        }
        form.append_pair("client_id", &settings.client_id);
        if let Some(secret) = secret {
            form.append_pair("client_secret", secret.expose());
        }
        Ok((form.finish(), None))
    }

    /// Adds the grant's parameters; gives the secret that the client shows.
    fn grant(
        &self,
        form: &mut url::form_urlencoded::Serializer<'_, String>,
        refresh: Option<&Secret<String>>,
    ) -> Result<Option<Secret<String>>> {
        Ok(match &self.settings.grant {
            Grant::ClientCredentials { secret } => {
                form.append_pair("grant_type", "client_credentials");
                Some(secret.clone())
            }
            Grant::RefreshToken {
                secret,
                refresh_token,
            } => {
                let token = refresh.unwrap_or(refresh_token);
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("refresh_token", token.expose());
                secret.clone()
            }
            Grant::JwtBearer {
                subject,
                audience,
                key_id,
                ..
            } => {
                let assertion = self.assertion(subject, audience, key_id.as_deref())?;
                form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.append_pair("assertion", &assertion);
                None
            }
        })
    }

    fn assertion(&self, subject: &str, audience: &str, key_id: Option<&str>) -> Result<String> {
        let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let now = Timestamp::now().as_second();
        let claims = serde_json::json!({
            "iss": self.settings.client_id,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_LIFE_SECS,
        });
        let encode = |part: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let failed = || Error::config("the key cannot sign a token request");
        let key = self.key.as_ref().ok_or_else(failed)?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .map_err(|_| failed())?;
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }

    fn denied(&self, status: u16, body: &[u8]) -> Error {
        let system = &self.system;
        if status == 429 || status >= 500 {
            return Error::transient(format!(
                "the token endpoint of system `{system}` answered {status}"
            ));
        }
        // The error's code is one of a standard list; the description may quote what was sent.
        let code = serde_json::from_slice::<Denied>(body).map_or_else(
            |_| status.to_string(),
            |denied| denied.error.chars().take(60).collect(),
        );
        let help = match code.as_str() {
            "invalid_client" | "unauthorized_client" => "check the client's id and secret",
            "invalid_grant" => {
                "check the refresh token, or the subject, audience and key of the assertion"
            }
            "invalid_scope" => "ask for scopes that the client was given",
            _ => "check the token address, the client's id and its secret",
        };
        Error::new(
            Kind::Unauthorized,
            format!("system `{system}` gives no token: {code}"),
        )
        .help(help)
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn rsa_key(pem: &str) -> Result<RsaKeyPair> {
    let unusable = || {
        Error::config("the key for signing token requests cannot be used")
            .help("give an RSA key of 2048 to 4096 bits in PEM, without a password")
    };
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())? {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(unusable()),
    };
    key.map_err(|_| unusable())
}

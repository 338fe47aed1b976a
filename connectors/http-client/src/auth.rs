//! How requests are authorized. Credentials are of a type that cannot be printed.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lockstep_core::connector::{Boxed, Secret};
use lockstep_core::{Error, Result};
use reqwest::Method;
use url::Url;

use crate::oauth::{OAuth2, Tokens};

/// Headers whose values are credentials.
pub type Headers = Vec<(String, Secret<String>)>;

/// How requests are authorized.
#[derive(Clone, Default)]
#[expect(clippy::large_enum_variant, reason = "a client has one of them")]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret<String>),
    /// A user and a password.
    Basic {
        /// The user, or an API key where the vendor wants it there.
        user: String,
        /// The password; may be empty.
        password: Secret<String>,
    },
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret<String>,
    },
    /// A parameter of the query.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret<String>,
    },
    /// A token of OAuth 2.0, fetched and renewed by itself.
    OAuth2(OAuth2),
    /// Whatever the connector does: log in for a session, sign each request.
    Custom(Arc<dyn Authorize>),
}

/// Authorizes requests in a connector's own way.
pub trait Authorize: Send + Sync + 'static {
    /// The headers that a request needs; asked for before every try of it.
    ///
    /// It may ask the system itself, with a client that has [`Auth::None`].
    fn headers<'a>(&'a self, request: &'a Outgoing<'a>) -> Boxed<'a, Result<Headers>>;

    /// The system answered 401 to a request with these headers: whether to try it once more, with new ones.
    fn refused(&self) -> Boxed<'_, Result<bool>> {
        Box::pin(async { Ok(false) })
    }
}

/// A request as it is about to be sent.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// The whole address with its query.
    pub url: &'a Url,
    /// The body; empty where there is none.
    pub body: &'a [u8],
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Bearer(_) => "Bearer",
            Auth::Basic { .. } => "Basic",
            Auth::Header { .. } => "Header",
            Auth::Query { .. } => "Query",
            Auth::OAuth2(_) => "OAuth2",
            Auth::Custom(_) => "Custom",
        })
    }
}

/// What a client authorizes its requests with.
#[expect(clippy::large_enum_variant, reason = "a client has one of them")]
pub(crate) enum Keeper {
    Fixed(Headers),
    Query(String, Secret<String>),
    Tokens(Tokens),
    Custom(Arc<dyn Authorize>),
}

/// What one try of a request was authorized with.
#[derive(Default)]
pub(crate) struct Authorized {
    pub(crate) headers: Headers,
    /// Which token it was, so that two requests that fail together renew it once.
    pub(crate) token: u64,
    /// Where the API is, where the token's answer said so.
    pub(crate) base: Option<Url>,
}

impl Keeper {
    pub(crate) fn new(
        auth: Auth,
        http: &reqwest::Client,
        system: &str,
        base_in: Option<&str>,
    ) -> Result<Self> {
        Ok(match auth {
            Auth::None => Keeper::Fixed(Vec::new()),
            Auth::Bearer(token) => Keeper::Fixed(vec![bearer(token.expose())]),
            Auth::Basic { user, password } => {
                if user.contains(':') {
                    return Err(
                        Error::config("the user of a basic authorization holds a colon").help(
                            "everything before the first colon is the user, the rest the password",
                        ),
                    );
                }
                let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
                Keeper::Fixed(vec![(
                    "authorization".to_owned(),
                    Secret::new(format!("Basic {pair}")),
                )])
            }
            Auth::Header { name, value } => Keeper::Fixed(vec![(name, value)]),
            Auth::Query { name, value } => Keeper::Query(name, value),
            Auth::OAuth2(settings) => {
                let (system, base_in) = (system.to_owned(), base_in.map(str::to_owned));
                Keeper::Tokens(Tokens::new(settings, http.clone(), system, base_in)?)
            }
            Auth::Custom(custom) => Keeper::Custom(custom),
        })
    }

    /// What the next try of a request is authorized with.
    pub(crate) async fn authorize(&self, request: &Outgoing<'_>) -> Result<Authorized> {
        Ok(match self {
            Keeper::Fixed(headers) => Authorized {
                headers: headers.clone(),
                ..Authorized::default()
            },
            Keeper::Query(..) => Authorized::default(),
            Keeper::Tokens(tokens) => {
                let token = tokens.current().await?;
                Authorized {
                    headers: vec![bearer(token.text.expose())],
                    token: token.number,
                    base: token.base,
                }
            }
            Keeper::Custom(custom) => Authorized {
                headers: custom.headers(request).await?,
                ..Authorized::default()
            },
        })
    }

    /// The parameter that every query gets.
    pub(crate) fn query(&self) -> Option<(&str, &str)> {
        match self {
            Keeper::Query(name, value) => Some((name, value.expose())),
            _ => None,
        }
    }

    /// The system answered 401: whether to try once more.
    pub(crate) async fn refused(&self, token: u64) -> Result<bool> {
        match self {
            Keeper::Fixed(_) | Keeper::Query(..) => Ok(false),
            Keeper::Tokens(tokens) => {
                tokens.forget(token).await;
                Ok(true)
            }
            Keeper::Custom(custom) => custom.refused().await,
        }
    }
}

fn bearer(token: &str) -> (String, Secret<String>) {
    (
        "authorization".to_owned(),
        Secret::new(format!("Bearer {token}")),
    )
}

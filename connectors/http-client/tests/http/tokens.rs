//! Tokens that are fetched, expire in the middle of the work, and are renewed once for all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use lockstep_core::Kind;
use lockstep_core::connector::{Boxed, Secret};
use lockstep_http_client::{
    Auth, Authorize, Client, Grant, Headers, OAuth2, Outgoing, Secretly, Settings, Url,
};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs1KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::{serve, settings};

/// An API whose tokens hold for some requests only.
#[derive(Clone, Default)]
struct Api {
    granted: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    forms: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    basic: Arc<Mutex<Option<String>>>,
}

/// How many requests a token holds for.
const HOLDS: usize = 3;

impl Api {
    async fn start(&self) -> Url {
        let router = Router::new()
            .route("/token", post(token))
            .route("/x", any(resource))
            .with_state(self.clone());
        serve(router).await
    }
}

async fn token(
    State(api): State<Api>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> impl IntoResponse {
    let basic = headers
        .get("authorization")
        .map(|v| v.to_str().unwrap().to_owned());
    *api.basic.lock().unwrap() = basic;
    let wrong = form
        .get("client_secret")
        .is_some_and(|secret| secret == "wrong");
    api.forms.lock().unwrap().push(form);
    if wrong {
        let body = r#"{"error":"invalid_client","error_description":"wrong is wrong"}"#;
        return (StatusCode::UNAUTHORIZED, body.to_owned());
    }
    let number = api.granted.fetch_add(1, SeqCst) + 1;
    api.served.store(0, SeqCst);
    let body = format!(
        r#"{{"access_token":"t{number}","expires_in":"3600","refresh_token":"r{number}"}}"#
    );
    (StatusCode::OK, body)
}

async fn resource(State(api): State<Api>, headers: HeaderMap) -> impl IntoResponse {
    let expected = format!("Bearer t{}", api.granted.load(SeqCst));
    let is_known = headers
        .get("authorization")
        .is_some_and(|v| *v == *expected);
    if !is_known || api.served.fetch_add(1, SeqCst) >= HOLDS {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    "{}".into_response()
}

fn oauth(base: &Url, grant: Grant) -> Client {
    let auth = OAuth2 {
        token_url: base.join("token").unwrap(),
        client_id: "lockstep".to_owned(),
        grant,
        scopes: vec!["read".to_owned(), "write".to_owned()],
        extra: vec![("audience".to_owned(), "api".to_owned())],
        secret_in: Secretly::Body,
    };
    Client::new(Settings {
        auth: Auth::OAuth2(auth),
        ..settings(base.clone())
    })
    .unwrap()
}

fn credentials(secret: &str) -> Grant {
    Grant::ClientCredentials {
        secret: Secret::new(secret.to_owned()),
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_in_the_middle_of_the_work() {
    let api = Api::default();
    let base = api.start().await;
    let client = oauth(&base, credentials("hunter2"));
    for _ in 0..HOLDS + 2 {
        // Even what is not repeatable: a 401 means that nothing was done.
        client.post("x").send().await.unwrap();
    }
    assert_eq!(api.granted.load(SeqCst), 2);
    let form = api.forms.lock().unwrap()[0].clone();
    let expected = [
        ("audience", "api"),
        ("client_id", "lockstep"),
        ("client_secret", "hunter2"),
        ("grant_type", "client_credentials"),
        ("scope", "read write"),
    ];
    assert!(
        form.iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .eq(expected),
        "{form:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_told() {
    let api = Api::default();
    let base = api.start().await;
    let client = oauth(&base, credentials("hunter2"));
    // The server knows none of the tokens that it gives.
    let router = Router::new().route("/x", any(|| async { StatusCode::UNAUTHORIZED }));
    let client_of_other = Client::new(Settings {
        auth: Auth::OAuth2(OAuth2 {
            token_url: base.join("token").unwrap(),
            client_id: "lockstep".to_owned(),
            grant: credentials("hunter2"),
            scopes: Vec::new(),
            extra: Vec::new(),
            secret_in: Secretly::Body,
        }),
        ..settings(serve(router).await)
    })
    .unwrap();
    let error = client_of_other.get("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(api.granted.load(SeqCst), 2);
    client.get("x").send().await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_are_told_by_their_code_alone() {
    let api = Api::default();
    let base = api.start().await;
    let error = oauth(&base, credentials("wrong"))
        .get("x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(
        error
            .to_string()
            .ends_with("gives no token: invalid_client"),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("secret"));
}

#[tokio::test]
async fn a_refresh_token_that_changes_is_followed() {
    let api = Api::default();
    let base = api.start().await;
    let client = oauth(
        &base,
        Grant::RefreshToken {
            secret: None,
            refresh_token: Secret::new("r0".to_owned()),
        },
    );
    for _ in 0..=HOLDS {
        client.get("x").send().await.unwrap();
    }
    let forms = api.forms.lock().unwrap();
    let used: Vec<&str> = forms
        .iter()
        .map(|form| form["refresh_token"].as_str())
        .collect();
    assert_eq!(used, ["r0", "r1"]);
}

#[tokio::test]
async fn assertions_are_signed_with_the_key() {
    let pem = include_str!("signing-key-of-tests.pem");
    let api = Api::default();
    let base = api.start().await;
    let client = oauth(
        &base,
        Grant::JwtBearer {
            subject: "anna@example.com".to_owned(),
            audience: "https://login.example.com".to_owned(),
            key_pem: Secret::new(pem.to_owned()),
            key_id: Some("k1".to_owned()),
        },
    );
    client.get("x").send().await.unwrap();
    let assertion = api.forms.lock().unwrap()[0]["assertion"].clone();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = PrivatePkcs1KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let pair = RsaKeyPair::from_der(key.secret_pkcs1_der()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key())
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        read(head),
        serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
    );
    let claims = read(claims);
    assert_eq!(claims["iss"], "lockstep");
    assert_eq!(claims["sub"], "anna@example.com");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        180
    );

    let unusable = Client::new(Settings {
        auth: Auth::OAuth2(OAuth2 {
            token_url: base.clone(),
            client_id: String::new(),
            grant: Grant::JwtBearer {
                subject: String::new(),
                audience: String::new(),
                key_pem: Secret::new("hunter2".to_owned()),
                key_id: None,
            },
            scopes: Vec::new(),
            extra: Vec::new(),
            secret_in: Secretly::Body,
        }),
        ..settings(base)
    });
    assert_eq!(unusable.unwrap_err().kind(), Kind::Config);
}

#[tokio::test]
async fn requests_go_to_the_host_that_the_token_is_for() {
    let there = Api::default();
    there.granted.store(1, SeqCst);
    let instance = there.start().await;
    let told = Arc::new(Mutex::new(instance.to_string()));
    let answer = Arc::clone(&told);
    let granted = move || async move {
        let instance = answer.lock().unwrap().clone();
        serde_json::json!({"access_token": "t1", "instance_url": instance}).to_string()
    };
    let login = serve(Router::new().route("/token", post(granted))).await;
    let client = |base_in: Option<&str>| {
        Client::new(Settings {
            auth: Auth::OAuth2(OAuth2 {
                token_url: login.join("token").unwrap(),
                client_id: "lockstep".to_owned(),
                grant: credentials("s3cret"),
                scopes: Vec::new(),
                extra: Vec::new(),
                secret_in: Secretly::Body,
            }),
            base_in: base_in.map(str::to_owned),
            ..settings(login.clone())
        })
        .unwrap()
    };
    let answer = client(Some("instance_url"))
        .get("x")
        .query(&[("q", "a b/ü")])
        .send()
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.url.port(), instance.port());
    assert_eq!(answer.url.query(), Some("q=a+b%2F%C3%BC"));
    // Whoever does not ask for it stays where it is.
    let error = client(None).get("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    for odd in ["", "ftp://x/", "http://user:secret@x/"] {
        *told.lock().unwrap() = odd.to_owned();
        let error = client(Some("instance_url"))
            .get("x")
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unexpected, "{odd}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_client_may_show_itself_as_basic_authorization() {
    let api = Api::default();
    let base = api.start().await;
    let auth = OAuth2 {
        token_url: base.join("token").unwrap(),
        client_id: "lock:step".to_owned(),
        grant: credentials("s/e"),
        scopes: Vec::new(),
        extra: Vec::new(),
        secret_in: Secretly::Basic,
    };
    let client = Client::new(Settings {
        auth: Auth::OAuth2(auth),
        ..settings(base)
    })
    .unwrap();
    client.get("x").send().await.unwrap();
    let expected = format!("Basic {}", BASE64_STANDARD.encode("lock%3Astep:s%2Fe"));
    assert_eq!(api.basic.lock().unwrap().as_deref(), Some(&*expected));
    assert!(!api.forms.lock().unwrap()[0].contains_key("client_secret"));
}

/// A session that a login gives, and that ends.
struct Session {
    number: AtomicUsize,
}

impl Authorize for Session {
    fn headers<'a>(
        &'a self,
        request: &'a Outgoing<'a>,
    ) -> Boxed<'a, lockstep_core::Result<Headers>> {
        let session = format!("Bearer t{}", self.number.load(SeqCst));
        let signed = format!("{} {}", request.method, request.body.len());
        Box::pin(async move {
            Ok(vec![
                ("authorization".to_owned(), Secret::new(session)),
                ("x-signed".to_owned(), Secret::new(signed)),
            ])
        })
    }

    fn refused(&self) -> Boxed<'_, lockstep_core::Result<bool>> {
        Box::pin(async move { Ok(self.number.fetch_add(1, SeqCst) == 0) })
    }
}

#[tokio::test]
async fn a_connector_may_log_in_its_own_way() {
    let api = Api::default();
    api.granted.store(1, SeqCst);
    let session = Arc::new(Session {
        number: AtomicUsize::new(0),
    });
    let client = Client::new(Settings {
        auth: Auth::Custom(session),
        ..settings(api.start().await)
    })
    .unwrap();
    for _ in 0..HOLDS {
        client.get("x").send().await.unwrap();
    }
    let error = client.get("x").send().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
}

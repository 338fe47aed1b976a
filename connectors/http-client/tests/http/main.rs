//! The client against servers that misbehave in every way that was seen on real ones.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod answers;
mod safety;
mod tokens;
mod trouble;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use lockstep_http_client::{Client, Retry, Settings, Url};
use tokio::net::TcpListener;

/// Serves until the test ends.
async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url(address)
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}/").parse().unwrap()
}

/// Settings whose waits are short.
fn settings(base: Url) -> Settings {
    Settings {
        system: "crm".to_owned(),
        base,
        retry: Retry {
            first: Duration::from_millis(5),
            patience: Duration::from_secs(5),
            ..Retry::default()
        },
        ..Settings::default()
    }
}

fn client(base: Url) -> Client {
    Client::new(settings(base)).unwrap()
}

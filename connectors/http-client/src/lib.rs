#![doc = include_str!("../README.md")]

mod answer;
mod auth;
mod budget;
mod client;
mod failure;
mod json;
mod oauth;
mod path;
mod request;
mod settings;
mod tls;
mod wait;

pub mod listing;
pub mod sign;

pub use answer::Answer;
pub use auth::{Auth, Authorize, Headers, Outgoing};
pub use budget::Budget;
pub use bytes::Bytes;
pub use client::Client;
pub use failure::HttpError;
pub use json::{Json, NotJson};
pub use oauth::{Grant, OAuth2, Secretly};
pub use path::Path;
pub use request::Request;
pub use reqwest::Method;
pub use reqwest::header::HeaderMap;
pub use settings::{Pace, Retry, Settings, Timeouts};
pub use url::Url;

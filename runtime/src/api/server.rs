//! The process's side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use lockstep_core::connector::Secret;
use lockstep_core::error::{Error, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::hooks::{self, CALL_MAX, Hooks};
use super::reach::SKIP_MAX;
use super::{Access, Told};
use crate::config::Config;
use crate::control::{Control, Done, Order};
use crate::log::Log;
use crate::quarantine::{Answer, Ask, Closing, Entry, Quarantine};
use crate::report;
use crate::status::{Board, Status};
use crate::supervise::Store;
use crate::versions::{Known, Versions};

/// How long a capture or a delivery may take to try a change again.
const ASK_MAX: Duration = Duration::from_secs(20);

/// The HTTP interface, bound but not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    log: Arc<dyn Log>,
    quarantine: Arc<Quarantine>,
    board: Arc<Board>,
    token: Secret<String>,
    stop: CancellationToken,
}

impl Server {
    /// Binds the address of the configuration and publishes it in the access file.
    ///
    /// # Errors
    /// An address in use, or an access file that cannot be written.
    pub async fn bind(
        config: &Arc<Config>,
        store: &Store,
        board: Arc<Board>,
        access: &Access,
        hooks: Hooks,
        stop: CancellationToken,
    ) -> Result<Server> {
        let listen = config.api.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            Error::config(format!("the HTTP interface cannot listen on {listen}"))
                .because(error)
                .help("choose a free port under `api.listen`, or port 0 for any")
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::unexpected("the listener has no address").because(error))?;
        access.publish(address)?;
        let shared = Shared {
            config: Arc::clone(config),
            log: Arc::clone(&store.log),
            quarantine: Arc::clone(&store.quarantine),
            board,
            token: access.token().clone(),
            stop,
        };
        let router = Router::new()
            .route("/health", get(async || "ok"))
            .route("/status", get(status))
            .route("/known", get(known))
            .route("/order", post(order))
            .route("/quarantine", get(list))
            .route("/quarantine/{id}", get(show))
            .route("/quarantine/{id}/retry", post(retry))
            .route("/quarantine/{id}/edit", post(edit))
            .route("/quarantine/{id}/drop", post(drop_entry))
            .route("/stop", post(stop_run))
            .layer(axum::middleware::from_fn_with_state(
                shared.clone(),
                authorize,
            ))
            .with_state(shared);
        let calls = Router::new()
            .route("/hooks/{system}", any(hooks::take))
            .layer(DefaultBodyLimit::max(CALL_MAX))
            .with_state(Arc::new(hooks));
        let router = router.merge(calls);
        Ok(Server {
            listener,
            address,
            router,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until stopped.
    pub async fn serve(self, stop: CancellationToken) {
        let served = axum::serve(self.listener, self.router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP interface ended");
        }
    }
}

/// Lets only bearers of the token through, comparing every byte whatever the first difference.
async fn authorize(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let expected = shared.token.expose();
    let differs = given.len() != expected.len()
        || given
            .bytes()
            .zip(expected.bytes())
            .fold(0, |sum, (a, b)| sum | (a ^ b))
            != 0;
    if differs {
        return (StatusCode::UNAUTHORIZED, "the request bears no valid token").into_response();
    }
    next.run(request).await
}

struct Failure(Error);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = if self.0.kind().is_retryable() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        (status, Json(Told::of(&self.0))).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error)
    }
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Failure> {
    let status = report::status(
        &shared.config,
        &*shared.log,
        &shared.quarantine,
        Some(&shared.board),
    )
    .await?;
    Ok(Json(status))
}

async fn known(State(shared): State<Shared>) -> Result<Json<Known>, Failure> {
    Ok(Json(Versions::open(&*shared.log).await?.known()))
}

/// Carries out what is asked of parts of the run, wherever they run.
async fn order(
    State(shared): State<Shared>,
    Json(order): Json<Order>,
) -> Result<Json<Vec<Done>>, Failure> {
    let control = Control::open(&*shared.log).await?;
    Ok(Json(control.carry_out(&order, SKIP_MAX).await?))
}

async fn list(State(shared): State<Shared>) -> Result<Json<Vec<Entry>>, Failure> {
    Ok(Json(shared.quarantine.all().await?))
}

async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Option<Entry>>, Failure> {
    Ok(Json(shared.quarantine.get(&id).await?))
}

/// Sends an entry again; the body, which may be left out, says who asks.
async fn retry(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: Option<Json<Ask>>,
) -> Result<Json<Answer>, Failure> {
    let by = match body {
        Some(Json(Ask::Retry { by, .. })) => by,
        _ => None,
    };
    let ask = Ask::Retry { id, by };
    Ok(Json(shared.quarantine.ask(&ask, ASK_MAX).await?))
}

/// Sends an entry corrected.
async fn edit(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Json(body): Json<Ask>,
) -> Result<Json<Answer>, Failure> {
    let Ask::Edit { edit, .. } = body else {
        let reason = "the body is no correction".to_owned();
        return Ok(Json(Answer::Failed { reason }));
    };
    let ask = Ask::Edit { id, edit };
    Ok(Json(shared.quarantine.ask(&ask, ASK_MAX).await?))
}

/// Drops an entry; the body, which may be left out, says who decided, and why.
async fn drop_entry(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: Option<Json<Closing>>,
) -> Result<Json<Answer>, Failure> {
    let closing = body.map(|Json(closing)| closing).unwrap_or_default();
    Ok(Json(shared.quarantine.discard(&id, &closing).await?))
}

async fn stop_run(State(shared): State<Shared>) -> &'static str {
    shared.stop.cancel();
    "stopping"
}

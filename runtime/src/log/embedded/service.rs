//! Request and answer inside the process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::state::lock;
use crate::log::{LogError, Request, Result, Service, rules};

/// Most requests that wait for one service.
const REQUESTS_MAX: usize = 256;

/// Who serves which subject.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_subject: Mutex<HashMap<String, Vec<mpsc::Sender<Request>>>>,
}

impl Services {
    pub(super) fn serve(&self, subject: &str) -> Result<Service> {
        rules::check_subject(subject).map_err(LogError::Refused)?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        lock(&self.by_subject)
            .entry(subject.to_owned())
            .or_default()
            .push(sender);
        Ok(Service { requests })
    }

    /// Asks one of those who serve the subject, each in turn.
    pub(super) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes> {
        rules::check_subject(subject).map_err(LogError::Refused)?;
        match tokio::time::timeout(deadline, self.ask(subject, payload)).await {
            Ok(answer) => answer,
            Err(_) => Err(LogError::Timeout(subject.to_owned())),
        }
    }

    async fn ask(&self, subject: &str, payload: Bytes) -> Result<Bytes> {
        loop {
            let service = self
                .pick(subject)
                .ok_or_else(|| LogError::NoResponders(subject.to_owned()))?;
            let (reply, answer) = oneshot::channel();
            let request = Request {
                payload: payload.clone(),
                reply,
            };
            if service.send(request).await.is_ok() {
                return answer
                    .await
                    .map_err(|_| LogError::Timeout(subject.to_owned()));
            }
        }
    }

    /// Tells everybody who serves the subject; one whose requests are as many as may wait misses it.
    pub(super) fn tell(&self, subject: &str, payload: &Bytes) -> Result<()> {
        rules::check_subject(subject).map_err(LogError::Refused)?;
        for service in lock(&self.by_subject).get(subject).into_iter().flatten() {
            let (reply, _) = oneshot::channel();
            let payload = payload.clone();
            let _ = service.try_send(Request { payload, reply });
        }
        Ok(())
    }

    fn pick(&self, subject: &str) -> Option<mpsc::Sender<Request>> {
        let mut by_subject = lock(&self.by_subject);
        let services = by_subject.get_mut(subject)?;
        services.retain(|service| !service.is_closed());
        if services.is_empty() {
            by_subject.remove(subject);
            return None;
        }
        services.rotate_left(1);
        services.last().cloned()
    }

    pub(super) fn close(&self) {
        lock(&self.by_subject).clear();
    }
}

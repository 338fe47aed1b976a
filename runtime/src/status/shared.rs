//! The status of a run that several runtimes share: who runs what by its lease, and what each of them says.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use lockstep_core::error::Result;
use lockstep_core::log::subject;
use tokio_util::sync::CancellationToken;

use super::{Board, FlowStatus, MajorStatus, Part, State};
use crate::config::Config;
use crate::lease::{self, Holder};
use crate::log::{self, Log};
use crate::rules::{RuleCount, SetStatus};

/// How long another runtime may take to answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// What all runtimes of a log say together.
pub(crate) struct Gathered {
    part: Part,
    /// By flow and target, who delivers it, where that is another runtime.
    elsewhere: BTreeMap<(String, String), Holder>,
    /// Whether another runtime answered.
    pub(crate) somebody: bool,
}

/// Asks everybody who holds a lease of the configuration.
///
/// # Errors
/// A log that cannot be read.
pub(crate) async fn gather(
    config: &Config,
    log: &dyn Log,
    board: Option<&Board>,
) -> Result<Gathered> {
    let mut gathered = Gathered {
        part: board.map(Board::part).unwrap_or_default(),
        elsewhere: BTreeMap::new(),
        somebody: false,
    };
    let me = board.and_then(Board::me);
    let mut others = BTreeMap::new();
    for flow in config.flows.values() {
        let captured = subject::capture_lease(&flow.from);
        let delivered = flow
            .to
            .iter()
            .map(|to| (Some(to), subject::deliver_lease(&flow.name, to)));
        for (to, subject) in std::iter::once((None, captured)).chain(delivered) {
            let holder = lease::holder(log, &subject).await.map_err(log::to_error)?;
            let Some(holder) = holder.filter(|holder| Some(holder) != me) else {
                continue;
            };
            if let Some(to) = to {
                let flow = (flow.name.clone(), to.clone());
                gathered.elsewhere.insert(flow, holder.clone());
            }
            others.insert(holder.id.clone(), holder);
        }
    }
    let asked = others.keys().map(|id| ask(log, id));
    for part in join_all(asked).await.into_iter().flatten() {
        gathered.somebody = true;
        gathered.part.join(part);
    }
    Ok(gathered)
}

async fn ask(log: &dyn Log, id: &str) -> Option<Part> {
    let answer = log
        .request(&subject::board(id), bytes::Bytes::new(), DEADLINE)
        .await;
    serde_json::from_slice(&answer.ok()?).ok()
}

/// Tells whoever asks what this runtime knows, until `stop`.
pub(crate) async fn answer(log: &dyn Log, board: &Board, stop: &CancellationToken) {
    let Some(me) = board.me() else { return };
    while !stop.is_cancelled() {
        let Ok(mut service) = log.serve(&subject::board(&me.id)).await else {
            // The log is away; others see that nobody answers.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(DEADLINE) => continue,
            }
        };
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                request = service.requests.recv() => request,
            };
            let Some(request) = request else { break };
            // Texts and numbers always serialise.
            let part = serde_json::to_vec(&board.part()).unwrap_or_default();
            let _ = request.reply.send(part.into());
        }
    }
}

impl Gathered {
    /// How often each rule was broken, wherever that was, and how those over all records were last judged.
    pub(crate) fn rules(&self) -> (Vec<RuleCount>, Vec<SetStatus>) {
        (self.part.rules.clone(), self.part.sets.clone())
    }

    /// The older majors that are published, wherever that is.
    pub(crate) fn majors(&self) -> Vec<MajorStatus> {
        self.part.majors.clone()
    }

    /// The state of every flow of the configuration, and who runs it where that is somebody else.
    pub(crate) fn flows(
        &self,
        config: &Config,
        now: Timestamp,
        quarantined: impl Fn(&str, &str, &str) -> u64,
    ) -> Vec<FlowStatus> {
        let mut flows = self.part.flows(now, &quarantined);
        for flow in &mut flows {
            let place = (flow.flow.clone(), flow.to.clone());
            if let Some(holder) = self.elsewhere.get(&place) {
                let there = format!("runs in another runtime, {}", holder.name);
                flow.reason = Some(match flow.reason.take() {
                    Some(reason) => format!("{reason} ({there})"),
                    None => there,
                });
            }
        }
        for flow in config.flows.values() {
            for to in &flow.to {
                if flows
                    .iter()
                    .any(|known| known.flow == flow.name && known.to == *to)
                {
                    continue;
                }
                let holder = self.elsewhere.get(&(flow.name.clone(), to.clone()));
                let (state, reason) = match holder {
                    Some(holder) => (
                        State::Stalled,
                        format!(
                            "runs in another runtime, {}, which does not answer",
                            holder.name
                        ),
                    ),
                    None => (State::Behind, "no runtime has taken it over yet".to_owned()),
                };
                flows.push(FlowStatus {
                    quarantined: quarantined(&flow.entity, &flow.name, to),
                    ..FlowStatus::unseen(flow, to, state, reason)
                });
            }
        }
        flows.sort_by(|a, b| (&a.flow, &a.to).cmp(&(&b.flow, &b.to)));
        flows
    }
}

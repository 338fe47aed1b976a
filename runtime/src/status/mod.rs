//! What the running process knows of itself: per flow and target whether it is idle, behind, stalled, held or paused.
//!
//! The steps tell the [`Board`] what they did; whoever asks gets a [`Status`].

mod counts;
mod majors;
mod part;
mod reading;
mod shared;
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::Drift;
use lockstep_core::error::Error;
use lockstep_core::position::Position;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::canary::{self, Delivering, Spot};
use crate::config::Flow;
use crate::lease::Holder;
use crate::rules::{RuleCount, SetStatus};

pub use majors::MajorStatus;
pub use part::Part;
use part::{CapturePart, EntityPart, FlowPart};
pub use reading::ReadingStatus;
use reading::Readings;
pub(crate) use shared::{answer, gather};
pub use shown::{DriftStatus, FlowStatus, Halted, LogStatus, State, Status, StreamStatus};

/// How long after its last batch a source still counts as busy.
const QUIET_AFTER: Duration = Duration::from_millis(100);
/// The window over which rates are averaged.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// Most publishes per entity whose time is remembered, for lag.
const RECENT_MAX: usize = 4096;

/// A message that was published.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its entity.
    pub entity: String,
    /// Its sequence.
    pub seq: u64,
    /// The number of its changes.
    pub events: usize,
    /// When the oldest of its changes was committed in the source.
    pub oldest: Timestamp,
}

/// What the steps tell.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    /// The runtime it is of, where several share one log.
    me: Option<Holder>,
    /// Told when a policy ended something.
    failed: Notify,
    /// What the canary found.
    pub(crate) told: canary::Told,
}

#[derive(Debug, Default)]
struct Inner {
    captures: BTreeMap<String, CaptureBoard>,
    entities: BTreeMap<String, EntityBoard>,
    flows: BTreeMap<(String, String), FlowBoard>,
    rules: Vec<RuleCount>,
    /// By system and entity.
    sets: BTreeMap<(String, String), Vec<SetStatus>>,
    majors: Vec<MajorStatus>,
    /// By system and entity, why a policy ended a flow at its source.
    ended: BTreeMap<(String, String), String>,
    /// Whether a policy ended anything here.
    has_failed: bool,
}

#[derive(Debug, Default)]
struct CaptureBoard {
    started: bool,
    trouble: Option<Trouble>,
    /// When it last brought changes; none until it has been looked at once.
    last_batch: Option<Instant>,
    /// Whether changes are between the source and the log.
    in_hand: bool,
    captured: u64,
    /// Entities that are held by themselves.
    held: BTreeMap<String, Trouble>,
    /// How many changes of held entities passed by since.
    passed: BTreeMap<String, u64>,
    /// What of the tables does not fit, by entity.
    drift: BTreeMap<String, Vec<Drift>>,
    /// Entities whose deletes are withheld.
    withheld: BTreeMap<String, Trouble>,
    readings: Readings,
    /// Up to where its changes are counted that broke a rule.
    counted: Option<Position>,
}

#[derive(Debug, Default)]
struct EntityBoard {
    head: u64,
    recent: VecDeque<(u64, Timestamp)>,
}

#[derive(Debug)]
struct FlowBoard {
    entity: String,
    from: String,
    reached: u64,
    applied: u64,
    moved: Instant,
    window: VecDeque<(Instant, u64)>,
    trouble: Option<Trouble>,
    /// Why the target lacks records that were applied to it.
    lacks: Option<String>,
    /// For what it waits by its configuration.
    waits: Option<String>,
    contract: Option<String>,
    drift: Vec<Drift>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    reason: String,
    held: bool,
    /// Whether a policy ended what had it.
    #[serde(skip)]
    by_policy: bool,
}

impl Trouble {
    fn new(error: &Error, held: bool) -> Self {
        let mut reason = error.chain();
        if let Some(help) = error.help_text() {
            reason.push_str("; ");
            reason.push_str(help);
        }
        if let Some(code) = error.error_code() {
            reason.push_str(&format!(" ({code})"));
        }
        Trouble {
            reason,
            held,
            by_policy: error.error_code() == Some(crate::drift::FAILED),
        }
    }
}

impl Board {
    /// The board of one runtime of several.
    pub(crate) fn of(me: Holder) -> Board {
        Board {
            me: Some(me),
            ..Board::default()
        }
    }

    /// Which of several runtimes this is.
    pub(crate) fn me(&self) -> Option<&Holder> {
        self.me.as_ref()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counters stay meaningful even if a thread died while it held them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A capture of a system runs.
    pub fn capture_started(&self, system: &str) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        capture.started = true;
        capture.trouble = None;
        capture.last_batch = None;
        capture.in_hand = false;
    }

    /// Forgets which entities were held: a new life judges anew.
    pub fn capture_judges(&self, system: &str) {
        if let Some(capture) = self.inner().captures.get_mut(system) {
            capture.held.clear();
            capture.passed.clear();
        }
    }

    /// A capture of a system ended here, because another runtime goes on with it or nobody does.
    pub fn capture_ended(&self, system: &str) {
        self.inner().captures.remove(system);
    }

    /// A flow ended here, because another runtime goes on with it or nobody does.
    pub fn flow_ended(&self, flow: &str, to: &str) {
        self.inner().flows.remove(&(flow.to_owned(), to.to_owned()));
    }

    /// Whether a policy ended the capture of a system here, which shows until the next start.
    #[must_use]
    pub(crate) fn capture_is_over(&self, system: &str) -> bool {
        let inner = self.inner();
        let trouble = inner.captures.get(system).map(|board| &board.trouble);
        trouble.is_some_and(|trouble| trouble.as_ref().is_some_and(|of| of.by_policy))
    }

    /// Whether a policy ended a flow here, which shows until the next start.
    #[must_use]
    pub(crate) fn flow_is_over(&self, flow: &str, to: &str) -> bool {
        let inner = self.inner();
        let board = inner.flows.get(&(flow.to_owned(), to.to_owned()));
        let trouble = board.map(|board| &board.trouble);
        trouble.is_some_and(|trouble| trouble.as_ref().is_some_and(|of| of.by_policy))
    }

    /// A capture failed; `held` if somebody has to mend something.
    pub fn capture_failed(&self, system: &str, error: &Error, held: bool) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        capture.trouble = Some(Trouble::new(error, held));
        drop(inner);
        self.ended_by_policy(Some(error));
    }

    /// A batch came from a source, possibly empty.
    pub fn captured(&self, system: &str, changes: usize) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        if changes > 0 || capture.last_batch.is_none() {
            capture.last_batch = Some(Instant::now());
        }
        capture.captured += changes as u64;
    }

    /// Whether a source's changes are on their way into the log.
    pub fn in_hand(&self, system: &str, in_hand: bool) {
        let mut inner = self.inner();
        if let Some(capture) = inner.captures.get_mut(system) {
            capture.in_hand = in_hand;
        }
    }

    /// Whether a system is captured here.
    #[must_use]
    pub fn captures(&self, system: &str) -> bool {
        let inner = self.inner();
        inner
            .captures
            .get(system)
            .is_some_and(|board| board.started)
    }

    /// The systems that are captured here and in no trouble.
    pub(crate) fn capturing(&self) -> Vec<String> {
        let inner = self.inner();
        let captures = inner.captures.iter();
        let well = captures.filter(|(_, board)| board.started && board.trouble.is_none());
        well.map(|(system, _)| system.clone()).collect()
    }

    /// The flows that are delivered here and in no trouble.
    pub(crate) fn delivering(&self) -> Vec<Delivering> {
        let inner = self.inner();
        let flows = inner.flows.iter();
        let well = flows.filter(|(_, board)| board.trouble.is_none());
        let delivering = well.map(|((flow, to), board)| Delivering {
            flow: flow.clone(),
            entity: board.entity.clone(),
            from: board.from.clone(),
            to: to.clone(),
            reached: board.reached,
        });
        delivering.collect()
    }

    /// The log ends here for an entity.
    pub fn head(&self, entity: &str, seq: u64) {
        let mut inner = self.inner();
        let board = inner.entities.entry(entity.to_owned()).or_default();
        board.head = board.head.max(seq);
    }

    /// Messages were published.
    pub fn published(&self, heads: &[Head]) {
        if heads.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for head in heads {
            let board = match inner.entities.get_mut(&head.entity) {
                Some(board) => board,
                None => inner.entities.entry(head.entity.clone()).or_default(),
            };
            board.head = board.head.max(head.seq);
            if board.recent.len() == RECENT_MAX {
                board.recent.pop_front();
            }
            board.recent.push_back((head.seq, head.oldest));
        }
    }

    /// A flow is about to run, or to run again.
    pub fn flow(&self, flow: &str, to: &str, entity: &str, from: &str) {
        let mut inner = self.inner();
        inner
            .flows
            .entry((flow.to_owned(), to.to_owned()))
            .or_insert_with(|| FlowBoard {
                entity: entity.to_owned(),
                from: from.to_owned(),
                reached: 0,
                applied: 0,
                moved: Instant::now(),
                window: VecDeque::new(),
                trouble: None,
                lacks: None,
                waits: None,
                contract: None,
                drift: Vec::new(),
            });
    }

    /// What of a source's table does not fit.
    pub fn drift(&self, system: &str, entity: &str, drift: Vec<Drift>) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        capture.drift.insert(entity.to_owned(), drift);
    }

    /// An entity of a system is held by itself, or goes on.
    pub fn entity_held(&self, system: &str, entity: &str, error: Option<&Error>) {
        let mut inner = self.inner();
        let capture = inner.captures.entry(system.to_owned()).or_default();
        match error {
            Some(error) => {
                let trouble = Trouble::new(error, true);
                capture.held.insert(entity.to_owned(), trouble);
            }
            None => {
                capture.held.remove(entity);
                capture.passed.remove(entity);
            }
        }
        drop(inner);
        self.ended_by_policy(error);
    }

    /// A policy ended an entity's flow at its source, until the next start.
    pub fn entity_ended(&self, system: &str, entity: &str, reason: &str) {
        let place = (system.to_owned(), entity.to_owned());
        self.inner().ended.insert(place, reason.to_owned());
    }

    /// Why a policy ended an entity's flow at its source, if one did.
    #[must_use]
    pub fn why_ended(&self, system: &str, entity: &str) -> Option<String> {
        let place = (system.to_owned(), entity.to_owned());
        self.inner().ended.get(&place).cloned()
    }

    /// So many changes of a held entity passed by since it is.
    pub fn entity_passed(&self, system: &str, entity: &str, passed: u64) {
        let mut inner = self.inner();
        if let Some(capture) = inner.captures.get_mut(system) {
            capture.passed.insert(entity.to_owned(), passed);
        }
    }

    /// Takes note that a policy ended something.
    fn ended_by_policy(&self, error: Option<&Error>) {
        if error.is_some_and(|error| error.error_code() == Some(crate::drift::FAILED)) {
            self.inner().has_failed = true;
            self.failed.notify_one();
        }
    }

    /// Whether a policy has ended something.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.inner().has_failed
    }

    /// Waits until a policy has ended something.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// The version of its contract that a target gets, and what of its table does not fit.
    pub fn flow_fits(&self, flow: &str, to: &str, contract: &Contract, drift: Vec<Drift>) {
        let mut inner = self.inner();
        if let Some(board) = inner.flows.get_mut(&(flow.to_owned(), to.to_owned())) {
            board.contract = Some(contract.version.to_string());
            board.drift = drift;
        }
    }

    /// A flow got this far, applying this many changes.
    pub fn reached(&self, flow: &str, to: &str, seq: u64, applied: u64) {
        let mut inner = self.inner();
        let Some(board) = inner.flows.get_mut(&(flow.to_owned(), to.to_owned())) else {
            return;
        };
        let now = Instant::now();
        board.reached = board.reached.max(seq);
        board.applied += applied;
        board.moved = now;
        board.trouble = None;
        board.window.push_back((now, applied));
        while board
            .window
            .front()
            .is_some_and(|(at, _)| now - *at > RATE_WINDOW)
        {
            board.window.pop_front();
        }
    }

    /// A flow waits for its time, or does not any more.
    pub(crate) fn flow_waits(&self, flow: &str, to: &str, waits: Option<String>) {
        let mut inner = self.inner();
        if let Some(board) = inner.flows.get_mut(&(flow.to_owned(), to.to_owned())) {
            board.waits = waits;
        }
    }

    /// How far a flow got, as far as that is known here.
    #[must_use]
    pub fn reached_by(&self, flow: &str, to: &str) -> Option<u64> {
        let inner = self.inner();
        let board = inner.flows.get(&(flow.to_owned(), to.to_owned()));
        board.map(|board| board.reached)
    }

    /// Where the log ends for an entity, as far as that is known here.
    #[must_use]
    pub fn head_of(&self, entity: &str) -> u64 {
        let inner = self.inner();
        inner.entities.get(entity).map_or(0, |board| board.head)
    }

    /// A flow failed; `held` if somebody has to mend something.
    pub fn flow_failed(&self, flow: &str, to: &str, error: &Error, held: bool) {
        let mut inner = self.inner();
        if let Some(board) = inner.flows.get_mut(&(flow.to_owned(), to.to_owned())) {
            board.trouble = Some(Trouble::new(error, held));
        }
        drop(inner);
        self.ended_by_policy(Some(error));
    }

    /// Why a flow's target lacks records; none once it was seen to that it gets them. Tells whether that is news.
    pub fn flow_lacks(&self, flow: &str, to: &str, why: Option<String>) -> bool {
        let mut inner = self.inner();
        let board = inner.flows.get_mut(&(flow.to_owned(), to.to_owned()));
        board.is_some_and(|board| {
            let is_news = board.lacks != why;
            board.lacks = why;
            is_news
        })
    }

    /// The state of every flow. `quarantined` gives the open entries of an entity's source and of a flow's target.
    pub fn flows(
        &self,
        now: Timestamp,
        quarantined: impl Fn(&str, &str, &str) -> u64,
    ) -> Vec<FlowStatus> {
        self.part().flows(now, quarantined)
    }

    /// The flows of a configuration while the log cannot be looked at: what is known here, and why nothing else is.
    #[must_use]
    pub fn blind(&self, flows: &BTreeMap<String, Flow>, error: &Error) -> Vec<FlowStatus> {
        let Trouble { reason, .. } = Trouble::new(error, false);
        let state = if error.kind().is_retryable() {
            State::Stalled
        } else {
            State::Held
        };
        let configured = flows.values();
        let mut flows = self.flows(Timestamp::now(), |_, _, _| 0);
        for flow in &mut flows {
            if flow.reason.is_none() {
                flow.state = state;
                flow.reason = Some(reason.clone());
                flow.stuck = Some(Spot::Log);
            }
        }
        for (flow, to) in configured.flat_map(|flow| flow.to.iter().map(move |to| (flow, to))) {
            let is_known = |known: &FlowStatus| known.flow == flow.name && known.to == *to;
            if !flows.iter().any(is_known) {
                flows.push(FlowStatus::unseen(flow, to, state, reason.clone()));
            }
        }
        flows.sort_by(|a, b| (&a.flow, &a.to).cmp(&(&b.flow, &b.to)));
        flows
    }

    /// What this runtime knows, for whoever puts it together with what others know.
    #[must_use]
    pub fn part(&self) -> Part {
        let inner = self.inner();
        let captures = inner
            .captures
            .iter()
            .filter(|(_, board)| board.started || board.trouble.is_some());
        let entities = inner.entities.iter();
        let flows = inner.flows.iter();
        Part {
            captures: captures
                .map(|(system, board)| (system.clone(), board.part()))
                .collect(),
            entities: entities
                .map(|(entity, board)| (entity.clone(), board.part()))
                .collect(),
            flows: flows
                .map(|((flow, to), board)| board.part(flow, to))
                .collect(),
            marks: self.told.marks(),
            rules: inner.rules.clone(),
            sets: inner.sets.values().flatten().cloned().collect(),
            majors: inner.majors.clone(),
        }
    }
}

impl CaptureBoard {
    fn part(&self) -> CapturePart {
        let rests = self.last_batch.is_some_and(|at| at.elapsed() > QUIET_AFTER);
        CapturePart {
            quiet: self.started && !self.in_hand && rests,
            trouble: self.trouble.clone(),
            held: self.held.clone(),
            passed: self.passed.clone(),
            drift: self.drift.clone(),
            withheld: self.withheld.clone(),
            readings: self.readings.open(),
        }
    }
}

impl EntityBoard {
    fn part(&self) -> EntityPart {
        // Few enough to be sent, from the oldest to the newest.
        let every = self.recent.len().div_ceil(part::RECENT_MAX).max(1);
        EntityPart {
            head: self.head,
            recent: self.recent.iter().step_by(every).copied().collect(),
        }
    }
}

impl FlowBoard {
    fn part(&self, flow: &str, to: &str) -> FlowPart {
        FlowPart {
            flow: flow.to_owned(),
            to: to.to_owned(),
            entity: self.entity.clone(),
            from: self.from.clone(),
            reached: self.reached,
            applied: self.applied,
            rate: self.rate(),
            unmoved_ms: u64::try_from(self.moved.elapsed().as_millis()).unwrap_or(u64::MAX),
            trouble: self.trouble.clone(),
            lacks: self.lacks.clone(),
            waits: self.waits.clone(),
            contract: self.contract.clone(),
            drift: self.drift.clone(),
        }
    }

    fn rate(&self) -> f64 {
        let recent = self
            .window
            .iter()
            .filter(|(at, _)| at.elapsed() <= RATE_WINDOW);
        let changes: u64 = recent.map(|(_, applied)| applied).sum();
        changes as f64 / RATE_WINDOW.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let board = Board::default();
        board.flow("f", "erp", "customer", "crm");
        board
    }

    fn state(board: &Board) -> State {
        board.flows(Timestamp::now(), |_, _, _| 0)[0].state
    }

    #[test]
    fn a_flow_is_behind_until_it_has_reached_the_head_of_a_quiet_source() {
        let board = board();
        board.capture_started("crm");
        assert_eq!(
            state(&board),
            State::Behind,
            "a source that has not been looked at may have much to say"
        );
        board.captured("crm", 0);
        board.published(&[Head {
            entity: "customer".into(),
            seq: 5,
            events: 1,
            oldest: Timestamp::now(),
        }]);
        assert_eq!(state(&board), State::Behind);
        board.reached("f", "erp", 5, 1);
        let deadline = Instant::now() + Duration::from_secs(5);
        while state(&board) != State::Idle {
            assert!(Instant::now() < deadline, "never idle");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_log_that_cannot_be_looked_at_is_why_nothing_else_is_known() {
        let board = board();
        board.capture_started("crm");
        let none = BTreeMap::new();
        let away = Error::transient("no server")
            .code("LS-L006")
            .help("start it");
        let shown = board.blind(&none, &away).remove(0);
        assert_eq!(shown.state, State::Stalled);
        assert_eq!(shown.reason.unwrap(), "no server; start it (LS-L006)");
        let denied = Error::new(lockstep_core::error::Kind::Unauthorized, "not you");
        assert_eq!(board.blind(&none, &denied)[0].state, State::Held);
        // What is known here is more than that.
        board.flow_failed("f", "erp", &Error::config("no table"), true);
        let shown = board.blind(&none, &away).remove(0);
        assert_eq!(shown.reason.unwrap(), "no table");
    }

    #[test]
    fn trouble_shows_with_its_cure_and_goes_with_the_next_success() {
        let board = board();
        board.capture_started("crm");
        board.flow_failed("f", "erp", &Error::config("no table").help("make it"), true);
        let shown = board.flows(Timestamp::now(), |_, _, _| 2).remove(0);
        assert_eq!((shown.state, shown.quarantined), (State::Held, 2));
        assert_eq!(shown.reason.unwrap(), "no table; make it");
        board.reached("f", "erp", 1, 1);
        assert_ne!(state(&board), State::Held);
    }
}

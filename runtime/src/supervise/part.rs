//! One part of a run, a capture or deliveries: at work while its lease is ours and nobody paused it.
//!
//! Knows nothing of how parts are made, or of what else runs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_core::log::subject;
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::control::{Controls, Part, Pause};
use crate::deliver::{Delivery, Together};
use crate::lease::{Ended, Leases};
use crate::log::{self, LogError};

/// Captures a system while its lease is ours, or for good where there are no leases.
pub(super) async fn run_capture(
    capture: Capture,
    controls: Arc<Controls>,
    leases: Option<Leases>,
    stop: CancellationToken,
) {
    let Some(leases) = leases else {
        return capture_unless_paused(&capture, &controls, &stop).await;
    };
    let subject = subject::capture_lease(&capture.system);
    let work = async |token: CancellationToken| {
        capture_unless_paused(&capture, &controls, &token).await;
        if !token.is_cancelled() && capture.board.capture_is_over(&capture.system) {
            return Ended::ByPolicy;
        }
        capture.board.capture_ended(&capture.system);
        Ended::ForNow
    };
    let (board, system) = (&capture.board, &capture.system);
    let told = |error: Option<LogError>| match error.map(log::to_error) {
        Some(error) => board.capture_failed(system, &error, !error.kind().is_retryable()),
        None => board.capture_ended(system),
    };
    Box::pin(leases.run(&subject, &stop, told, work)).await;
}

/// Delivers a pair's flows together while the lease of the first is ours, or for good where there are no leases.
pub(super) async fn run_together(pair: Together, leases: Option<Leases>, stop: CancellationToken) {
    let Some(leases) = leases else {
        return together_unless_paused(&pair, 0, stop).await;
    };
    let [lead, ..] = pair.members.as_slice() else {
        return;
    };
    let work = async |token: CancellationToken| {
        together_unless_paused(&pair, 0, token.clone()).await;
        ended(&pair.members, &token)
    };
    let told = |error: Option<LogError>| {
        let error = error.map(log::to_error);
        for Delivery { plan, board, .. } in &pair.members {
            board.flow(&plan.flow, &plan.to, &plan.contract.entity, &plan.from);
            match &error {
                Some(error) => {
                    board.flow_failed(&plan.flow, &plan.to, error, !error.kind().is_retryable());
                }
                None => board.flow_ended(&plan.flow, &plan.to),
            }
        }
    };
    let subject = subject::deliver_lease(&lead.plan.flow, &lead.plan.to);
    Box::pin(leases.run(&subject, &stop, told, work)).await;
}

/// Delivers a pair's flows while none of them, from one of them on, is paused: a transaction without a flow's part would not be whole.
fn together_unless_paused(
    pair: &Together,
    from: usize,
    stop: CancellationToken,
) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        let Some(member) = pair.members.get(from) else {
            return pair.run(&stop).await;
        };
        let Delivery { board, plan, .. } = member;
        let rests = |_: &Pause| {
            pair.rests(&plan.flow);
            board.reached_by(&plan.flow, &plan.to)
        };
        let work = |token: CancellationToken| together_unless_paused(pair, from + 1, token);
        let part = member.part();
        member.controls.run(&part, &stop, rests, || {}, work).await;
    })
}

/// Delivers a flow while its lease is ours, or for good where there are no leases.
pub(super) async fn run_delivery(
    delivery: Delivery,
    leases: Option<Leases>,
    stop: CancellationToken,
) {
    let Some(leases) = leases else {
        return deliver_unless_paused(&delivery, &stop).await;
    };
    let (flow, to) = (&delivery.plan.flow, &delivery.plan.to);
    let work = async |token: CancellationToken| {
        deliver_unless_paused(&delivery, &token).await;
        ended(std::slice::from_ref(&delivery), &token)
    };
    let (board, plan) = (&delivery.board, &delivery.plan);
    let told = |error: Option<LogError>| match error.map(log::to_error) {
        Some(error) => {
            board.flow(flow, to, &plan.contract.entity, &plan.from);
            board.flow_failed(flow, to, &error, !error.kind().is_retryable());
        }
        None => board.flow_ended(flow, to),
    };
    let subject = subject::deliver_lease(flow, to);
    Box::pin(leases.run(&subject, &stop, told, work)).await;
}

/// How deliveries that belong together ended: by a policy, where one of them did, or until somebody takes them up again.
fn ended(members: &[Delivery], token: &CancellationToken) -> Ended {
    let is_over =
        |Delivery { plan, board, .. }: &Delivery| board.flow_is_over(&plan.flow, &plan.to);
    if !token.is_cancelled() && members.iter().any(is_over) {
        return Ended::ByPolicy;
    }
    for Delivery { plan, board, .. } in members {
        board.flow_ended(&plan.flow, &plan.to);
    }
    Ended::ForNow
}

async fn capture_unless_paused(capture: &Capture, controls: &Controls, stop: &CancellationToken) {
    let system = capture.system.clone();
    let rests = |_: &Pause| {
        capture.board.capture_ended(&capture.system);
        None
    };
    let work = |token: CancellationToken| async move { capture.run(&token).await };
    let part = Part::Capture { system };
    controls.run(&part, stop, rests, || {}, work).await;
}

async fn deliver_unless_paused(delivery: &Delivery, stop: &CancellationToken) {
    let (board, plan) = (&delivery.board, &delivery.plan);
    let rests = |_: &Pause| {
        board.flow(&plan.flow, &plan.to, &plan.contract.entity, &plan.from);
        board.reached_by(&plan.flow, &plan.to)
    };
    let work = |token: CancellationToken| async move { delivery.run(&token).await };
    // Whoever wants it to try does not want to wait for its time.
    let tries = || delivery.owes.store(true, Ordering::Relaxed);
    let controls = &delivery.controls;
    let part = delivery.part();
    controls.run(&part, stop, rests, tries, work).await;
}

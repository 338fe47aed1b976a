//! What a running Lockstep says of these flows, which nothing but its own life shows: a slot that was lost, a target that refuses to be written.

use lockstep_core::diagnostic::Diagnostic;

use crate::api::{Client, Reached};
use crate::config::Config;
use crate::status::{FlowStatus, State, Status};

/// Warnings of what a running process holds or cannot move; none where nothing runs or nothing answers.
pub async fn running(config: &Config) -> Vec<Diagnostic> {
    let Ok(Reached::Running(client)) = Client::find(&config.api.folder).await else {
        return Vec::new();
    };
    match client.get::<Status>("/status").await {
        Ok(status) => told(config, &status),
        Err(_) => Vec::new(),
    }
}

fn told(config: &Config, status: &Status) -> Vec<Diagnostic> {
    let flows = status.flows.iter();
    flows.filter_map(|flow| trouble(config, flow)).collect()
}

fn trouble(config: &Config, flow: &FlowStatus) -> Option<Diagnostic> {
    let what = match flow.state {
        State::Held => "holds",
        State::Stalled => "cannot move",
        State::Idle | State::Behind | State::Paused => return None,
    };
    let reason = flow.reason.as_deref().unwrap_or("it does not say why");
    let message = format!(
        "the running Lockstep {what} flow `{}` to `{}`: {}",
        flow.flow,
        flow.to,
        config.redact(reason)
    );
    let finding = Diagnostic::warning("LS-P012", message)
        .at(config.places.key(&["flows", &flow.flow]))
        .help("see `lockstep status`");
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::LogStatus;

    #[test]
    fn only_what_is_held_or_stalled_is_said() {
        let config = crate::config::toy::config();
        let flow = |state| FlowStatus {
            flow: "customers".into(),
            entity: "customer".into(),
            from: "crm".into(),
            to: "erp".into(),
            state,
            lag_ms: 0,
            rate: 0.0,
            applied: 0,
            quarantined: 0,
            reason: Some("the slot is lost".into()),
            halted: None,
            paused: None,
            stuck: None,
            mark_ms: None,
            reading: None,
            contract: None,
            drift: Vec::new(),
        };
        let status = Status {
            flows: [State::Idle, State::Held, State::Paused].map(flow).into(),
            log: LogStatus::default(),
            version: String::new(),
            running: true,
            rules: Vec::new(),
            sets: Vec::new(),
            majors: Vec::new(),
        };
        let found = told(&config, &status);
        let said: Vec<(&str, &str)> = found.iter().map(|f| (f.code, f.message.as_str())).collect();
        let message = "the running Lockstep holds flow `customers` to `erp`: the slot is lost";
        assert_eq!(said, [("LS-P012", message)]);
    }
}

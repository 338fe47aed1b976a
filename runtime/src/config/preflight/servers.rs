//! Whether the log's servers are there, new enough, and as they should be.

use jiff::SignedDuration;
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};

use crate::config::{Config, LogConfig, NatsConfig};
use crate::log;
use crate::log::nats::survey::{self, Monitored, PAYLOAD_NEEDED, Survey, Sync};
use crate::supervise::{all_streams, nats_options};

/// How far the server's clock may be from ours before it is worth a word.
const SKEW_NOTABLE: SignedDuration = SignedDuration::from_secs(5);
/// How far before a start makes no sense.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(50);

/// Looks at the log's servers; changes nothing there.
pub(super) async fn check(config: &Config) -> Vec<Diagnostic> {
    let LogConfig::Nats(nats) = &config.log else {
        return Vec::new();
    };
    let place = config.places.value(&["log", "servers"]);
    let declared = all_streams(config);
    let (survey, monitored) = tokio::join!(
        survey::survey(nats_options(nats), &declared),
        survey::monitor(nats.monitor.as_deref()),
    );
    match survey {
        Ok(survey) => judge(nats, &survey, &monitored, &place),
        Err(error) => {
            let error = log::to_error(error);
            let text = config.redact(&error.chain());
            let mut finding = Diagnostic::error(error.error_code().unwrap_or("LS-L006"), text);
            finding.help = error.help_text().map(str::to_owned);
            vec![finding.at(place)]
        }
    }
}

/// What is to be said of what was found.
fn judge(
    nats: &NatsConfig,
    survey: &Survey,
    monitored: &Monitored,
    place: &Place,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let error = |code, message: String, help: &str| {
        Diagnostic::error(code, message)
            .at(place.clone())
            .help(help.to_owned())
    };
    let warning = |code, message: String, help: &str| {
        Diagnostic::warning(code, message)
            .at(place.clone())
            .help(help.to_owned())
    };
    if let Some(too_old) = &survey.too_old {
        findings.push(error("LS-P008", too_old.clone(), "update the server"));
    }
    if survey.max_payload < PAYLOAD_NEEDED {
        let message = format!(
            "the log's server takes messages of {} bytes, {PAYLOAD_NEEDED} are needed",
            survey.max_payload
        );
        findings.push(error(
            "LS-P008",
            message,
            "set `max_payload: 1MB` or more in the server's configuration",
        ));
    }
    if nats.replicas > 1 && !survey.clustered {
        let message = format!(
            "{} replicas are asked for, and the server is alone",
            nats.replicas
        );
        findings.push(error(
            "LS-P008",
            message,
            "set `replicas = 1`, or make the server part of a cluster",
        ));
    }
    findings.extend(room(nats, survey, place));
    for subject in &survey.denied {
        findings.push(error(
            "LS-L007",
            format!("the log's server does not permit this user to use `{subject}`"),
            "give the user the permissions that `lockstep explain LS-L007` lists",
        ));
    }
    for (stream, drift) in &survey.drift {
        findings.push(drifted(stream, drift, place));
    }
    findings.extend(sync(&monitored.sync, place));
    if let Some(skew) = survey.skew.or(monitored.skew) {
        let message = |skew: SignedDuration| {
            let direction = if skew.is_negative() {
                "behind"
            } else {
                "ahead of"
            };
            format!(
                "the log server's clock is {} s {direction} this machine's",
                skew.unsigned_abs().as_secs()
            )
        };
        let help = "set both clocks, for example by NTP: ages, leases and lag are judged by them";
        if skew.abs() >= SKEW_MAX {
            findings.push(error("LS-P010", message(skew), help));
        } else if skew.abs() >= SKEW_NOTABLE {
            findings.push(warning("LS-P010", message(skew), help));
        }
    }
    findings
}

fn room(nats: &NatsConfig, survey: &Survey, place: &Place) -> Option<Diagnostic> {
    let max = survey.max_storage?;
    let wanted = nats.max_bytes?;
    (wanted > max).then(|| {
        Diagnostic::warning(
            "LS-P008",
            format!("`log.max_bytes` is {wanted}, and the account may store {max} bytes"),
        )
        .at(place.clone())
        .help("lower `log.max_bytes`, or raise the account's limit: the log is full at the smaller one")
    })
}

/// Limits are put in force by the next start; other settings nobody changes but who set them.
fn drifted(stream: &str, drift: &[String], place: &Place) -> Diagnostic {
    let limits = [
        "max_age ",
        "max_bytes ",
        "max_msgs_per_subject ",
        "num_replicas ",
        "duplicate_window ",
    ];
    let only_limits = drift
        .iter()
        .all(|one| limits.iter().any(|limit| one.starts_with(limit)));
    let message = format!(
        "stream `{stream}` differs from its declaration: {}",
        drift.join(", ")
    );
    if only_limits {
        Diagnostic::warning("LS-L008", message)
            .at(place.clone())
            .help("the next start puts the configured limits in force")
    } else {
        Diagnostic::error("LS-L008", message)
            .at(place.clone())
            .help("set the stream back with `nats stream edit`; see `lockstep explain LS-L008`")
    }
}

fn sync(sync: &Sync, place: &Place) -> Option<Diagnostic> {
    let (severity, message) = match sync {
        Sync::Always => return None,
        Sync::Every(time) => (
            Severity::Warning,
            format!(
                "the log's server writes what it acknowledged to its disk every {} s only",
                time.as_secs()
            ),
        ),
        Sync::Unknown(reason) => (
            Severity::Info,
            format!("how soon the log's server writes to its disk is unknown: {reason}"),
        ),
    };
    Some(Diagnostic {
        severity,
        ..Diagnostic::warning("LS-P009", message)
            .at(place.clone())
            .help("set `sync_interval: always` in the server's `jetstream` block, and `log.monitor` so that it can be seen")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn nats() -> NatsConfig {
        NatsConfig {
            servers: vec!["nats://x:4222".to_owned()],
            user: None,
            password: None,
            token: None,
            credentials: None,
            nkey: None,
            tls: None,
            replicas: 1,
            monitor: None,
            max_age: None,
            max_bytes: None,
            secrets: Vec::new(),
        }
    }

    fn healthy() -> Survey {
        Survey {
            too_old: None,
            max_payload: PAYLOAD_NEEDED,
            clustered: false,
            max_storage: None,
            storage: 0,
            denied: Vec::new(),
            drift: Vec::new(),
            skew: Some(SignedDuration::from_millis(20)),
        }
    }

    fn said(nats: &NatsConfig, survey: &Survey, sync: Sync) -> Vec<(Severity, &'static str)> {
        let monitored = Monitored { sync, skew: None };
        let place = Place::in_text("lockstep.toml", "", 0, 0);
        judge(nats, survey, &monitored, &place)
            .into_iter()
            .map(|finding| {
                assert!(finding.help.is_some(), "{}", finding.message);
                (finding.severity, finding.code)
            })
            .collect()
    }

    #[test]
    fn a_healthy_server_is_not_worth_a_word() {
        assert_eq!(said(&nats(), &healthy(), Sync::Always), []);
    }

    #[test]
    fn each_trouble_has_its_finding() {
        let drift = |what: &str| vec![("LS_SET".to_owned(), vec![what.to_owned()])];
        let skewed = |seconds| Some(SignedDuration::from_secs(seconds));
        let cases: [(Survey, (Severity, &str)); 9] = [
            (
                Survey {
                    too_old: Some("nats-server 2.10.1 is too old".into()),
                    ..healthy()
                },
                (Severity::Error, "LS-P008"),
            ),
            (
                Survey {
                    max_payload: 65_536,
                    ..healthy()
                },
                (Severity::Error, "LS-P008"),
            ),
            (
                Survey {
                    denied: vec!["ls.set.x".into()],
                    ..healthy()
                },
                (Severity::Error, "LS-L007"),
            ),
            (
                Survey {
                    drift: drift("max_age is 1, declared 0"),
                    ..healthy()
                },
                (Severity::Warning, "LS-L008"),
            ),
            (
                Survey {
                    drift: drift("discard is \"old\", declared \"new\""),
                    ..healthy()
                },
                (Severity::Error, "LS-L008"),
            ),
            (
                Survey {
                    skew: skewed(6),
                    ..healthy()
                },
                (Severity::Warning, "LS-P010"),
            ),
            (
                Survey {
                    skew: skewed(-30),
                    ..healthy()
                },
                (Severity::Warning, "LS-P010"),
            ),
            (
                Survey {
                    skew: skewed(3600),
                    ..healthy()
                },
                (Severity::Error, "LS-P010"),
            ),
            (
                Survey {
                    skew: skewed(-3599),
                    ..healthy()
                },
                (Severity::Error, "LS-P010"),
            ),
        ];
        for (survey, expected) in cases {
            assert_eq!(
                said(&nats(), &survey, Sync::Always),
                [expected],
                "{survey:?}"
            );
        }
        let three = NatsConfig {
            replicas: 3,
            ..nats()
        };
        assert_eq!(
            said(&three, &healthy(), Sync::Always),
            [(Severity::Error, "LS-P008")]
        );
    }

    #[test]
    fn anything_weaker_than_always_is_said() {
        let weak = said(&nats(), &healthy(), Sync::Every(Duration::from_secs(120)));
        assert_eq!(weak, [(Severity::Warning, "LS-P009")]);
        let unknown = said(&nats(), &healthy(), Sync::Unknown("no monitor".into()));
        assert_eq!(unknown, [(Severity::Info, "LS-P009")]);
    }
}

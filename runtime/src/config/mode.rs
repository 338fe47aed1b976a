//! When a flow applies what is captured: what its keys mean together.

use std::time::Duration;

use jiff::tz::TimeZone;
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::schedule::{Cron, Schedule};

use super::Mode;
use super::file::{FlowText, ModeText};
use super::limits::duration;
use super::read::Reading;

/// Changes that a batched flow collects at most, if nothing is said.
const BATCH_MAX: u32 = 1000;
/// How long it collects, if only a number is said.
const BATCH_TIME: Duration = Duration::from_secs(60);

impl Reading<'_> {
    /// The mode of a flow; what does not belong to it is a finding.
    pub(super) fn mode(&mut self, name: &str, flow: &FlowText) -> Mode {
        let mode = flow.mode.unwrap_or(ModeText::Realtime);
        let every = flow.every.as_ref().and_then(|every| {
            let path = ["flows", name, "every"];
            let every = self.filled(&path, every)?;
            self.parsed(&path, duration(&every))
        });
        let known: &[&str] = match mode {
            ModeText::Realtime => &[],
            ModeText::Batched => &["every", "max"],
            ModeText::Scheduled => &["every", "cron", "zone"],
        };
        let written = [
            ("every", flow.every.is_some()),
            ("max", flow.max.is_some()),
            ("cron", flow.cron.is_some()),
            ("zone", flow.zone.is_some()),
        ];
        for (key, _) in written
            .iter()
            .filter(|(key, is)| *is && !known.contains(key))
        {
            let message = format!("`{key}` says nothing in this mode of flow `{name}`");
            let help = "set `mode = \"batched\"` (`every`, `max`) or `mode = \"scheduled\"` (`every`, or `cron` with `zone`), or remove it";
            self.wrong(name, key, message, help);
        }
        match mode {
            ModeText::Realtime => Mode::Realtime,
            ModeText::Batched => {
                if flow.every.is_none() && flow.max.is_none() {
                    let message =
                        format!("flow `{name}` is batched, but not for how long or how many");
                    self.wrong(
                        name,
                        "mode",
                        message,
                        "add `every = \"30s\"` or `max = 1000`",
                    );
                }
                Mode::Batched {
                    every: every.unwrap_or(BATCH_TIME),
                    max: flow.max.unwrap_or(BATCH_MAX) as usize,
                }
            }
            ModeText::Scheduled => self.scheduled(name, flow, every),
        }
    }

    fn scheduled(&mut self, name: &str, flow: &FlowText, every: Option<Duration>) -> Mode {
        let zone = flow.zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(zone).unwrap_or_else(|_| {
            let shown: String = zone.chars().take(40).collect();
            let message = format!("there is no time zone `{shown}`");
            self.wrong(
                name,
                "zone",
                message,
                "write a name such as `Europe/Berlin`, or `UTC`",
            );
            TimeZone::UTC
        });
        match (&flow.cron, &flow.every) {
            (Some(cron), None) => match Cron::parse(cron, zone) {
                Ok(cron) => return Mode::Scheduled(Schedule::Cron(Box::new(cron))),
                Err(message) => {
                    self.wrong(
                        name,
                        "cron",
                        message,
                        "write five fields, such as `0 2 * * 1-5`",
                    );
                }
            },
            (None, Some(_)) => {
                if let Some(every) = every {
                    return Mode::Scheduled(Schedule::Every(every));
                }
            }
            _ => {
                let message = format!(
                    "flow `{name}` is scheduled, which takes `every` or `cron`, and one of them"
                );
                self.wrong(
                    name,
                    "mode",
                    message,
                    "write `every = \"1h\"` or `cron = \"0 2 * * *\"`",
                );
            }
        }
        Mode::Realtime
    }

    fn wrong(&mut self, flow: &str, key: &str, message: String, help: &str) {
        let place = self.places.value(&["flows", flow, key]);
        let finding = Diagnostic::error("LS-G008", message).at(place).help(help);
        self.findings.push(finding);
    }
}

//! How a system is captured by query: what its keys mean together.

use std::time::Duration;

use jiff::tz::TimeZone;
use lockstep_core::capture::listing::Share;
use lockstep_core::capture::watermark::Overlap;
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::schedule::{Cron, Schedule};

use super::file::{CaptureText, OverlapText, QueryTableText, QueryText};
use super::limits::duration;
use super::read::Reading;
use crate::query::{Query, QueryTable, SWEEP};

/// How often tables are read, if nothing is said.
const EVERY: Duration = Duration::from_secs(60);
/// Most rows that are read at once, if nothing is said.
const CHUNK_ROWS: u32 = 2000;
/// How much of a table may go at once, if nothing is said.
const SHARE: Share = Share { percent: 20 };

impl Reading<'_> {
    /// How a system is captured by query, if it is.
    pub(super) fn query(
        &mut self,
        system: &str,
        (capture, is_asked): (Option<CaptureText>, bool),
        text: Option<QueryText>,
    ) -> Option<Query> {
        if capture != Some(CaptureText::Query) {
            if text.is_some() {
                let message =
                    format!("`query` says nothing: system `{system}` is not captured by query");
                self.odd(
                    &[system, "query"],
                    message,
                    "add `capture = \"query\"`, or remove it",
                );
            }
            return None;
        }
        let text = text.unwrap_or_default();
        let schedule = self.query_schedule(system, &text);
        let share = text
            .deletes_max_percent
            .map(|percent| self.share(&[system, "query"], percent));
        let chunk_rows = text.chunk_rows.unwrap_or(CHUNK_ROWS);
        if !(1..=20_000).contains(&chunk_rows) {
            let message = format!("`chunk_rows = {chunk_rows}` is out of bounds");
            self.odd(
                &[system, "query", "chunk_rows"],
                message,
                "write 1 to 20000",
            );
        }
        let tables = text.tables.into_iter().map(|(name, table)| {
            let said = self.query_table(system, &name, table, is_asked);
            (name, said)
        });
        Some(Query {
            schedule,
            chunk_rows: chunk_rows.clamp(1, 20_000) as usize,
            share: share.unwrap_or(SHARE),
            tables: tables.collect(),
        })
    }

    fn query_schedule(&mut self, system: &str, text: &QueryText) -> Schedule {
        let usual = Schedule::Every(EVERY);
        let named = text.zone.as_deref().unwrap_or("UTC");
        let Ok(zone) = TimeZone::get(named) else {
            let shown: String = named.chars().take(40).collect();
            let message = format!("there is no time zone `{shown}`");
            self.odd(
                &[system, "query", "zone"],
                message,
                "write a name such as `Europe/Berlin`, or `UTC`",
            );
            return usual;
        };
        match (&text.cron, &text.every) {
            (Some(_), Some(_)) => {
                let message = format!("system `{system}` is read by `every` and by `cron`");
                self.odd(&[system, "query", "cron"], message, "keep one of the two");
                usual
            }
            (Some(cron), None) => match Cron::parse(cron, zone) {
                Ok(cron) => Schedule::Cron(Box::new(cron)),
                Err(message) => {
                    self.odd(
                        &[system, "query", "cron"],
                        message,
                        "write five fields, such as `0 2 * * 1-5`",
                    );
                    usual
                }
            },
            (None, every) => {
                if text.zone.is_some() {
                    let message = "`zone` says nothing without `cron`".to_owned();
                    self.odd(
                        &[system, "query", "zone"],
                        message,
                        "add `cron`, or remove it",
                    );
                }
                let path = ["systems", system, "query", "every"];
                let every = every.as_ref().and_then(|every| {
                    let every = self.filled(&path, every)?;
                    self.parsed(&path, duration(&every))
                });
                every.map_or(usual, Schedule::Every)
            }
        }
    }

    /// `is_asked` says that the connector knows by itself what grows, or keeps a journal.
    fn query_table(
        &mut self,
        system: &str,
        name: &str,
        text: QueryTableText,
        is_asked: bool,
    ) -> QueryTable {
        let path = ["systems", system, "query", "tables", name];
        let here = [system, "query", "tables", name];
        if text.watermark.is_none() && !is_asked {
            for (key, written) in [
                ("overlap", text.overlap.is_some()),
                ("sweep", text.sweep.is_some()),
            ] {
                if written {
                    let message =
                        format!("`{key}` of table `{name}` says nothing without `watermark`");
                    self.odd(
                        &[&here[..], &[key]].concat(),
                        message,
                        "add `watermark`, or remove it",
                    );
                }
            }
        }
        let overlap = text.overlap.and_then(|overlap| match overlap {
            OverlapText::Count(count) => Some(Overlap::Count(count)),
            OverlapText::Time(text) => {
                let path = [&path[..], &["overlap"]].concat();
                self.parsed(&path, duration(&text)).map(Overlap::Time)
            }
        });
        let sweep = match text.sweep.as_deref() {
            None => Some(SWEEP),
            Some("never") => None,
            Some(every) => {
                let path = [&path[..], &["sweep"]].concat();
                self.parsed(&path, duration(every))
            }
        };
        QueryTable {
            key: text.key,
            sweep,
            watermark: text.watermark,
            overlap,
            share: text
                .deletes_max_percent
                .map(|percent| self.share(&here, percent)),
        }
    }

    fn share(&mut self, at: &[&str], percent: u8) -> Share {
        if percent > 100 {
            let message = format!("`deletes_max_percent = {percent}` is more than everything");
            self.odd(
                &[at, &["deletes_max_percent"]].concat(),
                message,
                "write 0 to 100",
            );
        }
        Share {
            percent: percent.min(100),
        }
    }

    fn odd(&mut self, at: &[&str], message: String, help: &str) {
        let place = self.places.value(&[&["systems"], at].concat());
        let finding = Diagnostic::error("LS-G008", message).at(place).help(help);
        self.findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::toy::{GOOD, World, registry};
    use super::super::{Role, read};
    use super::*;

    /// The good file with something said of how its source is read.
    fn with(said: &str) -> Result<Query, Vec<String>> {
        let text = GOOD.replacen("[systems.crm]\n", &format!("[systems.crm]\n{said}\n"), 1);
        assert_ne!(text, GOOD);
        let file = Path::new("conf/lockstep.toml");
        match read::read(file, &text, &registry(), &World::usual()) {
            Ok((config, _)) => {
                let query = config.systems["crm"].query.clone();
                query.ok_or_else(|| vec!["not by query".to_owned()])
            }
            Err(findings) => Err(findings
                .into_iter()
                .map(|finding| finding.message)
                .collect()),
        }
    }

    #[test]
    fn what_is_not_said_has_a_usual_value() {
        let query = with("capture = \"query\"").unwrap();
        assert_eq!(query.schedule, Schedule::Every(EVERY));
        assert_eq!((query.chunk_rows, query.share), (2000, SHARE));
        let table = with(
            "capture = \"query\"\nquery = { every = \"5s\", tables = { accounts = { watermark = \"at\" } } }",
        );
        let table = table.unwrap().tables.remove("accounts").unwrap();
        assert_eq!((table.sweep, table.overlap), (Some(SWEEP), None));
        let said = "capture = \"query\"\nquery = { cron = \"0 2 * * *\", zone = \"Europe/Berlin\", tables = { accounts = { key = [\"no\"], watermark = \"at\", overlap = 50, sweep = \"never\", deletes_max_percent = 5 } } }";
        let mut query = with(said).unwrap();
        assert!(matches!(query.schedule, Schedule::Cron(_)));
        let table = query.tables.remove("accounts").unwrap();
        assert_eq!(
            (table.sweep, table.overlap, table.share),
            (None, Some(Overlap::Count(50)), Some(Share { percent: 5 }))
        );
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        assert_eq!(with("capture = \"log\"").unwrap_err(), ["not by query"]);
        for (said, why) in [
            ("query = { every = \"5s\" }", "is not captured by query"),
            (
                "capture = \"query\"\nquery = { every = \"5s\", cron = \"* * * * *\" }",
                "by `every` and by `cron`",
            ),
            (
                "capture = \"query\"\nquery = { cron = \"daily\" }",
                "five fields",
            ),
            (
                "capture = \"query\"\nquery = { every = \"soon\" }",
                "not a length of time",
            ),
            (
                "capture = \"query\"\nquery = { zone = \"UTC\" }",
                "without `cron`",
            ),
            (
                "capture = \"query\"\nquery = { deletes_max_percent = 101 }",
                "101",
            ),
            (
                "capture = \"query\"\nquery = { tables = { a = { sweep = \"1d\" } } }",
                "without `watermark`",
            ),
            ("capture = \"polling\"", "polling"),
        ] {
            let findings = with(said).unwrap_err();
            assert!(
                findings.iter().any(|finding| finding.contains(why)),
                "{said}: {findings:?}"
            );
        }
    }

    #[test]
    fn a_source_is_told_what_flows_read_and_a_reader_is_not() {
        let (config, _) = read::read(
            Path::new("conf/lockstep.toml"),
            GOOD,
            &registry(),
            &World::usual(),
        )
        .unwrap();
        let reads = config.open_context("crm", Role::Source).reads;
        let [(table, reads)] = reads.iter().collect::<Vec<_>>()[..] else {
            panic!("one table is read: {reads:?}");
        };
        assert_eq!(table, &config.systems["crm"].map["customer"].table);
        assert!(
            reads
                .columns
                .as_ref()
                .is_some_and(|columns| columns.contains("country_name")),
            "{reads:?}"
        );
        assert!(config.open_context("erp", Role::Sink).reads.is_empty());
    }
}

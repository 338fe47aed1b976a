//! What a benchmark has to say, in the form that all of them share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// Figures by name.
pub(super) type Figures = BTreeMap<String, f64>;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) bench: &'static str,
    pub(super) machine: Machine,
    /// Lockstep's rates as parts of the limits.
    pub(super) ratios: Figures,
    /// The ratios that are better when they are lower.
    pub(super) lower_is_better: Vec<String>,
    /// Rows a second of what Lockstep is compared with.
    pub(super) limits: Figures,
    /// Rows a second of Lockstep.
    pub(super) rows_per_s: Figures,
    /// CPU microseconds a row, per way of a row and per program on it.
    pub(super) cpu_us_per_row: BTreeMap<String, Figures>,
    /// The most memory that each program has held.
    pub(super) rss_mb: Figures,
    /// From commit in the source to the row in the target, `p50` and `p99`.
    pub(super) latency_ms: BTreeMap<String, Figures>,
    /// What the same program read of the same backlog twice, the second by the first: how far figures differ by chance.
    #[serde(skip_serializing_if = "Figures::is_empty")]
    pub(super) noise: Figures,
    /// Every run, with all its figures.
    pub(super) runs: Vec<serde_json::Value>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    os: &'static str,
    arch: &'static str,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        }
    }
}

/// The middle one of the figures.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let tables = [
            ("ratio", &self.ratios, 2),
            ("the same again", &self.noise, 2),
            ("limit, rows/s", &self.limits, 0),
            ("rows/s", &self.rows_per_s, 0),
            ("MB at most", &self.rss_mb, 0),
        ];
        for (title, figures, digits) in tables {
            table(&mut text, title, figures, digits);
        }
        for (way, figures) in &self.cpu_us_per_row {
            table(&mut text, &format!("CPU µs/row, {way}"), figures, 1);
        }
        for (way, figures) in &self.latency_ms {
            table(&mut text, &format!("latency in ms, {way}"), figures, 1);
        }
        text
    }
}

fn table(text: &mut String, title: &str, figures: &Figures, digits: usize) {
    if figures.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for (name, figure) in figures {
        let _ = writeln!(text, "  {name:<36} {figure:>10.digits$}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([5.0]), 5.0);
        assert!(median([]).is_nan());
    }
}

//! JUnit XML: a suite a file, a case a finding, and one passed case for a file without any.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Item, Report, word};

pub(super) fn render(report: &Report) -> String {
    let mut suites: BTreeMap<&str, Vec<&Item>> = report
        .files
        .iter()
        .map(|file| (file.as_str(), Vec::new()))
        .collect();
    for item in &report.findings {
        let file = item
            .place()
            .map_or("contracts", |(place, _)| place.file.as_str());
        suites.entry(file).or_default().push(item);
    }
    let failed = |items: &[&Item]| items.iter().filter(|item| report.fails(item)).count();
    let all: usize = suites.values().map(|items| items.len().max(1)).sum();
    let failures: usize = suites.values().map(|items| failed(items)).sum();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"lockstep contract {}\" tests=\"{all}\" failures=\"{failures}\" errors=\"0\">",
        report.command
    );
    for (file, items) in suites {
        let name = escaped(&report.uri(file));
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"0\">",
            items.len().max(1),
            failed(&items)
        );
        if items.is_empty() {
            let _ = writeln!(
                xml,
                "    <testcase classname=\"{name}\" name=\"{}\"/>",
                report.command
            );
        }
        for item in items {
            case(&mut xml, report, &name, item);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, report: &Report, classname: &str, item: &Item) {
    let part = item.pointer.as_deref().unwrap_or(&item.fingerprint);
    let line = item.place().map_or(1, |(place, _)| place.line);
    let _ = writeln!(
        xml,
        "    <testcase classname=\"{classname}\" name=\"{}\">",
        escaped(&format!("{} {part}", item.rule)),
    );
    let mut text = format!(
        "{}:{line}: {}",
        item.place().map_or("", |(place, _)| &place.file),
        item.message
    );
    for (name, value) in [("breaks", Some(item.breaks())), ("help", item.hint.clone())] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text += &format!("\n{name}: {value}");
        }
    }
    if let Some(witness) = &item.witness {
        text += &format!("\nwitness: {witness}");
    }
    if let Some(excuse) = &item.approved {
        text += &format!(
            "\napproved by {} until {}: {}",
            excuse.by, excuse.expires, excuse.reason
        );
    }
    if report.fails(item) {
        let _ = writeln!(
            xml,
            "      <failure type=\"{}\" message=\"{}\">{}</failure>",
            word(item.severity),
            escaped(&item.message),
            escaped(&text)
        );
    } else {
        let _ = writeln!(xml, "      <system-out>{}</system-out>", escaped(&text));
    }
    xml.push_str("    </testcase>\n");
}

/// A text in XML, in an attribute or outside of it; what XML cannot hold is replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            '\n' | '\r' | '\t' => {
                let _ = write!(xml, "&#{};", u32::from(c));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
    xml
}

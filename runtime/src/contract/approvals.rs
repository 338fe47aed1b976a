//! Approvals: somebody with the right role says that a finding may pass, why, and until when.
//!
//! Owns the file of an approval and the judgement whether it counts; knows nothing of how findings come about.
//! An approval names a finding by its fingerprint, so it excuses one difference and dies when the difference changes.
//! Who holds a role is what the contract said *before* the change, were it nobody: nobody appoints himself.
//! An approval that was merged was judged when it came, and counts for its time whoever holds the role by now.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::ToSpan as _;
use jiff::civil::Date;
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};
use serde::Deserialize;

use super::report::{Excuse, Item};

/// Days that an approval counts where nobody says otherwise.
pub const DAYS: i64 = 90;
/// Most days that an approval counts.
pub const DAYS_MAX: i64 = 366;

/// An approval, as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The file.
    pub file: String,
    /// Its text, which tells whether the approval is new.
    pub text: String,
    /// The finding.
    pub fingerprint: String,
    /// The finding's rule.
    pub rule: String,
    /// The contract's id.
    pub contract: String,
    /// Why it may pass.
    pub reason: String,
    /// Who says so.
    pub approved_by: String,
    /// In which role.
    pub role: String,
    /// The last day on which it counts.
    pub expires: Date,
}

/// What is known of an approval's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It came with the change.
    New,
    /// It was there before the change, so that it was judged then and may well excuse nothing any more.
    Settled,
    /// Nobody can tell.
    Unknown,
}

/// Who holds which role, by contract id.
pub type Teams = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    fingerprint: String,
    rule: String,
    contract: String,
    reason: String,
    approved_by: String,
    role: String,
    expires: String,
}

impl Approval {
    /// Reads an approval.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(file: &str, text: &str) -> Result<Approval, Diagnostic> {
        let wrong = |key: &str, message: String| {
            Diagnostic::error("LS-K012", message)
                .at(place(file, text, key))
                .help("write approvals with `lockstep contract approve`")
        };
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: 100, max_depth: 4, max_documents: 1, max_aliases: 0, max_anchors: 0 },
        };
        let written: Written = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let error = error.without_snippet();
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
            let offset = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            Diagnostic::error("LS-K012", format!("the approval cannot be read: {}", message.trim_end_matches([' ', ':', ','])))
                .at(Place::in_text(file, text, offset, 1))
                .help("it has exactly `fingerprint`, `rule`, `contract`, `reason`, `approvedBy`, `role` and `expires`")
        })?;
        let expires = written.expires.parse().map_err(|_| {
            wrong(
                "expires",
                format!("`{}` is not a day such as 2026-12-31", written.expires),
            )
        })?;
        for (key, value) in [
            ("reason", &written.reason),
            ("approvedBy", &written.approved_by),
            ("role", &written.role),
        ] {
            if value.trim().is_empty() {
                return Err(wrong(key, format!("`{key}` is empty")));
            }
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        if name.split('.').next() != Some(written.fingerprint.as_str()) {
            return Err(wrong(
                "fingerprint",
                format!(
                    "the file is not named after its fingerprint `{}`",
                    written.fingerprint
                ),
            ));
        }
        Ok(Approval {
            file: file.to_owned(),
            text: text.to_owned(),
            fingerprint: written.fingerprint,
            rule: written.rule,
            contract: written.contract,
            reason: written.reason,
            approved_by: written.approved_by,
            role: written.role,
            expires,
        })
    }

    /// The text of its file.
    #[must_use]
    pub fn write(&self) -> String {
        // A JSON text is a YAML text, whatever it holds.
        let quoted = |text: &str| {
            let json = serde_json::Value::from(text).to_string();
            let mut yaml = String::with_capacity(json.len());
            for c in json.chars() {
                // What YAML does not print as it is; all of it is one unit of UTF-16.
                if c.is_control()
                    || matches!(
                        c,
                        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                    )
                {
                    let _ = write!(yaml, "\\u{:04x}", u32::from(c));
                } else {
                    yaml.push(c);
                }
            }
            yaml
        };
        let mut text = String::new();
        for (key, value) in [
            ("fingerprint", self.fingerprint.as_str()),
            ("rule", &self.rule),
            ("contract", &self.contract),
            ("reason", &self.reason),
            ("approvedBy", &self.approved_by),
            ("role", &self.role),
            ("expires", &self.expires.to_string()),
        ] {
            let _ = writeln!(text, "{key}: {}", quoted(value));
        }
        text
    }

    fn at(&self, key: &str) -> Place {
        place(&self.file, &self.text, key)
    }

    /// What is wrong with it, whatever it excuses.
    fn faults(&self, today: Date) -> Option<Diagnostic> {
        let last = today.checked_add(DAYS_MAX.days()).unwrap_or(Date::MAX);
        if self.expires > last {
            let message = format!(
                "the approval holds until {}, more than {DAYS_MAX} days from now",
                self.expires
            );
            return Some(
                Diagnostic::error("LS-K012", message)
                    .at(self.at("expires"))
                    .help(format!(
                        "let it end on {last} at the latest, and be given again"
                    )),
            );
        }
        if self.expires < today {
            return Some(
                Diagnostic::warning(
                    "LS-K013",
                    format!(
                        "the approval of {} expired on {}",
                        self.fingerprint, self.expires
                    ),
                )
                .at(self.at("expires"))
                .help("delete the file, or let the change be approved again"),
            );
        }
        None
    }

    /// Whether whoever approved did not hold the role.
    fn not_entitled(&self, teams: &Teams) -> Option<Diagnostic> {
        let members = teams.get(&self.contract)?;
        if holds(members, &self.role, &self.approved_by) {
            return None;
        }
        let message = format!(
            "`{}` does not hold the role `{}` in contract `{}`",
            self.approved_by, self.role, self.contract
        );
        Some(
            Diagnostic::error("LS-K015", message)
                .at(self.at("approvedBy"))
                .help(who(members, &self.role)),
        )
    }
}

/// Excuses the findings that somebody approved, and says what is wrong with approvals.
///
/// `past` tells whether an approval came with the change.
pub fn apply(
    items: &mut [Item],
    approvals: &[Approval],
    teams: &Teams,
    today: Date,
    past: &dyn Fn(&Approval) -> Past,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for approval in approvals {
        let past = past(approval);
        let judged = past == Past::Settled;
        let not_entitled = || approval.not_entitled(teams).filter(|_| !judged);
        if let Some(fault) = approval.faults(today).or_else(not_entitled) {
            findings.push(fault);
            continue;
        }
        let mut used = false;
        for item in items
            .iter_mut()
            .filter(|item| item.fingerprint == approval.fingerprint)
        {
            used = true;
            match mismatch(item, approval) {
                Some(message) => findings.push(
                    Diagnostic::error("LS-K016", message)
                        .at(approval.at("rule"))
                        .help("write the approval with `lockstep contract approve`"),
                ),
                None => {
                    item.approved = Some(Excuse {
                        by: approval.approved_by.clone(),
                        role: approval.role.clone(),
                        reason: approval.reason.clone(),
                        expires: approval.expires.to_string(),
                    });
                }
            }
        }
        if !used && past == Past::New {
            let message = format!("the approval of {} excuses nothing", approval.fingerprint);
            findings.push(
                Diagnostic::warning("LS-K014", message)
                    .at(approval.at("fingerprint"))
                    .help("the change differs from what was approved, or is no longer there: delete the file"),
            );
        }
    }
    findings
}

/// What is wrong with approvals by themselves, for `lint`.
///
/// Who held a role before the change is known to `breaking` alone, so somebody who does not hold it by `teams` is a warning here.
/// `all_read` says that every contract could be read: nothing can be said of approvals for one that could not.
#[must_use]
pub fn lint(approvals: &[Approval], teams: &Teams, all_read: bool, today: Date) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for approval in approvals {
        if let Some(fault) = approval.faults(today) {
            findings.push(fault);
        } else if !teams.contains_key(&approval.contract) {
            let message = format!(
                "the approval is about contract `{}`, which is not here",
                approval.contract
            );
            let finding = Diagnostic::warning("LS-K014", message)
                .at(approval.at("contract"))
                .help("delete the file");
            findings.extend(all_read.then_some(finding));
        } else if let Some(fault) = approval.not_entitled(teams) {
            let help = fault.help.unwrap_or_default();
            findings.push(Diagnostic {
                severity: Severity::Warning,
                help: Some(format!(
                    "`lockstep contract breaking` says whether it counts, by who held the role before the change; {help}"
                )),
                ..fault
            });
        }
    }
    findings
}

/// Why an approval with an item's fingerprint does not excuse it all the same.
fn mismatch(item: &Item, approval: &Approval) -> Option<String> {
    let Some(role) = item.approver else {
        return Some(format!("{} cannot be approved", item.rule));
    };
    if item.rule != approval.rule || item.contract.as_deref() != Some(&approval.contract) {
        return Some(format!(
            "the finding with this fingerprint is {} of contract `{}`",
            item.rule,
            item.contract.as_deref().unwrap_or_default()
        ));
    }
    (!same_role(role, &approval.role)).then(|| {
        format!(
            "{} is approved by role `{role}`, not `{}`",
            item.rule, approval.role
        )
    })
}

/// Whether somebody holds a role.
#[must_use]
pub fn holds(members: &BTreeMap<String, Vec<String>>, role: &str, who: &str) -> bool {
    members
        .iter()
        .filter(|(known, _)| same_role(known, role))
        .flat_map(|(_, names)| names)
        .any(|name| name.trim().eq_ignore_ascii_case(who.trim()))
}

/// Who may approve, in words.
#[must_use]
pub fn who(members: &BTreeMap<String, Vec<String>>, role: &str) -> String {
    let known = members.iter().filter(|(known, _)| same_role(known, role));
    let names: Vec<&str> = known
        .flat_map(|(_, names)| names)
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        format!(
            "nobody holds the role `{role}`: add a member with it to `team` in the contract, in a change of its own"
        )
    } else {
        format!("role `{role}` is held by: {}", names.join(", "))
    }
}

/// Whether two spellings are of one role: `dataProtection`, `data-protection`, `Data protection`.
fn same_role(one: &str, other: &str) -> bool {
    let plain = |role: &str| {
        let letters = role.chars().filter(|c| c.is_alphanumeric());
        letters
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .trim_end_matches('s')
            .to_owned()
    };
    plain(one) == plain(other)
}

fn place(file: &str, text: &str, key: &str) -> Place {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(key) && line[key.len()..].starts_with(':') {
            return Place::in_text(file, text, offset, line.trim_end().len());
        }
        offset += line.len();
    }
    Place::in_text(file, text, 0, 1)
}

#[cfg(test)]
mod tests {
    use lockstep_core::contract::compat::Verdict;
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn approval() -> Approval {
        let approval = Approval {
            file: "approvals/abc123.yaml".to_owned(),
            text: String::new(),
            fingerprint: "abc123".to_owned(),
            rule: "LSC-TEST".to_owned(),
            contract: "customer".to_owned(),
            reason: "agreed with \"billing\":\n- in March".to_owned(),
            approved_by: "jane@example.com".to_owned(),
            role: "owner".to_owned(),
            expires: day("2026-12-31"),
        };
        Approval {
            text: approval.write(),
            ..approval
        }
    }

    fn item() -> Item {
        let mut item = Item::from(Diagnostic::error("LSC-TEST", "gone"));
        item.contract = Some("customer".to_owned());
        item.approver = Some("owner");
        item.verdict = Some(Verdict::No);
        item.fingerprint = "abc123".to_owned();
        item
    }

    fn teams() -> Teams {
        let members = BTreeMap::from([("Owner".to_owned(), vec!["Jane@example.com".to_owned()])]);
        BTreeMap::from([("customer".to_owned(), members)])
    }

    /// Applies one approval to one finding: whether it is excused, and the codes found.
    fn applied(approval: &Approval, item: Item, today: &str) -> (bool, Vec<&'static str>) {
        let mut items = [item];
        let found = apply(
            &mut items,
            std::slice::from_ref(approval),
            &teams(),
            day(today),
            &|_| Past::New,
        );
        (
            items[0].approved.is_some(),
            found.iter().map(|found| found.code).collect(),
        )
    }

    #[test]
    fn an_approval_excuses_its_finding_until_it_expires() {
        assert_eq!(applied(&approval(), item(), "2026-12-31"), (true, vec![]));
        assert_eq!(
            applied(&approval(), item(), "2027-01-01"),
            (false, vec!["LS-K013"])
        );
    }

    #[test]
    fn an_approval_excuses_nothing_but_its_finding() {
        let other = |change: fn(&mut Item)| {
            let mut item = item();
            change(&mut item);
            applied(&approval(), item, "2026-06-01")
        };
        assert_eq!(
            other(|item| item.fingerprint = "fff".to_owned()),
            (false, vec!["LS-K014"])
        );
        assert_eq!(
            other(|item| item.rule = "LSC-OTHER"),
            (false, vec!["LS-K016"])
        );
        assert_eq!(
            other(|item| item.contract = Some("order".to_owned())),
            (false, vec!["LS-K016"])
        );
        assert_eq!(other(|item| item.approver = None), (false, vec!["LS-K016"]));
        assert_eq!(
            other(|item| item.approver = Some("dataProtection")),
            (false, vec!["LS-K016"])
        );
    }

    #[test]
    fn only_somebody_with_the_role_approves() {
        let by = |who: &str| Approval {
            approved_by: who.to_owned(),
            ..approval()
        };
        assert_eq!(
            applied(&by("joe"), item(), "2026-06-01"),
            (false, vec!["LS-K015"])
        );
        // Who held the role before the change is not known to `lint`, so it only warns.
        let none = Teams::from([("customer".to_owned(), BTreeMap::new())]);
        for (teams, expected) in [(&teams(), 1), (&none, 2)] {
            let approvals = [by("Jane@example.com"), by("joe")];
            let found = lint(&approvals, teams, true, day("2026-06-01"));
            assert_eq!(found.len(), expected, "{found:?}");
            let is_told =
                |fault: &Diagnostic| fault.code == "LS-K015" && fault.severity == Severity::Warning;
            assert!(found.iter().all(is_told), "{found:?}");
        }
    }

    #[test]
    fn approvals_of_the_past_are_not_complained_about_when_they_excuse_nothing() {
        for past in [Past::Settled, Past::Unknown] {
            let day = day("2026-06-01");
            let found = apply(&mut [], &[approval()], &teams(), day, &|_| past);
            assert!(found.is_empty());
        }
    }

    #[test]
    fn what_was_merged_counts_whoever_holds_the_role_by_now() {
        let gone = Approval {
            approved_by: "joe".to_owned(),
            ..approval()
        };
        for (past, counts) in [
            (Past::New, false),
            (Past::Unknown, false),
            (Past::Settled, true),
        ] {
            let mut items = [item()];
            let approvals = [gone.clone()];
            let found = apply(&mut items, &approvals, &teams(), day("2026-06-01"), &|_| {
                past
            });
            assert_eq!(items[0].approved.is_some(), counts, "{past:?}");
            assert_eq!(found.is_empty(), counts, "{found:?}");
        }
    }

    #[test]
    fn nothing_is_said_of_approvals_for_contracts_that_cannot_be_read() {
        let day = day("2026-06-01");
        assert_eq!(lint(&[approval()], &Teams::new(), false, day), Vec::new());
        let found = lint(&[approval()], &Teams::new(), true, day);
        assert_eq!(found[0].code, "LS-K014");
    }

    #[test]
    fn what_is_missing_or_misspelt_is_said_with_its_line() {
        let good = approval().write();
        let table = [
            (good.replace("reason:", "raeson:"), 4),
            (good.replace("2026-12-31", "soon"), 7),
            (good.replace("\"owner\"", "\" \""), 6),
            (
                good.replace("fingerprint: \"abc123\"", "fingerprint: \"other\""),
                1,
            ),
            (good.replace("role: \"owner\"\n", ""), 6),
            (good.clone() + "role: again\n", 8),
            ("{".to_owned(), 1),
        ];
        for (text, line) in table {
            let found = Approval::read("approvals/abc123.yaml", &text).unwrap_err();
            assert_eq!(found.code, "LS-K012", "{text}");
            let at = found.place.map_or(0, |place| place.line);
            assert!(at == line, "{text}: line {at}");
        }
    }

    #[test]
    fn roles_are_one_however_they_are_spelt() {
        assert!(same_role("dataProtection", "Data-Protection"));
        assert!(same_role("consumers", "Consumer"));
        assert!(!same_role("owner", "dataProtection"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(reason in any::<String>(), by in "[^\\s]{1,20}") {
            let approval = Approval { reason: format!("x{reason}"), approved_by: by, ..approval() };
            let text = approval.write();
            let read = Approval::read(&approval.file, &text).unwrap();
            prop_assert_eq!(read, Approval { text, ..approval });
        }

        #[test]
        fn no_text_is_a_reason_to_panic(text in "(\\PC|\n){0,300}") {
            let _ = Approval::read("approvals/abc123.yaml", &text);
        }
    }
}

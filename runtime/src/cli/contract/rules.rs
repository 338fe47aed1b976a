//! `lockstep contract rules`: every rule of the comparison and every code of contract files.

use lockstep_core::contract::{self, compat};
use lockstep_core::diagnostic::nearest;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{Context, Exit};
use crate::contract::CODES;
use crate::explain;

/// List the rules that contracts are held to, or explain one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract rules\n  \
    lockstep contract rules --explain LSC-FIELD-REMOVED\n  \
    lockstep contract rules --json | jq '.rules[].id'\n\n\
    Exit codes: 0 done, 2 there is no such rule.")]
pub(super) struct Args {
    /// The rule or code to explain
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
}

/// The result of `lockstep contract rules --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Rules {
    /// The rule asked for, or all of them.
    rules: Vec<Rule>,
}

/// A rule that contracts are held to.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Rule {
    /// Its id.
    pub(in crate::cli) id: &'static str,
    /// What it finds.
    summary: &'static str,
    /// Why it matters and what to do.
    explanation: &'static str,
    /// What to do about it, where that is not said already.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    /// The role that may approve a finding of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<&'static str>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let mut rules = rules();
        if let Some(id) = &self.explain {
            rules.retain(|rule| rule.id.eq_ignore_ascii_case(id.trim()));
            if rules.is_empty() {
                let all = self::rules();
                if let Some((code, _)) = explain::page(id) {
                    let help = format!(
                        "it is no rule of contracts; `lockstep explain {code}` says what it means"
                    );
                    return cx.unknown(format!("no such rule `{id}`"), help);
                }
                let help = nearest(id, all.iter().map(|rule| rule.id)).map_or_else(
                    || "`lockstep contract rules` lists them".to_owned(),
                    |known| format!("did you mean `{known}`?"),
                );
                return cx.unknown(format!("no such rule `{id}`"), help);
            }
        }
        if cx.output.is_json() {
            cx.output.json(&Rules { rules });
        } else if let (Some(_), [rule]) = (&self.explain, rules.as_slice()) {
            cx.output.text(&format!("{}\n\n{}", rule.id, rule.page()));
        } else {
            let lines = rules
                .iter()
                .map(|rule| format!("{:<32}  {}\n", rule.id, rule.summary));
            cx.output.text(&lines.collect::<String>());
        }
        Exit::Clean
    }
}

impl Rule {
    /// What it finds, why it matters and what to do, without its id.
    pub(in crate::cli) fn page(&self) -> String {
        let explanation = self.explanation.replace('\n', "\n\n");
        let approver = match self.approver {
            Some(role) => format!(
                "\n\nMay be approved by role {role}: `lockstep contract approve FINGERPRINT --reason …`."
            ),
            None => String::new(),
        };
        let summary = if explanation.starts_with(self.summary) {
            String::new()
        } else {
            format!("{}\n\n", self.summary)
        };
        let hint = match self.hint {
            Some(hint) => format!("\n\nWhat to do: {hint}."),
            None => String::new(),
        };
        format!("{summary}{explanation}{hint}{approver}")
    }
}

/// The rules that contracts are compared by.
pub(in crate::cli) fn compared() -> impl Iterator<Item = Rule> {
    compat::RULES.iter().map(|rule| Rule {
        id: rule.id,
        summary: rule.summary,
        explanation: rule.explanation,
        hint: Some(rule.hint),
        approver: rule.approver,
    })
}

fn rules() -> Vec<Rule> {
    let coded = contract::CODES.iter().chain(CODES).map(|(id, page)| Rule {
        id,
        summary: page.find(". ").map_or_else(
            || page.lines().next().unwrap_or_default(),
            |end| page[..=end].lines().next().unwrap_or_default(),
        ),
        explanation: page,
        hint: None,
        approver: None,
    });
    let mut rules: Vec<Rule> = compared().chain(coded).collect();
    rules.sort_by_key(|rule| rule.id);
    rules
}

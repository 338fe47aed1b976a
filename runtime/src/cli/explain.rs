//! `lockstep explain`: the page of a code.

use lockstep_core::diagnostic::nearest;
use schemars::JsonSchema;
use serde::Serialize;

use super::contract::rules;
use super::{Context, Exit};
use crate::explain;

/// Say what a code means, what to check and what is safe to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep explain LS-G014\n  lockstep explain LSC-KEY          a rule that contracts are compared by\n  lockstep explain                  list every code"
)]
pub(super) struct Args {
    /// The code, such as LS-G014; all of them if absent
    code: Option<String>,
}

/// One code's page.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    /// The code.
    code: &'static str,
    /// What it means, what to check, what is safe to do.
    page: String,
}

/// The result of `lockstep explain --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pages {
    /// The page asked for, or all of them.
    pages: Vec<Page>,
}

impl Args {
    pub(super) fn run(self, cx: &Context) -> Exit {
        let mut pages = pages();
        if let Some(code) = &self.code {
            let known: Vec<&str> = pages.iter().map(|page| page.code).collect();
            let help = nearest(code, known).map_or_else(
                || "`lockstep explain` lists every code".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            pages.retain(|page| page.code.eq_ignore_ascii_case(code.trim()));
            if pages.is_empty() {
                return cx.unknown(format!("no such code `{code}`"), help);
            }
        }
        if cx.output.is_json() {
            cx.output.json(&Pages { pages });
        } else if let ([Page { code, page }], Some(_)) = (pages.as_slice(), &self.code) {
            let page = page.replace("\n\n", "\n").replace('\n', "\n\n");
            cx.output.text(&format!("{code}\n\n{page}"));
        } else {
            let lines = pages.iter().map(|Page { code, page }| {
                let first = page.lines().next().unwrap_or_default();
                format!("{code}  {first}\n")
            });
            cx.output.text(&lines.collect::<String>());
        }
        Exit::Clean
    }
}

/// The pages of codes, and those of the rules that contracts are compared by.
fn pages() -> Vec<Page> {
    let pages = explain::pages().into_iter();
    let codes = pages.map(|(code, page)| Page {
        code,
        page: page.to_owned(),
    });
    let rules = rules::compared().map(|rule| Page {
        code: rule.id,
        page: rule.page(),
    });
    let mut pages: Vec<Page> = codes.chain(rules).collect();
    pages.sort_by_key(|page| page.code);
    pages
}

//! `lockstep explain`: the page of a code.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit};
use crate::explain;

/// Say what a code means, what to check and what is safe to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep explain LS-G014\n  lockstep explain          list every code"
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
    page: &'static str,
}

/// The result of `lockstep explain --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pages {
    /// The page asked for, or all of them.
    pages: Vec<Page>,
}

impl Args {
    pub(super) fn run(self, cx: &Context) -> Exit {
        let pages = match &self.code {
            None => explain::pages(),
            Some(code) => match explain::page(code) {
                Some(page) => vec![page],
                None => {
                    let help = explain::meant(code).map_or_else(
                        || "`lockstep explain` lists every code".to_owned(),
                        |known| format!("did you mean `{known}`?"),
                    );
                    return cx.unknown(format!("no such code `{code}`"), help);
                }
            },
        };
        if cx.output.is_json() {
            let pages = pages.into_iter().map(|(code, page)| Page { code, page });
            cx.output.json(&Pages {
                pages: pages.collect(),
            });
        } else if let ([(code, page)], Some(_)) = (pages.as_slice(), &self.code) {
            let page = page.replace('\n', "\n\n");
            cx.output.text(&format!("{code}\n\n{page}"));
        } else {
            let lines = pages.iter().map(|(code, page)| {
                let first = page.lines().next().unwrap_or_default();
                format!("{code}  {first}\n")
            });
            cx.output.text(&lines.collect::<String>());
        }
        Exit::Clean
    }
}

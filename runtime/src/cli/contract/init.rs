//! `lockstep contract init`.

use lockstep_core::contract::{NoLibrary, load};

use super::written::{Document, Out, Written};
use crate::cli::{Context, Exit};

/// Begin a contract
///
/// Writes `contracts/<entity>/<entity>.odcs.yaml` with comments that explain each part. It passes `lockstep contract lint` as it is; the fields are yours to fill in. From a table, a schema or sample data, `lockstep contract import` makes a fuller beginning.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract init customer --owner crm\n  \
    lockstep contract init order_line --key order_id,line_no --owner erp\n  \
    lockstep contract import table --url \"$URL\" --table customers --entity customer --out contracts\n\n\
    Exit codes: 0 done, 2 the file is there already or the name is no name, 3 the file cannot be written.")]
pub(super) struct Args {
    /// The entity's name, such as `customer`
    entity: String,
    /// The system that is right about the entity
    #[arg(long, value_name = "SYSTEM")]
    owner: Option<String>,
    /// The fields that identify a record, in key order
    #[arg(
        long,
        value_name = "FIELD,…",
        value_delimiter = ',',
        default_value = "id"
    )]
    key: Vec<String>,
    /// The folder of contracts, or one file that ends in .yaml; `-` for standard output
    #[arg(long, value_name = "DIR|FILE|-", default_value = "contracts")]
    out: String,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let file = format!("{0}/{0}.odcs.yaml", self.entity);
        let text = text(&self.entity, self.owner.as_deref(), &self.key);
        // A name that is none is refused here, before a file bears it.
        if let Err(mut findings) = load(&file, &text, &NoLibrary) {
            // Places are those of a text that nobody has.
            for finding in &mut findings {
                finding.place = None;
            }
            return cx.fail(&findings, Exit::Usage);
        }
        let out = Out::of(Some(&self.out), &[".yaml", ".yml"]);
        let document = Document::new(Some(&self.entity), file.as_str(), text);
        let exit = Written::new(vec![document], Vec::new()).finish(cx, &out, true, "");
        if exit == Exit::Clean && !cx.output.is_json() && out != Out::Standard {
            cx.output.note(&format!(
                "next: fill in the fields, then\n  \
                 lockstep contract lint\n  \
                 lockstep contract gen docs {}\n  \
                 lockstep contract release {}",
                self.entity, self.entity
            ));
        }
        exit
    }
}

/// The text of a new contract, with comments that explain it.
fn text(entity: &str, owner: Option<&str>, key: &[String]) -> String {
    let quoted = |text: &str| serde_json::json!(text).to_string();
    let name = quoted(entity);
    let id = quoted(&owner.map_or_else(|| entity.to_owned(), |owner| format!("{owner}-{entity}")));
    let (mark, owner) = match owner {
        Some(owner) => ("", quoted(owner)),
        None => ("# ", "crm".to_owned()),
    };
    let mut text = format!(
        "\
# What a record of this entity is, agreed on by everybody who reads or writes it.
# The standard behind it: https://bitol-io.github.io/open-data-contract-standard
apiVersion: v3.1.0
kind: DataContract
id: {id}                   # never changes
version: 1.0.0             # a change that breaks a reader raises the first number
status: draft              # draft, active or deprecated
description:
  purpose: What it is and what it is for, in a sentence.
customProperties:
  # What a new version owes the older ones: none, backward, forward or full, with -transitive for all of them.
  - property: lockstep.compatibility
    value: full-transitive
  # The systems that rely on it; they are asked before something is taken away from them.
  - property: lockstep.consumers
    value: []
schema:
  - name: {name}
    logicalType: object
    customProperties:
      # What a delete does in the other systems: propagate, soft-delete, detach or ignore.
      - property: lockstep.deletes
        value: propagate
      # The system that is right where systems differ.
      {mark}- property: lockstep.owner
      {mark}  value: {owner}
    properties:
      # What identifies a record. It never changes its meaning.
"
    );
    for (i, field) in key.iter().enumerate() {
        text.push_str(&format!(
            "      - name: {}\n        description: Identifies the record everywhere.\n        logicalType: string\n        primaryKey: true\n        primaryKeyPosition: {}\n        required: true\n        logicalTypeOptions:\n          minLength: 1\n          maxLength: 64\n",
            quoted(field),
            i + 1
        ));
    }
    let taken = |wanted: &str| key.iter().any(|field| field == wanted);
    for (name, example) in EXAMPLES {
        if !taken(name) {
            text.push_str(example);
        }
    }
    text.push_str(REST);
    text
}

const EXAMPLES: [(&str, &str); 3] = [
    (
        "name",
        "      # A text that is about a person: it is kept out of logs and messages.
      - name: name
        description: What it is called.
        logicalType: string
        required: true
        classification: personal
        logicalTypeOptions:
          minLength: 1
          maxLength: 200
",
    ),
    (
        "state",
        "      # A text out of a list. With lockstep.enumOpen: true, readers expect others to come.
      - name: state
        description: How far it is.
        logicalType: string
        required: true
        customProperties:
          - property: lockstep.enum
            value: [open, closed]
",
    ),
    (
        "amount",
        "      # An exact number; without `required` it may be null.
      - name: amount
        description: What it costs.
        logicalType: number
        physicalType: decimal(12,2)
        logicalTypeOptions:
          minimum: 0
",
    ),
];

const REST: &str =
    "      # Other types: integer, boolean, date, time, timestamp, number with physicalType double,
      # string with physicalType uuid or bytes, object with properties, array with items.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_is_a_contract() {
        for (owner, key) in [
            (None, vec!["id"]),
            (Some("crm"), vec!["order_id", "line_no"]),
            (Some("my-shop"), vec!["name"]),
        ] {
            let key: Vec<String> = key.into_iter().map(str::to_owned).collect();
            let text = text("thing", owner, &key);
            let loaded = load("thing.odcs.yaml", &text, &NoLibrary)
                .unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
            assert_eq!(loaded.contract.owner.as_deref(), owner);
            let names: Vec<&str> = loaded
                .contract
                .key
                .iter()
                .map(|i| loaded.contract.fields[*i].name.as_str())
                .collect();
            assert_eq!(names, key);
            // Without an owner, that is the one thing to say.
            let codes: Vec<&str> = loaded.findings.iter().map(|found| found.code).collect();
            assert_eq!(
                codes,
                if owner.is_some() {
                    vec![]
                } else {
                    vec!["LS-C015"]
                }
            );
        }
        assert!(load("x", &text("no name", None, &["id".to_owned()]), &NoLibrary).is_err());
    }
}

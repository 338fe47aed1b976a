//! A hand-written type is told where it and the contract part.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use lockstep_core::contract::{Contract, NoLibrary, load};
use lockstep_schemas::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TEXT: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: ticket
    customProperties: [{property: lockstep.owner, value: helpdesk}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: count, logicalType: integer, required: true}
      - {name: note, logicalType: string}
      - {name: state, logicalType: string, required: true, customProperties: [{property: lockstep.enum, value: [open, closed]}]}
      - name: home
        logicalType: object
        required: true
        properties:
          - {name: street, logicalType: string, required: true}
      - {name: tags, logicalType: array, required: true, items: {logicalType: string, required: true}}
";

fn contract(text: &str) -> Contract {
    load("t", text, &NoLibrary).unwrap().contract
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    Closed,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Home {
    street: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Ticket {
    id: String,
    count: i64,
    #[serde(default)]
    note: Option<String>,
    state: State,
    home: Home,
    tags: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Wrong {
    Open,
    Lost,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct OtherHome {
    street: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Other {
    id: String,
    count: String,
    note: String,
    state: Wrong,
    home: OtherHome,
    tags: Vec<Option<String>>,
    more: bool,
}

#[test]
fn a_type_that_says_the_same_agrees() {
    assert_eq!(agree::<Ticket>(&contract(TEXT)), [""; 0]);
    let named = |entity: &str| {
        let source = contracts()
            .iter()
            .find(|source| source.entity == entity)
            .unwrap();
        contract(source.text)
    };
    assert_eq!(agree::<Customer>(&named("customer")), [""; 0]);
    assert_eq!(agree::<Invoice>(&named("invoice")), [""; 0]);
    assert_eq!(agree::<Order>(&named("order")), [""; 0]);
    assert_eq!(agree::<OrderLine>(&named("order_line")), [""; 0]);
    assert_eq!(agree::<Payment>(&named("payment")), [""; 0]);
    assert_eq!(agree::<Product>(&named("product")), [""; 0]);
    assert_eq!(agree::<StockLevel>(&named("stock_level")), [""; 0]);
    assert_ne!(agree::<Order>(&named("invoice")), [""; 0]);
}

#[test]
fn each_difference_is_named() {
    let found = agree::<Other>(&contract(TEXT));
    for said in [
        "`count` is of type integer, and the type has string there",
        "`state` cannot be \"lost\", and the type may write that",
        "`home.street` may not be null, and the type may write that",
        "`tags[]` may not be null, and the type may write that",
        "the type writes `more`, which the contract does not have",
        "`note` may be absent, and the type cannot do without it",
        "`note` may be null, and the type cannot read that",
        "`state` may be \"closed\", and the type cannot read that",
        "the type asks for `more`, which the contract does not have",
        "the type refuses fields it does not know in the record: a newer version may have them",
    ] {
        assert!(
            found.iter().any(|found| found == said),
            "{said}: {found:#?}"
        );
    }
}

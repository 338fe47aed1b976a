//! References: those of tables become those of entities, and follow the names that entities get.

use super::*;

/// A foreign key leads to the entity that the other table is imported as, or to one that is there, or is left out with a word.
#[test]
fn foreign_keys_lead_to_entities() {
    let script = "CREATE TABLE \"OrderItems\" (id int PRIMARY KEY, \"Order Nr\" int UNIQUE);
CREATE TABLE a (
    id int PRIMARY KEY,
    up int REFERENCES a,
    item int REFERENCES \"OrderItems\"(\"Order Nr\"),
    buyer int REFERENCES shop.CUSTOMERS(NR),
    payer int REFERENCES customers,
    wrong int REFERENCES customers(gone),
    vendor int REFERENCES vendors(id),
    FOREIGN KEY (vendor) REFERENCES vendors(id)
);";
    let drafts = sql::import("x.sql", script, "postgres", &asked(&[])).unwrap();
    let contract = written(&drafts[1]);
    let to = |name: &str| {
        let field = &contract.fields[contract.field(name).unwrap()];
        let reference = field.reference.as_ref();
        reference.map(|to| format!("{}.{}", to.entity, to.field))
    };
    for (field, expected) in [
        ("up", Some("a.id")),
        ("item", Some("order_items.Order_Nr")),
        ("buyer", Some("customer.number")),
        ("payer", Some("customer.id")),
        ("wrong", None),
        ("vendor", None),
    ] {
        assert_eq!(to(field).as_deref(), expected, "{field}");
    }
    let said = said(&drafts[1]);
    assert!(said.contains("x.sql:2:1: warning[LS-I116]: `vendor`: the reference to `vendors.id` is left out: no contract here is of that table"), "{said}");
    assert!(
        said.contains("entity `customer` has no such property"),
        "{said}"
    );
    let text = text("x", &drafts[1]).unwrap();
    assert!(
        text.contains("# the reference to `vendors.id` is left out"),
        "{text}"
    );
    let other = super::text("x", &drafts[0]).unwrap();
    assert!(
        other.contains("- name: order_items\n    physicalName: OrderItems\n"),
        "{other}"
    );

    // A hand-written contract names no table, so its name has to tell.
    let plain = Asked {
        others: vec![Other {
            tables: Vec::new(),
            ..customers()
        }],
        ..Asked::default()
    };
    let script = "CREATE TABLE o (id int PRIMARY KEY, buyer int REFERENCES customers(id));";
    let draft = one(sql::import("x.sql", script, "postgres", &plain));
    assert!(
        super::said(&draft).contains(
            "info[LS-I116]: `buyer`: the table `customers` is taken for entity `customer`"
        )
    );
}

/// Objects that get other names are still what others refer to.
#[test]
fn relationships_of_others_follow_the_names_that_are_given() {
    let text = "apiVersion: v3.1.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: Order Lines
    properties:
      - {name: Line No, logicalType: integer, primaryKey: true, required: true}
  - name: note
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: line, logicalType: integer, relationships: [{to: Order Lines.Line No}]}
      - {name: parent, logicalType: integer, relationships: [{to: note.id}]}
      - {name: far, logicalType: integer, relationships: [{to: elsewhere.id}]}
";
    let drafts = odcs::import("shop.yaml", text, &asked(&[])).unwrap();
    let contract = written(&drafts[1]);
    let to: Vec<String> = contract
        .fields
        .iter()
        .filter_map(|field| field.reference.as_ref())
        .map(|to| format!("{}.{}", to.entity, to.field))
        .collect();
    assert_eq!(to, ["order_lines.Line_No", "note.id", "elsewhere.id"]);
    let remark = Asked {
        entity: Some("note".to_owned()),
        ..Asked::default()
    };
    let one = one(odcs::import("shop.yaml", text, &remark));
    assert!(super::text("x", &one).unwrap().contains("to: note.id"));
}

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
    assert_eq!(to, ["order_lines.Line_No", "note.id"]);
    let left = "warning[LS-I116]: `far`: the reference to `elsewhere.id` is left out: no contract here is of that table";
    assert!(said(&drafts[1]).contains(left), "{}", said(&drafts[1]));
    let remark = Asked {
        entity: Some("note".to_owned()),
        ..Asked::default()
    };
    let one = one(odcs::import("shop.yaml", text, &remark));
    assert!(super::text("x", &one).unwrap().contains("to: note.id"));
}

/// A sibling may be named by its table, at a property and at the object, and what leads nowhere is taken out of the text.
#[test]
fn relationships_of_others_lead_to_entities_that_are_there() {
    let text = "apiVersion: v3.1.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: buyer
    physicalName: shop.tbl_buyers
    properties:
      - {name: id, physicalName: buyer_nr, logicalType: integer, primaryKey: true, required: true}
  - name: o
    relationships:
      - {type: foreignKey, from: o.seen, to: tbl_buyers.id}
      - {type: foreignKey, from: o.lost, to: fraud.id}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: by_table, logicalType: integer, relationships: [{to: tbl_buyers.id}]}
      - {name: by_column, logicalType: integer, relationships: [{to: tbl_buyers.buyer_nr}]}
      - {name: there, logicalType: integer, relationships: [{to: customer.number}]}
      - {name: second, logicalType: integer, relationships: [{to: fraud.id}, {to: buyer.id}]}
      - {name: nowhere, logicalType: integer, relationships: [{to: fraud.id}, {to: fraud.no}]}
      - {name: seen, logicalType: integer}
      - {name: lost, logicalType: integer}
";
    let drafts = odcs::import("shop.yaml", text, &asked(&[])).unwrap();
    let contract = written(&drafts[1]);
    let to = |name: &str| {
        let field = &contract.fields[contract.field(name).unwrap()];
        let reference = field.reference.as_ref();
        reference.map(|to| format!("{}.{}", to.entity, to.field))
    };
    for (field, expected) in [
        ("by_table", Some("buyer.id")),
        ("by_column", Some("buyer.id")),
        ("there", Some("customer.number")),
        ("second", Some("buyer.id")),
        ("nowhere", None),
        ("seen", Some("buyer.id")),
        ("lost", None),
    ] {
        assert_eq!(to(field).as_deref(), expected, "{field}");
    }
    let said = said(&drafts[1]);
    for part in [
        "`nowhere`: the reference to `fraud.id` is left out",
        "`nowhere`: the reference to `fraud.no` is left out",
        "`lost`: the reference to `fraud.id` is left out",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let text = super::text("x", &drafts[1]).unwrap();
    assert!(!text.contains("to: fraud"), "{text}");
}

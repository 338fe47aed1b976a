//! The conformance kit on a real Tryton, over both of its interfaces.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

mod common;

use std::sync::Arc;

use common::Erp;
use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_tests::{Manifest, ReaderHarness, SinkHarness, System};
use serde_json::{Value as Json, json};

mod over_rpc {
    use super::{Categories, Templates};

    lockstep_tests::reader_conformance!(Categories<false>);
    lockstep_tests::sink_conformance!(Templates<false>);
}

mod over_rest {
    use super::{Categories, Templates};

    lockstep_tests::reader_conformance!(Categories<true>);
    lockstep_tests::sink_conformance!(Templates<true>);
}

const API: Manifest = Manifest {
    key_changes: true,
    bounds: true,
    ..Manifest::API
};

fn api(rest: bool) -> &'static str {
    if rest { "rest" } else { "rpc" }
}

/// Categories of parties: a model that begins empty, with links to itself.
struct Categories<const REST: bool> {
    erp: Erp,
}

impl<const REST: bool> System for Categories<REST> {
    async fn start() -> Self {
        Categories {
            erp: Erp::start().await,
        }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_tryton::connector()
    }

    fn manifest() -> Manifest {
        API
    }

    fn config(&self) -> RawConfig {
        self.erp.config(json!({ "api": api(REST), "page_max": 10 }))
    }

    fn tables(&self) -> Vec<String> {
        vec!["party.category".to_owned()]
    }
}

impl<const REST: bool> ReaderHarness for Categories<REST> {
    async fn fill(&self, count: usize) {
        // Several calls, so that there are several times of change; every third has a parent.
        let mut parent = Json::Null;
        for chunk in (0..count).collect::<Vec<_>>().chunks(7) {
            let each = chunk.iter().map(|at| {
                let parent = if at % 3 == 0 { &parent } else { &Json::Null };
                json!({ "name": format!("{:03}", at * 31 % 101), "parent": parent })
            });
            let values: Vec<Json> = each.collect();
            let ids = self
                .erp
                .call("party.category", "create", json!([values]))
                .await;
            // One that is put to sleep, which sets when it was written.
            let sleeps = json!([[ids[ids.as_array().unwrap().len() - 1]], { "active": false }]);
            self.erp.call("party.category", "write", sleeps).await;
            parent = ids[0].clone();
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let fields = self
            .erp
            .call("party.category", "fields_get", json!([[], 0]))
            .await;
        let mut names: Vec<&str> = vec!["id", "last_modified_at"];
        let all = fields.as_object().unwrap().keys().map(String::as_str);
        names.extend(all.filter(|name| *name != "id"));
        let records = self.erp.search("party.category", json!([]), &names).await;
        let sorted = |mut record: Json| {
            if let Some(list) = record["childs"].as_array_mut() {
                list.sort_by_key(Json::as_i64);
            }
            record
        };
        let records = records.into_iter().map(sorted);
        records.map(|record| common::row(&record, &names)).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::Int(987_654_321)]
    }
}

/// Templates of products, found by their codes.
struct Templates<const REST: bool> {
    erp: Erp,
    units: [i64; 2],
}

const TEMPLATE: &str = "product.template";
const NAMES: [&str; 6] = [
    "name",
    "code",
    "list_price",
    "default_uom",
    "consumable",
    "active",
];

impl<const REST: bool> System for Templates<REST> {
    async fn start() -> Self {
        let erp = Erp::start().await;
        let units = [
            erp.named("product.uom", "Unit").await,
            erp.named("product.uom", "Kilogram").await,
        ];
        Templates { erp, units }
    }

    fn is_available() -> bool {
        common::is_installed()
    }

    fn connector() -> Connector {
        lockstep_tryton::connector()
    }

    fn manifest() -> Manifest {
        API
    }

    fn config(&self) -> RawConfig {
        self.erp
            .config(json!({ "api": api(REST), "batch_max": 60 }))
    }

    fn tables(&self) -> Vec<String> {
        vec![TEMPLATE.to_owned()]
    }
}

impl<const REST: bool> SinkHarness for Templates<REST> {
    fn target(&self) -> Arc<Shape> {
        Arc::new(Shape {
            name: TEMPLATE.to_owned(),
            columns: vec![
                Column::new("name", Type::Text, false),
                Column::new("code", Type::Text, false),
                Column::new("list_price", Type::DECIMAL, true),
                Column::new("default_uom", Type::Int, true),
                Column::new("consumable", Type::Bool, true),
                Column::new("active", Type::Bool, true),
            ],
            key: vec![1],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let names = ["Ann|", "ann", "O'Ne\"il\\%", "_ü"];
        let odd = version % 2 == 1;
        Row::of([
            Value::text(names[usize::try_from(version).unwrap() % 4]),
            Value::text(format!("C-{id}")),
            Value::Decimal(Decimal::from_units(version * 12_5001, 4)),
            Value::Int(self.units[usize::try_from(version % 2).unwrap()]),
            Value::Bool(odd),
            Value::Bool(version % 5 != 4),
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        // One digit more than Tryton keeps.
        row.0[2] = Value::Decimal("12.50015".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let records = self.erp.search(TEMPLATE, json!([]), &NAMES).await;
        records
            .iter()
            .map(|record| common::row(record, &NAMES))
            .collect()
    }

    /// Tryton notes who wrote what.
    async fn writes(&self) -> Option<u64> {
        let domain = json!([["resource", "like", format!("{TEMPLATE},%")]]);
        let count = self
            .erp
            .call("ir.model.log", "search_count", json!([domain]))
            .await;
        count.as_u64()
    }
}

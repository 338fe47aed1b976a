//! Orders of the superstore as records of the order contract.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Result;
use lockstep_business::superstore;
use lockstep_core::contract::{Contract, wire};
use lockstep_core::{Cell, Row, Value};
use serde_json::{Map, Value as Json};

/// One line in so many is at fault.
const FAULTY: usize = 50;

/// Every order, once.
pub(super) fn rows(contract: &Contract) -> Result<Vec<Row>> {
    let mut orders = BTreeMap::new();
    for line in superstore::lines()? {
        orders.entry(line.order_id.clone()).or_insert(line);
    }
    let row = |line: &superstore::Line| {
        let text = |text: &str| Value::text(text);
        let value = |name: &str| match name {
            "id" => text(&line.order_id),
            "customer_id" => text(&line.customer_id),
            "order_date" => Value::Date(line.order_date),
            "ship_date" => Value::Date(line.ship_date),
            "ship_mode" => text(&line.ship_mode),
            "status" => text("shipped"),
            "ship_city" => text(&line.city),
            "ship_state" => text(&line.state),
            "ship_postal_code" => text(&line.postal_code),
            _ => Value::Null,
        };
        Row::of(contract.fields.iter().map(|field| value(&field.name)))
    };
    Ok(orders.values().map(row).collect())
}

/// An order as a JSON document.
pub(super) fn document(contract: &Contract, row: &Row) -> Json {
    let mut document = Map::new();
    for (field, cell) in contract.fields.iter().zip(&row.0) {
        if let Cell::Set(value) = cell {
            document.insert(field.name.clone(), wire::to_json(value));
        }
    }
    document.into()
}

/// Writes so many orders with ids of their own, one a line; some have a fault, of several kinds.
pub(super) fn write(path: &Path, contract: &Contract, rows: &[Row], lines: usize) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for (number, row) in rows.iter().cycle().take(lines).enumerate() {
        let mut order = document(contract, row);
        order["id"] = format!("{}-{number}", order["id"].as_str().unwrap_or_default()).into();
        if number % FAULTY == 0 {
            match number / FAULTY % 4 {
                0 => order["ship_mode"] = "By Pigeon".into(),
                1 => order["ship_date"] = "2014-13-01".into(),
                2 => order["ship_city"] = "".into(),
                _ => order["ship_date"] = "1999-01-01".into(),
            }
        }
        writeln!(out, "{order}")?;
    }
    out.flush()?;
    Ok(())
}

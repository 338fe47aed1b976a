//! The order lines of the superstore data set, read as they are.
//!
//! The rows are compiled into the crate, compressed, so that a demo needs no download.
//! This module knows the CSV file only; what the four systems make of it is [`crate::world`]'s business.
//! Nothing is cleaned here: a product id with two names, a postal code of four digits and a double blank in a name all come through.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use jiff::civil::Date;
use serde::Deserialize;

use crate::decimal;

/// One order line with everything the file says of its order, customer and product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The order's id, such as `CA-2016-152156`.
    pub order_id: String,
    /// When it was ordered.
    pub order_date: Date,
    /// When it was shipped.
    pub ship_date: Date,
    /// How it was shipped.
    pub ship_mode: String,
    /// The customer's id, such as `CG-12520`.
    pub customer_id: String,
    /// The customer's name.
    pub customer_name: String,
    /// The customer's segment.
    pub segment: String,
    /// The country, spelled out.
    pub country: String,
    /// The city the order went to.
    pub city: String,
    /// The state the order went to.
    pub state: String,
    /// The postal code the order went to; leading zeros are missing in the file and stay missing.
    pub postal_code: String,
    /// The sales region of the state.
    pub region: String,
    /// The product's id, such as `FUR-BO-10001798`.
    pub product_id: String,
    /// The product's category.
    pub category: String,
    /// The product's sub-category.
    pub sub_category: String,
    /// The product's name in this line.
    pub product_name: String,
    /// The line's sales in ten-thousandths of a dollar.
    pub sales_e4: i64,
    /// The quantity.
    pub quantity: i64,
    /// The discount in hundredths.
    pub discount_e2: i64,
    /// The line's profit in ten-thousandths of a dollar.
    pub profit_e4: i64,
}

const COMPRESSED: &[u8] = include_bytes!("../data/superstore.csv.gz");

/// Reads every line, in the order of the file.
///
/// # Errors
/// The data that was compiled in is damaged; the message names the row.
pub fn lines() -> Result<Vec<Line>> {
    read(GzDecoder::new(COMPRESSED))
}

/// Reads lines from uncompressed CSV text.
///
/// # Errors
/// A row that does not hold what its columns promise; the message names the row.
pub fn read(csv: impl Read) -> Result<Vec<Line>> {
    let mut reader = csv::Reader::from_reader(csv);
    let rows = reader.deserialize::<Raw>().enumerate();
    rows.map(|(at, raw)| {
        raw.map_err(anyhow::Error::from)
            .and_then(Raw::line)
            .with_context(|| format!("row {} of the superstore data is unreadable", at + 1))
    })
    .collect()
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "Order ID")]
    order_id: String,
    #[serde(rename = "Order Date")]
    order_date: Date,
    #[serde(rename = "Ship Date")]
    ship_date: Date,
    #[serde(rename = "Ship Mode")]
    ship_mode: String,
    #[serde(rename = "Customer ID")]
    customer_id: String,
    #[serde(rename = "Customer Name")]
    customer_name: String,
    #[serde(rename = "Segment")]
    segment: String,
    #[serde(rename = "Country")]
    country: String,
    #[serde(rename = "City")]
    city: String,
    #[serde(rename = "State")]
    state: String,
    #[serde(rename = "Postal Code")]
    postal_code: String,
    #[serde(rename = "Region")]
    region: String,
    #[serde(rename = "Product ID")]
    product_id: String,
    #[serde(rename = "Category")]
    category: String,
    #[serde(rename = "Sub-Category")]
    sub_category: String,
    #[serde(rename = "Product Name")]
    product_name: String,
    #[serde(rename = "Sales")]
    sales: String,
    #[serde(rename = "Quantity")]
    quantity: i64,
    #[serde(rename = "Discount")]
    discount: String,
    #[serde(rename = "Profit")]
    profit: String,
}

impl Raw {
    fn line(self) -> Result<Line> {
        let units = |text: &str, scale| {
            decimal::to_units(text, scale)
                .with_context(|| format!("`{text}` is no decimal with at most {scale} places"))
        };
        let discount_e2 = units(&self.discount, 2)?;
        ensure!(
            self.quantity > 0 && (0..100).contains(&discount_e2),
            "quantity {} or discount {} is out of range",
            self.quantity,
            self.discount
        );
        Ok(Line {
            sales_e4: units(&self.sales, 4)?,
            profit_e4: units(&self.profit, 4)?,
            discount_e2,
            order_id: self.order_id,
            order_date: self.order_date,
            ship_date: self.ship_date,
            ship_mode: self.ship_mode,
            customer_id: self.customer_id,
            customer_name: self.customer_name,
            segment: self.segment,
            country: self.country,
            city: self.city,
            state: self.state,
            postal_code: self.postal_code,
            region: self.region,
            product_id: self.product_id,
            category: self.category,
            sub_category: self.sub_category,
            product_name: self.product_name,
            quantity: self.quantity,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_line_is_there_and_typed() {
        let lines = lines().unwrap();
        assert_eq!(lines.len(), 9_994);
        let distinct = |of: fn(&Line) -> &str| lines.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(|line| &line.order_id), 5_009);
        assert_eq!(distinct(|line| &line.customer_id), 793);
        assert_eq!(distinct(|line| &line.product_id), 1_862);
        assert_eq!(lines[3].sales_e4, 9_575_775);
        assert_eq!(lines[3].discount_e2, 45);
        assert_eq!(lines[3].profit_e4, -3_830_310);
        assert_eq!(lines[3].customer_name, "Sean O'Donnell");
    }

    #[test]
    fn warts_are_kept() {
        let lines = lines().unwrap();
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for line in &lines {
            names
                .entry(&line.product_id)
                .or_default()
                .insert(&line.product_name);
        }
        assert_eq!(names.values().filter(|names| names.len() > 1).count(), 32);
        let short = lines.iter().filter(|line| line.postal_code.len() == 4);
        assert_eq!(short.count(), 449);
        assert!(
            lines
                .iter()
                .any(|line| line.product_name.contains('\u{a0}'))
        );
    }

    #[test]
    fn a_damaged_row_is_named() {
        let header = "Row ID,Order ID,Order Date,Ship Date,Ship Mode,Customer ID,Customer Name,Segment,Country,City,State,Postal Code,Region,Product ID,Category,Sub-Category,Product Name,Sales,Quantity,Discount,Profit";
        let row = "1,A,2016-01-01,2016-01-02,m,c,n,s,c,c,s,1,r,p,c,s,n,1.23456,1,0,1";
        let error = read(format!("{header}\n{row}\n").as_bytes()).unwrap_err();
        assert!(format!("{error:#}").contains("row 1"), "{error:#}");
        assert!(format!("{error:#}").contains("1.23456"), "{error:#}");
    }
}

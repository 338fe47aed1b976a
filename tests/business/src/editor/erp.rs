//! The acts of the ERP: products, stock, and orders with all that hangs on them.

use std::sync::Arc;

use anyhow::Result;
use jiff::ToSpan;
use serde_json::json;

use super::Editor;
use super::acts::one;
use super::write::{Deed, Write};
use crate::record::{Entity, Key, Record, int, text};
use crate::world::date;

impl Editor {
    pub(super) fn add_product(&mut self) -> Option<Vec<Deed>> {
        let product = self.make(Entity::Product)?;
        let mut writes = Vec::new();
        for location in ["EAST", "WEST"] {
            let level = self.make_stock(&product, location);
            writes.extend(self.put(Entity::StockLevel, None, level));
        }
        writes.insert(0, self.put(Entity::Product, None, product)?);
        one(writes)
    }

    /// A product that was never ordered goes, and its stock with it.
    pub(super) fn remove_product(&mut self) -> Result<Option<Vec<Deed>>> {
        let new = |product: &Record| text(product, "id").starts_with("NEW-");
        let Some(product) = self.pick(Entity::Product, new) else {
            return Ok(None);
        };
        let Some((lines, levels)) = self.uses(text(&product, "id"))? else {
            return Ok(None);
        };
        if !lines.is_empty() {
            return Ok(None);
        }
        let levels = levels.iter().map(|level| (Entity::StockLevel, level));
        let gone = levels.chain([(Entity::Product, &product)]);
        let writes = gone.filter_map(|(entity, record)| Write::remove(entity, record));
        Ok(one(writes.collect()))
    }

    /// A product gets another number, everywhere in the ERP, in one transaction.
    pub(super) fn rename_product(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(product) = self.pick(Entity::Product, |_| true) else {
            return Ok(None);
        };
        let Some((lines, levels)) = self.uses(text(&product, "id"))? else {
            return Ok(None);
        };
        if lines.len() > 6 {
            return Ok(None);
        }
        let new = self.fresh(Entity::Product, "REN-PR-");
        let mut writes = self.referring(Entity::Product, &[product], "id", &new);
        writes.extend(self.referring(Entity::OrderLine, &lines, "product_id", &new));
        writes.extend(self.referring(Entity::StockLevel, &levels, "product_id", &new));
        Ok(one(writes))
    }

    pub(super) fn remove_stock(&mut self) -> Option<Vec<Deed>> {
        let level = self.pick(Entity::StockLevel, |level| int(level, "reserved") == 0)?;
        one(vec![Write::remove(Entity::StockLevel, &level)?])
    }

    #[expect(clippy::type_complexity, reason = "two lists, or one of them broken")]
    pub(super) fn uses(
        &mut self,
        sku: &str,
    ) -> Result<Option<(Vec<Arc<Record>>, Vec<Arc<Record>>)>> {
        let sql = "SELECT order_no, pos FROM order_lines WHERE sku = ?1 ORDER BY id";
        let lines = self.related("erp", Entity::OrderLine, sql, sku)?;
        let sql = "SELECT sku, site FROM stock WHERE sku = ?1 ORDER BY site";
        let levels = self.related("erp", Entity::StockLevel, sql, sku)?;
        Ok(lines.zip(levels))
    }

    /// An order with one to four lines, and the stock that is reserved for them, in one transaction.
    pub(super) fn order(&mut self) -> Option<Vec<Deed>> {
        let order = self.make(Entity::Order)?;
        let mut writes = vec![self.put(Entity::Order, None, order.clone())?];
        for number in 1..=self.random.between(1, 4) {
            let line = self.make_line(&order, number)?;
            let reserved = self.reserve(&line);
            writes.extend(self.put(Entity::OrderLine, None, line));
            writes.extend(reserved);
        }
        one(writes)
    }

    pub(super) fn reserve(&mut self, line: &Record) -> Option<Write> {
        let quantity = int(line, "quantity");
        let places = ["CENTRAL", "EAST", "SOUTH", "WEST"].map(|location| {
            let key = Key(vec![
                text(line, "product_id").to_owned(),
                location.to_owned(),
            ]);
            self.alive(Entity::StockLevel, &key)
        });
        let free = |level: &Record| int(level, "on_hand") - int(level, "reserved");
        let level = places
            .into_iter()
            .flatten()
            .find(|level| free(level) >= quantity)?;
        let mut taken = Record::clone(&level);
        taken.insert("reserved".into(), json!(int(&level, "reserved") + quantity));
        self.put(Entity::StockLevel, Some(&level), taken)
    }

    /// An open order leaves: its status and ship date change, and its draft invoice is sent.
    pub(super) fn ship(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(order) = self.pick(Entity::Order, |order| text(order, "status") == "open") else {
            return Ok(None);
        };
        let day = date(&order, "order_date").saturating_add(self.random.between(0, 6).days());
        let mut shipped = Record::clone(&order);
        shipped.insert("status".into(), json!("shipped"));
        shipped.insert("ship_date".into(), json!(day));
        let Some(write) = self.put(Entity::Order, Some(&order), shipped) else {
            return Ok(None);
        };
        let mut deeds: Vec<Deed> = Deed::of(vec![write]).into_iter().collect();
        let drafts = self.invoices_of(&order)?.unwrap_or_default();
        let mut sent = Vec::new();
        for draft in drafts
            .iter()
            .filter(|draft| text(draft, "status") == "draft")
        {
            let mut invoice = Record::clone(draft);
            invoice.insert("status".into(), json!("sent"));
            invoice.insert("issued_on".into(), json!(day));
            invoice.insert("due_on".into(), json!(day.saturating_add(30.days())));
            sent.extend(self.put(Entity::Invoice, Some(draft), invoice));
        }
        deeds.extend(Deed::of(sent));
        Ok(Some(deeds))
    }

    pub(super) fn cancel(&mut self) -> Option<Vec<Deed>> {
        let order = self.pick(Entity::Order, |order| text(order, "status") == "open")?;
        let mut cancelled = Record::clone(&order);
        cancelled.insert("status".into(), json!("cancelled"));
        one(vec![self.put(Entity::Order, Some(&order), cancelled)?])
    }

    /// An order that was never billed goes with all its lines.
    pub(super) fn remove_order(&mut self) -> Result<Option<Vec<Deed>>> {
        let unshipped = |order: &Record| text(order, "status") != "shipped";
        let Some(order) = self.pick(Entity::Order, unshipped) else {
            return Ok(None);
        };
        let (Some(lines), Some(invoices)) = (self.lines_of(&order)?, self.invoices_of(&order)?)
        else {
            return Ok(None);
        };
        if !invoices.is_empty() {
            return Ok(None);
        }
        let lines = lines.iter().map(|line| (Entity::OrderLine, line));
        let gone = lines.chain([(Entity::Order, &order)]);
        let writes = gone.filter_map(|(entity, record)| Write::remove(entity, record));
        Ok(one(writes.collect()))
    }

    /// An order gets another number with all its lines, and billing is told.
    pub(super) fn rename_order(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(order) = self.pick(Entity::Order, |_| true) else {
            return Ok(None);
        };
        let (Some(lines), Some(invoices)) = (self.lines_of(&order)?, self.invoices_of(&order)?)
        else {
            return Ok(None);
        };
        let new = self.fresh(Entity::Order, "RN-2018-");
        let mut writes = self.referring(Entity::Order, &[order], "id", &new);
        writes.extend(self.referring(Entity::OrderLine, &lines, "order_id", &new));
        let deeds = [
            Deed::of(writes),
            self.refer(Entity::Invoice, &invoices, "order_id", &new),
        ];
        Ok(Some(deeds.into_iter().flatten().collect()))
    }

    pub(super) fn lines_of(&mut self, order: &Record) -> Result<Option<Vec<Arc<Record>>>> {
        let sql = "SELECT order_no, pos FROM order_lines WHERE order_no = ?1 ORDER BY pos";
        self.related("erp", Entity::OrderLine, sql, text(order, "id"))
    }

    pub(super) fn invoices_of(&mut self, order: &Record) -> Result<Option<Vec<Arc<Record>>>> {
        let sql = "SELECT invoice_no FROM invoices WHERE order_ref = ?1 ORDER BY id";
        self.related("billing", Entity::Invoice, sql, text(order, "id"))
    }
}

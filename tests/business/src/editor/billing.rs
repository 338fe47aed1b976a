//! The acts of billing: invoices and payments.

use anyhow::Result;
use serde_json::json;

use super::Editor;
use super::acts::one;
use super::write::{Deed, Write};
use crate::decimal::to_units;
use crate::record::{Entity, Record, text};
use crate::world::{self, TODAY, date};

impl Editor {
    pub(super) fn invoice(&mut self) -> Result<Option<Vec<Deed>>> {
        let new = |order: &Record| {
            date(order, "order_date") > TODAY && text(order, "status") != "cancelled"
        };
        let Some(order) = self.pick(Entity::Order, new) else {
            return Ok(None);
        };
        let (Some(lines), Some(invoices)) = (self.lines_of(&order)?, self.invoices_of(&order)?)
        else {
            return Ok(None);
        };
        if !invoices.is_empty() {
            return Ok(None);
        }
        let cents = world::total_cents(lines.iter().map(AsRef::as_ref));
        let invoice = self.make_invoice(&order, cents);
        Ok(self
            .put(Entity::Invoice, None, invoice)
            .and_then(|write| one(vec![write])))
    }

    pub(super) fn remove_invoice(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(invoice) = self.pick(Entity::Invoice, |invoice| {
            text(invoice, "status") == "draft"
        }) else {
            return Ok(None);
        };
        let sql = "SELECT payment_no FROM payments WHERE invoice_no = ?1";
        let payments = self.related("billing", Entity::Payment, sql, text(&invoice, "id"))?;
        if payments.is_none_or(|payments| !payments.is_empty()) {
            return Ok(None);
        }
        Ok(Write::remove(Entity::Invoice, &invoice).and_then(|write| one(vec![write])))
    }

    /// A sent invoice is paid: payment and status in one transaction.
    pub(super) fn pay(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(invoice) = self.pick(Entity::Invoice, |invoice| text(invoice, "status") == "sent")
        else {
            return Ok(None);
        };
        let cents = to_units(text(&invoice, "amount"), 2).unwrap_or(0);
        if cents <= 0 {
            return Ok(None);
        }
        let payment = self.make_payment(&invoice, cents);
        let mut paid = Record::clone(&invoice);
        paid.insert("status".into(), json!("paid"));
        let writes = [
            self.put(Entity::Payment, None, payment),
            self.put(Entity::Invoice, Some(&invoice), paid),
        ];
        Ok(one(writes.into_iter().flatten().collect()))
    }

    pub(super) fn revoke_payment(&mut self) -> Option<Vec<Deed>> {
        let payment = self.pick(Entity::Payment, |_| true)?;
        one(vec![Write::remove(Entity::Payment, &payment)?])
    }
}

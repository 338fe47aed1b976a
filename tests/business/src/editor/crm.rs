//! The acts of the CRM: customers come, move, are renamed and go; notes are taken.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use super::acts::one;
use super::write::{Deed, Write};
use super::{Editor, Outcome};
use crate::record::{Entity, Record, text};

impl Editor {
    pub(super) fn win_prospect(&mut self) -> Option<Vec<Deed>> {
        if self.prospects.is_empty() {
            return None;
        }
        let at = self.random.below(self.prospects.len());
        let prospect = self.prospects.swap_remove(at);
        let stage = [("stage", json!("customer"))];
        let outcome = Outcome::Good(prospect.clone());
        one(vec![Write::set(
            Entity::Customer,
            &prospect,
            stage,
            outcome,
            true,
        )?])
    }

    pub(super) fn lose_customer(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(customer) = self.customer_without_orders()? else {
            return Ok(None);
        };
        let stage = [("stage", json!("prospect"))];
        let write = Write::set(Entity::Customer, &customer, stage, Outcome::Gone, true);
        Ok(write.and_then(|write| one(vec![write])))
    }

    pub(super) fn remove_customer(&mut self) -> Result<Option<Vec<Deed>>> {
        let customer = self.customer_without_orders()?;
        Ok(customer.and_then(|customer| one(vec![Write::remove(Entity::Customer, &customer)?])))
    }

    /// A customer gets another account number; the other systems are told by hand, as people do.
    pub(super) fn rename_customer(&mut self) -> Result<Option<Vec<Deed>>> {
        let Some(customer) = self.pick(Entity::Customer, |_| true) else {
            return Ok(None);
        };
        let id = text(&customer, "id");
        let sql = "SELECT order_no FROM orders WHERE partner_code = 'P-' || ?1 ORDER BY id";
        let orders = self.related("erp", Entity::Order, sql, id)?;
        let sql = "SELECT invoice_no FROM invoices WHERE debtor_ref = ?1 ORDER BY id";
        let invoices = self.related("billing", Entity::Invoice, sql, id)?;
        let (Some(orders), Some(invoices)) = (orders, invoices) else {
            return Ok(None);
        };
        if orders.len() > 6 {
            return Ok(None);
        }
        let new = self.fresh(Entity::Customer, "RN-");
        let deeds = [
            self.refer(Entity::Customer, &[customer], "id", &new),
            self.refer(Entity::Order, &orders, "customer_id", &new),
            self.refer(Entity::Invoice, &invoices, "customer_id", &new),
        ];
        Ok(Some(deeds.into_iter().flatten().collect()))
    }

    pub(super) fn note_contact(&mut self) -> Option<Vec<Deed>> {
        let customer = self.pick(Entity::Customer, |customer| {
            !text(customer, "id").starts_with(['N', 'R'])
        })?;
        let note = format!("note {}", self.serial());
        let sql = "UPDATE contacts SET note = ?1 WHERE company_id =
                   (SELECT id FROM companies WHERE account_no = ?2)";
        let values = vec![json!(note), customer["id"].clone()];
        Some(vec![Deed::aside("crm", sql, values)])
    }

    pub(super) fn remark(&mut self) -> Option<Vec<Deed>> {
        let customer = self.pick(Entity::Customer, |_| true)?;
        one(vec![self.touch(&customer)?])
    }

    pub(super) fn customer_without_orders(&mut self) -> Result<Option<Arc<Record>>> {
        let new = |customer: &Record| text(customer, "id").starts_with('N');
        let Some(customer) = self.pick(Entity::Customer, new) else {
            return Ok(None);
        };
        let sql = "SELECT order_no FROM orders WHERE partner_code = 'P-' || ?1";
        let orders = self.related("erp", Entity::Order, sql, text(&customer, "id"))?;
        Ok(orders
            .is_some_and(|orders| orders.is_empty())
            .then_some(customer))
    }
}

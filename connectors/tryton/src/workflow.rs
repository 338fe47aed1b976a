//! How the `state` of a record moves: by buttons, forward only, and never twice.
//!
//! Pure: knows which button comes next, not how one is pressed.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::config::Step;

/// The steps of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workflow(Vec<Step>);

/// What is to be done so that a record comes to a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is there.
    Nothing,
    /// It has been there: it has gone further by itself or by somebody else's hand.
    Beyond,
    /// This button leads on.
    Press(String),
    /// Tryton takes the next step by itself.
    Wait,
    /// Nothing leads there.
    Nowhere,
}

impl Workflow {
    /// The workflow of a model, as the configuration says it or as Tryton's own modules have it.
    pub(crate) fn of(model: &str, said: &BTreeMap<String, Vec<Step>>) -> Option<Workflow> {
        if let Some(steps) = said.get(model) {
            return Some(Workflow(steps.clone()));
        }
        let known: &[(&str, &str, &str)] = match model {
            "sale.sale" | "purchase.purchase" => &[
                ("draft", "quote", "quotation"),
                ("quotation", "confirm", "confirmed"),
                ("confirmed", "process", "processing"),
                ("processing", "", "done"),
                ("draft", "cancel", "cancelled"),
                ("quotation", "cancel", "cancelled"),
            ],
            "account.invoice" => &[
                ("draft", "validate_invoice", "validated"),
                ("validated", "post", "posted"),
                ("draft", "post", "posted"),
                ("posted", "", "paid"),
                ("draft", "cancel", "cancelled"),
                ("validated", "cancel", "cancelled"),
            ],
            "stock.shipment.out" => &[
                ("draft", "wait", "waiting"),
                ("waiting", "assign_try", "assigned"),
                ("assigned", "pick", "picked"),
                ("picked", "pack", "packed"),
                ("packed", "do", "done"),
                ("packed", "ship", "shipped"),
                ("shipped", "do", "done"),
                ("draft", "cancel", "cancelled"),
                ("waiting", "cancel", "cancelled"),
                ("assigned", "cancel", "cancelled"),
                ("picked", "cancel", "cancelled"),
                ("packed", "cancel", "cancelled"),
            ],
            "stock.shipment.in" | "stock.shipment.out.return" => &[
                ("draft", "receive", "received"),
                ("received", "do", "done"),
                ("draft", "cancel", "cancelled"),
                ("received", "cancel", "cancelled"),
            ],
            "stock.shipment.in.return" | "stock.shipment.internal" => &[
                ("request", "draft", "draft"),
                ("draft", "wait", "waiting"),
                ("waiting", "assign_try", "assigned"),
                ("assigned", "do", "done"),
                ("draft", "cancel", "cancelled"),
                ("waiting", "cancel", "cancelled"),
                ("assigned", "cancel", "cancelled"),
            ],
            "stock.move" => &[
                ("draft", "do", "done"),
                ("assigned", "do", "done"),
                ("draft", "cancel", "cancelled"),
                ("assigned", "cancel", "cancelled"),
            ],
            "sale.opportunity" => &[
                ("lead", "opportunity", "opportunity"),
                ("opportunity", "convert", "converted"),
                ("converted", "", "won"),
                ("lead", "lost", "lost"),
                ("opportunity", "lost", "lost"),
                ("lead", "cancel", "cancelled"),
                ("opportunity", "cancel", "cancelled"),
            ],
            _ => return None,
        };
        let step = |(from, button, to): &(&str, &str, &str)| Step {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            button: Some((*button).to_owned()).filter(|button| !button.is_empty()),
        };
        Some(Workflow(known.iter().map(step).collect()))
    }

    /// What leads from one state to another, by the fewest steps.
    pub(crate) fn next(&self, from: &str, to: &str) -> Next {
        if from == to {
            return Next::Nothing;
        }
        match self.first(from, to) {
            Some(Some(button)) => Next::Press(button.to_owned()),
            Some(None) => Next::Wait,
            None if self.first(to, from).is_some() => Next::Beyond,
            None => Next::Nowhere,
        }
    }

    /// The first step of the shortest way, if there is one: its button, or none where Tryton takes it.
    fn first(&self, from: &str, to: &str) -> Option<Option<&str>> {
        let mut seen = HashSet::from([from]);
        let mut queue = VecDeque::from([(from, None)]);
        while let Some((state, first)) = queue.pop_front() {
            for step in self.0.iter().filter(|step| step.from == state) {
                if !seen.insert(&step.to) {
                    continue;
                }
                let first = first.unwrap_or(step.button.as_deref());
                if step.to == to {
                    return Some(first);
                }
                queue.push_back((&step.to, Some(first)));
            }
        }
        None
    }

    /// Every state that a button leads to or from.
    pub(crate) fn states(&self) -> Vec<&str> {
        let each = self.0.iter().flat_map(|step| [&*step.from, &*step.to]);
        let mut states: Vec<&str> = each.collect();
        states.sort_unstable();
        states.dedup();
        states
    }

    /// How many presses can follow each other at most.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sale_moves_forward_only() {
        let sale = Workflow::of("sale.sale", &BTreeMap::new()).unwrap();
        let press = |button: &str| Next::Press(button.to_owned());
        for (from, to, expected) in [
            ("draft", "draft", Next::Nothing),
            ("draft", "quotation", press("quote")),
            ("draft", "processing", press("quote")),
            ("quotation", "processing", press("confirm")),
            ("processing", "quotation", Next::Beyond),
            ("done", "draft", Next::Beyond),
            ("processing", "done", Next::Wait),
            ("draft", "cancelled", press("cancel")),
            ("processing", "cancelled", Next::Nowhere),
            ("cancelled", "processing", Next::Nowhere),
            ("draft", "nonsense", Next::Nowhere),
        ] {
            assert_eq!(sale.next(from, to), expected, "{from} to {to}");
        }
        let invoice = Workflow::of("account.invoice", &BTreeMap::new()).unwrap();
        assert_eq!(invoice.next("draft", "posted"), press("post"));
        assert_eq!(Workflow::of("party.party", &BTreeMap::new()), None);
    }

    proptest! {
        /// Whatever the steps, pressing what comes next ends, because it never leads back.
        #[test]
        fn every_way_ends(steps in prop::collection::vec((0_u8..6, 0_u8..6), 0..12), from in 0_u8..6, to in 0_u8..6) {
            let step = |(from, to): &(u8, u8)| Step { from: from.to_string(), to: to.to_string(), button: Some(format!("{from}-{to}")) };
            let workflow = Workflow(steps.iter().map(step).collect());
            let (mut state, to) = (from.to_string(), to.to_string());
            for _ in 0..=workflow.len() {
                match workflow.next(&state, &to) {
                    Next::Press(button) => state = button.split_once('-').unwrap().1.to_owned(),
                    _ => return Ok(()),
                }
            }
            prop_assert!(false, "it does not end");
        }
    }
}

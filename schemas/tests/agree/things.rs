//! Generated things of every canonical type, as a correct program would make them.

use std::fmt::Debug;

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use lockstep_core::Decimal;
use lockstep_schemas::*;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Z]{2}-[0-9]{1,8}", "\\PC{1,64}"]
}

fn text(most: usize) -> impl Strategy<Value = String> {
    let most = most.min(80);
    prop_oneof![
        "[A-Za-z .'-]{1,40}".boxed(),
        proptest::collection::vec(any::<char>(), 1..=most)
            .prop_map(|chars| chars.into_iter().collect())
            .boxed(),
    ]
}

fn date() -> impl Strategy<Value = Date> {
    (0i64..3_652_058).prop_map(|days| {
        let start = jiff::civil::date(0, 1, 1);
        start.checked_add(Span::new().days(days)).unwrap()
    })
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (-62_167_219_200i64..253_402_207_200, 0i32..1_000_000_000)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn decimal(range: std::ops::RangeInclusive<i64>, scale: u32) -> impl Strategy<Value = Decimal> {
    range.prop_map(move |units| Decimal::from_units(units, scale))
}

fn one_of<T: Clone + Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(all.to_vec())
}

pub(crate) fn customers() -> impl Strategy<Value = Customer> {
    (
        (
            id(),
            text(200),
            one_of(&["Consumer", "Corporate", "Home Office"]),
        ),
        proptest::option::of("[a-z0-9.ä]{1,20}@[a-z]{1,10}\\.[a-z]{2,3}"),
        (
            "[A-Z]{2}",
            text(100),
            text(100),
            text(20).prop_map(|text| short(&text)),
        ),
        one_of(&[Region::Central, Region::East, Region::South, Region::West]),
        any::<bool>(),
    )
        .prop_map(
            |((id, name, segment), email, place, region, active)| Customer {
                id,
                name,
                segment: segment.to_owned(),
                email,
                country: place.0,
                state: place.1,
                city: place.2,
                postal_code: place.3,
                region,
                active,
            },
        )
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

pub(crate) fn products() -> impl Strategy<Value = Product> {
    (
        id(),
        text(300),
        text(100),
        text(100),
        decimal(0..=999_999_999_999, 2),
        any::<bool>(),
    )
        .prop_map(
            |(id, name, category, sub_category, list_price, active)| Product {
                id,
                name,
                category,
                sub_category,
                list_price,
                active,
            },
        )
}

pub(crate) fn orders() -> impl Strategy<Value = Order> {
    let modes = [
        ShipMode::FirstClass,
        ShipMode::SameDay,
        ShipMode::SecondClass,
        ShipMode::StandardClass,
    ];
    let states = [
        OrderStatus::Open,
        OrderStatus::Shipped,
        OrderStatus::Cancelled,
    ];
    (
        (id(), id(), date(), proptest::option::of(0i64..60)),
        (one_of(&modes), one_of(&states)),
        (text(100), text(100), text(20).prop_map(|text| short(&text))),
    )
        .prop_map(
            |((id, customer_id, order_date, after), (ship_mode, status), place)| Order {
                id,
                customer_id,
                order_date,
                ship_date: after.map(|days| order_date.saturating_add(Span::new().days(days))),
                ship_mode,
                status,
                ship_city: place.0,
                ship_state: place.1,
                ship_postal_code: place.2,
            },
        )
}

pub(crate) fn order_lines() -> impl Strategy<Value = OrderLine> {
    (
        (id(), 1..=i64::MAX, id(), 1..=1000i64),
        decimal(0..=999_999_999_999, 4),
        decimal(0..=100, 2),
        decimal(-999_999_999_999..=999_999_999_999, 4),
    )
        .prop_map(
            |((order_id, line_no, product_id, quantity), sales, discount, profit)| OrderLine {
                order_id,
                line_no,
                product_id,
                quantity,
                sales,
                discount,
                profit,
            },
        )
}

pub(crate) fn invoices() -> impl Strategy<Value = Invoice> {
    let states = [
        InvoiceStatus::Draft,
        InvoiceStatus::Sent,
        InvoiceStatus::Paid,
        InvoiceStatus::Void,
    ];
    (
        (id(), id(), id()),
        (date(), 0i64..90),
        decimal(0..=99_999_999_999_999, 2),
        one_of(&states),
    )
        .prop_map(
            |((id, order_id, customer_id), (issued_on, days), amount, status)| Invoice {
                id,
                order_id,
                customer_id,
                issued_on,
                due_on: issued_on.saturating_add(Span::new().days(days)),
                amount,
                currency: Currency::Usd,
                status,
            },
        )
}

pub(crate) fn payments() -> impl Strategy<Value = Payment> {
    let methods = [
        PaymentMethod::Card,
        PaymentMethod::Transfer,
        PaymentMethod::Check,
    ];
    (
        id(),
        id(),
        decimal(1..=99_999_999_999_999, 2),
        one_of(&methods),
        instant(),
    )
        .prop_map(|(id, invoice_id, amount, method, received_at)| Payment {
            id,
            invoice_id,
            amount,
            currency: Currency::Usd,
            method,
            received_at,
        })
}

pub(crate) fn stock_levels() -> impl Strategy<Value = StockLevel> {
    (
        id(),
        id(),
        0..=i64::MAX,
        any::<proptest::sample::Index>(),
        instant(),
    )
        .prop_map(
            |(product_id, location, on_hand, part, counted_at)| StockLevel {
                product_id,
                location,
                on_hand,
                reserved: part.index(usize::try_from(on_hand).unwrap().saturating_add(1).max(1))
                    as i64,
                counted_at,
            },
        )
}

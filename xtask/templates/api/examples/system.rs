//! The stand-in of the tests as a program, so that a sync can be tried before there is a system.
//!
//!     cargo run -p lockstep-acme --example system
//!
//! It holds three customers, listens on 127.0.0.1:8099, and forgets everything when it ends.

#[path = "../tests/stand_in/mod.rs"]
mod stand_in;

use std::io::Write as _;

use serde_json::json;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let system = stand_in::StandIn::on("127.0.0.1:8099").await;
    for (code, name, credit) in [
        ("K-1", "Ada", "100.00"),
        ("K-2", "Ben", "20.50"),
        ("K-3", "Cleo", "0.00"),
    ] {
        system.put(&json!({ "code": code, "name": name, "credit": credit }));
    }
    let mut out = std::io::stdout();
    writeln!(out, "{} takes the token {}", system.url(), stand_in::TOKEN)?;
    std::future::pending().await
}

//! Tryton and a database that tests copy: making one takes a minute or two, copying it nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use lockstep_servers::tryton::{DATABASE, PASSWORD, REST_KEY};

use super::{install_venv, start_anew, step};

/// The server, its client library for scripts, and the modules that orders and invoices need.
const PACKAGES: [&str; 11] = [
    "trytond==8.2.1",
    "proteus==8.2.0",
    "trytond-party==8.2.0",
    "trytond-product==8.2.0",
    "trytond-company==8.2.0",
    "trytond-account==8.2.1",
    "trytond-account-invoice==8.2.0",
    "trytond-sale==8.2.0",
    "trytond-purchase==8.2.0",
    "trytond-sale-opportunity==8.2.0",
    "trytond-stock==8.2.1",
];

/// What is activated; what it depends on comes with it.
const MODULES: [&str; 5] = [
    "sale",
    "purchase",
    "account_invoice",
    "stock",
    "sale_opportunity",
];

/// Makes the company, its accounts and fiscal years, and the key for REST.
const SEED: &str = include_str!("tryton.py");

const HELP: &str = "help: install Python 3 with its venv module, and let pip reach an index; or name the folder of an installation in LOCKSTEP_TRYTON";

/// Installs Tryton into a folder, and makes the database in it.
pub(super) fn install(folder: &Path) -> Result<()> {
    let (venv, seed) = (folder.join("venv"), folder.join("seed"));
    if !venv.join("bin/trytond").is_file() {
        install_venv(&venv, &PACKAGES).context(HELP)?;
    }
    // Moved into its place when it is complete, so that half a database is never found.
    let partial = folder.join("seed.partial");
    start_anew(&partial)?;
    fs::create_dir(&partial)?;
    let settings = format!(
        "[database]\nuri = sqlite://\npath = {}\n",
        partial.display()
    );
    let file = |name: &str| partial.join(name);
    fs::write(file("trytond.conf"), settings)?;
    fs::write(file("password"), PASSWORD)?;
    fs::write(file("seed.py"), SEED)?;
    // The server takes an empty file as a database without anything in it.
    fs::write(file(&format!("{DATABASE}.sqlite")), "")?;
    let admin = |arguments: &[&str]| {
        let mut command = Command::new(venv.join("bin/trytond-admin"));
        command.arg("-c").arg(file("trytond.conf"));
        command.args(["-d", DATABASE]).args(arguments);
        step(command.env("TRYTONPASSFILE", file("password")))
    };
    admin(&["--all", "--email", "erp@example.com"])?;
    let mut activate = vec!["-u"];
    activate.extend(MODULES);
    activate.push("--activate-dependencies");
    admin(&activate)?;
    let mut fill = Command::new(venv.join("bin/python"));
    fill.arg(file("seed.py")).arg(DATABASE);
    step(fill.arg(file("trytond.conf")).arg(REST_KEY))?;
    start_anew(&seed)?;
    fs::rename(&partial, &seed).context("cannot move the database into its place")
}

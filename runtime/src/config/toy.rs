//! A connector over memory, contracts and a world for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lockstep_core::connector::{
    Batch, Connector, Emitter, Finding, Need, OpenContext, Page, Reader, Receipt, Registry, Secret,
    Sink, Source,
};
use lockstep_core::contract::{Class, Contract, Field, Loaded, Places};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use lockstep_core::error::{Error, Result};
use lockstep_core::{Column, Position, Row, Shape, Type, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Config;
use super::surroundings::Surroundings;

/// A correct configuration of two toys.
pub(crate) const GOOD: &str = r#"contracts = "contracts"

[log]
path = "data/${PORT}.log"
max_age = "7d"
max_bytes = "2GiB"

[values.countries]
"United States" = "US"

[systems.crm]
connector = "toy"
path = "crm.db"
port = "${PORT}"
password = "${TOY_PASSWORD}"

[systems.crm.map.customer]
table = "companies"
[systems.crm.map.customer.fields]
id = "account_no"
name = "name"
country = { column = "country_name", values = "countries" }

[systems.erp]
connector = "toy"
path = "erp.db"
password = "${file:pw}"
[systems.erp.map.customer]
table = "customers"
[systems.erp.map.customer.fields]
id = "account_no"
name = "name"
country = "country_name"

[flows.customers]
entity = "customer"
from = "crm"
to = ["erp"]
"#;

/// The correct configuration, read.
pub(crate) fn config() -> Config {
    let file = Path::new("conf/lockstep.toml");
    let (config, _) = super::read::read(file, GOOD, &registry(), &World::usual()).unwrap();
    config
}

/// A system in memory whose tables its settings declare.
pub(crate) struct Toy {
    config: ToyConfig,
    tables: Vec<String>,
}

/// Settings of the toy. It does not say that others are refused, as an author may forget to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[allow(
    dead_code,
    reason = "some settings exist to be written, not to be used"
)]
pub(crate) struct ToyConfig {
    /// Where it lives.
    path: String,
    /// Its port.
    port: Option<u16>,
    /// Its password.
    password: Option<Secret<String>>,
    /// How careful it is.
    mode: Option<Mode>,
    /// Tables that do not exist.
    #[serde(default)]
    missing: Vec<String>,
    /// What `check` finds.
    complaint: Option<String>,
}

/// How careful the toy is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Not much.
    Fast,
    /// Very.
    Safe,
}

impl Toy {
    fn opened(config: ToyConfig, cx: OpenContext) -> Result<Toy> {
        if config.path == "unreachable" {
            let password = config.password.as_ref().map_or("", |p| p.expose());
            return Err(Error::transient(format!("refused {password:?}")));
        }
        Ok(Toy {
            config,
            tables: cx.tables,
        })
    }

    fn shapes(&self) -> Result<Vec<Arc<Shape>>> {
        self.tables
            .iter()
            .map(|table| {
                if self.config.missing.contains(table) {
                    return Err(Error::config(format!("there is no table `{table}`"))
                        .help("create the table"));
                }
                Ok(table_of(table))
            })
            .collect()
    }

    fn found(&self) -> Vec<Finding> {
        let complaint = self.config.complaint.iter();
        complaint
            .map(|message| Finding {
                severity: Severity::Warning,
                message: message.clone(),
                help: "mend it".to_owned(),
            })
            .collect()
    }
}

/// Every table of the toy has the same columns.
fn table_of(name: &str) -> Arc<Shape> {
    Arc::new(Shape {
        name: name.to_owned(),
        columns: vec![
            Column::new("account_no", Type::Text, false),
            Column::new("name", Type::Text, false),
            Column::new("country_name", Type::Text, true),
        ],
        key: vec![0],
    })
}

impl Source for Toy {
    type Config = ToyConfig;

    async fn open(config: ToyConfig, cx: OpenContext) -> Result<Self> {
        Toy::opened(config, cx)
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.shapes()
    }

    async fn check(&self, _needs: &[Need]) -> Result<Vec<Finding>> {
        Ok(self.found())
    }

    async fn run(self, _: Option<Position>, _: Emitter) -> Result<()> {
        Ok(())
    }
}

impl Sink for Toy {
    type Config = ToyConfig;

    async fn open(config: ToyConfig, cx: OpenContext) -> Result<Self> {
        Toy::opened(config, cx)
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.shapes()
    }

    async fn prepare(&self, _: &[Arc<Shape>]) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Batch) -> Result<Receipt> {
        Ok(Receipt::Committed(Vec::new()))
    }
}

impl Reader for Toy {
    type Config = ToyConfig;

    async fn open(config: ToyConfig, cx: OpenContext) -> Result<Self> {
        Toy::opened(config, cx)
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.shapes()
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let rows = [("A-1", "Ann Lee", "United States"), ("A-2", "Bo", "Narnia")];
        let rows = rows.into_iter().take(page.limit);
        Ok(rows
            .map(|(account, name, country)| {
                Row::of(page.columns.iter().map(|column| match column.as_str() {
                    "account_no" => Value::text(account),
                    "name" => Value::text(name),
                    _ => Value::text(country),
                }))
            })
            .collect())
    }

    async fn fetch(
        &self,
        _: &str,
        _: &[String],
        _: &[String],
        _: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        Ok(Vec::new())
    }
}

/// `toy` can do everything, `toy-source` can only be observed.
pub(crate) fn registry() -> Registry {
    let toy = Connector::new("toy", "1.0.0");
    Registry::default()
        .with(toy.source::<Toy>().sink::<Toy>().reader::<Toy>())
        .with(Connector::new("toy-source", "1.0.0").source::<Toy>())
}

/// An environment, files and contracts in memory. A contract's text is its entity's name, or `broken`.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) variables: BTreeMap<&'static str, &'static str>,
    pub(crate) files: BTreeMap<&'static str, &'static str>,
    pub(crate) contracts: Option<Vec<(&'static str, &'static str)>>,
}

impl World {
    /// A world with contracts for customer and order.
    pub(crate) fn usual() -> World {
        World {
            variables: BTreeMap::from([("PORT", "5432"), ("TOY_PASSWORD", "hunter2-äöü")]),
            files: BTreeMap::from([("conf/pw", "from-a-file\n")]),
            contracts: Some(vec![
                ("conf/contracts/customer.odcs.yaml", "customer"),
                ("conf/contracts/order.odcs.yaml", "order"),
            ]),
        }
    }
}

impl Surroundings for World {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.files
            .get(path.to_str().unwrap_or_default())
            .map(|text| (*text).to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn contracts(&self, folder: &Path) -> io::Result<Vec<(String, io::Result<String>)>> {
        match &self.contracts {
            Some(files) if folder == Path::new("conf/contracts") => Ok(files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), Ok((*text).to_owned())))
                .collect()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn contract(&self, file: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
        if text == "broken" {
            let place = lockstep_core::diagnostic::Place::in_text(file, "a\nbc", 3, 1);
            return Err(vec![Diagnostic::error("LS-C001", "broken").at(place)]);
        }
        Ok(Loaded {
            contract: contract(text),
            places: Places::default(),
            findings: Vec::new(),
        })
    }
}

/// A contract with a key, a personal name and a country.
pub(crate) fn contract(entity: &str) -> Contract {
    let field = |name: &str, class, nullable| Field {
        class,
        nullable,
        ..Field::new(name, Type::Text)
    };
    let fields = vec![
        field("id", Class::Public, false),
        field("name", Class::Personal, false),
        field("country", Class::Public, true),
    ];
    Contract {
        owner: Some("crm".to_owned()),
        ..Contract::new(entity, "1.0.0".parse().unwrap(), fields)
    }
}

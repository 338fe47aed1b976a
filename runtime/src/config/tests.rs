//! What a configuration says, and what is said about one that is wrong.

use std::path::Path;

use lockstep_core::diagnostic::{Diagnostic, Severity};
use lockstep_core::gate::FieldMap;
use proptest::prelude::*;

use super::toy::{GOOD, World, registry};
use super::*;

fn read(text: &str, world: &World) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    read::read(Path::new("conf/lockstep.toml"), text, &registry(), world)
}

fn good() -> Config {
    let (config, warnings) = read(GOOD, &World::usual()).unwrap();
    assert_eq!(warnings, []);
    config
}

#[test]
fn a_correct_file_becomes_a_configuration() {
    let config = good();
    let LogConfig::Embedded {
        path,
        max_age,
        max_bytes,
    } = &config.log
    else {
        panic!("not embedded");
    };
    assert_eq!(path, Path::new("conf/data/5432.log"));
    assert_eq!(*max_age, Some(std::time::Duration::from_secs(7 * 86_400)));
    assert_eq!(*max_bytes, Some(2 << 30));
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.api.folder, Path::new("conf/.lockstep"));
    let crm = &config.systems["crm"];
    assert_eq!(crm.settings["port"], 5432, "a filled-in number is a number");
    assert_eq!(crm.settings["password"], "hunter2-äöü");
    assert!(!crm.settings.contains_key("map"));
    assert_eq!(config.systems["erp"].settings["password"], "from-a-file");
    let FieldMap::Rule(country) = &crm.map["customer"].fields["country"] else {
        panic!("not a rule");
    };
    assert_eq!(country.values.as_deref(), Some("countries"));
    assert_eq!(config.values["countries"]["United States"], "US");
    assert_eq!(config.flows["customers"].to, ["erp"]);
    assert_eq!(config.open_context("erp", Role::Sink).tables, ["customers"]);
    assert!(config.open_context("erp", Role::Source).tables.is_empty());
}

#[test]
fn one_system_can_be_read_before_there_are_contracts() {
    let text = "[systems.crm]\nconnector = \"toy\"\npath = \"crm.db\"\n\n[systems.erp]\nconnector = \"toy\"\npath = \"${NOT_SET}\"\n";
    let file = Path::new("conf/lockstep.toml");
    let world = World::usual();
    let one = |name: &str| read::read_system(file, text, name, &registry(), &world);
    let (config, warnings) = one("crm").unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.systems["crm"].settings["path"], "crm.db");
    assert_eq!(config.systems.keys().collect::<Vec<_>>(), ["crm", "erp"]);
    // What is wrong with the system that is asked for is told.
    let codes: Vec<&str> = one("erp").unwrap_err().iter().map(|f| f.code).collect();
    assert!(
        !codes.is_empty() && !codes.contains(&"LS-G023"),
        "{codes:?}"
    );
}

#[test]
fn problems_of_mappings_find_their_line() {
    let config = good();
    let path = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let place = config
        .place("crm", "customer", &path(&["fields", "country", "values"]))
        .unwrap();
    assert_eq!(
        (place.file.as_str(), place.line, place.column),
        ("conf/lockstep.toml", 22, 47)
    );
    // A field that is not mapped is placed at the table where it should stand.
    let place = config
        .place("crm", "customer", &path(&["fields", "email"]))
        .unwrap();
    assert_eq!((place.line, place.column), (19, 1));
    assert_eq!(config.place("crm", "invoice", &[]), None);
}

#[test]
fn what_was_filled_in_is_never_shown() {
    let config = good();
    let shown = format!("{config:?} {config:#?}");
    for secret in ["hunter2", "from-a-file"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(
        config.redact("refused \"hunter2-äöü\" on port 5432, 15432 or from-a-file"),
        "refused \"[secret]\" on port [secret], 1[secret] or [secret]"
    );
}

#[test]
fn what_was_filled_in_is_not_in_findings_either() {
    let mut world = World::usual();
    world.variables.insert("PORT", "no-port-hunter2");
    let text =
        GOOD.replace(
            "path = \"data/${PORT}.log\"",
            "path = \"x\"\nmax_bytes = \"${PORT}\"",
        )
        .replace("max_bytes = \"2GiB\"\n", "")
        .replace(
            "password = \"${file:pw}\"",
            "mode = \"${PORT}\"\nport = \"${BIG}\"",
        ) + "[api]\nlisten = \"${PORT}\"\n";
    world.variables.insert("BIG", "70000");
    let findings = read(&text, &world).unwrap_err();
    let codes: Vec<&str> = findings.iter().map(|f| f.code).collect();
    assert_eq!(
        codes,
        ["LS-G008", "LS-G004", "LS-G008", "LS-G008", "LS-G008"],
        "{findings:#?}"
    );
    let shown = format!("{findings:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("70000"),
        "{shown}"
    );
}

/// One change of the good file → code, line, column, part of the message, part of the help.
#[test]
fn every_mistake_is_named_with_its_place() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, usize, usize, &str, &str)] = &[
        ("[log]", "[logs]", "LS-G003", 3, 2, "unknown key `logs`", "did you mean `log`?"),
        ("max_age = ", "maxage = ", "LS-G003", 5, 1, "unknown key `maxage` in `log`", "did you mean `max_age`?"),
        ("max_age = \"7d\"", "max_age = 7", "LS-G004", 5, 11, "`max_age` must be text; found an integer", "how long"),
        ("\"7d\"", "\"seven days\"", "LS-G008", 5, 11, "`seven days` is not a length of time", "7d"),
        ("\"2GiB\"", "\"2 gigs\"", "LS-G008", 6, 13, "`2 gigs` is not a size", "2GiB"),
        ("path = \"data/", "engine = \"kafka\"\npath = \"data/", "LS-G008", 4, 10, "`engine` cannot be `kafka`", "known: embedded, nats"),
        ("path = \"data/", "engine = \"nats\"\nservers = [\"nats://a:1\"]\npath = \"data/", "LS-G008", 6, 1, "`path` is a key of a log with `engine = \"embedded\"`", "remove it"),
        ("path = \"data/", "servers = [\"nats://a:1\"]\npath = \"data/", "LS-G008", 4, 1, "`servers` is a key of a log with `engine = \"nats\"`", "remove it"),
        ("connector = \"toy\"\npath = \"crm.db\"", "connector = \"toi\"\npath = \"crm.db\"", "LS-G006", 12, 13, "no such connector `toi`", "did you mean `toy`?"),
        ("connector = \"toy\"\npath = \"crm.db\"", "path = \"crm.db\"", "LS-G005", 11, 1, "`systems.crm` lacks `connector`", "the connector that knows"),
        ("path = \"crm.db\"\n", "", "LS-G005", 11, 1, "`systems.crm` lacks `path`", "Where it lives"),
        ("path = \"crm.db\"", "pth = 1\npath = \"crm.db\"", "LS-G007", 13, 1, "connector `toy` has no setting `pth`", "did you mean `path`?"),
        ("path = \"crm.db\"", "path = [1]", "LS-G004", 13, 8, "`path` must be text; found a list", "Where it lives"),
        ("port = \"${PORT}\"", "port = 70000", "LS-G008", 14, 8, "`port` cannot be 70000", "from 0 to 65535"),
        ("port = \"${PORT}\"", "mode = \"saef\"", "LS-G008", 14, 8, "`mode` cannot be `saef`", "did you mean `safe`?"),
        ("port = \"${PORT}\"", "missing = [\"a\", 2]", "LS-G004", 14, 17, "`missing` must be text", ""),
        ("\"${TOY_PASSWORD}\"", "\"${TOY_PASS}\"", "LS-G011", 15, 12, "`TOY_PASS` is not set", "export TOY_PASS"),
        ("\"${TOY_PASSWORD}\"", "\"${file:nope}\"", "LS-G012", 15, 12, "the file `nope` cannot be read: it does not exist", "create the file"),
        ("\"${TOY_PASSWORD}\"", "\"${oh no}\"", "LS-G013", 15, 12, "neither a variable nor a file", "${NAME}"),
        ("table = \"companies\"", "tabel = \"companies\"", "LS-G003", 18, 1, "unknown key `tabel` in `systems.crm.map.customer`", "did you mean `table`?"),
        ("values = \"countries\"", "value = \"countries\"", "LS-G003", 22, 38, "unknown key `value` in `systems.crm.map.customer.fields.country`", "did you mean `values`?"),
        ("values = \"countries\"", "values = \"contries\"", "LS-G016", 22, 47, "no such value map `contries`", "did you mean `countries`?"),
        ("id = \"account_no\"\nname = \"name\"\ncountry = {", "id = 1\nname = \"name\"\ncountry = {", "LS-G004", 20, 6, "`id` must be text or a table; found an integer", ""),
        ("[systems.crm.map.customer]", "[systems.crm.map.custmer]\ntable = \"x\"\n[systems.crm.map.customer]", "LS-G015", 17, 18, "no such entity `custmer`", "did you mean `customer`?"),
        ("entity = \"customer\"", "entity = \"custommer\"", "LS-G015", 36, 10, "no such entity `custommer`", "did you mean `customer`?"),
        ("from = \"crm\"", "from = \"cmr\"", "LS-G014", 37, 8, "no such system `cmr`", "did you mean `crm`?"),
        ("to = [\"erp\"]", "to = [\"erp\", \"warehouse\"]", "LS-G014", 38, 14, "no such system `warehouse`", "known: crm, erp"),
        ("to = [\"erp\"]", "to = [\"erp\", \"erp\"]", "LS-G020", 38, 14, "twice", "remove"),
        ("to = [\"erp\"]", "to = [\"erp\", \"crm\"]", "LS-G019", 38, 14, "from `crm` to `crm` itself", "remove `crm`"),
        ("to = [\"erp\"]", "to = []", "LS-G021", 38, 6, "flow `customers` goes nowhere", "name at least one"),
        ("to = [\"erp\"]", "", "LS-G005", 35, 1, "`flows.customers` lacks `to`", "systems that hear it"),
        ("to = [\"erp\"]", "to = [\"erp\"]\nsnapshot = \"direct\"\nmode = \"scheduled\"\nevery = \"1h\"", "LS-G044", 39, 12, "flow `customers` cannot copy past the log: its `mode`", "leave `snapshot` out"),
        ("connector = \"toy\"\npath = \"erp.db\"", "connector = \"toy-source\"\npath = \"erp.db\"", "LS-G025", 38, 7, "connector `toy-source` of system `erp` has no sink", "it offers: source"),
        ("entity = \"customer\"", "entity = \"order\"", "LS-G017", 37, 8, "reads `order` from `crm`, which has no mapping", "[systems.crm.map.order]"),
        ("[systems.erp.map.customer]\ntable = \"customers\"\n[systems.erp.map.customer.fields]", "[systems.erp.map.order]\ntable = \"customers\"\n[systems.erp.map.order.fields]", "LS-G018", 38, 7, "writes `customer` to `erp`, which has no mapping", "[systems.erp.map.customer]"),
        ("contracts = \"contracts\"", "contracts = \"kontrakte\"", "LS-G023", 1, 13, "the contracts folder `conf/kontrakte` cannot be read: it does not exist", "contracts"),
        ("[flows.customers]", "[flows.\"my customers\"]", "LS-G009", 35, 8, "`my customers` cannot be a name", "letters"),
        ("[log]", "[api]\nlisten = \"0.0.0.0:80\"\n[log]", "LS-G008", 4, 10, "`0.0.0.0:80` is not an address of this machine alone", "127.0.0.1"),
        ("[log]", "[api]\nlisten = \"here\"\n[log]", "LS-G008", 4, 10, "`here` is not an address with a port", "127.0.0.1:7300"),
        ("[log]", "[log", "LS-G002", 3, 5, "unclosed table", "toml.io"),
    ];
    for (from, to, code, line, column, message, help) in table {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let findings = match read(&text, &World::usual()) {
            Err(findings) => findings,
            Ok(_) => panic!("`{to}` was accepted"),
        };
        let finding = findings
            .iter()
            .find(|f| f.severity == Severity::Error)
            .unwrap();
        let place = finding.place.as_ref().unwrap();
        let said = (finding.code, place.line, place.column);
        assert_eq!(said, (*code, *line, *column), "`{to}`: {findings:#?}");
        assert!(finding.message.contains(message), "`{to}`: {finding}");
        let said = finding.help.as_deref().unwrap_or_default().to_lowercase();
        assert!(said.contains(&help.to_lowercase()), "`{to}`: {said}");
    }
}

#[test]
fn one_mistake_gives_one_error_and_two_give_two() {
    let text = GOOD
        .replace("max_age = \"7d\"", "max_age = \"soon\"")
        .replace("from = \"crm\"", "from = \"cmr\"");
    let findings = read(&text, &World::usual()).unwrap_err();
    let errors: Vec<&str> = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| f.code)
        .collect();
    assert_eq!(errors, ["LS-G008", "LS-G014"]);
    // A broken system, mapping or value map is still a known name.
    for (from, to) in [
        (
            "connector = \"toy\"\npath = \"crm.db\"",
            "connector = \"toi\"",
        ),
        ("table = \"companies\"", ""),
        ("\"United States\" = \"US\"", "\"United States\" = 1"),
        ("port = \"${PORT}\"", "port = \"${NO_PORT}\""),
        ("path = \"crm.db\"", "path = \"${file:none}\""),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let findings = read(&text, &World::usual()).unwrap_err();
        assert_eq!(findings.len(), 1, "`{to}`: {findings:#?}");
    }
}

#[test]
fn flows_that_contradict_each_other_are_both_named() {
    let second =
        GOOD.to_owned() + "\n[flows.back]\nentity = \"customer\"\nfrom = \"erp\"\nto = [\"crm\"]\n";
    let findings = read(&second, &World::usual()).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, "LS-G022");
    assert!(
        findings[0]
            .message
            .contains("flow `back` from `erp` and flow `customers` from `crm`")
    );
    assert_eq!(findings[0].place.as_ref().unwrap().line, 37);

    let second = GOOD.to_owned()
        + "\n[flows.again]\nentity = \"customer\"\nfrom = \"crm\"\nto = [\"erp\"]\n";
    let findings = read(&second, &World::usual()).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, "LS-G020");
    assert!(findings[0].message.contains("`again` and `customers`"));
}

#[test]
fn findings_of_contracts_keep_their_own_place() {
    let mut world = World::usual();
    world.contracts = Some(vec![
        ("conf/contracts/customer.odcs.yaml", "customer"),
        ("conf/contracts/extra.odcs.yaml", "broken"),
        ("conf/contracts/old.odcs.yaml", "customer"),
    ]);
    // With a contract unread, an unknown entity may be that one's.
    let text = GOOD.replace("entity = \"customer\"", "entity = \"invoice\"");
    let findings = read(&text, &world).unwrap_err();
    let said: Vec<(&str, &str, usize)> = findings
        .iter()
        .filter(|f| f.code != "LS-G028")
        .map(|f| {
            let place = f.place.as_ref().unwrap();
            (f.code, place.file.as_str(), place.line)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("LS-G017", "conf/lockstep.toml", 37),
            ("LS-G018", "conf/lockstep.toml", 38),
            ("LS-C001", "conf/contracts/extra.odcs.yaml", 2),
            ("LS-G024", "conf/contracts/old.odcs.yaml", 1),
        ]
    );
    assert!(
        findings
            .iter()
            .any(|f| f.message.contains("customer.odcs.yaml"))
    );
}

#[test]
fn what_is_useless_or_unwise_is_a_warning() {
    let text = GOOD.replace(
        "password = \"${TOY_PASSWORD}\"",
        "password = \"written-out\"",
    ) + "\n[systems.spare]\nconnector = \"toy\"\npath = \"x\"\n[systems.erp.map.order]\ntable = \"orders\"\n";
    let (_, warnings) = read(&text, &World::usual()).unwrap();
    let said: Vec<(&str, usize)> = warnings
        .iter()
        .map(|f| (f.code, f.place.as_ref().unwrap().line))
        .collect();
    assert_eq!(
        said,
        [("LS-G027", 15), ("LS-G028", 40), ("LS-G028", 43)],
        "{warnings:#?}"
    );
    assert!(!format!("{warnings:?}").contains("written-out"));
}

#[test]
fn a_url_is_a_secret_only_where_it_holds_one() {
    for (url, warned) in [
        ("postgres://host/db", false),
        ("postgres://me@host:5432/db?sslmode=verify-full", false),
        ("postgres://me:@host/db?application_name=a@b:c", false),
        ("postgres://me:pw@host/db", true),
        ("postgres://host/db?user=me&PassWord=pw", true),
        ("host=db password=pw", true),
        ("not/a:url", true),
    ] {
        let text = GOOD.replace("${TOY_PASSWORD}", url);
        let (_, warnings) = read(&text, &World::usual()).unwrap();
        let codes: Vec<&str> = warnings.iter().map(|f| f.code).collect();
        assert_eq!(codes == ["LS-G027"], warned, "{url}: {warnings:?}");
    }
}

/// The good file with another `[log]`.
fn with_log(section: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let start = GOOD.find("[log]").unwrap();
    let end = start + GOOD[start..].find("\n\n").unwrap();
    let text = format!(
        "{}[log]\nengine = \"nats\"\n{section}{}",
        &GOOD[..start],
        &GOOD[end..]
    );
    read(&text, &World::usual())
}

#[test]
fn a_log_on_nats_is_read_with_its_secrets_hidden() {
    let (config, warnings) = with_log(
        "servers = [\"nats://a:4222\", \"tls://b\"]\nuser = \"lockstep\"\npassword = \"${TOY_PASSWORD}\"\n\
         tls = { ca = \"ca.pem\" }\nreplicas = 3\nmonitor = \"http://a:8222\"\nmax_age = \"7d\"",
    )
    .unwrap();
    assert_eq!(warnings, []);
    let LogConfig::Nats(nats) = &config.log else {
        panic!("not on NATS");
    };
    assert_eq!(nats.servers, ["nats://a:4222", "tls://b"]);
    assert_eq!(nats.password.as_ref().unwrap().expose(), "hunter2-äöü");
    let ca = nats.tls.as_ref().and_then(|tls| tls.ca.clone());
    assert_eq!(ca.unwrap(), Path::new("conf/ca.pem"));
    assert_eq!(
        (nats.replicas, nats.monitor.as_deref()),
        (3, Some("http://a:8222"))
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.redact("refused hunter2-äöü"), "refused [secret]");
    let (_, warnings) = with_log("servers = [\"nats://a\"]\ntoken = \"written-out\"").unwrap();
    assert_eq!(warnings[0].code, "LS-G027");
    assert!(!format!("{warnings:?}").contains("written-out"));
}

#[test]
fn what_a_log_on_nats_cannot_be_is_named() {
    for (section, code, message) in [
        ("", "LS-G005", "`log` lacks `servers`"),
        ("servers = []", "LS-G005", "`log` lacks `servers`"),
        (
            "servers = [\"a b\"]",
            "LS-G008",
            "`a b` is not an address of a server",
        ),
        (
            "servers = [\"nats://me:pw@a\"]",
            "LS-G008",
            "holds credentials",
        ),
        (
            "servers = [\"nats://a\"]\nreplicas = 2",
            "LS-G008",
            "`replicas` cannot be 2",
        ),
        (
            "servers = [\"nats://a\"]\nmonitor = \"a:8222\"",
            "LS-G008",
            "`a:8222` is not a monitoring address",
        ),
        (
            "servers = [\"nats://a\"]\nuser = \"me\"",
            "LS-G008",
            "`log.user` has no `password`",
        ),
        (
            "servers = [\"nats://a\"]\ntls = { key = \"k\" }",
            "LS-G008",
            "one of `certificate` and `key`",
        ),
        (
            "servers = [\"nats://a\"]\ntoken = \"${TOY_PASSWORD}\"\nnkey = \"${TOY_PASSWORD}\"",
            "LS-G008",
            "says who we are twice",
        ),
    ] {
        let findings = with_log(section).unwrap_err();
        let finding = &findings[0];
        assert_eq!(finding.code, code, "{section}: {findings:#?}");
        assert!(finding.message.contains(message), "{section}: {finding}");
        assert!(finding.help.is_some(), "{section}");
        assert!(!format!("{findings:?}").contains("me:pw"), "{section}");
    }
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let findings = load(Path::new("no/such/lockstep.toml"), &registry()).unwrap_err();
    assert_eq!(findings[0].code, "LS-G001");
    assert!(findings[0].message.contains("it does not exist"));
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let sources = [
        include_str!("contracts.rs"),
        include_str!("flows.rs"),
        include_str!("interpolate.rs"),
        include_str!("log.rs"),
        include_str!("mod.rs"),
        include_str!("preflight/chain.rs"),
        include_str!("preflight/mod.rs"),
        include_str!("preflight/place.rs"),
        include_str!("preflight/running.rs"),
        include_str!("preflight/servers.rs"),
        include_str!("preflight/survey.rs"),
        include_str!("read.rs"),
        include_str!("schema.rs"),
        include_str!("text.rs"),
        include_str!("../links/mod.rs"),
    ]
    .concat();
    for (code, page) in CODES {
        assert!(
            sources.contains(&format!("\"{code}\"")),
            "{code} is given by nobody"
        );
        assert!(
            page.contains("Check: ") && page.contains("Safe: "),
            "{code}: {page}"
        );
    }
    for (at, _) in sources.match_indices("\"LS-") {
        let code = &sources[at + 1..at + 8];
        let mut pages = CODES
            .iter()
            .chain(crate::log::CODES)
            .chain(crate::contract::CODES);
        assert!(pages.any(|(known, _)| *known == code), "{code} has no page");
    }
}

/// What is read of a sound file in which `crm` is an inbox, with some text changed.
fn with_inbox(changes: &[(&str, &str)]) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let from = GOOD.find("[systems.crm]").unwrap();
    let to = GOOD.find("[systems.erp]").unwrap();
    let inbox = "[systems.crm]\nconnector = \"inbox\"\n\n";
    let mut text = format!("{}{inbox}{}", &GOOD[..from], &GOOD[to..]);
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let registry = registry().with(inbox::connector());
    read::read(
        Path::new("conf/lockstep.toml"),
        &text,
        &registry,
        &World::usual(),
    )
}

#[test]
fn an_inbox_has_its_contracts_for_mappings() {
    let (config, warnings) = with_inbox(&[]).unwrap();
    let mapping = config.mapping("crm", "customer").unwrap();
    assert_eq!(mapping.table, "customer");
    let fields = config.contracts["customer"].fields.iter();
    assert!(
        fields
            .into_iter()
            .all(|field| { mapping.fields[&field.name] == FieldMap::Column(field.name.clone()) })
    );
    // An embedded log is a file, so nobody could publish.
    let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["LS-G040"]);
}

#[test]
fn an_inbox_takes_no_mapping_and_is_no_target() {
    let refused = |changes: &[(&str, &str)], code: &str| {
        let findings = with_inbox(changes).unwrap_err();
        let found = findings.into_iter().find(|finding| finding.code == code);
        found.unwrap_or_else(|| panic!("no {code}"))
    };
    let mapped = (
        "connector = \"inbox\"\n",
        "connector = \"inbox\"\nmap.customer.table = \"x\"\n",
    );
    assert!(
        refused(&[mapped], "LS-G007")
            .message
            .contains("takes no `map`")
    );
    let turned = [
        ("from = \"crm\"", "from = \"erp\""),
        ("to = [\"erp\"]", "to = [\"crm\"]"),
    ];
    let finding = refused(&turned, "LS-G025");
    assert!(
        finding.message.contains("has no sink"),
        "{}",
        finding.message
    );
    assert!(finding.help.unwrap().contains("subscribing"));
    let odd = (
        "connector = \"inbox\"\n",
        "connector = \"inbox\"\nbegin = \"x\"\n",
    );
    assert!(with_inbox(&[odd]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = read(&String::from_utf8_lossy(&bytes), &World::usual());
    }

    #[test]
    fn no_mutation_of_a_good_file_panics(
        cuts in proptest::collection::vec((0..GOOD.len(), 0..40_usize, "[\\[\\]{}=\"'$.,#\\na-c0-9é]{0,4}"), 1..6)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, with) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, &with);
            if !text.is_ascii() {
                text = text.replace('é', "e");
            }
        }
        if let Err(findings) = read(&text, &World::usual()) {
            prop_assert!(findings.iter().any(|f| f.severity == Severity::Error));
            let shown = format!("{findings:?}");
            prop_assert!(!shown.contains("hunter2"));
        }
    }

    #[test]
    fn no_swapped_values_panic(key in "[a-z]{1,6}(\\.[a-z]{1,6}){0,5}", value in "(true|1|1.5|\"x\"|\\[\\]|\\{\\}|2020-01-01|\\[\\{a=1\\}\\])") {
        let _ = read(&format!("{key} = {value}\n{GOOD}"), &World::usual());
        let _ = read(&format!("{GOOD}\n[systems.crm.map.customer.{key}]\nx = {value}"), &World::usual());
        let _ = read(&format!("systems = {value}\nflows = {value}\nlog = {value}\n[values]\n{key} = {value}"), &World::usual());
    }
}

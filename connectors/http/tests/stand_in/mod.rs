//! A description of an API that somebody else wrote: customers of Stripe, as localstripe has them.

use lockstep_core::Value;
use lockstep_core::connector::{OpenContext, Page};
use lockstep_http_client::{Auth, Client, Settings, path};
use lockstep_servers::stripe::{Kind, Server};

const CUSTOMERS: &str = "
base: https://api.stripe.com/v1
auth: { type: basic, user: sk_test_12345 }
errors: error.message
tables:
  customers:
    key: [id]
    fields:
      id: text
      email: text
      balance: int
      created: { type: timestamp, format: seconds, required: true }
      crm_id: { type: text, at: metadata.crm_id }
    list:
      path: customers
      records: data
      page: { type: cursor, query: starting_after, last: id, more: has_more, size_query: limit, size: 4 }
    get: { path: 'customers/{id}' }
";

#[tokio::test]
async fn customers_of_a_foreign_api_are_listed_and_read() {
    let Some(server) = Server::start(Kind::Local) else {
        return;
    };
    let base = format!("http://127.0.0.1:{}/v1", server.port());
    let client = Client::new(Settings {
        system: "billing".to_owned(),
        base: base.parse().unwrap(),
        auth: Auth::Basic {
            user: "sk_test_12345".to_owned(),
            password: lockstep_core::connector::Secret::new(String::new()),
        },
        ..Settings::default()
    })
    .unwrap();
    let mut ids = Vec::new();
    for i in 0..13 {
        let crm_id = format!("C-{i}");
        let form = [("email", "a@example.com"), ("metadata[crm_id]", &crm_id)];
        let answer = client.post("customers").form(&form).send().await.unwrap();
        ids.push(answer.tree().unwrap().get("id").unwrap().plain().unwrap());
    }

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("billing.yaml"), CUSTOMERS).unwrap();
    let settings = serde_json::json!({ "file": "billing.yaml", "url": base });
    let cx = OpenContext {
        system: "billing".to_owned(),
        folder: folder.path().to_owned(),
        tables: vec!["customers".to_owned()],
        reads: Default::default(),
    };
    let connector = lockstep_http::connector();
    let reader = connector
        .open_reader(serde_json::from_value(settings).unwrap(), cx)
        .await
        .unwrap();
    assert!(reader.check().await.unwrap().is_empty());
    let (columns, key) = (["id".to_owned(), "crm_id".to_owned()], ["id".to_owned()]);
    let page = Page {
        table: "customers",
        columns: &columns,
        key: &key,
        limit: 100,
        ..Page::default()
    };
    let rows = reader.scan(page).await.unwrap();
    let read: Vec<String> = rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(read, sorted);
    let thirteenth = Value::text("C-12");
    assert_eq!(
        rows.iter()
            .filter(|row| row.value(1) == Some(&thirteenth))
            .count(),
        1
    );

    client
        .delete(path!["customers", ids[3]])
        .send()
        .await
        .unwrap();
    let keys: Vec<Vec<Value>> = ids[2..5].iter().map(|id| vec![Value::text(id)]).collect();
    let rows = reader
        .fetch("customers", &columns, &key, &keys)
        .await
        .unwrap();
    let left: Vec<String> = rows
        .iter()
        .map(|row| row.value(0).unwrap().to_string())
        .collect();
    assert!(left.contains(&ids[2]) && left.contains(&ids[4]), "{left:?}");
    assert!(!left.contains(&ids[3]), "a deleted customer is read");
}

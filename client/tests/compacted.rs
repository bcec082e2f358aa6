//! A compacted topic as a table: read to its end, then kept up to date.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, missing_docs)]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use client::{ClientConfig, ClientError, Compacted, Topics, put};
use support::broker;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

fn table(rows: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    rows.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn the_last_value_of_each_key_is_known_and_what_comes_later_too() {
    let broker = broker(3);
    let (config, topic) = (ClientConfig::new(broker.bootstrap_servers()), Topics::default().keys);
    for (key, value) in [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2")] {
        put(&config, &topic, key, value.into()).await.unwrap();
    }
    let open = Compacted::open(&config, &topic).await.unwrap();
    assert!(open.broker().embedded);
    let mut rows = open.subscribe();
    // Whatever is told first is whole.
    let first = timeout(PATIENCE, rows.wait_for(|rows| rows.complete || !rows.values.is_empty())).await;
    let first = first.unwrap().unwrap().clone();
    assert!(first.complete && first.fault.is_none());
    assert_eq!(first.values, table(&[("a", "2"), ("b", "1"), ("c", "1")]));
    put(&config, &topic, "d", "1".into()).await.unwrap();
    put(&config, &topic, "b", "2".into()).await.unwrap();
    let all = table(&[("a", "2"), ("b", "2"), ("c", "1"), ("d", "1")]);
    timeout(PATIENCE, rows.wait_for(|rows| rows.values == all)).await.unwrap().unwrap();
    assert_eq!(open.rows().values, all);
}

#[tokio::test]
async fn an_empty_topic_is_an_empty_table_and_one_that_is_not_there_is_named() {
    let broker = broker(2);
    let config = ClientConfig::new(broker.bootstrap_servers()).connect_timeout(Duration::from_secs(2));
    let open = Compacted::open(&config, &Topics::default().keys).await.unwrap();
    let mut rows = open.subscribe();
    let rows = timeout(PATIENCE, rows.wait_for(|rows| rows.complete)).await.unwrap().unwrap().clone();
    assert!(rows.values.is_empty());
    let missing = Compacted::open(&config, "not-there").await.unwrap_err();
    assert!(matches!(&missing, ClientError::NoTopic { topic, .. } if topic == "not-there"), "{missing}");
    let missing = put(&config, "not-there", "a", Vec::new()).await.unwrap_err();
    assert!(matches!(&missing, ClientError::NoTopic { .. }), "{missing}");
}

//! Writing one record of a compacted topic, or taking one back.

use std::sync::Arc;

use tokio::time;
use wire::{Headers, header};

use crate::config::{ClientConfig, not_zero};
use crate::error::ClientError;
use crate::pending::Table;
use crate::reading::{self, Reader};
use crate::sending::{Outgoing, Sending};

/// Writes a JSON record within [`ClientConfig::timeout`]; no value is a tombstone.
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, the topic is not there, or it does not take the record in time.
pub(crate) async fn write(
    config: &ClientConfig,
    topic: &str,
    key: String,
    value: Option<Vec<u8>>,
) -> Result<(), ClientError> {
    not_zero("timeout", config.timeout)?;
    let deadline = config.connect_deadline()?;
    let cluster = config.cluster(deadline).await?;
    let (settings, broker, asked) = (config.kafka.clone(), cluster.broker.clone(), topic.to_owned());
    reading::blocking(move || {
        let some_led = |partitions: &[reading::Partition]| partitions.iter().any(|p| p.led);
        Reader::open(&settings, &cluster, &[])?.partitions(&asked, deadline, some_led)
    })
    .await?;
    let table = Arc::new(Table::default());
    let sending = Sending::start(&config.kafka, &broker, topic, Arc::clone(&table))?;
    send(&sending, &table, config, key, value).await
}

/// The same by a connection that is there.
///
/// # Errors
/// [`ClientError`] where it is not taken in time.
pub(crate) async fn send(
    sending: &Sending,
    table: &Table,
    config: &ClientConfig,
    key: String,
    value: Option<Vec<u8>>,
) -> Result<(), ClientError> {
    let mut headers = Headers::new();
    if value.is_some() {
        headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
    }
    // Others may be writing the same key now.
    let id = wire::new_request_id();
    let waiting = table.insert(&id, false)?;
    let timeout = ClientError::Timeout { id: key.clone(), waited: config.timeout, acknowledged: false };
    let taken = async {
        sending.send(Outgoing { id: id.clone(), key, headers, value }).await?;
        tokio::select! {
            acknowledged = waiting.acknowledged => acknowledged.map_err(|_| ClientError::Closed),
            Ok(refused) = waiting.answer => refused.map(drop),
        }
    };
    let taken = time::timeout(config.timeout, taken).await;
    table.remove(&id);
    taken.map_err(|_| timeout)?
}

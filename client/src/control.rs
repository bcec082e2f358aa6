//! Asking workers to do something beside answering: a record on the control topic.

use std::sync::Arc;

use tokio::time;
use wire::{Control, Headers, header};

use crate::config::{ClientConfig, not_zero};
use crate::error::ClientError;
use crate::pending::Table;
use crate::reading::{self, Reader};
use crate::sending::{Outgoing, Sending};

/// Writes that down where each worker reads it, within [`ClientConfig::timeout`]. What workers then do is seen in what they announce,
/// [`served_models`](crate::served_models).
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, the topic is not there, or it does not take the record in time.
pub async fn control(config: &ClientConfig, control: &Control) -> Result<(), ClientError> {
    not_zero("timeout", config.timeout)?;
    let deadline = config.connect_deadline()?;
    let cluster = config.cluster(deadline).await?;
    let (settings, topic, broker) =
        (config.kafka.clone(), config.topics.control.clone(), cluster.broker.clone());
    reading::blocking(move || {
        let some_led = |partitions: &[reading::Partition]| partitions.iter().any(|p| p.led);
        Reader::open(&settings, &cluster, &[])?.partitions(&topic, deadline, some_led)
    })
    .await?;
    let table = Arc::new(Table::default());
    let sending = Sending::start(&config.kafka, &broker, &config.topics.control, Arc::clone(&table))?;
    let mut headers = Headers::new();
    headers.push(header::CONTENT_TYPE, wire::encoding::JSON);
    let id = control.key();
    let waiting = table.insert(&id, false)?;
    sending.send(Outgoing { id: id.clone(), key: id.clone(), headers, value: control.encode() }).await?;
    let taken = async {
        tokio::select! {
            acknowledged = waiting.acknowledged => acknowledged.map_err(|_| ClientError::Closed),
            Ok(refused) = waiting.answer => refused.map(drop),
        }
    };
    let timeout = ClientError::Timeout { id, waited: config.timeout, acknowledged: false };
    time::timeout(config.timeout, taken).await.map_err(|_| timeout)?
}

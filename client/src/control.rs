//! Asking workers to do something beside answering: a record on the control topic.

use wire::Control;

use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::writing;

/// Writes that down where each worker reads it, within [`ClientConfig::timeout`]. What workers then do is seen in what they announce,
/// [`served_models`](crate::served_models).
///
/// # Errors
/// [`ClientError`] where the broker can't be reached, the topic is not there, or it does not take the record in time.
pub async fn control(config: &ClientConfig, control: &Control) -> Result<(), ClientError> {
    writing::write(config, &config.topics.control, control.key(), Some(control.encode())).await
}

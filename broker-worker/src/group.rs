//! The `group` section: the consumer group, and when an offset is committed.

use std::time::Duration;

use humantime_serde::re::humantime::format_duration;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// The consumer group.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// `group.id`.
    pub id: String,
    /// `group.instance.id`, for rolling restarts without a rebalance.
    pub instance_id: Option<String>,
    /// `group.protocol`.
    pub protocol: Protocol,
    /// `session.timeout.ms`; with [`Protocol::Consumer`] it is the broker's.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How long a partition that is given back may take to answer what was taken from it.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// When an offset is committed.
    pub delivery: Delivery,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            id: "mlaas-workers".to_owned(),
            instance_id: None,
            protocol: Protocol::Classic,
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(8),
            delivery: Delivery::AtLeastOnce,
        }
    }
}

impl Group {
    /// # Errors
    /// [`Invalid`], the first of its rules that does not hold.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.id.trim().is_empty() {
            return Err(Invalid::rule(
                "group.id is empty: workers that share the work have one name for their group",
            ));
        }
        if self.protocol == Protocol::Classic && self.session_timeout < Duration::from_secs(1) {
            return Err(Invalid::rule(
                "group.session_timeout must be 1s or more; Kafka's own lower bound is 6s",
            ));
        }
        if self.drain_timeout >= self.session_timeout {
            return Err(Invalid::rule(format!(
                "group.drain_timeout, {}, must be below group.session_timeout, {}: Kafka gives the partitions away after that",
                format_duration(self.drain_timeout),
                format_duration(self.session_timeout)
            )));
        }
        Ok(())
    }
}

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The members assign, cooperative-sticky.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
}

/// When an offset is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Behind delivered results: a worker that dies loses nothing.
    AtLeastOnce,
    /// On receipt: a worker that dies loses what it holds.
    AtMostOnce,
}

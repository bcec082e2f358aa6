//! From an answer to records that the broker has acknowledged: the reply, and behind it the dead letter where the request
//! can never succeed. A ticket is finished only then.
//!
//! - [`compose`]: from an answer to the record that carries it, whole or in a lesser form;
//! - [`addresses`]: where replies may go, and how much of the room those may hold that senders of requests send elsewhere;
//! - [`route`]: what is tried next where a record was not delivered, a table;
//! - [`deliver`]: does what the table says.
//!
//! The room keeps no table of what is under way: the parcel with the answer and its ticket travels through the broker's
//! client and comes back with the broker's word.

mod addresses;
mod compose;
mod deliver;
mod route;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka::{Fault, Topics};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::ErrorCode;

use crate::health::{Health, Pulse};
use crate::metrics::Metrics;
use crate::micros::micros;
use crate::outbox::{Delivered, Outbox};
use crate::parcels::{Answer, Failure, Original};
use crate::topics::Pattern;

use addresses::{Addresses, Destination, Rule};
use route::Form;

/// The producer can't be used any more: the worker ends, and Kafka gives its records to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the producer failed for good")]
pub struct Fatal(#[source] pub Fault);

/// An answer on its way through the broker, with all that it takes to send it again in another form.
#[derive(Debug)]
pub struct Parcel {
    answer: Answer,
    /// The record that can never succeed, which goes to the dead letters behind the reply.
    dead: Option<Arc<Original>>,
    form: Form,
    to: Destination,
    /// It goes, or went, in a batch of its own.
    alone: bool,
    /// Since when it is tried to deliver it there.
    since: Instant,
    /// That is not where it was asked for.
    elsewhere: bool,
    /// It waits for somebody to mend the worker's own topic.
    held: bool,
}

/// What the room is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The worker's own topics.
    pub topics: Topics,
    /// Which other topics replies may go to; all where `None`.
    pub reply_allow: Option<Pattern>,
    /// Who signs.
    pub worker: String,
    /// How many replies may be on their way to topics that senders name before one that stands still is told from others.
    pub max_named: usize,
}

/// The room.
pub struct Respond {
    outbox: Arc<dyn Outbox<Parcel>>,
    rule: Rule,
    worker: String,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    addresses: Addresses,
    /// Parcels that are to be sent again, by when. The number keeps two of one moment apart.
    waiting: BTreeMap<(Instant, u64), Box<Parcel>>,
    number: u64,
    /// Parcels that were begun and are not finished, wherever they are.
    under_way: usize,
    /// How many of them wait for somebody to mend the results topic, and the dead-letter topic.
    held: [usize; 2],
}

impl Respond {
    /// With nothing under way.
    #[must_use]
    pub fn new(
        outbox: Arc<dyn Outbox<Parcel>>,
        setup: Setup,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let Setup { topics, reply_allow: allow, worker, max_named } = setup;
        Self {
            outbox,
            rule: Rule { topics, allow },
            worker,
            metrics,
            health,
            addresses: Addresses::new(max_named),
            waiting: BTreeMap::new(),
            number: 0,
            under_way: 0,
            held: [0; 2],
        }
    }

    /// Whether all that was begun is delivered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// [`Fatal`] where nothing can be sent any more.
    pub fn begin(&mut self, mut answer: Answer) -> Result<(), Fatal> {
        let asker = &answer.asker;
        if !asker.ticket.is_live() {
            asker.span.in_scope(|| tracing::debug!("the partition went to another worker, which answers"));
            return Ok(());
        }
        answer.timings.total = micros(asker.arrived.elapsed());
        log(&answer);
        let now = Instant::now();
        let mut to = self.rule.destination(&asker.reply_to);
        let refused = asker.reply_to.topic.as_ref().is_some_and(|asked| *asked != to.topic);
        let full = to.named && !self.addresses.admit(&to.topic, now);
        if full {
            to = self.rule.results();
        }
        let dead = answer.result.as_mut().err().and_then(|failure| failure.dead.take()).map(Arc::new);
        self.under_way += 1;
        let elsewhere = refused || full;
        let form = Form::Reply;
        self.send(Box::new(Parcel {
            answer,
            dead,
            form,
            to,
            alone: false,
            since: now,
            elsewhere,
            held: false,
        }))
    }
}

fn log(answer: &Answer) {
    let Answer { asker, result, timings } = answer;
    asker.span.in_scope(|| match result {
        Ok(labels) => {
            let (model, batch_size) = (&labels.model, labels.batch_size);
            tracing::debug!(?model, batch_size, total_us = timings.total, "computed");
        }
        Err(Failure { reply, stage, dead, .. }) => {
            let dead_letter = dead.is_some();
            if reply.code == ErrorCode::Internal {
                tracing::error!(code = %reply.code, stage, dead_letter, "{}", reply.message);
            } else {
                tracing::info!(code = %reply.code, stage, dead_letter, "{}", reply.message);
            }
        }
    });
}

/// The room, until its input is closed and all is delivered.
///
/// # Errors
/// [`Fatal`] where nothing can be sent any more.
pub async fn run(
    mut respond: Respond,
    mut answers: mpsc::Receiver<Answer>,
    mut delivered: mpsc::UnboundedReceiver<Delivered<Parcel>>,
    pulse: Pulse,
) -> Result<(), Fatal> {
    let mut open = true;
    while open || !respond.is_idle() {
        pulse.rest();
        let due = respond.next_due();
        tokio::select! {
            biased;
            // The outbox holds a sending end, and the room the outbox: there is always another one to wait for.
            Some(delivered) = delivered.recv() => {
                pulse.beat();
                respond.delivered(delivered)?;
            }
            () = until(due) => {
                pulse.beat();
                respond.retry(Instant::now())?;
            }
            answer = answers.recv(), if open => {
                pulse.beat();
                match answer {
                    Some(answer) => respond.begin(answer)?,
                    None => open = false,
                }
            }
        }
    }
    Ok(())
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

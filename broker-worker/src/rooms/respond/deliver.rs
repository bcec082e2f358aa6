//! Sends parcels and does with those that come back undelivered what the table in [`super::route`] says.

use std::time::Duration;

use kafka::{Fault, FaultKind};
use tokio::time::Instant;

use crate::health::Problem;
use crate::outbox::{Delivered, Message, PATIENCE, Way};

use super::addresses::Destination;
use super::route::{Form, Next, Undelivered, next};
use super::{Fatal, Parcel, Respond, compose};

/// How long a full queue of the producer's is given.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// How long until what could not be delivered is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long until what waits for somebody to mend a topic is tried again.
const HELD_PAUSE: Duration = Duration::from_secs(5);

/// Under which the worker's readiness names what is wrong with the results topic, and with the dead-letter topic.
const PROBLEMS: [&str; 2] = ["results-topic", "dead-letter-topic"];

impl Respond {
    /// What the broker says about a record.
    ///
    /// # Errors
    /// [`Fatal`] where nothing can be sent any more.
    pub fn delivered(&mut self, delivered: Delivered<Parcel>) -> Result<(), Fatal> {
        let Delivered { parcel, result } = delivered;
        let again = match result {
            Ok(()) => self.acknowledged(parcel),
            Err(fault) => self.undelivered(parcel, &fault)?,
        };
        again.map_or(Ok(()), |parcel| self.send(parcel))
    }

    /// When the next parcel is to be sent again.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Sends again what was to wait until now.
    ///
    /// # Errors
    /// [`Fatal`] where nothing can be sent any more.
    pub fn retry(&mut self, now: Instant) -> Result<(), Fatal> {
        // Those that have to wait once more are not looked at twice.
        let later = self.waiting.split_off(&(now, u64::MAX));
        for parcel in std::mem::replace(&mut self.waiting, later).into_values() {
            if parcel.answer.asker.ticket.is_live() {
                self.send(parcel)?;
            } else {
                self.abandon(parcel);
            }
        }
        Ok(())
    }

    /// Sends a parcel, in one form or another, or lets it wait.
    pub(super) fn send(&mut self, mut parcel: Box<Parcel>) -> Result<(), Fatal> {
        loop {
            let dead = parcel.dead.clone().filter(|_| parcel.form == Form::DeadLetter);
            let way = match (parcel.alone, parcel.to.named) {
                (true, _) => Way::Alone,
                (false, true) => Way::Named,
                (false, false) => Way::Own,
            };
            let message = match (&dead, &parcel.answer.result) {
                (Some(original), Err(failure)) => compose::dead_letter(original, failure, &parcel.to.topic),
                _ => compose::reply(&parcel.answer, &self.worker, parcel.form, &parcel.to),
            };
            let Err((back, fault)) = self.outbox.send(way, message, parcel) else { return Ok(()) };
            match self.undelivered(back, &fault)? {
                Some(again) => parcel = again,
                None => return Ok(()),
            }
        }
    }

    /// The broker has the record: the parcel, where there is another to send for it.
    fn acknowledged(&mut self, mut parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        let now = Instant::now();
        self.addresses.progress(now);
        self.leave(&parcel, true);
        self.release(&mut parcel);
        if parcel.form == Form::DeadLetter {
            self.metrics.dead_letters.inc();
            self.finish(parcel);
            return None;
        }
        let answer = &parcel.answer;
        let outcome = match &answer.result {
            _ if parcel.form != Form::Reply => Err(compose::too_large().code),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.reply.code),
        };
        let model = answer.model().map(|model| &model.id);
        self.metrics.answered(model, outcome, &answer.timings, now - answer.asker.arrived);
        if let (Some(model), false) = (model, answer.asker.names_version) {
            self.metrics.trials.answered(model, outcome, answer.computing());
        }
        if parcel.elsewhere || parcel.form != Form::Reply {
            self.metrics.rerouted.inc();
        }
        if parcel.dead.is_none() {
            self.finish(parcel);
            return None;
        }
        let topic = self.rule.topics.dead_letter.clone();
        parcel.form = Form::DeadLetter;
        parcel.to = Destination { topic, partition: None, named: false };
        (parcel.alone, parcel.since) = (false, now);
        Some(parcel)
    }

    /// The broker does not have the record: the parcel, where it is to be sent again at once.
    fn undelivered(&mut self, mut parcel: Box<Parcel>, fault: &Fault) -> Result<Option<Box<Parcel>>, Fatal> {
        if !parcel.answer.asker.ticket.is_live() && fault.kind != FaultKind::Fatal {
            self.abandon(parcel);
            return Ok(None);
        }
        let now = Instant::now();
        if fault.kind == FaultKind::Passing && !self.health.is_connected() {
            // Nothing can be delivered to any topic: that says nothing about this one.
            parcel.since = now;
        }
        let lasting = now - parcel.since >= PATIENCE;
        let Destination { named, partition, .. } = parcel.to;
        let (form, alone, kind) = (parcel.form, parcel.alone, fault.kind);
        let next = next(Undelivered { form, alone, named, partitioned: partition.is_some(), kind, lasting });
        tell(&parcel, fault, next);
        match next {
            Next::Again => {
                if lasting && !named {
                    self.hold(&mut parcel, fault);
                }
                let pause = if kind == FaultKind::Full { FULL_PAUSE } else { RETRY_PAUSE };
                self.wait(parcel, now + pause);
                return Ok(None);
            }
            Next::Alone => parcel.alone = true,
            Next::Shorten(form) => {
                if form == Form::Bare && named {
                    self.redirect(&mut parcel, now);
                }
                (parcel.form, parcel.alone) = (form, true);
            }
            Next::ToResults => {
                if named && kind != FaultKind::Full {
                    self.addresses.suspect(&parcel.to.topic, now);
                }
                self.redirect(&mut parcel, now);
                (parcel.form, parcel.alone) = (Form::Reply, false);
            }
            Next::Hold => {
                self.hold(&mut parcel, fault);
                if parcel.form != Form::DeadLetter {
                    parcel.form = Form::Reply;
                }
                self.wait(parcel, now + HELD_PAUSE);
                return Ok(None);
            }
            Next::GiveUp => {
                self.metrics.undeliverable.inc();
                self.release(&mut parcel);
                self.finish(parcel);
                return Ok(None);
            }
            Next::Drop => {
                self.abandon(parcel);
                return Ok(None);
            }
            Next::End => return Err(Fatal(fault.clone())),
        }
        Ok(Some(parcel))
    }

    /// From where it was going to the results topic.
    fn redirect(&mut self, parcel: &mut Parcel, now: Instant) {
        self.leave(parcel, false);
        parcel.to = self.rule.results();
        (parcel.since, parcel.elsewhere) = (now, true);
    }

    fn leave(&mut self, parcel: &Parcel, delivered: bool) {
        if parcel.to.named {
            self.addresses.leave(&parcel.to.topic, delivered, Instant::now());
        }
    }

    fn wait(&mut self, parcel: Box<Parcel>, until: Instant) {
        self.number += 1;
        self.waiting.insert((until, self.number), parcel);
    }

    /// The parcel waits for somebody to mend the topic: the worker is not ready, and says why.
    fn hold(&mut self, parcel: &mut Parcel, fault: &Fault) {
        let at = usize::from(parcel.form == Form::DeadLetter);
        let topic = &parcel.to.topic;
        let purpose = ["replies", "dead letters"][at];
        let sentence = match fault.kind {
            FaultKind::TooLarge => {
                let message = compose::reply(&parcel.answer, &self.worker, parcel.form, &parcel.to);
                format!(
                    "topic {topic} takes no record of {0} bytes, which the shortest reply to a request has: set its \
                     max.message.bytes to {0} at least; requests stay unanswered until then",
                    Message::batch_bytes(&message)
                )
            }
            _ => format!(
                "topic {topic} takes no {purpose}: {fault} ({}); requests stay unanswered until it does",
                fault.words()
            ),
        };
        self.health.raise(Problem::new(PROBLEMS[at], sentence));
        if !std::mem::replace(&mut parcel.held, true) {
            self.held[at] += 1;
        }
    }

    /// The parcel waits for nobody any more. Once none does, the worker is ready again.
    fn release(&mut self, parcel: &mut Parcel) {
        let at = usize::from(parcel.form == Form::DeadLetter);
        if std::mem::replace(&mut parcel.held, false) {
            self.held[at] -= 1;
            if self.held[at] == 0 {
                self.health.clear(PROBLEMS[at]);
            }
        }
    }

    /// All that there was to send for the parcel is sent.
    fn finish(&mut self, parcel: Box<Parcel>) {
        self.under_way -= 1;
        parcel.answer.asker.ticket.finish();
    }

    /// Another worker answers, or Kafka delivers the request again: the ticket is dropped unfinished.
    fn abandon(&mut self, mut parcel: Box<Parcel>) {
        self.under_way -= 1;
        self.leave(&parcel, false);
        self.release(&mut parcel);
        parcel.answer.asker.span.in_scope(|| tracing::debug!("not answered here: Kafka delivers it again"));
    }
}

fn tell(parcel: &Parcel, fault: &Fault, next: Next) {
    let (topic, cause) = (&parcel.to.topic, fault.words());
    parcel.answer.asker.span.in_scope(|| match next {
        // The queue is full for a moment, or others of the batch were too large: nothing is wrong with this one.
        Next::Again if fault.kind == FaultKind::Full => {}
        Next::Alone => tracing::debug!(topic, %fault, cause, "refused in a batch; it is sent alone"),
        Next::Again => tracing::warn!(topic, %fault, cause, "not delivered; it is tried again"),
        Next::Shorten(form) => {
            tracing::warn!(topic, %fault, cause, ?form, "not delivered; less is sent in its place");
        }
        Next::ToResults => {
            tracing::warn!(topic, %fault, cause, "not delivered; it goes to the results topic");
        }
        Next::Hold => {
            tracing::error!(topic, %fault, cause, "not delivered; it waits until the topic is mended")
        }
        Next::GiveUp => {
            tracing::error!(topic, %fault, cause, "the dead letter can't be delivered, and is given up");
        }
        Next::Drop => tracing::debug!(topic, "not delivered before the end"),
        Next::End => tracing::error!(topic, %fault, cause, "the producer can't go on"),
    });
}

//! From an answer to the record that carries it, in each of its forms. Pure: what it makes depends on what it is given.

use std::borrow::Cow;

use jiff::Timestamp;
use wire::dead_letter::DeadLetter;
use wire::{ErrorCode, ErrorReply, ReplyTo, Response, Success, TraceContext};

use crate::outbox::Message;
use crate::parcels::{Answer, Failure, Original};

use super::addresses::Destination;
use super::route::Form;

/// The reply in that form, for that destination; `worker` signs it.
pub(super) fn reply(answer: &Answer, worker: &str, form: Form, to: &Destination) -> Message<'static> {
    let asker = &answer.asker;
    let none = TraceContext::default();
    let (response, reply_to, trace, key) = match form {
        Form::Reply | Form::DeadLetter => {
            (response(answer, worker), asker.reply_to.clone(), &asker.trace, asker.key.clone())
        }
        Form::Short => (refused(answer, worker), asker.reply_to.clone(), &none, asker.key.clone()),
        Form::Bare => (refused(answer, worker), ReplyTo::default(), &none, None),
    };
    let key = key.unwrap_or_else(|| response.request_id.clone().into_bytes());
    Message {
        topic: to.topic.clone(),
        partition: to.partition,
        key: Some(Cow::Owned(key)),
        value: Some(Cow::Owned(response.encode(asker.encoding))),
        headers: response.headers(asker.encoding, Timestamp::now(), &reply_to, trace),
    }
}

/// The record as it came, and why it is there.
pub(super) fn dead_letter<'a>(original: &'a Original, failure: &Failure, topic: &str) -> Message<'a> {
    let mut headers = original.headers.clone();
    let letter = DeadLetter {
        topic: &original.topic,
        partition: original.partition,
        offset: original.offset,
        stage: failure.stage,
        code: failure.reply.code.name(),
        message: &failure.reply.message,
    };
    letter.write(&mut headers);
    Message {
        topic: topic.to_owned(),
        partition: None,
        key: original.key.as_deref().map(Cow::Borrowed),
        value: original.value.as_deref().map(Cow::Borrowed),
        headers,
    }
}

fn response(answer: &Answer, worker: &str) -> Response {
    let outcome = match &answer.result {
        Ok(labels) => wire::Outcome::Success(Success {
            model: labels.model.id.clone(),
            predictions: labels.predictions.clone(),
            batch_size: labels.batch_size,
        }),
        Err(failure) => wire::Outcome::Error(failure.reply.clone()),
    };
    signed(answer, worker, outcome)
}

/// What is said in place of a reply that is too large.
pub(super) fn too_large() -> ErrorReply {
    let message =
        "the reply is larger than its topic takes: ask for fewer predictions, or send shorter headers";
    ErrorReply::new(ErrorCode::OutOfRange, message)
}

fn refused(answer: &Answer, worker: &str) -> Response {
    signed(answer, worker, wire::Outcome::Error(too_large()))
}

fn signed(answer: &Answer, worker: &str, outcome: wire::Outcome) -> Response {
    Response {
        request_id: answer.asker.id.clone(),
        outcome,
        timings: answer.timings,
        worker: worker.to_owned(),
    }
}

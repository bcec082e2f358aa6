//! Who did what that others have to live with: a line each in the log, under the target `audit`. Whoever lets somebody promote a version,
//! label an image or make a key writes one, and one where it is refused.

use std::net::SocketAddr;

use crate::caller::Caller;
use crate::problem::Problem;

/// A line, which [`done`](Self::done) or [`refused`](Self::refused) writes. No secret may stand in it.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is written before `done` or `refused`"]
pub struct Entry<'a> {
    action: &'a str,
    subject: &'a str,
    who: &'a str,
    from: Option<SocketAddr>,
    request_id: &'a str,
}

impl<'a> Entry<'a> {
    /// What was done, as `model.promote`, and to what.
    pub fn new(action: &'a str, subject: &'a str) -> Self {
        Self { action, subject, who: "", from: None, request_id: "" }
    }

    /// By whom.
    pub fn by(self, who: &'a str) -> Self {
        Self { who, ..self }
    }

    /// From where.
    pub fn from(self, from: Option<SocketAddr>) -> Self {
        Self { from, ..self }
    }

    /// In which request.
    pub fn request(self, request_id: &'a str) -> Self {
        Self { request_id, ..self }
    }

    /// In that caller's request: by them where they are known, and from where they are.
    pub fn asked_by(self, caller: &'a Caller) -> Self {
        let who = match caller.who.id() {
            "" => self.who,
            known => known,
        };
        Self { who, from: caller.peer, request_id: &caller.request_id, ..self }
    }

    /// What came of it.
    pub fn came_to<T>(self, result: &Result<T, Problem>) {
        match result {
            Ok(_) => self.done(),
            Err(problem) => self.refused(problem.detail()),
        }
    }

    /// It was done.
    pub fn done(self) {
        self.write("done", "");
    }

    /// It was not, and why.
    pub fn refused(self, reason: &str) {
        self.write("refused", reason);
    }

    fn write(self, outcome: &str, reason: &str) {
        let Self { action, subject, who, from, request_id } = self;
        let [subject, who, reason] = [subject, who, reason].map(wire::quoted);
        // As texts, so that what others named is escaped.
        let (subject, who, reason) = (&*subject, &*who, &*reason);
        let from = from.map(tracing::field::display);
        tracing::info!(target: "audit", action, subject, who, from, request_id, outcome, reason, "audit");
    }
}

//! What becomes of a record that was not delivered: a pure table, from what it is and what is wrong to what is tried next.
//! It is what "nothing is dropped in silence" rests on, so each of its cells is tested.

use kafka::FaultKind;

/// What is sent for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The reply.
    Reply,
    /// In its place an error that says that it is too large.
    Short,
    /// The same error without anything that the request chose the size of.
    Bare,
    /// The record that can never succeed, behind its reply.
    DeadLetter,
}

/// A record that was not delivered, and what bears on what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    /// What was sent.
    pub(super) form: Form,
    /// In a batch of its own, so that what is wrong is wrong with this record.
    pub(super) alone: bool,
    /// To a topic that the sender of the request names.
    pub(super) named: bool,
    /// To a partition that the sender of the request names.
    pub(super) partitioned: bool,
    /// What is wrong.
    pub(super) kind: FaultKind,
    /// For so long already, while the broker answers others.
    pub(super) lasting: bool,
}

/// What is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same, in a moment.
    Again,
    /// The same, in a batch of its own.
    Alone,
    /// Less, in a batch of its own: the reply's topic takes no more.
    Shorten(Form),
    /// The reply, to the results topic.
    ToResults,
    /// All from the start, in a while: until somebody mends the worker's own topic, which its readiness asks for.
    Hold,
    /// Nothing: a dead letter that its topic does not take. Whoever asked has been answered.
    GiveUp,
    /// Nothing: the worker ends, and Kafka delivers the request again.
    Drop,
    /// The worker ends.
    End,
}

/// The table.
pub(super) fn next(what: Undelivered) -> Next {
    use FaultKind as Kind;
    use Form::{Bare, DeadLetter, Reply, Short};
    let Undelivered { form, alone, named, partitioned, kind, lasting } = what;
    match (kind, form) {
        (Kind::Fatal, _) => Next::End,
        (Kind::Closed, _) => Next::Drop,
        (Kind::Full, Reply | Short) if named => Next::ToResults,
        (Kind::Full, _) => Next::Again,

        (Kind::TooLarge | Kind::Refused, _) if !alone => Next::Alone,
        (Kind::TooLarge, Reply) => Next::Shorten(Short),
        (Kind::TooLarge, Short) => Next::Shorten(Bare),
        (Kind::TooLarge | Kind::Refused, DeadLetter) => Next::GiveUp,

        (Kind::Refused, Reply | Short) if named => Next::ToResults,
        (Kind::NoSuchPlace, Reply | Short) if named || partitioned => Next::ToResults,
        (Kind::Passing, Reply | Short) if named && lasting => Next::ToResults,

        (Kind::TooLarge, Bare) | (Kind::Refused, _) | (Kind::NoSuchPlace, _) => Next::Hold,
        (Kind::Passing, _) => Next::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultKind as Kind;
    use Form::{Bare, DeadLetter, Reply, Short};

    /// A reply to the results topic, sent alone.
    const REPLY: Undelivered = Undelivered {
        form: Reply,
        alone: true,
        named: false,
        partitioned: false,
        kind: Kind::TooLarge,
        lasting: false,
    };

    const FORMS: [Form; 4] = [Reply, Short, Bare, DeadLetter];
    const KINDS: [Kind; 7] = [
        Kind::Full,
        Kind::TooLarge,
        Kind::Refused,
        Kind::NoSuchPlace,
        Kind::Passing,
        Kind::Closed,
        Kind::Fatal,
    ];

    fn all() -> impl Iterator<Item = Undelivered> {
        let cases = FORMS.into_iter().flat_map(|form| KINDS.map(|kind| (form, kind)));
        cases.flat_map(|(form, kind)| {
            (0..16).map(move |bits| Undelivered {
                form,
                kind,
                alone: bits & 1 != 0,
                named: bits & 2 != 0,
                partitioned: bits & 4 != 0,
                lasting: bits & 8 != 0,
            })
        })
    }

    #[test]
    fn nothing_is_given_up_but_a_dead_letter_that_was_sent_alone() {
        for what in all().filter(|what| next(*what) == Next::GiveUp) {
            assert_eq!((what.form, what.alone), (DeadLetter, true), "{what:?}");
        }
        for what in all().filter(|what| next(*what) == Next::Drop) {
            assert_eq!(what.kind, Kind::Closed, "{what:?}");
        }
    }

    #[test]
    fn what_was_refused_among_others_is_tried_alone_before_anything_is_concluded() {
        for what in all().filter(|what| !what.alone && matches!(what.kind, Kind::TooLarge | Kind::Refused)) {
            assert_eq!(next(what), Next::Alone, "{what:?}");
        }
    }

    #[test]
    fn a_topic_of_a_senders_is_never_held_for() {
        for what in all().filter(|what| what.named && matches!(what.form, Reply | Short)) {
            assert!(next(what) != Next::Hold, "{what:?}");
            let lasts = next(Undelivered { lasting: true, alone: true, ..what });
            assert!(lasts != Next::Again, "{what:?}");
        }
    }

    #[test]
    fn at_the_worker_s_own_topics_nothing_goes_elsewhere_but_from_a_partition_that_is_not_there() {
        for what in all().filter(|what| !what.named && next(*what) == Next::ToResults) {
            assert_eq!((what.kind, what.partitioned), (Kind::NoSuchPlace, true), "{what:?}");
        }
    }

    #[test]
    fn a_reply_too_large_becomes_an_error_then_a_bare_one_and_then_somebody_has_to_help() {
        assert_eq!(next(REPLY), Next::Shorten(Short));
        assert_eq!(next(Undelivered { form: Short, ..REPLY }), Next::Shorten(Bare));
        assert_eq!(next(Undelivered { form: Bare, ..REPLY }), Next::Hold);
        assert_eq!(next(Undelivered { form: DeadLetter, ..REPLY }), Next::GiveUp);
    }

    #[test]
    fn what_a_sender_s_topic_does_not_take_goes_to_the_results_topic() {
        let named = Undelivered { named: true, ..REPLY };
        assert_eq!(next(Undelivered { kind: Kind::NoSuchPlace, ..named }), Next::ToResults);
        assert_eq!(next(Undelivered { kind: Kind::Refused, ..named }), Next::ToResults);
        assert_eq!(next(Undelivered { kind: Kind::Full, ..named }), Next::ToResults);
        assert_eq!(next(Undelivered { kind: Kind::Passing, ..named }), Next::Again);
        assert_eq!(next(Undelivered { kind: Kind::Passing, lasting: true, ..named }), Next::ToResults);
    }

    #[test]
    fn the_worker_s_own_topics_are_waited_for() {
        for form in [Reply, Bare, DeadLetter] {
            let own = Undelivered { form, lasting: true, ..REPLY };
            assert_eq!(next(Undelivered { kind: Kind::NoSuchPlace, ..own }), Next::Hold, "{form:?}");
            assert_eq!(next(Undelivered { kind: Kind::Passing, ..own }), Next::Again, "{form:?}");
        }
        assert_eq!(next(Undelivered { kind: Kind::Refused, ..REPLY }), Next::Hold);
    }
}

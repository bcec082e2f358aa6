use super::*;

struct Scene {
    book: Arc<Book>,
    pressure: Arc<Pressure>,
}

impl Scene {
    fn new() -> Self {
        Self { book: Book::new(Delivery::AtLeastOnce), pressure: Arc::default() }
    }

    fn take(&self, partition: i32, offset: i64) -> Ticket {
        let assignment = self.book.assignment(partition);
        self.book.begin(partition, offset, assignment, &self.pressure, 1).unwrap().0
    }
}

#[test]
fn stores_the_end_of_the_contiguous_run_and_nothing_beyond() {
    let scene = Scene::new();
    let mut tickets: Vec<_> = (10..15).map(|offset| Some(scene.take(0, offset))).collect();
    let mut finish = |i: usize| tickets[i].take().unwrap().finish();
    finish(2);
    finish(1);
    assert_eq!(scene.book.due(), [], "10 is not answered");
    finish(0);
    assert_eq!(scene.book.due(), [(0, 13)]);
    scene.book.committed(0, 13);
    assert_eq!(scene.book.due(), [], "each until it is committed");
    finish(4);
    assert_eq!(scene.book.due(), []);
    finish(3);
    assert_eq!(scene.book.due(), [(0, 15)]);
    assert_eq!(scene.book.outstanding(), 0);
}

#[test]
fn gaps_in_the_offsets_are_no_missing_answers() {
    let scene = Scene::new();
    let (a, b) = (scene.take(0, 3), scene.take(0, 9));
    a.finish();
    b.finish();
    assert_eq!(scene.book.due(), [(0, 10)]);
}

#[test]
fn a_dropped_ticket_holds_its_offset_back() {
    let scene = Scene::new();
    let (a, b) = (scene.take(0, 0), scene.take(0, 1));
    drop(a);
    b.finish();
    assert_eq!(scene.book.due(), []);
    assert_eq!(scene.book.outstanding(), 1);
    assert_eq!(scene.pressure.amount().requests, 0, "but takes up no room");
}

#[test]
fn partitions_do_not_wait_for_each_other() {
    let scene = Scene::new();
    let (_held, free) = (scene.take(0, 0), scene.take(1, 0));
    free.finish();
    assert_eq!(scene.book.due(), [(1, 1)]);
}

#[test]
fn tickets_of_a_lost_assignment_store_nothing() {
    let scene = Scene::new();
    let old = scene.take(0, 5);
    assert!(old.is_live());
    scene.book.forget([0]);
    assert!(!old.is_live());
    scene.book.assign([0]);
    assert!(!old.is_live(), "the same partition, assigned anew");
    let again = scene.take(0, 5);
    old.finish();
    assert_eq!(scene.book.due(), []);
    again.finish();
    assert_eq!(scene.book.due(), [(0, 6)]);
}

#[test]
fn a_record_polled_before_a_rebalance_gets_no_ticket_after_it() {
    let scene = Scene::new();
    let assignment = scene.book.assignment(0);
    scene.book.forget([0]);
    assert!(scene.book.begin(0, 7, assignment, &scene.pressure, 1).is_none());
    scene.book.assign([0]);
    assert!(scene.book.begin(0, 7, assignment, &scene.pressure, 1).is_none());
    assert_eq!(scene.pressure.amount().requests, 0);
}

#[test]
fn a_partition_read_from_an_earlier_place_starts_anew() {
    let scene = Scene::new();
    let late = scene.take(0, 100);
    let early = scene.take(0, 0);
    assert!(late.is_live(), "nobody else answers it");
    assert_eq!(scene.book.outstanding(), 2);
    late.finish();
    assert_eq!(scene.book.outstanding(), 1);
    assert_eq!(scene.book.due(), []);
    early.finish();
    assert_eq!(scene.book.due(), [(0, 1)]);
}

#[test]
fn what_was_taken_before_a_partition_was_read_anew_is_waited_for_until_it_is_given_back() {
    let scene = Scene::new();
    let late = scene.take(0, 100);
    scene.take(0, 0).finish();
    assert_eq!(scene.book.drain(&[0], Instant::now()), 1);
    scene.book.forget([0]);
    scene.book.assign([0]);
    assert!(!late.is_live());
    late.finish();
    assert_eq!(scene.book.outstanding(), 0);
}

#[test]
fn at_most_once_stores_on_receipt() {
    let scene = Scene { book: Book::new(Delivery::AtMostOnce), pressure: Arc::default() };
    let _held = scene.take(0, 4);
    assert_eq!(scene.book.due(), [(0, 5)]);
}

#[test]
fn draining_waits_for_the_partitions_that_go_and_for_no_others() {
    let scene = Scene::new();
    let (goes, _stays) = (scene.take(0, 0), scene.take(1, 0));
    let far = Instant::now() + Duration::from_secs(600);
    let book = Arc::clone(&scene.book);
    let drain = std::thread::spawn(move || book.drain(&[0], far));
    goes.finish();
    assert_eq!(drain.join().unwrap(), 0);
    assert_eq!(scene.book.drain(&[1], Instant::now()), 1, "what is not answered by the deadline is counted");
}

#[test]
fn a_commit_that_failed_is_due_again() {
    let scene = Scene::new();
    scene.take(0, 4).finish();
    assert_eq!(scene.book.due(), [(0, 5)]);
    assert_eq!(scene.book.due(), [(0, 5)], "until the broker has it");
    scene.book.committed(0, 5);
    assert_eq!(scene.book.due(), []);
}

#[test]
fn how_far_a_partition_is_ahead_counts_from_its_first_unanswered_record() {
    let scene = Scene::new();
    let stuck = scene.take(0, 0);
    (1..100).for_each(|offset| scene.take(0, offset).finish());
    assert_eq!((scene.book.ahead(0), scene.book.outstanding()), (100, 1));
    assert_eq!(scene.book.oldest()[0].1.unwrap().offset, 0);
    stuck.finish();
    assert_eq!((scene.book.ahead(0), scene.book.outstanding()), (0, 0), "what is answered is not kept");
    assert_eq!(scene.book.oldest(), [(0, None)]);
    assert_eq!(scene.book.due(), [(0, 100)]);
}

#[test]
fn markers_behind_the_last_record_are_committed_when_it_is_answered() {
    let scene = Scene::new();
    let ticket = scene.take(0, 0);
    scene.book.passed(0, 5);
    assert_eq!(scene.book.due(), [], "0 is not answered");
    ticket.finish();
    assert_eq!(scene.book.due(), [(0, 1)]);
    scene.book.passed(0, 5);
    assert_eq!(scene.book.due(), [(0, 5)]);
    scene.book.passed(0, 1);
    assert_eq!(scene.book.due(), [(0, 5)], "never backwards");
    scene.take(0, 7).finish();
    assert_eq!(scene.book.due(), [(0, 8)]);
    scene.book.passed(1, 3);
    assert_eq!(scene.book.due(), [(0, 8)], "another worker's partition");
}

#[test]
fn a_group_that_never_committed_begins_where_the_log_does() {
    let scene = Scene::new();
    scene.book.assign([0, 1]);
    scene.book.never_committed(0, 3);
    assert_eq!(scene.book.due(), [(0, 3)]);
    scene.take(0, 3).finish();
    scene.book.never_committed(0, 3);
    assert_eq!(scene.book.due(), [(0, 4)], "what is answered goes before");
    let _taken = scene.take(1, 5);
    scene.book.never_committed(1, 9);
    assert!(scene.book.due().contains(&(1, 5)), "not past a record that is not answered");
}

#[test]
fn a_ticket_that_is_finished_after_its_partition_s_log_was_cut_counts_once() {
    let scene = Scene::new();
    let late = scene.take(0, 100);
    let again = scene.take(0, 100);
    assert_eq!(scene.book.outstanding(), 2);
    late.finish();
    assert_eq!(scene.book.outstanding(), 1);
    again.finish();
    assert_eq!(scene.book.outstanding(), 0);
}

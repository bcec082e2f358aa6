use super::*;
use crate::doubles;
use crate::metrics::Metrics;
use std::time::Duration;

struct Room {
    metrics: Arc<Metrics>,
    lane: Arc<Lane>,
    instance: Instance,
}

fn room() -> Room {
    let metrics = Arc::<Metrics>::default();
    let (lanes, _) = doubles::lanes(vec![doubles::served("bird", 1)], Arc::clone(&metrics));
    let instance =
        Instance::load(&lanes, 0, Arc::default(), (doubles::shadows(), doubles::reviews())).unwrap();
    let lane = Arc::clone(lanes.find(None, None, b"").unwrap().entrance.lane());
    Room { metrics, lane, instance }
}

impl Room {
    fn job(&self, value: u8) -> Job {
        let mut job = doubles::job_in(&self.lane, &value.to_string());
        job.pixels.data = vec![value];
        job
    }

    fn step(&mut self, jobs: Vec<Job>) -> Vec<Answer> {
        let lane = Arc::clone(&self.lane);
        self.instance.step(Batch { lane, jobs })
    }

    fn answers(&mut self, values: &[u8]) -> Vec<Result<(String, u32), ErrorCode>> {
        let jobs = values.iter().map(|value| self.job(*value)).collect();
        self.step(jobs).into_iter().map(read).collect()
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.text().lines().any(|l| l == line)
    }
}

fn read(answer: Answer) -> Result<(String, u32), ErrorCode> {
    answer
        .result
        .map(|labels| (labels.predictions[0].label.clone(), labels.batch_size))
        .map_err(|failure| failure.reply.code)
}

#[test]
fn a_batch_is_computed_together_and_answered_in_order() {
    let mut room = room();
    assert_eq!(room.answers(&[1, 2, 3]), [1, 2, 3].map(|i| Ok((format!("value {i}"), 3))));
    assert!(room.counts(r#"nv_inference_exec_count{model="bird",version="1"} 1"#));
}

#[test]
fn a_bad_item_fails_alone_and_each_image_is_counted_once() {
    let mut room = room();
    let answers = room.answers(&[1, doubles::FAILS, 3]);
    let expected = [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
    assert_eq!(answers, expected);
    assert!(room.counts(r#"nv_inference_count{model="bird",version="1"} 2"#), "{}", room.metrics.text());
    assert!(room.counts(r#"nv_inference_exec_count{model="bird",version="1"} 2"#));
}

#[test]
fn a_deadline_that_passed_while_the_batch_lay_ready_is_answered_without_being_computed() {
    let mut room = room();
    let soon = tokio::time::Instant::now();
    // The double would fail on it.
    let late = Job { deadline: Some(soon), ..room.job(doubles::FAILS) };
    let in_time = Job { deadline: Some(soon + Duration::from_secs(3600)), ..room.job(5) };
    let jobs = vec![late, in_time];
    let answers: Vec<_> = room.step(jobs).into_iter().map(read).collect();
    assert_eq!(answers, [Err(ErrorCode::DeadlineExceeded), Ok(("value 5".to_owned(), 1))]);
}

#[test]
fn a_panic_is_answered_and_the_engine_loaded_anew() {
    let mut room = room();
    let expected = [Ok(("value 1".to_owned(), 1)), Err(ErrorCode::Internal), Ok(("value 3".to_owned(), 1))];
    // A double that has panicked answers nothing more, so that these come from new ones.
    assert_eq!(room.answers(&[1, doubles::PANICS, 3]), expected);
    assert_eq!(room.answers(&[4]), [Ok(("value 4".to_owned(), 1))]);
}

#[test]
fn failures_of_the_model_are_retryable_no_dead_letters_and_keep_their_cause_to_the_log() {
    let mut room = room();
    let jobs = vec![room.job(doubles::FAILS)];
    let failure = room.step(jobs).remove(0).result.unwrap_err();
    assert!(failure.reply.retryable && failure.dead.is_none());
    assert_eq!(failure.reply.message, FAILED);
}

#[test]
fn what_was_answered_is_handed_on_to_be_computed_by_another_version_too() {
    let mut room = room();
    let (shadows, inbox) = Shadows::new(Arc::default());
    room.instance.shadows = shadows.clone();
    let other = doubles::lane(doubles::served("bird", 2));
    let beside = |value| shadows.keep(&other, &doubles::image(value));
    let jobs = [7, doubles::FAILS].map(|value| Job { beside: beside(value), ..room.job(value) });
    let answers: Vec<_> = room.step(jobs.into()).into_iter().map(read).collect();
    assert_eq!(answers, [Ok(("value 7".to_owned(), 1)), Err(ErrorCode::Internal)]);
    let compared = inbox.try_next().unwrap();
    assert_eq!((compared.id.as_str(), compared.model.version), ("7", 1));
    assert_eq!(compared.predictions[0].label, "value 7");
    assert_eq!(compared.beside.image, doubles::image(7));
    assert!(inbox.try_next().is_none(), "what failed is compared with nothing");
}

#[test]
fn a_person_looks_at_five_labels_and_the_asker_gets_as_many_as_it_asked_for() {
    let mut room = room();
    // The double is always sure.
    let section = review::Review { enabled: true, sample: 1.0, ..review::Review::default() };
    let (reviews, inbox) = Reviews::new(&section, Arc::default());
    room.instance.reviews = reviews.clone();
    let jobs = [7, doubles::FAILS]
        .map(|value| Job { review: reviews.keep(&doubles::image(value)), ..room.job(value) });
    let answers = room.step(jobs.into());
    assert_eq!(answers[0].result.as_ref().unwrap().predictions.len(), 1);
    assert!(answers[1].result.is_err());
    assert_eq!(inbox.unwrap().handed(), [("7".to_owned(), 5, doubles::image(7))], "what failed is not told");
}

#[test]
fn a_model_that_can_t_be_loaded_says_which() {
    let served = doubles::served_by("bird", 1, || Err(LoadError::new("no weights")));
    let (lanes, _) = doubles::lanes(vec![served], Arc::default());
    let error =
        Instance::load(&lanes, 0, Arc::default(), (doubles::shadows(), doubles::reviews())).err().unwrap();
    assert_eq!(
        (error.to_string(), error.source.to_string()),
        ("bird 1 can't be loaded".into(), "no weights".into())
    );
}

use super::*;
use crate::doubles;

fn section() -> Review {
    Review { enabled: true, ..Review::default() }
}

fn predictions(first: (Option<u32>, f32), second: f32) -> Vec<Prediction> {
    let prediction =
        |label: &str, index, probability| Prediction { label: label.to_owned(), index, probability };
    vec![prediction("a", first.0, first.1), prediction("b", Some(1), second)]
}

fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    let line =
        format!(r#"mlaas_worker_review_images_total{{model="bird",outcome="{outcome}",version="1"}} "#);
    let text = metrics.text();
    text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn what_is_unsure_is_what_the_configuration_says() {
    let all = Review { below: 0.6, margin: 0.2, ..section() };
    let why = |section: &Review, first, second| section.why("r", &predictions(first, second));
    assert_eq!(why(&all, (Some(0), 0.59), 0.0), Some(Why::Below));
    assert_eq!(why(&all, (Some(0), 0.6), 0.45), Some(Why::Margin));
    assert_eq!(why(&all, (Some(0), 0.9), 0.1), None);
    assert_eq!(why(&all, (None, 0.99), 0.01), Some(Why::Rejected));
    let none = Review { below: 0.0, margin: 0.0, rejected: false, ..section() };
    assert_eq!(why(&none, (Some(0), 0.01), 0.01), None, "no margin is asked for");
    assert_eq!(why(&none, (None, 0.01), 0.01), None, "how sure it is that it is none is another question");
    assert_eq!(none.why("r", &[]), None);
    let one = &predictions((Some(0), 0.9), 0.0)[..1];
    assert_eq!(all.why("r", one), None, "there is nothing beside it");
}

#[test]
fn a_share_of_all_others_is_drawn_always_the_same() {
    let drawn = |sample| {
        let section = Review { sample, ..section() };
        let sure = predictions((Some(0), 0.99), 0.0);
        let ids = (0..10_000).map(|i| format!("request-{i}"));
        ids.filter(|id| section.why(id, &sure) == Some(Why::Sampled)).collect::<Vec<_>>()
    };
    let tenth = drawn(0.1);
    assert!((850..1150).contains(&tenth.len()), "{}", tenth.len());
    assert_eq!(tenth, drawn(0.1));
    let fifth = drawn(0.2);
    assert!(tenth.iter().all(|id| fifth.contains(id)), "a larger share has the smaller one's");
    assert_eq!((drawn(0.0).len(), drawn(1.0).len()), (0, 10_000));
}

#[test]
fn a_minute_has_no_more_than_it_may() {
    let metrics = Arc::<Metrics>::default();
    let (reviews, inbox) = Reviews::new(&Review { max_per_minute: 3, ..section() }, Arc::clone(&metrics));
    let (inbox, model) = (inbox.unwrap(), doubles::served("bird", 1).id);
    for id in 0..5 {
        let sure = if id == 0 { 0.99 } else { 0.1 };
        let kept = reviews.keep(b"image").unwrap();
        reviews.hand(kept, &id.to_string(), &model, &predictions((Some(0), sure), 0.0));
    }
    let ids: Vec<_> = inbox.receiver.try_iter().map(|unsure| unsure.id).collect();
    assert_eq!(ids, ["1", "2", "3"], "what is sure counts for nothing");
    assert_eq!(counted(&metrics, "limited"), 1);
    let kept = reviews.keep(b"image").unwrap();
    assert!(kept.0.is_err(), "no copy is made in vain");
    reviews.0.as_ref().unwrap().minute.lock().unwrap().0 -= MINUTE;
    reviews.hand(reviews.keep(b"image").unwrap(), "6", &model, &predictions((Some(0), 0.1), 0.0));
    assert_eq!(inbox.receiver.try_recv().unwrap().id, "6", "another minute has begun");
}

#[test]
fn what_there_is_no_room_for_is_shed_and_nobody_waits() {
    let metrics = Arc::<Metrics>::default();
    let section = Review { max_bytes: 2000, max_per_minute: 1000, ..section() };
    let (reviews, inbox) = Reviews::new(&section, Arc::clone(&metrics));
    let (inbox, model) = (inbox.unwrap(), doubles::served("bird", 1).id);
    let hand = |kept| reviews.hand(kept, "r", &model, &predictions((Some(0), 0.1), 0.0));
    let large = reviews.keep(&[0; 1500]).unwrap();
    hand(reviews.keep(&[0; 501]).unwrap());
    assert_eq!(counted(&metrics, "shed"), 1);
    drop(large);
    for _ in 0..capacity::UNSURE {
        hand(reviews.keep(b"x").unwrap());
    }
    assert_eq!(counted(&metrics, "shed"), 1);
    hand(reviews.keep(b"x").unwrap());
    assert_eq!(counted(&metrics, "shed"), 2, "nobody takes any");
    assert_eq!(inbox.receiver.try_iter().count(), capacity::UNSURE);
    assert!(reviews.keep(&[0; 2000]).unwrap().0.is_ok(), "all room came back");
    drop(inbox);
    assert!(reviews.keep(b"x").is_none(), "nobody writes any");
}

#[test]
fn where_it_is_off_no_image_is_kept() {
    let (reviews, inbox) = Reviews::new(&Review::default(), Arc::default());
    assert!(reviews.keep(b"image").is_none() && inbox.is_none());
}

#[test]
fn what_can_t_be_is_refused() {
    for (section, said) in [
        (Review { below: 1.1, ..section() }, "review.below, 1.1,"),
        (Review { margin: -0.1, ..section() }, "review.margin, -0.1,"),
        (Review { sample: f64::NAN, ..section() }, "review.sample, NaN,"),
        (Review { max_per_minute: 0, ..section() }, "review.max_per_minute"),
        (Review { max_bytes: 12, ..section() }, "review.max_bytes, 12,"),
    ] {
        let error = section.check().unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    assert!(section().check().is_ok());
}

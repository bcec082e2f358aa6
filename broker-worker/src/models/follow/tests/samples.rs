//! Versions that carry images, and what they call them.

use registry::Sample;

use super::*;

/// Those of a version.
pub(super) fn of(samples: &[(u8, &str)]) -> Vec<(Sample, Vec<u8>)> {
    let sample = |(number, (value, label)): (usize, &(u8, &str))| {
        (Sample { file: format!("sample-{number}.png"), label: (*label).to_owned() }, doubles::image(*value))
    };
    (1..).zip(samples).map(sample).collect()
}

#[tokio::test(start_paused = true)]
async fn one_whose_sample_is_called_something_else_leaves_the_other_in_service_and_says_what() {
    let mut room = room();
    let samples = [
        (2, vec![(5, "value 5"), (6, "value 6")]),
        (3, vec![(5, "value 5"), (6, "value 7")]),
        (4, vec![(doubles::FAILS, "value 200")]),
    ];
    room.shelf.lock().samples = samples.into();
    room.step(2);
    assert_eq!((room.found(), room.notes()), ("bird 2".to_owned(), vec![]));

    room.step(3);
    assert_eq!(room.found(), "bird 2");
    let reason = "bird 3 is not served, and bird 2 still is: bird 3 can't be loaded: its sample sample-2.png is called value 6, and \
                  should be called value 7: ";
    assert!(room.skipped()[0].starts_with(reason), "{:?}", room.skipped());
    assert_eq!(room.notes(), room.skipped());
    assert!(room.follower.metrics.text().contains(r#"model_loads_total{model="bird",outcome="failed"} 1"#));
    room.step(3);
    assert_eq!(room.shelf.lock().opened, [2, 3], "once");

    room.step(4);
    assert_eq!(room.found(), "bird 2");
    let reason = "its sample sample-1.png can't be computed: ";
    assert!(room.skipped()[0].contains(reason), "{:?}", room.skipped());

    room.shelf.lock().samples.insert(3, vec![(6, "value 6")]);
    room.shelf.lock().looks.insert(3, "mended".into());
    room.step(3);
    assert_eq!((room.found(), room.skipped()), ("bird 3".to_owned(), vec![]));
}

use jiff::Timestamp;
use wire::{ModelId, Prediction, Review, Verdict, Why};

use super::*;

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

/// An image of that offset and number, of which the two likeliest labels are so far apart.
fn item(offset: i64, image: usize, model: &str, apart: f32) -> Item {
    let prediction =
        |label: &str, probability| Prediction { label: label.into(), index: Some(0), probability };
    Item {
        place: Place { partition: 0, offset },
        written: Timestamp::from_millisecond(1000 + offset).ok(),
        bytes: 3,
        review: Review {
            request_id: format!("r-{offset}"),
            image: digest(image),
            model: ModelId { name: model.into(), version: 1, digest: digest(0) },
            predictions: vec![prediction("a", 0.4 + apart), prediction("b", 0.4)],
            why: Why::Margin,
            worker: "w".into(),
            computed_at: Timestamp::UNIX_EPOCH,
        },
    }
}

fn label(item: &Item, text: &str) -> (String, Option<Label>) {
    let label = Label {
        image: item.review.image.clone(),
        model: item.review.model.name.clone(),
        verdict: Verdict::Corrected,
        label: Some(text.into()),
        predicted: None,
        version: None,
        by: "ada".into(),
        at: Timestamp::UNIX_EPOCH,
    };
    (label.key(), Some(label))
}

fn offsets(page: &Page) -> Vec<i64> {
    page.items.iter().map(|shown| shown.item.place.offset).collect()
}

fn query(limit: usize) -> Query {
    Query { limit, ..Query::default() }
}

#[test]
fn images_come_in_the_order_that_is_asked_for_a_page_at_a_time() {
    let mut table = Table::new(100);
    for (offset, apart) in [(0, 0.3), (1, 0.1), (2, 0.2), (3, 0.1)] {
        table.seen(item(offset, usize::try_from(offset).unwrap(), "bird", apart));
    }
    let pages = |order, limit| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = table.page(&Query { order, after, ..query(limit) });
            assert_eq!(page.total, 4);
            all.push(offsets(&page));
            // As whoever asks has it: a text.
            after = page.next.map(|cursor| cursor.to_string().parse().unwrap());
            if after.is_none() {
                return all;
            }
        }
    };
    assert_eq!(pages(Order::Newest, 3), [vec![3, 2, 1], vec![0]]);
    assert_eq!(pages(Order::Unsure, 2), [vec![3, 1], vec![2, 0]]);
    assert_eq!(pages(Order::Newest, 4), [[3, 2, 1, 0]], "nothing lies behind the last");
}

#[test]
fn a_label_is_of_the_image_and_the_model_wherever_else_it_lies() {
    let mut table = Table::new(100);
    let first = item(0, 7, "bird", 0.1);
    for item in [first.clone(), item(1, 7, "bird", 0.2), item(2, 7, "shoe", 0.1)] {
        table.seen(item);
    }
    assert_eq!(offsets(&table.page(&query(9))), [2, 1], "one image is shown once");
    let (key, said) = label(&first, "macaw");
    table.said(key.clone(), said.clone());
    assert_eq!(offsets(&table.page(&query(9))), [2]);
    let labelled = Query { labelled: true, ..query(9) };
    assert_eq!(offsets(&table.page(&labelled)), [1]);
    assert_eq!(table.find(first.place).unwrap().label, said);
    assert_eq!(table.labels("bird"), ["a", "b", "macaw"].map(str::to_owned).into());
    let of_bird = Query { model: Some("bird".into()), ..query(9) };
    assert_eq!(table.page(&of_bird).total, 0);
    table.said(key, None);
    assert_eq!(offsets(&table.page(&of_bird)), [1]);
}

#[test]
fn no_more_is_kept_than_may_be() {
    let mut table = Table::new(3);
    for offset in 0..5 {
        table.seen(item(offset, usize::try_from(offset).unwrap(), "bird", 0.1));
    }
    assert_eq!(offsets(&table.page(&query(9))), [4, 3, 2]);
    assert!(table.find(Place { partition: 0, offset: 1 }).is_none());
    for image in 0..LABELS + 10 {
        let (key, said) = label(&item(9, image, "bird", 0.1), "macaw");
        table.said(key, said);
    }
    assert_eq!((table.labels.len(), table.said.len()), (LABELS, LABELS));
    // One that is said again and again takes the place of one.
    let (key, said) = label(&item(9, LABELS, "bird", 0.1), "macaw");
    for _ in 0..LABELS {
        table.said(key.clone(), said.clone());
    }
    assert_eq!(table.labels.len(), 1);
    assert!(table.labels.contains_key(&key));
}

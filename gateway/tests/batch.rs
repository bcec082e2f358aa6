//! `POST /v1/batch`: several images, an answer for each.

use client::{ErrorCode, ErrorReply, Outcome};
use serde_json::Value;

use crate::support::{self, Running, broker, config, config_with};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The label of each answer, or its error's code.
fn told(answers: &Value) -> Vec<String> {
    let each = answers["answers"].as_array().unwrap_or_else(|| panic!("{answers}")).iter();
    each.map(|answer| {
        let of = if answer["status"] == "success" {
            &answer["predictions"][0]["label"]
        } else {
            &answer["error"]["code"]
        };
        of.as_str().unwrap().to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_image_has_its_answer_in_order_and_a_bad_one_an_error() {
    let broker = broker(4);
    // The last that came is answered first.
    let mut held = Vec::new();
    let _worker = support::double(&broker, move |received| match received {
        Some(received) => {
            held.push(received);
            Vec::new()
        }
        None => {
            let answered = |received: client::double::Received| {
                let outcome = match &received.request.image[..] {
                    b"bad" => Outcome::Error(ErrorReply::new(ErrorCode::InvalidArgument, "no image")),
                    _ => received.echo(),
                };
                (received, outcome)
            };
            held.drain(..).rev().map(answered).collect()
        }
    });
    let keys = [("limits.max_image_bytes", "1000")];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    // "one", a bad one, no base64, an empty one, one that is too large, "two".
    let large = "AAAA".repeat(400);
    let json = format!(r#"{{"model": "bird", "images": ["b25l", "YmFk", "?", "", "{large}", "dHdv"]}}"#);
    let answer = gateway.post("/v1/batch", &[JSON], json.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = ["one", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "OUT_OF_RANGE", "two"];
    assert_eq!(told(&answer.json()), expected);
    assert_eq!(answer.json()["answers"][0]["model"]["name"], "bird");

    let images = ["a", "bad", "c", "d"].iter().enumerate().map(|(n, image)| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"{n}.png\"\r\n\r\n{image}\r\n"
        )
    });
    let top_k = "--b\r\ncontent-disposition: form-data; name=\"top_k\"\r\n\r\n2\r\n--b--\r\n";
    let form = images.collect::<String>() + top_k;
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let answer = gateway.post("/v1/batch?timeout=20s", &headers, form.as_bytes()).await.json();
    assert_eq!(told(&answer), ["a", "INVALID_ARGUMENT", "c", "d"]);
    assert_eq!(answer["answers"][3]["predictions"].as_array().unwrap().len(), 2);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_all_of_it_is_said_once() {
    let broker = broker(1);
    let _worker = support::echo(&broker);
    let keys =
        [("limits.max_in_flight", "3"), ("limits.max_batch_images", "3"), ("limits.max_batch_bytes", "1000")];
    let gateway = Running::of(config_with(&broker, &keys)).await;
    let images = |n: usize| format!(r#"{{"images": [{}]}}"#, vec!["\"YQ==\""; n].join(", "));
    for (path, body, status, said) in [
        ("/v1/batch", images(4), 400, "more images than the 3"),
        ("/v1/batch", images(0), 400, "no image"),
        ("/v1/batch", "{}".into(), 400, "images"),
        ("/v1/batch", r#"{"images": ["YQ=="], "top_k": 0}"#.into(), 400, "top_k"),
        ("/v1/batch?async=true", images(1), 400, "async"),
        ("/v1/batch?timeout=0s", images(1), 400, "timeout"),
        ("/v1/batch", images(1) + &" ".repeat(1000), 413, "1000 bytes"),
    ] {
        let answer = gateway.post(path, &[JSON], body.as_bytes()).await;
        let (found, detail) = answer.problem();
        assert_eq!(found, status, "{body}: {detail}");
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let answer = gateway.post("/v1/batch", &[("content-type", "image/png")], b"raw").await;
    assert_eq!(answer.problem().0, 415);
    let answer = gateway.post("/v1/batch", &[JSON], images(3).as_bytes()).await;
    assert_eq!(told(&answer.json()), ["a", "a", "a"]);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_answer_does_not_come_does_not_take_the_others_answers_away() {
    let broker = broker(1);
    let _worker = support::double(&broker, |received| {
        let wanted = received.filter(|received| &received.request.image[..] != b"no");
        wanted
            .map(|received| (received.echo(), received))
            .map(|(outcome, r)| (r, outcome))
            .into_iter()
            .collect()
    });
    let gateway = Running::of(config(&broker)).await;
    let answer =
        gateway.post("/v1/batch?timeout=1s", &[JSON], br#"{"images": ["YQ==", "bm8=", "Yg=="]}"#).await;
    assert_eq!(told(&answer.json()), ["a", "DEADLINE_EXCEEDED", "b"]);
    gateway.finish().await.unwrap();
}

//! The Open Inference Protocol by REST, byte by byte where tensors are bytes.

use client::double::Received;
use client::{ModelId, Outcome, Prediction, SkippedModel, Success};
use serde_json::json;

use crate::support::http::Answer;
use crate::support::{self, Running, announce, announcement, broker, config, config_with, echo, eventually};

/// Birds whose classes have numbers of their own, and an answer that it is none: an image of that name.
pub(crate) fn birds(received: &Received) -> Outcome {
    let label = String::from_utf8_lossy(&received.request.image).into_owned();
    let mut predictions = vec![("macaw", Some(88), 0.5), ("hen", Some(8), 0.25), ("cock", Some(7), 0.125)];
    if label == "car" {
        predictions.insert(0, ("not a bird", None, 0.75));
    }
    let predictions = predictions.into_iter().take(received.request.top_k.unwrap_or(1) as usize);
    let prediction = |(label, index, probability): (&str, _, _)| Prediction {
        label: label.to_owned(),
        index,
        probability,
    };
    let version = received.request.model_version.unwrap_or(2);
    let model = ModelId { name: received.request.model.clone().unwrap(), version, digest: String::new() };
    Outcome::Success(Success { model, predictions: predictions.map(prediction).collect(), batch_size: 1 })
}

pub(crate) fn bird_worker(broker: &kafka::EmbeddedBroker) -> client::double::Double {
    support::double(broker, |received| {
        received.map(|r| (birds(&r), r)).map(|(o, r)| (r, o)).into_iter().collect()
    })
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn infer(gateway: &Running, path: &str, body: &serde_json::Value) -> Answer {
    gateway.post(path, &[JSON], body.to_string().as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_and_its_models_are_described() {
    let broker = broker(1);
    let mut loading = announcement("w1", "bird", 3);
    loading.loading = true;
    loading.skipped = vec![SkippedModel {
        model: "broken".into(),
        version: Some(1),
        reason: "its files are missing".into(),
    }];
    for word in [announcement("w1", "bird", 1), announcement("w2", "bird", 1), loading] {
        announce(&broker, &word);
    }
    let gateway = Running::of(config(&broker)).await;
    eventually("the workers are known", async || {
        gateway.get("/v2/models/bird/versions/3").await.status == 200
    })
    .await;
    let json = async |path: &str| gateway.get(path).await.json();
    assert_eq!(json("/v2").await["name"], "mlaas");
    assert!(json("/v2").await["extensions"].as_array().unwrap().contains(&"binary_tensor_data".into()));
    assert_eq!(json("/v2/health/live").await, json!({"live": true}));
    assert_eq!(json("/v2/health/ready").await, json!({"ready": true}));
    let described = json!({
        "name": "bird", "versions": ["1", "3"], "platform": "mlaas",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    });
    assert_eq!(json("/v2/models/bird").await, described);
    assert_eq!(json("/v2/models/bird/versions/1").await["versions"], json!(["1"]));
    assert_eq!(json("/v2/models/bird/ready").await, json!({"ready": true}));
    for (path, status, said) in [
        ("/v2/models/bird/versions/3/ready", 503, "being loaded"),
        ("/v2/models/bird/versions/9/ready", 404, "ask for 1 or 3"),
        ("/v2/models/bird/versions/latest", 400, "'latest' is no version"),
        ("/v2/models/cat", 404, "ask for bird"),
        ("/v2/models/cat/ready", 404, "ask for bird"),
        ("/v2/models/..%2f..%2fetc", 404, "'../../etc'"),
        ("/v2/models/../../etc/passwd", 404, "nothing at this path"),
        ("/v2/models/bird/config", 404, "nothing at this path"),
    ] {
        let (found, detail) = gateway.get(path).await.problem();
        assert_eq!(found, status, "{path}: {detail}");
        assert!(detail.contains(said), "{path}: {detail}");
    }
    let entry = |name: &str, version: &str, state: &str, reason: &str| json!({"name": name, "version": version, "state": state, "reason": reason});
    let index = gateway.post("/v2/repository/index", &[], b"").await.json();
    let all = json!([
        entry("bird", "1", "READY", ""),
        entry("bird", "3", "LOADING", "it is being loaded"),
        entry("broken", "1", "UNAVAILABLE", "its files are missing"),
    ]);
    assert_eq!(index, all);
    let index = gateway.post("/v2/repository/index", &[JSON], br#"{"ready": true}"#).await.json();
    assert_eq!(index, json!([entry("bird", "1", "READY", "")]));
    gateway.finish().await.unwrap();
}

/// How often workers were asked for something.
fn asked(broker: &kafka::EmbeddedBroker) -> i64 {
    client::double::records(&broker.broker(), &kafka::Topics::default().control).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_loaded_and_let_go_when_each_worker_has_said_so() {
    let broker = broker(2);
    for worker in ["w1", "w2"] {
        announce(&broker, &announcement(worker, "bird", 1));
    }
    let gateway = Running::of(config(&broker)).await;
    eventually("the workers are known", async || gateway.get("/v2/models/bird").await.status == 200).await;
    let ask = async |action: &str, body: &str| {
        let path = format!("/v2/repository/models/bird/{action}");
        gateway.post(&path, &[JSON], body.as_bytes()).await
    };
    let second = r#"{"parameters": {"version": "2"}}"#;

    // Of two workers one loads it, and one can't.
    let refusing = |reason: &str| {
        let mut word = announcement("w2", "bird", 1);
        let reason = reason.to_owned();
        word.skipped = vec![SkippedModel { model: "bird".into(), version: Some(2), reason }];
        word
    };
    announce(&broker, &refusing("of before"));
    let workers = async || {
        eventually("they are asked", async || asked(&broker) == 1).await;
        announce(&broker, &announcement("w1", "bird", 2));
        announce(&broker, &refusing("no room for it"));
    };
    let (answer, ()) = tokio::join!(ask("load", second), workers());
    let (status, detail) = answer.problem();
    assert_eq!((status, &*detail), (422, "worker w2: no room for it"));

    // Now that one too; the version stands in a configuration as Triton's clients send it.
    let config = json!({"version_policy": {"specific": {"versions": [2]}}}).to_string();
    let workers = async || {
        eventually("they are asked", async || asked(&broker) == 2).await;
        announce(&broker, &announcement("w2", "bird", 2));
    };
    let body = json!({"parameters": {"config": config}}).to_string();
    let (answer, ()) = tokio::join!(ask("load", &body), workers());
    assert_eq!((answer.status, answer.text()), (200, String::new()));

    // Let go by both, and by the second later.
    let workers = async || {
        eventually("they are asked", async || asked(&broker) == 3).await;
        for worker in ["w1", "w2"] {
            let word = announcement(worker, "bird", 2);
            client::double::announce(&broker.broker(), &kafka::Topics::default(), &word.key(), None).unwrap();
        }
    };
    let (answer, ()) = tokio::join!(ask("unload", second), workers());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (status, detail) = ask("unload", "").await.problem();
    assert_eq!(status, 409);
    assert!(detail.contains("version 1 of model 'bird' is still served"), "{detail}");
    for (body, status, said) in [
        (r#"{"parameters": {"config": "{\"max_batch_size\": 8}"}}"#, 400, "version_policy"),
        (r#"{"parameters": {"file:1/model.onnx": "AA=="}}"#, 400, "unknown field"),
        (r#"{"parameters": {"version": "9"}}"#, 404, "9"),
    ] {
        let (found, detail) = ask("unload", body).await.problem();
        assert_eq!(found, status, "{body}: {detail}");
        assert!(detail.contains(said), "{body}: {detail}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_anybody_may_come_in_nobody_loads() {
    let broker = broker(1);
    announce(&broker, &announcement("w1", "bird", 1));
    let gateway = Running::of(config_with(&broker, &[("http.allow_unauthenticated", "true")])).await;
    eventually("the worker is known", async || gateway.get("/v2/models/bird").await.status == 200).await;
    let (status, detail) = gateway.post("/v2/repository/models/bird/load", &[JSON], b"").await.problem();
    assert_eq!(status, 403);
    assert!(detail.contains("`client load`"), "{detail}");
    assert_eq!(asked(&broker), 0);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_in_json_have_probabilities_and_labels() {
    let broker = broker(2);
    let _worker = bird_worker(&broker);
    let gateway = Running::of(config(&broker)).await;
    // "macaw" and "car".
    let image = json!({"name": "image", "shape": [2], "datatype": "BYTES", "data": ["bWFjYXc=", "Y2Fy"]});
    let answer =
        infer(&gateway, "/v2/models/bird/infer", &json!({"id": "mine", "inputs": [image]})).await.json();
    let expected = json!({
        "model_name": "bird", "model_version": "2", "id": "mine",
        "outputs": [
            {"name": "probabilities", "shape": [2, 3], "datatype": "FP32", "data": [0.125, 0.25, 0.5, 0.125, 0.25, 0.5]},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["macaw", "not a bird"]},
        ],
    });
    assert_eq!(answer, expected);
    let image = json!({"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [["Y2Fy"]]});
    let outputs = json!([{"name": "probabilities", "parameters": {"classification": 2}}]);
    let path = "/v2/models/bird/versions/7/infer";
    let answer = infer(&gateway, path, &json!({"inputs": [image], "outputs": outputs})).await.json();
    let expected = json!({
        "model_name": "bird", "model_version": "7",
        "outputs": [{"name": "probabilities", "shape": [1, 2], "datatype": "BYTES", "data": ["0.500000:2:macaw", "0.250000:1:hen"]}],
    });
    assert_eq!(answer, expected);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_are_bytes_behind_the_json_both_ways() {
    let broker = broker(1);
    let _worker = bird_worker(&broker);
    let gateway = Running::of(config(&broker)).await;
    let json = br#"{"inputs":[{"name":"image","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":16}}],"parameters":{"binary_data_output":true}}"#;
    let body = [&json[..], &[5, 0, 0, 0], b"macaw", &[3, 0, 0, 0], b"car"].concat();
    let length = json.len().to_string();
    let headers =
        [("content-type", "application/octet-stream"), ("inference-header-content-length", &length)];
    let answer = gateway.post("/v2/models/bird/infer", &headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let (head, raw) = answer.body.split_at(length);
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    let described = json!([
        {"name": "probabilities", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}},
        {"name": "label", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 23}},
    ]);
    assert_eq!(head["outputs"], described);
    let row = [0, 0, 0, 0x3e, 0, 0, 0x80, 0x3e, 0, 0, 0, 0x3f];
    let expected = [&row[..], &row, &[5, 0, 0, 0], b"macaw", &[10, 0, 0, 0], b"not a bird"].concat();
    assert_eq!(raw, expected);

    // One output in bytes and the other not.
    let json = br#"{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":7}}],"outputs":[{"name":"label"},{"name":"probabilities","parameters":{"binary_data":true}}]}"#;
    let body = [&json[..], &[3, 0, 0, 0], b"car"].concat();
    let length = json.len().to_string();
    let answer =
        gateway.post("/v2/models/bird/infer", &[("inference-header-content-length", &length)], &body).await;
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["data"], json!(["not a bird"]));
    assert_eq!(answer.body[length..], row);

    for (length, size, tail) in [
        ("9999", 7, &b"\x03\0\0\0car"[..]),
        ("-1", 7, b"\x03\0\0\0car"),
        ("x", 7, b"\x03\0\0\0car"),
        ("", 8, b"\x03\0\0\0car"),
        ("", 7, b"\x04\0\0\0car"),
        ("", 7, b"\xff\xff\xff\xffcar"),
        ("", 8, b"\x03\0\0\0car\0"),
        ("", 0, b""),
    ] {
        let json = format!(
            r#"{{"inputs":[{{"name":"image","shape":[1],"datatype":"BYTES","parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        let own = json.len().to_string();
        let length = if length.is_empty() { own.as_str() } else { length };
        let body = [json.as_bytes(), tail].concat();
        let answer = gateway
            .post("/v2/models/bird/infer", &[("inference-header-content-length", length)], &body)
            .await;
        assert_eq!(answer.problem().0, 400, "{length} {size} {tail:?}: {answer:?}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_inference_is_said() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config_with(&broker, &[("limits.max_batch_images", "2")])).await;
    let input = |name: &str, datatype: &str, shape: &[i64], data: serde_json::Value| json!({"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]});
    let good = input("image", "BYTES", &[1], json!(["YQ=="]));
    let with = |key: &str, value: serde_json::Value| {
        let mut with = good.clone();
        with[key] = value;
        with
    };
    for (path, body, status, said) in [
        ("/v2/models/m/infer", json!({}), 400, "inputs"),
        ("/v2/models/m/infer", json!({"inputs": []}), 400, "0 inputs"),
        ("/v2/models/m/infer", input("x", "BYTES", &[1], json!(["YQ=="])), 400, "'x'"),
        ("/v2/models/m/infer", input("image", "FP32", &[1, 3], json!([1.0, 2.0, 3.0])), 400, "FP32 or UINT8"),
        ("/v2/models/m/infer", input("image", "BYTES", &[2], json!(["YQ=="])), 400, "[2]"),
        ("/v2/models/m/infer", input("image", "BYTES", &[1], json!(["?"])), 400, "base64"),
        ("/v2/models/m/infer", input("image", "BYTES", &[1], json!([1])), 400, "base64"),
        ("/v2/models/m/infer", input("image", "BYTES", &[1], json!([""])), 400, "image 0 is empty"),
        ("/v2/models/m/infer", input("image", "BYTES", &[0], json!([])), 400, "no image"),
        (
            "/v2/models/m/infer",
            input("image", "BYTES", &[3], json!(["YQ==", "YQ==", "YQ=="])),
            400,
            "than the 2",
        ),
        ("/v2/models/m/infer", with("outputs", json!([{"name": "boxes"}])), 400, "'boxes'"),
        ("/v2/models/m/infer", with("parameters", json!({"timeout": "soon"})), 400, "timeout"),
        ("/v2/models/M/infer", good.clone(), 404, "'M'"),
        ("/v2/models/m/versions/one/infer", good.clone(), 400, "'one'"),
    ] {
        let (found, detail) = infer(&gateway, path, &body).await.problem();
        assert_eq!(found, status, "{path} {body}: {detail}");
        assert!(detail.contains(said), "{path} {body}: {detail}");
    }
    assert_eq!(infer(&gateway, "/v2/models/m/infer", &good).await.status, 200);
    let hurried = with("parameters", json!({"timeout": 1}));
    assert!(matches!(infer(&gateway, "/v2/models/m/infer", &hurried).await.problem().0, 503 | 504));
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_s_error_names_the_image_and_all_images_are_answered_by_one_version() {
    let broker = broker(1);
    let mut count = 0;
    let _worker = support::double(&broker, move |received| {
        let answered = |received: Received| {
            let bad = client::ErrorReply::new(client::ErrorCode::InvalidArgument, "no image");
            let mut outcome = birds(&received);
            if &received.request.image[..] == b"bad" {
                outcome = Outcome::Error(bad);
            } else if let Outcome::Success(success) = &mut outcome
                && received.request.model_version.is_none()
            {
                // Each request by another version, as where one is tried out.
                count += 1;
                success.model.version = count;
            }
            (received, outcome)
        };
        received.map(answered).into_iter().collect()
    });
    let gateway = Running::of(config(&broker)).await;
    let three = json!({"inputs": [{"name": "image", "shape": [3], "datatype": "BYTES", "data": ["YQ==", "Y2Fy", "Yg=="]}]});
    let answer = infer(&gateway, "/v2/models/bird/infer", &three).await.json();
    assert_eq!(answer["outputs"][1]["data"], json!(["macaw", "not a bird", "macaw"]), "{answer}");
    let bad =
        json!({"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["YQ==", "YmFk"]}]});
    let answer = infer(&gateway, "/v2/models/bird/infer", &bad).await;
    assert_eq!(answer.problem(), (422, "image 1: no image".to_owned()));
    gateway.finish().await.unwrap();
}

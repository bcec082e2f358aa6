//! Images that people look at, on a real Kafka: out of the worker as they came, labelled by HTTP, exported to a folder, and what a killed worker
//! takes with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::PATIENCE;
use e2e::gateway::Gateway;
use e2e::images::clothes;
use e2e::page::example_of;
use e2e::process::Finished;
use e2e::scene::{Kind, Scene, Worker};
use e2e::wait_until;
use serde_json::Value;
use wire::{Review, Why};

use crate::{FASHION_ONLY, http};

mod kafka_only {
    #[test]
    fn what_a_worker_is_not_sure_of_is_labelled_and_exported() {
        super::what_a_worker_is_not_sure_of_is_labelled_and_exported();
    }

    #[test]
    fn a_killed_worker_loses_no_answer_to_review() {
        super::a_killed_worker_loses_no_answer_to_review();
    }
}

mod embedded {
    #[test]
    fn on_the_embedded_broker_it_is_said_that_nobody_looks() {
        super::on_the_embedded_broker_it_is_said_that_nobody_looks();
    }
}

const LIMIT: Duration = Duration::from_secs(60);

/// The two topics, as `--set` has them.
fn topics(scene: &Scene) -> [String; 2] {
    [format!("topics.review={}", scene.topics.review), format!("topics.labels={}", scene.topics.labels)]
}

/// A worker that is sure of nothing.
fn worker(scene: &Scene, name: &str) -> Worker {
    let [review, labels] = topics(scene);
    let own = ["--set", &review, "--set", &labels, "--set", "review.enabled=true", "--set", "review.below=1"];
    scene.worker(name, &[FASHION_ONLY, &own].concat())
}

fn client(scene: &Scene, arguments: &[&str]) -> Finished {
    let [review, labels] = topics(scene);
    scene.client(&[arguments, &["--set", &review, "--set", &labels]].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn get(gateway: &Gateway, path: &str) -> Value {
    let (status, said) = http::get(&gateway.http, path);
    assert_eq!(status, 200, "{path}: {said}");
    json(&said)
}

/// Says what an image shows, and gives the status and what came back.
fn say(scene: &Scene, gateway: &Gateway, id: &str, what: &str) -> (String, Value) {
    let kind = "content-type: application/json";
    let url = format!("http://{}/v1/review/{id}", gateway.http);
    let done = scene
        .shell(&format!("curl --silent -w '\\n%{{http_code}}' -H '{kind}' --data '{what}' {url}"), LIMIT);
    let (said, status) = done.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{done:?}"));
    (status.to_owned(), json(said))
}

/// Each file in the folder, as `label/ending`, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|label| std::fs::read_dir(label).unwrap().map(|file| file.unwrap().path()))
        .map(|file| file.strip_prefix(folder).unwrap().display().to_string())
        .collect();
    all.sort();
    all
}

fn what_a_worker_is_not_sure_of_is_labelled_and_exported() {
    let scene = Scene::on(Kind::Kafka);
    let worker = worker(&scene, "w1");
    let samples = clothes();
    let paths: Vec<_> = samples.iter().map(|sample| sample.path.display().to_string()).collect();
    let arguments =
        [&["send", "--wait", "--json", "-k", "1"], &*paths.iter().map(String::as_str).collect::<Vec<_>>()]
            .concat();
    let sent = scene.client(&arguments);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let mut files_of = BTreeMap::new();
    for result in sent.stdout.lines().map(json) {
        assert_eq!(result["predictions"].as_array().unwrap().len(), 1, "as many as were asked for: {result}");
        let text = |key: &str| result[key].as_str().unwrap().to_owned();
        files_of.insert(text("request_id"), (PathBuf::from(text("file")), text("label")));
    }

    // Out of the worker as they came.
    let mut topic = scene.reader(&scene.topics.review);
    wait_until("the images", PATIENCE, || {
        topic.read_to_end(PATIENCE);
        if topic.seen.len() == samples.len() { Ok(()) } else { Err(format!("{} images", topic.seen.len())) }
    });
    for record in &topic.seen {
        let review = Review::decode(&record.headers).unwrap();
        assert_eq!(record.key.as_deref(), Some(review.request_id.as_bytes()));
        let (file, label) = &files_of[&review.request_id];
        assert_eq!(record.value.as_deref(), Some(&*std::fs::read(file).unwrap()), "{}", file.display());
        assert_eq!((&review.predictions[0].label, review.predictions.len()), (label, 5));
        assert!(matches!(review.why, Why::Below | Why::Rejected), "{review:?}");
    }
    assert!((http::metric(worker.http(), "mlaas_worker_review_images_total") - 10.0).abs() < f64::EPSILON);

    // On the gateway, a page at a time.
    let gateway = Gateway::start(&scene, "g1", &[]);
    wait_until("the gateway", LIMIT, || match http::get(&gateway.http, "/readyz") {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
    let first = get(&gateway, "/v1/review?limit=6");
    let next = first["next"].as_str().unwrap();
    let second = get(&gateway, &format!("/v1/review?limit=6&cursor={next}"));
    assert_eq!((&first["total"], &second["next"]), (&10.into(), &Value::Null), "{second}");
    let items: Vec<_> = [&first, &second].iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
    assert_eq!(items.len(), 10);
    let id = |at: usize| items[at]["id"].as_str().unwrap();
    let predicted = |at: usize| items[at]["predictions"][0]["label"].as_str().unwrap();
    let digits = |at: usize| items[at]["image"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let (file, _) = &files_of[items[3]["request_id"].as_str().unwrap()];
    let there = scene.folder.join("image");
    let url = format!("http://{}/v1/review/{}/image", gateway.http, id(3));
    let done =
        scene.shell(&format!("curl --silent --fail-with-body -D- -o {} {url}", there.display()), LIMIT);
    assert!(done.stdout.to_lowercase().contains("content-type: image/png"), "{done:?}");
    assert_eq!(std::fs::read(&there).unwrap(), std::fs::read(file).unwrap());
    for (path, status) in [
        ("/v1/review/0-999", 404),
        ("/v1/review/x", 404),
        ("/v1/review?limit=0", 400),
        ("/v1/review?cursor=x", 400),
    ] {
        assert_eq!(http::get(&gateway.http, path).0, status, "{path}");
    }

    // Labels: confirmed, corrected, a new one, skipped, and what is refused.
    let (status, said) =
        say(&scene, &gateway, id(0), &format!(r#"{{"label": "{}", "by": "ada"}}"#, predicted(0)));
    assert_eq!((&*status, &said["label"]["verdict"]), ("200", &"confirmed".into()), "{said}");
    let (_, said) = say(&scene, &gateway, id(1), r#"{"label": "Wellington boot", "new": true}"#);
    assert_eq!(said["label"]["verdict"], "corrected", "{said}");
    let (_, said) = say(&scene, &gateway, id(2), r#"{"skip": true}"#);
    assert_eq!(said["label"]["verdict"], "skipped", "{said}");
    for (what, status) in [
        (r#"{"label": "Wellingtn boot"}"#, "422"),
        (r#"{"label": "../../etc", "new": true}"#, "422"),
        (r#"{"label": "a", "skip": true}"#, "422"),
        ("{}", "422"),
        (r#"{"lable": "a"}"#, "400"),
    ] {
        let (got, said) = say(&scene, &gateway, id(4), what);
        assert_eq!(got, status, "{what}: {said}");
    }
    let left = get(&gateway, "/v1/review");
    assert_eq!(left["total"], 7, "{left}");
    let known = get(&gateway, "/v1/review/labels?model=fashion-mnist");
    assert!(known["labels"].as_array().unwrap().contains(&"Wellington boot".into()), "{known}");
    // Another gateway knows it too, and a script says it otherwise.
    let labelled = client(&scene, &["review", "label", &digits(4)[..12], "Coat/warm"]);
    assert_eq!(labelled.code, Some(0), "{labelled:?}");
    wait_until("the gateway's view of it", LIMIT, || {
        let item = get(&gateway, &format!("/v1/review/{}", id(4)));
        if item["label"]["label"] == "Coat/warm" { Ok(()) } else { Err(item.to_string()) }
    });
    let listed = client(&scene, &["review", "list", "--unlabelled", "--json"]);
    assert_eq!(listed.stdout.lines().count(), 6, "{listed:?}");

    exported(&scene, &gateway, &items, [predicted(0), id(0)]);

    // The page's own commands.
    let there = scene.folder.join("page");
    std::fs::create_dir_all(&there).unwrap();
    let script = gateway.at(&example_of("docs/review.md", "curl-review"));
    let done = scene.shell(&format!("cd {}\n{script}", there.display()), LIMIT);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains(r#""label":"Sandal""#), "{done:?}");
    assert_eq!(get(&gateway, "/v1/review")["total"], 7, "taken back again");
}

fn exported(scene: &Scene, gateway: &Gateway, items: &[&Value], [first, id]: [&str; 2]) {
    let digits = |at: usize| items[at]["image"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let folder = scene.folder.join("photos");
    let dir = folder.display().to_string();
    let export = |counts: &str| {
        let done = client(scene, &["review", "export", &dir]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stdout.trim(), format!("{dir}: {counts}"), "{done:?}");
    };
    export("3 added, 0 moved, 0 removed, 0 as before");
    let name = |label: &str, at: usize| format!("{}/{}.png", label.replace('/', "_"), digits(at));
    let mut expected = vec![name(first, 0), name("Wellington boot", 1), name("Coat/warm", 4)];
    expected.sort();
    assert_eq!(files(&folder), expected);
    export("0 added, 0 moved, 0 removed, 3 as before");

    // What is somebody's own stays, whatever becomes of what is beside it.
    let own = folder.join("Wellington boot/mine.png");
    std::fs::write(&own, b"mine").unwrap();
    assert_eq!(client(scene, &["review", "label", &digits(1), "--take-back"]).code, Some(0));
    let (status, _) = say(scene, gateway, id, r#"{"label": "Wellington boot", "by": "bob"}"#);
    assert_eq!(status, "200");
    export("0 added, 1 moved, 1 removed, 1 as before");
    let mut expected =
        vec![name("Wellington boot", 0), "Wellington boot/mine.png".to_owned(), name("Coat/warm", 4)];
    expected.sort();
    assert_eq!(files(&folder), expected);
}

fn a_killed_worker_loses_no_answer_to_review() {
    let scene = Scene::on(Kind::Kafka);
    let mut first = worker(&scene, "w1");
    let paths: Vec<_> = clothes().iter().map(|sample| sample.path.display().to_string()).collect();
    let all: Vec<_> = paths.iter().cycle().take(200).map(String::as_str).collect();
    let sent = scene.client(&[&["send"], &*all].concat());
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let ids: Vec<_> = sent.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    first.process.kill();
    let _second = worker(&scene, "w2");
    let mut results = scene.results();
    wait_until("each answer", PATIENCE, || {
        results.read_to_end(PATIENCE);
        let answered =
            |id: &&&str| results.seen.iter().any(|one| one.headers.get("ce_id") == Some(id.as_bytes()));
        let missing = ids.iter().filter(|id| !answered(id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", ids.len())) }
    });
}

fn on_the_embedded_broker_it_is_said_that_nobody_looks() {
    let scene = Scene::on(Kind::Embedded);
    let worker = worker(&scene, "w1");
    let gateway = Gateway::start(&scene, "g1", &[]);
    wait_until("the gateway", LIMIT, || match http::get(&gateway.http, "/readyz") {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
    let sent = scene.client(&["send", "--wait", "data/samples/sandal5.png"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    for path in ["/v1/review", "/v1/review/0-0", "/v1/review/0-0/image", "/v1/review/labels?model=bird"] {
        let (status, said) = http::get(&gateway.http, path);
        assert!(status == 501 && said.contains("on a real Kafka alone"), "{path}: {status} {said}");
    }
    let counted = http::metric(worker.http(), "mlaas_worker_review_images_total");
    assert!(counted.abs() < f64::EPSILON, "no image is kept");
}

//! `gateway` before real workers: `docs/http.md`, done, others' clients, and what a killed process takes with it.

use std::time::{Duration, Instant};

use ::kafka::Topics;
use e2e::gateway::Gateway;
use e2e::page::example_of;
use e2e::paths::{self, sample};
use e2e::process::Finished;
use e2e::scene::{Kind, Scene};
use e2e::versions::Versions;
use e2e::wait_until;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{FASHION_ONLY, http};

on_both_brokers!(the_page_is_what_is_served, what_was_left_is_found_though_gateway_and_worker_were_killed,);

mod kafka_only {
    #[test]
    fn others_clients_find_what_they_expect() {
        super::others_clients_find_what_they_expect();
    }

    #[test]
    #[ignore = "wants KServe, a download: make test-more"]
    fn kserve_s_clients_find_what_they_expect() {
        super::kserve_s_clients_find_what_they_expect();
    }
}

const LIMIT: Duration = Duration::from_secs(90);

/// A gateway that knows of both models.
fn gateway(scene: &Scene, name: &str, models: &[&str]) -> Gateway {
    gateway_with(scene, name, models, &[])
}

fn gateway_with(scene: &Scene, name: &str, models: &[&str], flags: &[&str]) -> Gateway {
    let gateway = Gateway::start(scene, name, flags);
    wait_until("the gateway's view of the workers", LIMIT, || {
        for path in models.iter().map(|model| format!("/v2/models/{model}/ready")) {
            let (status, said) = http::get(&gateway.http, &path);
            if status != 200 {
                return Err(said);
            }
        }
        Ok(())
    });
    gateway
}

fn run(scene: &Scene, script: &str) -> Finished {
    let done = scene.shell(script, LIMIT);
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

fn the_page_is_what_is_served(kind: Kind) {
    let scene = Scene::on(kind);
    let _worker = scene.worker("w1", &[]);
    let mut gateway = gateway(&scene, "g1", &["bird", "fashion-mnist"]);
    let example = |name: &str| gateway.at(&example_of("docs/http.md", name));
    let json = |done: &Finished| -> Value {
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
    };

    let answer = json(&run(&scene, &example("curl")));
    assert_eq!(answer["predictions"][0]["label"], "Sandal", "{answer}");
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    let answer = json(&run(&scene, &example("curl-batch")));
    assert_eq!(answer["answers"][0]["predictions"][0]["label"], "Sandal", "{answer}");
    assert_eq!(answer["answers"][1]["predictions"][0]["label"], "Coat", "{answer}");
    let answer = json(&run(&scene, &example("curl-v2")));
    let label = answer["outputs"][0]["data"][0].as_str().unwrap();
    assert!(label.starts_with("0.") && label.ends_with(":macaw"), "{answer}");
    assert_eq!(answer["outputs"][1]["data"][0], "macaw");
    let done = run(&scene, &example("curl-later"));
    let (event, later) = done.stdout.split_once("\n\n").unwrap();
    assert!(event.contains("event: result") && event.contains("macaw"), "{event}");
    let later: Value = serde_json::from_str(later).unwrap();
    assert_eq!(later["predictions"][0]["label"], "macaw", "{later}");

    for (program, file) in [("python3", "predict.py"), ("node", "predict.mjs")] {
        let script = scene.folder.join(file);
        std::fs::write(&script, example(file)).unwrap();
        let predict = format!("{program} {} data/samples/scarlet_macaw.webp bird", script.display());
        let done = run(&scene, &predict);
        assert!(done.stdout.starts_with("macaw\t0."), "{done:?}");
        assert_eq!(done.stdout.lines().count(), 2);
        let done = scene.shell(&predict.replace("webp bird", "webp cat"), LIMIT);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("404 NOT_FOUND: model 'cat' is not served"), "{done:?}");
    }

    gateway.process.signal(Signal::SIGTERM);
    assert_eq!(gateway.process.wait(LIMIT).code(), Some(0));
}

/// Triton's clients by HTTP and gRPC on both models, and schemathesis with all that the OpenAPI document says.
fn others_clients_find_what_they_expect() {
    let scene = Scene::on(Kind::Kafka);
    // Of versions whose files are not fetched it would say, rightly, that it can't serve them: a 503.
    let mut flags = vec!["--set=models.on_demand_bytes=0".to_owned()];
    let topics = Topics::KEYS.into_iter().zip(scene.topics.names());
    flags.extend(topics.map(|(key, topic)| format!("--set=topics.{key}={topic}")));
    let _worker = scene.worker("w1", &flags.iter().map(String::as_str).collect::<Vec<_>>());
    // Where nobody minds what is promoted.
    let versions = Versions::new(&scene);
    let root = format!("--set=models.root={}", versions.root().display());
    let gateway = gateway_with(&scene, "g1", &["bird", "fashion-mnist"], &[&root]);
    let clients = paths::http_clients();
    let script = scene.folder.join("triton.py");
    std::fs::write(&script, gateway.at(&example_of("docs/http.md", "triton.py"))).unwrap();
    for (image, model, label) in
        [("sandal5.png", "fashion-mnist", "Sandal"), ("scarlet_macaw.webp", "bird", "macaw")]
    {
        let done = run(
            &scene,
            &format!("{} {} {} {model}", clients.display(), script.display(), sample(image).display()),
        );
        assert_eq!(done.stdout.matches(&format!("{label} 0.")).count(), 2, "{done:?}");
    }
    let conformance = paths::root().join("tests/peers/triton.py");
    run(
        &scene,
        &format!("{} {} {} {}", clients.display(), conformance.display(), gateway.http, gateway.grpc),
    );

    // What no schema can say is left out: that bytes are an image, and that a model of that name is served.
    let schemathesis = clients.with_file_name("schemathesis");
    let begun = Instant::now();
    let done = scene.shell(
        &format!(
            "cd {} && {} run http://{}/openapi.json --max-examples 15 --request-timeout 30 --seed 1 --exclude-checks positive_data_acceptance",
            scene.folder.display(),
            schemathesis.display(),
            gateway.http
        ),
        LIMIT,
    );
    assert_eq!(done.code, Some(0), "after {:?}: {done:?}", begun.elapsed());
    // A handler that panicked would have answered too.
    let log = gateway.process.stderr.text();
    assert!(!log.contains("panicked"), "{log}");
}

/// KServe's clients by REST and gRPC, on both models.
fn kserve_s_clients_find_what_they_expect() {
    let scene = Scene::on(Kind::Kafka);
    let _worker = scene.worker("w1", &[]);
    let gateway = gateway(&scene, "g1", &["bird", "fashion-mnist"]);
    let conformance = paths::root().join("tests/peers/kserve_client.py");
    let clients = paths::kserve();
    run(
        &scene,
        &format!("{} {} {} {}", clients.display(), conformance.display(), gateway.http, gateway.grpc),
    );
}

/// Requests that one gateway left, with no worker there: both may go.
fn what_was_left_is_found_though_gateway_and_worker_were_killed(kind: Kind) {
    let scene = Scene::on(kind);
    let mut first = Gateway::start(&scene, "g1", &[]);
    let ready = |gateway: &Gateway| {
        wait_until("the gateway", LIMIT, || match http::get(&gateway.http, "/readyz") {
            (200, _) => Ok(()),
            (_, said) => Err(said),
        });
    };
    let mut worker = scene.worker("w1", FASHION_ONLY);
    ready(&first);
    worker.process.kill();
    let leave = format!(
        "for n in 1 2 3; do curl --silent --fail-with-body --data-binary @data/samples/sandal5.png -H 'content-type: image/png' 'http://{}/predict?async=true'; echo; done",
        first.http
    );
    let ids: Vec<String> = run(&scene, &leave)
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    first.process.kill();
    let second = Gateway::start(&scene, "g2", &[]);
    ready(&second);
    for id in &ids {
        assert_eq!(http::get(&second.http, &format!("/v1/results/{id}")).0, 202);
    }
    let _worker = scene.worker("w2", FASHION_ONLY);
    for id in &ids {
        let answer =
            wait_until("the answer", LIMIT, || match http::get(&second.http, &format!("/v1/results/{id}")) {
                (200, answer) => Ok(answer),
                (status, said) => Err(format!("{status} {said}")),
            });
        assert!(answer.contains(r#""label":"Sandal""#), "{answer}");
    }
}

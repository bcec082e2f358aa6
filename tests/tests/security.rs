//! Who may come in to `gateway`: `docs/security.md`, done, with real processes on a real Kafka.

use std::time::{Duration, Instant};

use e2e::gateway::Gateway;
use e2e::page::example_of;
use e2e::process::Finished;
use e2e::scene::{Kind, Scene};
use e2e::wait_until;
use serde_json::Value;

use crate::http;

mod kafka_only {
    #[test]
    fn a_key_is_taken_by_each_gateway_until_it_is_revoked() {
        super::a_key_is_taken_by_each_gateway_until_it_is_revoked();
    }

    #[test]
    fn the_page_s_certificate_is_spoken() {
        super::the_page_s_certificate_is_spoken();
    }
}

const LIMIT: Duration = Duration::from_secs(90);
const REQUIRED: [&str; 2] = ["--set", "auth.required=true"];

fn done(scene: &Scene, script: &str) -> Finished {
    let script = format!("export MLAAS_GATEWAY_TOPICS__KEYS={}\n{script}", scene.topics.keys);
    let done = scene.shell(&script, LIMIT);
    assert_eq!(done.code, Some(0), "{done:?}");
    done
}

fn ready(gateway: &Gateway) {
    wait_until("the gateway", LIMIT, || match http::get(&gateway.http, "/readyz") {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
}

/// The example without the lines that begin so: what the test does in its own way.
fn without(example: &str, lines: &[&str]) -> String {
    let kept = example.lines().filter(|line| !lines.iter().any(|begin| line.starts_with(begin)));
    kept.map(|line| format!("{line}\n")).collect()
}

fn a_key_is_taken_by_each_gateway_until_it_is_revoked() {
    let scene = Scene::on(Kind::Kafka);
    // Which makes that topic, too.
    let keys = format!("topics.keys={}", scene.topics.keys);
    let _worker = scene.worker("w1", &["--set", &keys]);
    let gateways = ["g1", "g2"].map(|name| Gateway::start(&scene, name, &REQUIRED));
    gateways.iter().for_each(ready);
    assert_eq!(http::get(&gateways[0].http, "/v1/workers").0, 401);

    // As the page says: made, listed, and shown to the first gateway.
    let example = without(&example_of("docs/security.md", "keys"), &["export ", "gateway --set"]);
    let shown = done(&scene, &format!("{}\necho; echo \"$key\"", gateways[0].at(&example)));
    assert!(shown.stdout.contains("camera at the feeder") && shown.stdout.contains("macaw"), "{shown:?}");
    let key = shown.stdout.lines().last().unwrap();
    assert!(key.starts_with("mlaas_"), "{shown:?}");
    let listed = done(&scene, "gateway keys list --json");
    let record: Value = serde_json::from_str(listed.stdout.trim()).unwrap();
    let id = record["id"].as_str().unwrap();
    assert!(!listed.stdout.contains(key) && !listed.stderr.contains(key), "{listed:?}");

    // Through the other one too, for what it is for.
    let ask = |gateway: &Gateway, path: &str| {
        let script = format!(
            "curl --silent --output /dev/null --write-out '%{{http_code}}' -H 'X-API-Key: {key}' 'http://{}{path}'",
            gateway.http
        );
        done(&scene, &script).stdout
    };
    wait_until("the other gateway knows it", LIMIT, || match &*ask(&gateways[1], "/v1/workers") {
        "200" => Ok(()),
        status => Err(status.to_owned()),
    });
    assert_eq!(ask(&gateways[1], "/v2/models/bird"), "200");
    assert_eq!(ask(&gateways[1], "/v2/models/fashion-mnist"), "403");

    done(&scene, &format!("gateway keys revoke {id}"));
    let revoked = Instant::now();
    for gateway in &gateways {
        wait_until("it is revoked", LIMIT, || match &*ask(gateway, "/v1/workers") {
            "401" => Ok(()),
            status => Err(status.to_owned()),
        });
    }
    assert!(revoked.elapsed() < Duration::from_secs(10), "{:?}", revoked.elapsed());
    // One that starts later reads all of it before it takes anybody.
    let later = Gateway::start(&scene, "g3", &REQUIRED);
    ready(&later);
    assert_eq!(ask(&later, "/v1/workers"), "401");
    assert!(done(&scene, "gateway keys list").stdout.contains("revoked"));

    for gateway in gateways.iter().chain([&later]) {
        let log = gateway.process.stderr.text();
        assert!(!log.contains(key) && !log.contains("mlaas_"), "{log}");
    }
    let log = gateways[1].process.stderr.text();
    let told = |what: &str| log.lines().any(|line| line.contains(what) && line.contains(id));
    assert!(told("\"caller\":\"key:"), "{log}");
    for action in ["key.known", "key.revoked"] {
        assert!(
            told(&format!("\"target\":\"audit\",\"action\":\"{action}\"")) || told(action),
            "{action}: {log}"
        );
    }
}

fn the_page_s_certificate_is_spoken() {
    let scene = Scene::on(Kind::Kafka);
    let example = example_of("docs/security.md", "tls");
    let script = example.split("gateway --set").next().unwrap();
    done(&scene, &format!("cd {}\n{script}", scene.folder.display()));
    let file = |name: &str| scene.folder.join(name).display().to_string();
    let flags =
        [format!("tls.certificate={}", file("gateway.crt")), format!("tls.key={}", file("gateway.key"))];
    let gateway = Gateway::start(&scene, "g1", &["--set", &flags[0], "--set", &flags[1]]);
    let port = gateway.http.rsplit_once(':').unwrap().1;
    let asking = example.split("curl ").nth(1).unwrap().replace(":8000", &format!(":{port}"));
    let answer = done(&scene, &format!("cd {}\ncurl {asking}", scene.folder.display()));
    assert_eq!(answer.stdout.trim(), "ok", "{answer:?}");
}

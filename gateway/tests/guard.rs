//! What stands before all routes: each is somebody's, pages of others change nothing, and no answer goes without its headers.

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use wire::Scope;

use crate::support::access::{bearer, guarded, put, record};
use crate::support::{Running, broker, config_with, http};

/// What anybody may ask.
const OPEN: [&str; 8] = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /",
    "GET /ui/main.js",
];

fn all(key: &str) -> wire::KeyRecord {
    record("all", key, &Scope::ALL)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_that_there_is_asks_who_comes_but_for_those_that_are_open() {
    let broker = broker(1);
    put(&broker, &all("mlaas_all"));
    put(&broker, &record("none", "mlaas_none", &[]));
    let gateway = guarded(&broker, &[]).await;
    let document: Value = serde_json::from_str(gateway::openapi()).unwrap();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            let there = path.replace("{model}", "bird").replace("{version}", "1").replace("{id}", "x");
            let open = OPEN.contains(&&*format!("{method} {path}"));
            // What is protected says so, and what it may be answered with.
            let security = operation["security"].as_array().unwrap();
            assert_eq!(security.iter().any(|way| way == &serde_json::json!({})), open, "{method} {path}");
            let answer = http::ask(&gateway.ready.http, &method, &there, &[], b"").await;
            if open {
                assert!([200, 503].contains(&answer.status), "{method} {path}: {answer:?}");
                continue;
            }
            asked += 1;
            assert_eq!(answer.problem().0, 401, "{method} {path}");
            for status in ["401", "403", "429"] {
                assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
            }
            let answer = gateway.ask_as(&bearer("mlaas_none"), &method, &there).await;
            assert_eq!(answer.problem().0, 403, "{method} {path}");
            let answer = gateway.ask_as(&bearer("mlaas_all"), &method, &there).await;
            assert!(![401, 403].contains(&answer.status), "{method} {path}: {answer:?}");
        }
    }
    assert!(asked > 15, "{asked}");
    for open in OPEN {
        let (method, path) = open.split_once(' ').unwrap();
        assert_eq!(http::ask(&gateway.ready.http, method, path, &[], b"").await.status, 200, "{open}");
    }
    // A method that a path has not, and a path that there is not.
    assert_eq!(gateway.ask_as(&bearer("mlaas_none"), "DELETE", "/predict").await.status, 403);
    assert_eq!(http::ask(&gateway.ready.http, "DELETE", "/livez", &[], b"").await.status, 401);
    assert_eq!(gateway.get("/nowhere").await.status, 404);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_table_does_not_name_is_refused_to_everybody() {
    let broker = broker(1);
    put(&broker, &all("mlaas_all"));
    let stub = async || "there";
    let more = Router::new().route("/v1/secrets", get(stub)).route("/v1/review/of/some/{kind}", get(stub));
    let keys = [("auth.required", "true")];
    let gateway =
        Running::start_with(config_with(&broker, &keys), more.clone(), gateway::App::with_embedded_keys)
            .await;
    gateway.until_ready().await;
    assert_eq!(gateway.get("/v1/secrets").await.status, 401);
    let (status, detail) = gateway.ask_as(&bearer("mlaas_all"), "GET", "/v1/secrets").await.problem();
    assert_eq!(status, 403);
    assert!(detail.contains("/v1/secrets"), "{detail}");
    assert_eq!(gateway.ask_as(&bearer("mlaas_all"), "GET", "/v1/review/of/some/kind").await.text(), "there");
    gateway.finish().await.unwrap();
    // Where nobody is asked, it is as it was.
    let gateway = Running::start_with(config_with(&broker, &[]), more, |app| app).await;
    assert_eq!(gateway.get("/v1/secrets").await.text(), "there");
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_ask_for_a_key_where_that_is_said() {
    let broker = broker(1);
    put(&broker, &record("k", "mlaas_reader", &[Scope::Read]));
    let gateway = guarded(&broker, &[("auth.open_metrics", "false")]).await;
    assert_eq!(gateway.get("/metrics").await.status, 401);
    let answer = gateway.ask_as(&bearer("mlaas_reader"), "GET", "/metrics").await;
    assert!(answer.text().contains("mlaas_gateway_requests_total"));
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_have_a_browser_change_nothing() {
    let broker = broker(1);
    let keys = [("http.cors_origins", "[\"https://console.example\"]")];
    // With nobody asked who they are it matters the most: a browser reaches what its user does.
    let gateway = Running::start(config_with(&broker, &keys)).await;
    let own = format!("http://{}", gateway.ready.http);
    // What comes through has no body, and is told so.
    for path in ["/v1/review/0-7", "/v1/models/bird/promote", "/v1/models/bird/rollback"] {
        for (headers, status) in [
            (&[][..], 415),
            (&[("sec-fetch-site", "same-origin"), ("origin", &*own)], 415),
            (&[("origin", &*own)], 415),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://console.example")], 415),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], 403),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:1")], 403),
            (&[("origin", "https://evil.example")], 403),
            (&[("origin", "null")], 403),
        ] {
            let answer = gateway.post(path, headers, b"").await;
            assert_eq!(answer.status, status, "{path} {headers:?}");
        }
    }
    let foreign = [("sec-fetch-site", "cross-site")];
    let taken_back = http::ask(&gateway.ready.http, "DELETE", "/v1/review/0-7", &foreign, b"").await;
    assert_eq!(taken_back.status, 403);
    let reading = http::ask(&gateway.ready.http, "GET", "/v1/workers", &foreign, b"").await;
    assert_ne!(reading.status, 403);
    let load = gateway.post("/v2/repository/models/bird/load", &[("origin", "null")], b"").await;
    assert_eq!(load.status, 403);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_without_what_keeps_a_browser_from_misusing_it() {
    let broker = broker(1);
    let gateway = Running::start(config_with(&broker, &[])).await;
    for (method, path) in [
        ("GET", "/livez"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/workers"),
        ("GET", "/nowhere"),
        ("DELETE", "/predict"),
        ("POST", "/predict"),
        ("GET", "/v2"),
        ("GET", "/"),
    ] {
        let answer = http::ask(&gateway.ready.http, method, path, &[], b"").await;
        for (name, begins) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none';"),
            ("cache-control", "no-"),
        ] {
            let value = answer.header(name).unwrap_or_default();
            assert!(value.starts_with(begins), "{method} {path}: {name}: {value}");
            assert_eq!(answer.headers.iter().filter(|(known, _)| known == name).count(), 1, "{path}: {name}");
        }
    }
    gateway.finish().await.unwrap();
}

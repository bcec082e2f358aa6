//! The page's files, how they go out, and what it asks: who serves what, and what went on.

use crate::support::{
    Running, announce, announcement, broker, config, config_with, echo, eventually, http, silent,
};

/// What a browser fetches before anything is seen.
const FIRST_VIEW: [&str; 21] = [
    "/",
    "/ui/style.css",
    "/ui/main.js",
    "/ui/dom.js",
    "/ui/access.js",
    "/ui/api.js",
    "/ui/service.js",
    "/ui/try.js",
    "/ui/card.js",
    "/ui/models.js",
    "/ui/live.js",
    "/ui/fleet.js",
    "/ui/own.js",
    "/ui/chart.js",
    "/ui/versions.js",
    "/ui/review.js",
    "/ui/filter.js",
    "/ui/icon.svg",
    "/ui/scarlet_macaw.webp",
    "/ui/coat4.png",
    "/ui/ankle_boot9.png",
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_is_small_whole_and_asks_nobody_else() {
    let broker = broker(1);
    let gateway = Running::start(config(&broker)).await;
    let mut bytes = 0;
    for path in FIRST_VIEW.into_iter().chain(["/ui/sandal5.png", "/ui/index.html"]) {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        bytes += answer.body.len();
        let kind = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("webp") => "image/webp",
            Some("png") => "image/png",
            _ => "text/html; charset=utf-8",
        };
        for (name, value) in [
            ("content-type", kind),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        if kind.starts_with("text/") {
            let text = answer.text();
            // What is named with a scheme is not fetched: the namespace of SVG.
            let named = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!named.contains("http://") && !named.contains("https://"), "{path}");
            // The policy would not let it, and only a browser would say so.
            for never in
                ["style=\"", "onclick=\"", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(never), "{path}: {never}");
            }
            for line in text.lines().filter(|line| line.contains(" from \"./")) {
                let file = line.split("\"./").nth(1).unwrap().split('"').next().unwrap();
                assert!(FIRST_VIEW.contains(&&*format!("/ui/{file}")), "{path} wants {file}");
            }
        }
    }
    assert!(bytes < 200_000, "{bytes} bytes");
    let index = gateway.get("/").await.text();
    for named in index.split("\"/ui/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(FIRST_VIEW.contains(&&*format!("/ui/{named}")), "{named}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_has_is_not_sent_again() {
    let broker = broker(1);
    let gateway = Running::start(config(&broker)).await;
    let first = gateway.get("/ui/style.css").await;
    let tag = first.header("etag").unwrap().to_owned();
    let address = gateway.ready.http.clone();
    let get = async |path: &str, known: &str| {
        http::ask(&address, "GET", path, &[("if-none-match", known)], b"").await
    };
    for known in [&*tag, tag.trim_start_matches("W/"), "*", &format!("\"other\", {tag}")] {
        let answer = get("/ui/style.css", known).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
        assert_eq!(answer.header("etag"), Some(&*tag));
        assert_eq!(answer.header("content-security-policy"), Some(POLICY));
    }
    assert_eq!(get("/ui/main.js", &tag).await.status, 200);
    let packed = http::ask(&address, "GET", "/ui/style.css", &[("accept-encoding", "gzip")], b"").await;
    assert_eq!((packed.header("content-encoding"), packed.header("etag")), (Some("gzip"), Some(&*tag)));
    assert!(packed.body.len() * 2 < first.body.len());
    let (status, said) = http::ask(&address, "POST", "/", &[], b"").await.problem();
    assert_eq!(status, 405, "{said}");
    for path in ["/ui/", "/ui/no.js", "/ui/..%2fmain.js", "/ui/../Cargo.toml", "/ui/main.js/"] {
        assert_eq!(gateway.get(path).await.problem().0, 404, "{path}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_page_the_rest_is_there() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config_with(&broker, &[("http.page", "false")])).await;
    for path in ["/", "/ui/main.js", "/v1/activity"] {
        assert_eq!(gateway.get(path).await.problem().0, 404, "{path}");
    }
    assert_eq!(gateway.get("/v1/workers").await.status, 200);
    assert_eq!(gateway.predict("", b"raw").await.status, 200);
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_say_is_told_as_it_stands_and_why_there_is_none() {
    let broker = broker(1);
    let gateway = Running::of(config_with(&broker, &[("name", "g1"), ("requests.timeout", "7s")])).await;
    let none = gateway.get("/v1/workers").await.json();
    assert_eq!((&none["gateway"], &none["timeout_ms"]), (&"g1".into(), &7000.into()), "{none}");
    assert_eq!(
        (none["fault"].is_null(), none["announcements"].as_array().unwrap().len()),
        (true, 0),
        "{none}"
    );
    let mut word = announcement("w1", "bird", 3);
    word.traffic_percent = Some(10);
    announce(&broker, &word);
    eventually("the word is there", async || {
        let told = gateway.get("/v1/workers").await.json();
        told["announcements"][0] == serde_json::to_value(&word).unwrap()
    })
    .await;
    broker.broker_down().unwrap();
    eventually("the fault is told", async || gateway.get("/v1/workers").await.json()["fault"].is_string())
        .await;
    broker.broker_up().unwrap();
    gateway.finish().await.unwrap();

    // Before there was any connection.
    let gateway = Running::start(config_with(&broker, &[("kafka.bootstrap_servers", "127.0.0.1:1")])).await;
    let told = gateway.get("/v1/workers").await.json();
    assert!(told["fault"].is_string(), "{told}");
    assert_eq!(told["max_image_bytes"], 12_000_000, "{told}");
    gateway.finish().await.unwrap();
}

/// What the page compares a file's size with before it sends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_the_size_that_is_told_is_taken() {
    let broker = broker(1);
    let _worker = echo(&broker);
    for (key, value) in [("limits.max_image_bytes", "5000"), ("limits.max_image_bytes", "12000000")] {
        let gateway = Running::of(config_with(&broker, &[(key, value)])).await;
        let told = gateway.get("/v1/workers").await.json()["max_image_bytes"].as_u64().unwrap();
        let answer = gateway.predict("", &vec![b'x'; usize::try_from(told).unwrap()]).await;
        assert_eq!(answer.status, 200, "{told} {answer:?}");
        gateway.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_is_what_was_answered() {
    let broker = broker(1);
    let _worker = echo(&broker);
    let gateway = Running::of(config(&broker)).await;
    for image in [b"first", b"other"] {
        gateway.predict("?model=bird&version=2", image).await;
    }
    assert_eq!(gateway.predict("", b"").await.status, 400);
    let now = gateway.get("/v1/activity?minutes=5").await.json();
    assert_eq!((&now["total"]["requests"], &now["errors"]["400"]), (&3.into(), &1.into()), "{now}");
    assert_eq!((&now["in_flight"], &now["max_in_flight"]), (&0.into(), &256.into()));
    assert!(now["total"]["p99_ms"].as_f64().unwrap() > 0.0, "{now}");
    let (images, last) = (now["images"].as_array().unwrap(), &now["images"][0]);
    assert_eq!((images.len(), &last["label"], &last["code"]), (2, &"other".into(), &"OK".into()), "{now}");
    assert_eq!(
        (&last["model"], &last["version"], &last["worker"]),
        (&"bird".into(), &2.into(), &"double".into())
    );
    for (query, said) in
        [("?minutes=0", "1 to 60"), ("?minutes=61", "1 to 60"), ("?minutes=x", "minutes"), ("?a=1", "a")]
    {
        let (status, detail) = gateway.get(&format!("/v1/activity{query}")).await.problem();
        assert_eq!((status, detail.contains(said)), (400, true), "{detail}");
    }
    gateway.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answered_is_activity_too() {
    let broker = broker(1);
    let _worker = silent(&broker);
    let gateway = Running::of(config(&broker)).await;
    assert_eq!(gateway.predict("?timeout=200ms", b"raw").await.status, 504);
    let now = gateway.get("/v1/activity").await.json();
    assert_eq!(
        (&now["errors"]["504"], &now["images"][0]["code"]),
        (&1.into(), &"DEADLINE_EXCEEDED".into()),
        "{now}"
    );
    gateway.finish().await.unwrap();
}

//! `docs/protocol.md` shows what the golden files hold: its JSON is theirs, and its annotated bytes are theirs.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test says what failed by panicking.

use std::path::Path;

use wire::{Envelope, Headers, Request};

const PAGE: &str = include_str!("../../docs/protocol.md");

/// The fenced block behind `<!-- example: NAME -->`.
fn example(name: &str) -> String {
    let mark = format!("<!-- example: {name} -->\n```");
    let (_, behind) = PAGE.split_once(&mark).unwrap_or_else(|| panic!("docs/protocol.md has no {mark}"));
    let (block, _) = behind.split_once("\n```").unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn its_json_is_the_golden_files() {
    for name in [
        "request.json",
        "result-success.json",
        "result-not-a-bird.json",
        "result-error.json",
        "announcement.json",
        "comparison.json",
        "control.json",
        "key.json",
        "snapshot.json",
        "review.json",
        "label.json",
    ] {
        let shown: serde_json::Value = serde_json::from_str(&example(name)).unwrap();
        let held: serde_json::Value = serde_json::from_slice(&golden(name)).unwrap();
        assert_eq!(shown, held, "{name}");
    }
}

#[test]
fn its_bytes_are_the_golden_files() {
    for name in ["request.bin", "result-success.bin", "result-error.bin"] {
        let mut bytes = Vec::new();
        for line in example(name).lines() {
            // The bytes of a line end at two spaces; behind them is the annotation.
            let hex = line.trim_start().split("  ").next().unwrap();
            for byte in hex.split_whitespace() {
                bytes.push(u8::from_str_radix(byte, 16).unwrap_or_else(|e| panic!("{name}: {line}: {e}")));
            }
        }
        assert_eq!(bytes, golden(name), "{name}");
    }
}

#[test]
fn its_limits_are_the_worker_s_defaults() {
    let configuration: serde_json::Value =
        serde_yaml::from_str(include_str!("../../configs/worker.yaml")).unwrap();
    let limit = |key: &str| configuration["limits"][key].as_u64().unwrap();
    let thousands = |number: u64| {
        let digits = number.to_string();
        let front = digits.len() % 3;
        let groups = digits.as_bytes()[front..].chunks(3).map(|group| std::str::from_utf8(group).unwrap());
        let all: Vec<&str> =
            std::iter::once(&digits[..front]).chain(groups).filter(|g| !g.is_empty()).collect();
        all.join(",")
    };
    for shown in [
        format!("{} bytes, and images", thousands(limit("max_request_bytes"))),
        format!("{} x {} pixels", limit("max_image_width"), limit("max_image_height")),
        format!("{} bytes of memory", thousands(limit("max_image_alloc_bytes"))),
    ] {
        assert!(PAGE.contains(&shown), "docs/protocol.md does not say: {shown}");
    }
}

#[test]
fn its_dead_letter_headers_are_the_golden_files() {
    let held = String::from_utf8(golden("dead-letter.headers")).unwrap();
    let connect = held.lines().filter(|line| line.starts_with("__connect")).collect::<Vec<_>>();
    assert_eq!(example("dead-letter-headers").lines().collect::<Vec<_>>(), connect);
}

#[test]
fn its_structured_event_is_a_request() {
    let mut headers = Headers::new();
    headers.push("content-type", "application/cloudevents+json");
    let envelope = Envelope::read(Some(b"a-key"), &headers);
    let event = example("structured.json");
    let request = Request::decode(&envelope, event.as_bytes(), 1 << 20).unwrap();
    assert_eq!(
        (request.id.as_str(), request.model.as_deref(), request.top_k),
        ("e-1", Some("bird"), Some(2))
    );
    assert_eq!(request.image, golden("request.png"));
}

/// The first cells of the tables' rows that are code: `| `name` |`, several with commas.
fn named_in_tables() -> Vec<&'static str> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect()
}

#[test]
fn it_names_every_header_and_code() {
    let named = named_in_tables();
    for name in wire::header::ALL.into_iter().chain(wire::ErrorCode::ALL.iter().map(wire::ErrorCode::name)) {
        assert!(named.contains(&name), "docs/protocol.md has no row for {name}");
    }
}

#[test]
fn its_table_of_codes_is_right_about_trying_again() {
    for code in wire::ErrorCode::ALL {
        let start = format!("| `{}` |", code.name());
        let row = PAGE.lines().find(|line| line.starts_with(&start)).unwrap();
        let retryable = row.split('|').nth(3).unwrap().trim();
        assert_eq!(retryable == "yes", code.is_retryable(), "{row}");
    }
}

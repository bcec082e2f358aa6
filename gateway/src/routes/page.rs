//! `GET /` and `/ui/…`: the page. Its files are in the program; a browser keeps them and asks whether they changed.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Shared;
use crate::problem::Problem;

/// Nothing but the gateway's own files runs, is shown or is asked, and no other page may show this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// A file of the page's.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($kind:expr, $folder:literal: $($name:literal),+;)+) => {
        &[$($(File { name: $name, kind: $kind, bytes: include_bytes!(concat!("../../", $folder, "/", $name)) }),+),+]
    };
}

const FILES: &[File] = files! {
    HTML, "page": "index.html";
    CSS, "page": "style.css";
    JS, "page": "main.js", "dom.js", "access.js", "api.js", "service.js", "try.js", "card.js", "models.js", "live.js", "fleet.js", "own.js", "chart.js", "versions.js", "review.js",
        "filter.js";
    "image/svg+xml", "page": "icon.svg";
    // Small, and free for everybody: data/samples/ORIGIN.md.
    "image/webp", "../data/samples": "scarlet_macaw.webp";
    "image/png", "../data/samples": "ankle_boot9.png", "coat4.png", "sandal5.png";
};

/// What each file is known by: another one has another.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |file: &File| {
        let mut hasher = DefaultHasher::new();
        hasher.write(file.bytes);
        // Weak: it goes out compressed, too.
        format!("W/\"{:016x}\"", hasher.finish())
    };
    FILES.iter().map(tag).collect()
});

pub(super) fn routes(on: bool) -> Router<Shared> {
    if !on {
        return Router::new();
    }
    let index = async |headers: HeaderMap| file("index.html", &headers);
    let named = async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers);
    Router::new().route("/", get(index)).route("/ui/{file}", get(named))
}

fn file(name: &str, asked: &HeaderMap) -> Response {
    let Some((file, tag)) = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.name == name) else {
        return Problem::not_found("the page has no such file").into_response();
    };
    let mut response = if is_known(asked, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.bytes.into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        // Kept, and asked for again each time: a gateway that was replaced has other files.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether whoever asks has it already (RFC 9110, section 13.1.2).
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || strong(known) == strong(tag))
}

//! What pages of others may have a browser send: nothing that changes what others see. A browser says where a request comes from;
//! who is none says nothing, and is not held up.

use axum::http::{HeaderMap, Uri, header};

use crate::problem::Problem;

/// Sees that a request that changes something is not one that a page of another site had a browser send.
///
/// # Errors
/// [`Problem`] 403 where it is.
pub fn check(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let (site, origin) = (text("sec-fetch-site"), text(header::ORIGIN.as_str()));
    if let Some(origin) = &origin
        && allowed.iter().any(|allowed| allowed == origin)
    {
        return Ok(());
    }
    let own = match (site.as_deref(), origin.as_deref()) {
        // What the user typed, or a page of the gateway's own.
        (Some("same-origin" | "none"), _) => true,
        (Some(_), _) => false,
        // An older browser, which at least names the page.
        (None, Some(origin)) => {
            let host = uri.authority().map(|authority| authority.as_str().to_owned());
            let host = host.or_else(|| text(header::HOST.as_str()).map(|host| host.into_owned()));
            let named = origin.split_once("://").map(|(_, named)| named);
            host.is_some() && named.map(str::to_ascii_lowercase) == host.map(|host| host.to_ascii_lowercase())
        }
        (None, None) => true,
    };
    if own {
        return Ok(());
    }
    Err(Problem::forbidden(
        "a page of another site had the browser send this, and it would change something: use the gateway's own page, or name the site in http.cors_origins",
    ))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn allowed(pairs: &[(&'static str, &'static str)], origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("gateway.example:8000"));
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let origins: Vec<_> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        check(&headers, &Uri::from_static("/v1/models/bird/promote"), &origins).is_ok()
    }

    #[test]
    fn a_browser_sends_for_the_gateway_s_own_page_alone() {
        for (pairs, may) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "something new")], false),
            // The origin that a page names does not help it.
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://gateway.example:8000")], false),
            (&[("origin", "http://gateway.example:8000")], true),
            (&[("origin", "https://GATEWAY.example:8000")], true),
            (&[("origin", "http://gateway.example")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "http://evil.example/gateway.example:8000")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
        ] {
            assert_eq!(allowed(pairs, &[]), may, "{pairs:?}");
        }
    }

    #[test]
    fn a_site_that_is_named_may_and_any_does_not_mean_all() {
        let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://console.example")];
        assert!(allowed(&foreign, &["https://console.example"]));
        assert!(!allowed(&foreign, &["https://other.example"]));
        assert!(!allowed(&foreign, &["*"]));
    }
}

//! What the OpenAPI document says of who may ask for what: of each operation what the table of routes says.

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::auth::table::{self, Need};

/// Adds to each operation what it needs and what else it may answer. `guarded` says whether anybody is asked at all.
pub(super) fn add(document: &mut Value, guarded: bool) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, methods) in paths {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            let method = method.to_uppercase().parse().unwrap_or(Method::GET);
            if let Some(operation) = operation.as_object_mut() {
                say(operation, table::http(&method, path), guarded);
            }
        }
    }
    if !guarded {
        return;
    }
    let schemes = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key (`mlaas_…`), or a token (JWT) of the issuer that the gateway trusts",
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key" },
    });
    if let Some(components) = document.get_mut("components").and_then(Value::as_object_mut) {
        components.insert("securitySchemes".to_owned(), schemes);
    }
}

fn say(operation: &mut Map<String, Value>, need: Option<Need>, guarded: bool) {
    let scope = match need {
        Some(Need::Scope(scope)) => Some(scope.name()),
        // As it is where nothing else is said.
        Some(Need::Open | Need::Metrics) | None => None,
    };
    if guarded {
        let ways = match scope {
            Some(scope) => json!([{ "bearer": [scope] }, { "apiKey": [scope] }]),
            None => json!([{}]),
        };
        operation.insert("security".to_owned(), ways);
    }
    let Some(scope) = scope else { return };
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(responses) = responses.as_object_mut() else { return };
    for (status, description, header) in [
        ("401", "Who asks did not say who they are, or is not believed".to_owned(), Some("WWW-Authenticate")),
        ("403", format!("Who asks has not the scope `{scope}`, or may not ask that model"), None),
        ("429", "Too much is under way, or who asks asks too fast".to_owned(), Some("Retry-After")),
    ] {
        let headers = header.map(|name| json!({ name: { "schema": { "type": "string" } } }));
        let mut response = json!({
            "description": description,
            "content": {
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/ProblemDetails" } },
            },
        });
        if let (Some(headers), Some(response)) = (headers, response.as_object_mut()) {
            response.insert("headers".to_owned(), headers);
        }
        responses.entry(status).or_insert(response);
    }
}

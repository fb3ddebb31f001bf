//! Completion of the generated document: what all operations have in common, and what the generator cannot express.

use super::examples;
use domain::ProblemKind;
use domain::event::EventType;
use domain::event_catalogue::CatalogueEntry;
use domain::payload::PayloadFormat;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Operations that accept `Idempotency-Key`: they create something, a repetition would fail or change more, or only their response
/// contains a secret.
const IDEMPOTENT: [&str; 15] = [
    "catalogue_create_access_request",
    "catalogue_create_resource",
    "catalogue_create_type",
    "deliveries_redeliver",
    "deliveries_replay",
    "groups_create_group",
    "replays_start",
    "reservations_end",
    "reservations_extend",
    "reservations_reserve",
    "tokens_create_token",
    "users_add_identity",
    "users_create_user",
    "webhooks_register",
    "webhooks_rotate",
];
/// Operations that accept `If-Match`.
const CONDITIONAL: [&str; 3] = ["webhooks_delete", "webhooks_patch", "webhooks_rotate"];
/// Operations whose body may be absent.
const OPTIONAL_BODY: [&str; 5] =
    ["alerts_recover", "reservations_cancel", "webhooks_resume", "webhooks_rotate", "webhooks_test"];
/// Operations that any credential may use, of any scope.
const WITHOUT_SCOPE: [&str; 3] = ["live_stream", "notifications_list", "session_get_session"];
/// The operation whose body may have another content type and unknown fields, because receivers send it.
const STATUS_UPDATE: &str = "receivers_status_update";

/// The problems of operations, with the names of their responses in the document.
const PROBLEMS: [(ProblemKind, &str, &str); 13] = [
    (ProblemKind::Malformed, "Malformed", "The body is not valid JSON, or it ended early."),
    (
        ProblemKind::Unauthenticated,
        "Unauthenticated",
        "The credential is missing, wrong or expired. With the type `/problems/second-factor-required`, the password is \
         correct, and the login needs a second factor.",
    ),
    (
        ProblemKind::Forbidden,
        "Forbidden",
        "The credential does not permit this, or the request comes from another site. With the type \
         `/problems/confirmation-required`, send a credential to `POST /api/v1/session/confirmation`, then repeat the \
         request. With the type `/problems/second-factor-setup-required`, set up a second factor on the page first.",
    ),
    (ProblemKind::NotFound, "NotFound", "The object does not exist, or the caller may not see it."),
    (ProblemKind::Conflict, "Conflict", "The request conflicts with the current state."),
    (
        ProblemKind::PreconditionFailed,
        "PreconditionFailed",
        "The object was changed since it was read: it has another `ETag` than `If-Match`.",
    ),
    (ProblemKind::TooLarge, "TooLarge", "The body is too large."),
    (ProblemKind::UnsupportedMediaType, "UnsupportedMediaType", "The body is not declared as JSON."),
    (ProblemKind::Misdirected, "Misdirected", "The request names a host that this server does not serve."),
    (ProblemKind::Invalid, "Invalid", "Fields, parameters or headers are invalid; `errors` names them."),
    (ProblemKind::RateLimited, "RateLimited", "Too many requests. Repeat the request after `Retry-After`."),
    (ProblemKind::Internal, "Internal", "An internal error. The log contains the details."),
    (
        ProblemKind::Unavailable,
        "Unavailable",
        "The server is starting or stopping, or its database is unavailable. Repeat the request after `Retry-After`.",
    ),
];

/// Descriptions of the tags, in the order of the documentation page.
const TAGS: [(&str, &str); 14] = [
    ("session", "Log-in, log-out and the first set-up."),
    ("tokens", "API tokens of the caller."),
    ("users", "Accounts."),
    ("groups", "Groups of users, which can own resource types and resources."),
    ("catalogue", "Resource types, resources, their owners, and access to restricted resources."),
    ("reservations", "Reservations and the calendar."),
    ("webhooks", "Settings, secrets, test events and statistics of webhooks."),
    ("deliveries", "The delivery log, redelivery and replay."),
    ("replays", "Replays of many deliveries in the background."),
    ("alerts", "Monitoring of webhooks, alert rules, alerts and their channels."),
    ("notifications", "Messages to users."),
    ("audit", "The audit log."),
    ("live", "The live feed."),
    ("receivers", "Requests of receivers, and requests to receivers."),
];

/// The operations that this file names.
#[cfg(test)]
pub(super) fn named_operations() -> impl Iterator<Item = &'static str> {
    IDEMPOTENT.into_iter().chain(CONDITIONAL).chain(OPTIONAL_BODY).chain(WITHOUT_SCOPE).chain([STATUS_UPDATE])
}

/// Completes the document.
pub(super) fn complete(document: &mut Value) {
    document["servers"] = json!([{"url": "/", "description": "The server of this document."}]);
    document["tags"] = TAGS.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    document["components"]["responses"] = problem_responses();
    document["webhooks"] = events();
    for (path, item) in fields(&mut document["paths"]) {
        for (method, operation) in fields(item) {
            complete_operation(path, method, operation);
        }
    }
    reference_page_items(document);
    inline_integers(document);
    close_request_schemas(document);
    examples::add(document);
}

/// The fields of an object; none for another value.
fn fields(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    // Operation ids must be unique in the document (OpenAPI 3.1 §4.8.10.1).
    let id = match (operation["tags"][0].as_str(), operation["operationId"].as_str()) {
        (Some(tag), Some(name)) => format!("{tag}_{name}"),
        _ => return,
    };
    let is_idempotent = IDEMPOTENT.contains(&id.as_str());
    for status in problem_statuses(&id, path, method, operation, is_idempotent) {
        operation["responses"][status.to_string()] = Value::Null;
    }
    for (status, response) in fields(&mut operation["responses"]) {
        let problem = PROBLEMS.iter().find(|(kind, ..)| kind.status().to_string() == *status);
        match (problem, status.as_str()) {
            (Some((_, name, _)), _) => *response = json!({"$ref": format!("#/components/responses/{name}")}),
            (None, "201") => response["description"] = "Created.".into(),
            (None, "202") => response["description"] = "Accepted.".into(),
            (None, "204") => response["description"] = "Done. The response has no body.".into(),
            (None, _) => response["description"] = "Success.".into(),
        }
        if is_idempotent && status.starts_with('2') {
            response["headers"]["Idempotency-Replayed"] = json!({
                "description": "Present if this is the stored response of an earlier request with the key.",
                "schema": {"type": "string", "enum": ["true"]},
            });
        }
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.sort_keys();
    }
    if operation["parameters"].is_null() && is_idempotent {
        operation["parameters"] = json!([]);
    }
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        for parameter in parameters.iter_mut().filter(|parameter| parameter["in"] == "path") {
            let text = if parameter["name"] == "username" { "Login name of the account." } else { "Id of the object." };
            if parameter["description"].is_null() {
                parameter["description"] = text.into();
            }
        }
        // An empty parameter counts as absent.
        for parameter in parameters.iter_mut().filter(|parameter| parameter["in"] == "query") {
            if parameter["required"] != true {
                parameter["allowEmptyValue"] = true.into();
            }
        }
        if CONDITIONAL.contains(&id.as_str()) {
            parameters.push(json!({
                "name": "If-Match",
                "in": "header",
                "required": false,
                "description": "The `ETag` of the object as you have read it. If it was changed since, the response is 412 \
                                and nothing changes.",
                "schema": {"type": "string"},
            }));
        }
        if is_idempotent {
            parameters.push(json!({
                "name": "Idempotency-Key",
                "in": "header",
                "required": false,
                "description": "Repeated requests with the same key get the response of the first one for 24 hours. \
                                1 to 255 visible ASCII characters.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }));
        }
    }
    if OPTIONAL_BODY.contains(&id.as_str()) {
        operation["requestBody"]["required"] = false.into();
    }
    operation["operationId"] = id.into();
}

/// The status codes of problems that an operation can return, besides those of its own annotation.
fn problem_statuses(id: &str, path: &str, method: &str, operation: &Value, is_idempotent: bool) -> Vec<u16> {
    // Unknown query parameters are invalid everywhere, and host check and rate limit apply to every operation.
    let mut kinds = vec![
        ProblemKind::Misdirected,
        ProblemKind::Invalid,
        ProblemKind::RateLimited,
        ProblemKind::Internal,
        ProblemKind::Unavailable,
    ];
    // Without an own requirement, that of the document applies.
    if operation["security"].is_null() {
        kinds.push(ProblemKind::Unauthenticated);
        if method != "get" || !WITHOUT_SCOPE.contains(&id) {
            kinds.push(ProblemKind::Forbidden);
        }
    }
    if path.contains('{') {
        kinds.push(ProblemKind::NotFound);
    }
    if !operation["requestBody"].is_null() {
        kinds.extend([ProblemKind::Malformed, ProblemKind::TooLarge]);
        if id != STATUS_UPDATE {
            kinds.push(ProblemKind::UnsupportedMediaType);
        }
    }
    if is_idempotent {
        kinds.push(ProblemKind::Conflict);
    }
    if CONDITIONAL.contains(&id) {
        kinds.push(ProblemKind::PreconditionFailed);
    }
    kinds.into_iter().map(ProblemKind::status).collect()
}

/// The shared responses for problems.
fn problem_responses() -> Value {
    let response = |(kind, name, text): &(ProblemKind, &str, &str)| {
        let mut example = json!({
            "type": kind.type_uri(),
            "title": kind.title(),
            "status": kind.status(),
            "detail": text,
            "request_id": "req_0123456789abcdef01234567",
        });
        if *kind == ProblemKind::Invalid {
            example["detail"] = "end_time: The end must be after the start.".into();
            example["errors"] = json!([{"field": "end_time", "message": "The end must be after the start."}]);
        }
        let mut response = json!({
            "description": text,
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemBody"},
                "example": example,
            }},
        });
        if matches!(kind, ProblemKind::RateLimited | ProblemKind::Unavailable) {
            response["headers"]["Retry-After"] =
                json!({"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}});
        }
        if *kind == ProblemKind::Unauthenticated {
            response["headers"]["WWW-Authenticate"] =
                json!({"description": "The scheme of API tokens.", "schema": {"type": "string"}});
        }
        ((*name).to_owned(), response)
    };
    Value::Object(PROBLEMS.iter().map(response).collect())
}

/// The requests to receivers, from the event catalogue.
fn events() -> Value {
    let entries = domain::event_catalogue::catalogue().unwrap_or_default();
    let operation = |entry: CatalogueEntry| (entry.event_type.as_str().to_owned(), json!({"post": event(&entry)}));
    Value::Object(entries.into_iter().map(operation).collect())
}

/// The request to receivers of one event type.
fn event(entry: &CatalogueEntry) -> Value {
    let header = |name: &str, text: &str| json!({"name": name, "in": "header", "required": true, "description": text, "schema": {"type": "string"}});
    let event_type = entry.event_type;
    let schema = match event_type {
        EventType::AccessRequested => "#/components/schemas/AccessRequestBody",
        _ => "#/components/schemas/ReservationBody",
    };
    let example = |format: PayloadFormat| {
        entry.examples.iter().find(|example| example.format == format).map(|example| example.body.clone())
    };
    json!({
        "tags": ["receivers"],
        "summary": event_type.explanation(),
        "description": format!(
            "{} Sent to the endpoint of each webhook with this event, in the default layout with the path `{}` \
             (docs/contract.md §1). Any response but 2xx is a failure, which is retried. Webhooks with another payload \
             format get another form of the body: the thin form has the schema `/schemas/events/thin/{event_type}.json`.",
            entry.sent_when, entry.delivery_path
        ),
        "externalDocs": {"description": "JSON Schema of the body", "url": entry.schema_path},
        "operationId": format!("event_{}", event_type.as_str().replace('.', "_")),
        "security": [],
        "parameters": [
            header("X-Webhook-Signature", "sha256=<HMAC-SHA256 of the raw body, hex>"),
            header("X-Webhook-Event", "The event type."),
            header("X-Webhook-Delivery", "Id of the delivery, the same for all attempts."),
            header("X-Webhook-Attempt", "1, 2, 3, …"),
            header("webhook-id", "Id of the event, the same for retries and redeliveries."),
            header("webhook-timestamp", "Unix time in seconds, new for each attempt."),
            header("webhook-signature", "Signatures of Standard Webhooks, separated by spaces."),
        ],
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": {"$ref": schema}, "example": example(PayloadFormat::Berth)},
            "application/cloudevents+json": {
                "schema": cloud_event(event_type, schema),
                "example": example(PayloadFormat::CloudeventsStructured),
            },
        }},
        "responses": {
            "200": {"description": "The receiver is done, or its body names another status (docs/contract.md §3)."},
            "202": {"description": "The receiver works on it and reports progress to `status_url`."},
            "4XX": {"description": "The receiver rejects the request. Berth retries it, except after 410."},
            "5XX": {"description": "The receiver failed. Berth retries the request."},
        },
    })
}

/// The schema of an event in the format `cloudevents_structured`.
fn cloud_event(event: EventType, data: &str) -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data"],
        "properties": {
            "specversion": {"type": "string", "const": "1.0"},
            "id": text(),
            "source": {"type": "string", "format": "uri"},
            "type": {"type": "string", "const": event.as_str()},
            "subject": text(),
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"type": "string", "const": "application/json"},
            "dataschema": {"type": "string", "format": "uri"},
            "data": {"$ref": data},
        },
    })
}

/// Replaces the copies of schemas in pages by references, so that generated clients have one type for each.
fn reference_page_items(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    let names: BTreeSet<String> = fields(schemas).map(|(name, _)| name.clone()).collect();
    for (name, page) in fields(schemas) {
        if let Some(item) = name.strip_prefix("Page_").filter(|item| names.contains(*item)) {
            page["properties"]["items"]["items"] = json!({"$ref": format!("#/components/schemas/{item}")});
        }
    }
}

/// Replaces references to the schema `i64`, which the generator makes of type aliases.
fn inline_integers(document: &mut Value) {
    fn replace(value: &mut Value) {
        match value {
            Value::Object(object) if object.get("$ref").is_some_and(|to| to == "#/components/schemas/i64") => {
                object.remove("$ref");
                object.insert("type".to_owned(), "integer".into());
                object.insert("format".to_owned(), "int64".into());
            }
            Value::Object(object) => object.values_mut().for_each(replace),
            Value::Array(items) => items.iter_mut().for_each(replace),
            _ => {}
        }
    }
    replace(document);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.shift_remove("i64");
    }
}

/// States that bodies reject unknown fields, at every depth. Removes default values of their fields, because generated
/// clients would require these fields.
fn close_request_schemas(document: &mut Value) {
    let mut names = BTreeSet::new();
    for (_, item) in fields(&mut document["paths"]) {
        for (_, operation) in fields(item).filter(|(_, operation)| operation["operationId"] != STATUS_UPDATE) {
            collect_references(&operation["requestBody"], &mut names);
        }
    }
    let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    loop {
        let known = names.len();
        for name in names.clone() {
            collect_references(&schemas[&name], &mut names);
        }
        if names.len() == known {
            break;
        }
    }
    for name in names {
        close(&mut document["components"]["schemas"][&name]);
    }
}

/// Adds the names of the schemas to which a value refers.
fn collect_references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names.extend(text.strip_prefix("#/components/schemas/").map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        Value::Object(object) => object.values().for_each(|item| collect_references(item, names)),
        _ => {}
    }
}

/// Rejects further properties of the objects in a schema, and removes default values.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            for (_, property) in object.get_mut("properties").into_iter().flat_map(fields) {
                if let Some(property) = property.as_object_mut() {
                    property.shift_remove("default");
                }
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

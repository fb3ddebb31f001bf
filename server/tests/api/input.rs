//! Rules for all inputs: objects instead of lists, known fields, known query parameters, names that can be seen. The tests
//! visit every operation of the OpenAPI document.

use crate::client::TestClient;
use crate::openapi::{Operation, operations};
use crate::support::{PASSWORD, TestServer, webhook_input};
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![nul_in_paths_and_queries_is_rejected,];

on_both_databases![sqlite only:
    bodies_are_read_from_objects_only,
    unknown_fields_of_bodies_are_named,
    unknown_query_parameters_are_named,
    wrong_types_in_enums_name_the_field,
    names_need_a_visible_character,
    password_is_accepted_in_every_normalization_form,
    patch_from_a_list_changes_nothing,
];

/// The operations whose body is read strictly. Receivers send status updates.
fn with_body() -> impl Iterator<Item = Operation> {
    operations().filter(|operation| operation.has_body() && operation.id() != "receivers_status_update")
}

/// Sends a body to an operation and expects 422 with this field and message.
async fn expect_invalid(client: &TestClient, operation: &Operation, body: &Value, field: &str, message: &str) {
    let reply = client.send(operation.method(), &operation.path(), 422, |request| request.json(body)).await;
    assert_eq!(reply.invalid_fields(), [field], "{} {body}", operation.id());
    let found = reply.body["errors"][0]["message"].as_str().unwrap();
    assert!(found.starts_with(message), "{} {body}: {found}", operation.id());
}

async fn bodies_are_read_from_objects_only(t: TestServer) {
    assert!(with_body().count() > 15, "the operations should be found");
    for operation in with_body() {
        for body in
            [json!([]), json!(["e@example.com"]), json!([null, "a-new-password"]), json!("x"), json!(5), Value::Null]
        {
            expect_invalid(&t.root, &operation, &body, "body", "Send an object.").await;
        }
    }
}

async fn patch_from_a_list_changes_nothing(t: TestServer) {
    let reply = t.root.patch_invalid("/users/root", json!(["e@example.com"]), &["body"]).await;
    assert_eq!(reply.text("detail"), "body: Send an object.");
    // The page's server functions read their arguments the same way.
    let browser = t.browser("root").await;
    for arguments in
        [json!({"username": "root", "patch": ["e@example.com"]}), json!(["root", {"email": "e@example.com"}])]
    {
        let request = browser.request(reqwest::Method::POST, "//rpc/patch-user").json(&arguments);
        let response = request.send().await.unwrap();
        assert!(!response.status().is_success(), "{arguments}");
        assert!(response.text().await.unwrap().contains("Send an object."), "{arguments}");
    }
    assert_eq!(t.root.get("/session", 200).await.body["user"]["email"], "root@example.com");
}

async fn unknown_fields_of_bodies_are_named(t: TestServer) {
    for operation in with_body() {
        expect_invalid(&t.root, &operation, &json!({"nmae": 1}), "nmae", "Unknown field. ").await;
    }
    // Nested objects too.
    let nested = json!({"name": "x", "headers": [{"name": "X-Team", "value": "a", "vlaue": "b"}]});
    t.root.patch_invalid("/webhooks/1", nested, &["headers.0.vlaue"]).await;
    t.root.patch_invalid("/webhooks/1", json!({"retry": {"waits": [], "wait": 1}}), &["retry.wait"]).await;
}

async fn unknown_query_parameters_are_named(t: TestServer) {
    for operation in operations() {
        let path = format!("{}?limt=5&webhok_id=1", operation.path());
        let reply = t.root.send(operation.method(), &path, 422, |request| request).await;
        assert_eq!(reply.invalid_fields(), ["limt", "webhok_id"], "{}", operation.id());
    }
    let reply = t.root.get("/tokens?limt=5", 422).await;
    assert_eq!(reply.text("detail"), "limt: Unknown query parameter. Use one of `cursor`, `limit`.");
}

async fn wrong_types_in_enums_name_the_field(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let path = format!("/resources/{resource}");
    for wrong in [json!(5), json!(true), json!([]), json!({}), json!(["available"]), json!({"available": null})] {
        t.root.patch_invalid(&path, json!({"status": wrong}), &["status"]).await;
        t.root.patch_invalid("/users/alice", json!({"role": wrong}), &["role"]).await;
        t.root.post_invalid("/tokens", json!({"name": "x", "scopes": [wrong]}), &["scopes.0"]).await;
        for (field, input) in [
            ("events.0", json!({"events": [wrong]})),
            ("auth.method", json!({"auth": {"method": wrong}})),
            ("delivery_paths.layout", json!({"delivery_paths": {"layout": wrong}})),
        ] {
            t.root.post_invalid("/webhooks", webhook_input("https://example.com", input), &[field]).await;
        }
        t.root.post_invalid("/deliveries/replay", json!({"filter": {"status": wrong}}), &["filter.status"]).await;
        t.root.post_invalid("/webhooks/1/test", json!({"event_type": wrong}), &["event_type"]).await;
    }
    assert_eq!(t.root.get(&path, 200).await.body["status"], "available");
}

async fn names_need_a_visible_character(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let alice = t.browser("alice").await;
    for name in ["\u{200b}", " \u{200b}\u{feff} ", "\u{ad}", "\u{2800}", "\u{3164}", "\u{2060}\u{202e}"] {
        t.root.post_invalid("/webhooks", webhook_input("https://example.com", json!({"name": name})), &["name"]).await;
        alice.post_invalid("/tokens", json!({"name": name}), &["name"]).await;
        t.root.post_invalid("/resource-types", json!({"slug": "vm", "name": name}), &["name"]).await;
        t.root.patch_invalid("/resource-types/gpu-cluster", json!({"name": name}), &["name"]).await;
        t.root.post_invalid("/resources", json!({"name": name, "resource_type": "gpu-cluster"}), &["name"]).await;
        t.root.patch_invalid(&format!("/resources/{resource}"), json!({"name": name}), &["name"]).await;
        t.root.patch_invalid(&format!("/resources/{resource}"), json!({"location": name}), &["location"]).await;
        let request = json!({"resource_id": resource, "reason": name});
        t.alice.post_invalid("/access-requests", request, &["reason"]).await;
        let mut input = t.span(resource, 1, 2);
        input["title"] = json!(name);
        t.root.post_invalid("/reservations", input, &["title"]).await;
        let user =
            json!({"username": "eve", "email": format!("{name}@example.com"), "password": PASSWORD, "role": "user"});
        t.root.post_invalid("/users", user, &["email"]).await;
        let oauth2 =
            json!({"method": "oauth2", "token_url": "https://example.com", "client_id": name, "client_secret": "x"});
        let input = webhook_input("https://example.com", json!({"auth": oauth2}));
        t.root.post_invalid("/webhooks", input, &["auth.client_id"]).await;
    }
    // Joiners within a name are spelling.
    t.root.post("/resource-types", json!({"slug": "vm", "name": "می\u{200c}خواهم"}), 201).await;
}

/// Systems enter ö as one or as two code points.
async fn password_is_accepted_in_every_normalization_form(t: TestServer) {
    let (composed, decomposed) = ("Sch\u{f6}ne Gr\u{fc}\u{df}e", "Scho\u{308}ne Gru\u{308}\u{df}e");
    for (name, set, entered) in [("carol", composed, decomposed), ("dave", decomposed, composed)] {
        let user = json!({"username": name, "email": "x@example.com", "password": set, "role": "user"});
        t.root.post("/users", user, 201).await;
        for password in [set, entered] {
            t.log_in(name, password, 200).await;
        }
        let browser = t.anonymous.with_session(&t.log_in(name, entered, 200).await.session());
        let change = json!({"current_password": entered, "password": "another long password of theirs"});
        browser.patch(&format!("/users/{name}"), change, 200).await;
        t.log_in(name, entered, 401).await;
    }
    // The length is that of the composed form: twelve code points, but six letters.
    let short = json!({"username": "eve", "email": "x@example.com", "password": "o\u{308}".repeat(6), "role": "user"});
    t.root.post_invalid("/users", short, &["password"]).await;
}

/// PostgreSQL rejects NUL in a text.
async fn nul_in_paths_and_queries_is_rejected(t: TestServer) {
    for operation in operations().filter(|operation| operation.path().contains("/placeholder")) {
        let path = operation.path().replace("placeholder", "a%00b");
        if operation.method() == reqwest::Method::GET || operation.method() == reqwest::Method::DELETE {
            t.root.send(operation.method(), &path, 404, |request| request).await;
        }
    }
    for (path, field) in [
        ("/deliveries?reservation_id=a%00", "reservation_id"),
        ("/resources?resource_type=%00", "resource_type"),
        ("/reservations?cursor=%00", "cursor"),
        // NUL in base64.
        ("/reservations?cursor=AA", "cursor"),
        ("/resource-types?cursor=AA", "cursor"),
        ("/users?cursor=AA", "cursor"),
        ("/tokens?cursor=AA", "cursor"),
    ] {
        assert_eq!(t.root.get(path, 422).await.invalid_fields(), [field], "{path}");
    }
}

//! `/api/v1/resource-types` and `/api/v1/resources`.

use crate::support::{TestServer, gpu_cluster};
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![
    resource_is_created_read_updated_and_deleted,
    catalogue_lists_are_paginated,
    invalid_resource_fields_are_named,
];

on_both_databases![sqlite only:
    resource_type_is_created_read_updated_and_deleted,
    invalid_resource_type_fields_are_named,
    catalogue_is_read_only_for_users,
];

async fn resource_type_is_created_read_updated_and_deleted(t: TestServer) {
    let made = t.root.post("/resource-types", gpu_cluster(), 201).await;
    let expected = json!({
        "id": "gpu-cluster", "slug": "gpu-cluster", "name": "GPU cluster", "color": "#00aa88",
        "config_schema": gpu_cluster()["config_schema"], "resources": 0, "lead_minutes": 0, "ending_notice_minutes": 15,
        "turnaround_minutes": 0, "late_release_minutes": 15,
        "access_before_start": "automatic",
    });
    assert_eq!(made.body, expected);
    let reply = t.root.patch("/resource-types/gpu-cluster", json!({"lead_minutes": 1_441}), 422).await;
    assert!(reply.text.contains("lead_minutes"), "{}", reply.text);
    t.root.post("/resource-types", gpu_cluster(), 409).await;
    let plain = t.root.post("/resource-types", json!({"slug": "vm", "name": "VM"}), 201).await;
    assert_eq!(plain.body["config_schema"], json!({}));
    assert!(plain.text("color").starts_with('#'));
    assert_eq!(t.root.get("/resource-types/gpu-cluster", 200).await.body, expected);
    assert_eq!(t.root.get("/resource-types", 200).await.items(), [expected.clone(), plain.body.clone()]);
    let changed = t.root.patch("/resource-types/gpu-cluster", json!({"name": "GPUs"}), 200).await;
    let mut renamed = expected;
    renamed["name"] = json!("GPUs");
    assert_eq!(changed.body, renamed, "omitted fields are kept");
    let changed =
        t.root.patch("/resource-types/gpu-cluster", json!({"color": "#000000", "config_schema": {}}), 200).await;
    assert_eq!((&changed.body["name"], &changed.body["config_schema"]), (&json!("GPUs"), &json!({})));
    t.root.delete("/resource-types/vm", 204).await;
    t.root.get("/resource-types/vm", 404).await;
    t.root.patch("/resource-types/vm", json!({"name": "x"}), 404).await;
    t.root.delete("/resource-types/vm", 404).await;
    // A type in use by a resource or webhook cannot be deleted.
    let resource = t.resource("node-1", "available").await;
    assert_eq!(t.root.get("/resource-types/gpu-cluster", 200).await.body["resources"], 1);
    t.root.delete("/resource-types/gpu-cluster", 409).await;
    t.root.delete(&format!("/resources/{resource}"), 204).await;
    let webhook = t.webhook(&Receiver::start().await, json!({})).await.id();
    t.root.delete("/resource-types/gpu-cluster", 409).await;
    t.root.delete(&format!("/webhooks/{webhook}"), 204).await;
    t.root.delete("/resource-types/gpu-cluster", 204).await;
}

async fn resource_is_created_read_updated_and_deleted(t: TestServer) {
    t.root.post("/resource-types", gpu_cluster(), 201).await;
    t.root.post("/resource-types", json!({"slug": "vm", "name": "VM"}), 201).await;
    let input = json!({"name": "node-1", "resource_type": "gpu-cluster", "location": "Rack 7", "specs": "8 × A100\n1 TiB", "status": "restricted"});
    let made = t.root.post("/resources", input.clone(), 201).await;
    let mut expected = input.clone();
    expected["id"] = json!(made.id());
    expected["bookable"] = json!(true);
    assert_eq!(made.body, expected, "administrators may book a restricted resource");
    let path = format!("/resources/{}", made.id());
    expected["bookable"] = json!(false);
    assert_eq!(t.alice.get(&path, 200).await.body, expected, "users may not");
    t.root.post("/resources", input, 409).await;
    let vm = t.root.post("/resources", json!({"name": "node-1", "resource_type": "vm"}), 201).await;
    assert_eq!(vm.body["status"], "available");
    assert_eq!((&vm.body["location"], &vm.body["specs"]), (&json!(""), &json!("")));
    assert_eq!(t.alice.get("/resources?resource_type=vm", 200).await.items(), std::slice::from_ref(&vm.body));
    assert!(t.alice.get("/resources?resource_type=nothing", 200).await.items().is_empty());
    let changed = t.root.patch(&path, json!({"status": "maintenance"}), 200).await;
    assert_eq!((&changed.body["status"], &changed.body["bookable"]), (&json!("maintenance"), &json!(false)));
    assert_eq!(changed.body["location"], "Rack 7");
    let other = t.root.post("/resources", json!({"name": "node-2", "resource_type": "gpu-cluster"}), 201).await.id();
    t.root.patch(&format!("/resources/{other}"), json!({"name": "node-1"}), 409).await;
    t.root.delete(&path, 204).await;
    t.root.get(&path, 404).await;
    t.root.patch(&path, json!({"name": "x"}), 404).await;
    t.root.delete(&path, 404).await;
    for id in ["0", "-1", "9999999999999999999", "abc", "1.5", "%00"] {
        t.root.get(&format!("/resources/{id}"), 404).await;
    }
    // A resource with reservations cannot be deleted.
    let reservation = t.booking(&t.alice, other, 1, 2).await;
    t.root.delete(&format!("/resources/{other}"), 409).await;
    t.alice.post(&format!("/reservations/{reservation}/cancel"), Value::Null, 200).await;
    t.root.delete(&format!("/resources/{other}"), 409).await;
}

async fn catalogue_lists_are_paginated(t: TestServer) {
    for n in 0..7 {
        t.root.post("/resource-types", json!({"slug": format!("type-{n}"), "name": "x"}), 201).await;
        t.root.post("/resources", json!({"name": format!("node-{n}"), "resource_type": "type-0"}), 201).await;
    }
    for limit in [1, 3, 7, 200] {
        let types = t.alice.pages("/resource-types", limit).await;
        let slugs: Vec<String> = types.iter().map(|item| item["slug"].as_str().unwrap().to_owned()).collect();
        assert_eq!(slugs, (0..7).map(|n| format!("type-{n}")).collect::<Vec<_>>(), "limit {limit}");
        let resources = t.alice.pages("/resources?resource_type=type-0", limit).await;
        let names: Vec<String> = resources.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, (0..7).map(|n| format!("node-{n}")).collect::<Vec<_>>(), "limit {limit}");
    }
    for path in ["/resource-types", "/resources", "/access-requests", "/reservations", "/webhooks", "/deliveries"] {
        for (query, field) in
            [("limit=0", "limit"), ("limit=201", "limit"), ("limit=ten", "limit"), ("cursor=%21", "cursor")]
        {
            let reply = t.root.get(&format!("{path}?{query}"), 422).await;
            assert_eq!(reply.invalid_fields(), [field], "{path}?{query}");
        }
    }
}

async fn invalid_resource_type_fields_are_named(t: TestServer) {
    let long = "x".repeat(101);
    for (input, invalid_fields) in [
        (json!({"slug": "GPU", "name": " ", "color": "red"}), &["slug", "name", "color"][..]),
        (json!({"slug": "", "name": "x"}), &["slug"]),
        (json!({"slug": "-gpu", "name": "x"}), &["slug"]),
        (json!({"slug": "x".repeat(64), "name": long}), &["slug", "name"]),
        (json!({"slug": "gpu", "name": "a\0"}), &["name"]),
        (json!({"slug": "gpu"}), &["name"]),
        (json!({"slug": 1, "name": "x"}), &["slug"]),
        (json!({"slug": "gpu", "name": "x", "config_schema": []}), &["config_schema.type"]),
        (
            json!({"slug": "gpu", "name": "x", "config_schema": {"properties": {"a": {"type": "object"}}, "oneOf": []}}),
            &["config_schema.oneOf", "config_schema.properties.a.type"],
        ),
        (
            json!({"slug": "gpu", "name": "x", "config_schema": {"properties": {"a": {"type": "integer", "default": "x"}}}}),
            &["config_schema.properties.a.default"],
        ),
    ] {
        t.root.post_invalid("/resource-types", input, invalid_fields).await;
    }
    assert!(t.root.get("/resource-types", 200).await.items().is_empty());
    t.root.post("/resource-types", gpu_cluster(), 201).await;
    t.root
        .patch_invalid("/resource-types/gpu-cluster", json!({"name": "", "color": "#12345"}), &["name", "color"])
        .await;
}

async fn invalid_resource_fields_are_named(t: TestServer) {
    t.root.post("/resource-types", gpu_cluster(), 201).await;
    let (place, specs) = ("x".repeat(201), "x".repeat(2_001));
    for (input, invalid_fields) in [
        (
            json!({"name": "", "resource_type": "", "location": place, "specs": specs}),
            &["name", "resource_type", "location", "specs"][..],
        ),
        (json!({"name": "node", "resource_type": "vm"}), &["resource_type"]),
        (json!({"name": "node", "resource_type": "a\0"}), &["resource_type"]),
        (json!({"name": "no\0de", "resource_type": "gpu-cluster", "location": "\0"}), &["name", "location"]),
        (json!({"name": "node", "resource_type": "gpu-cluster", "status": "broken"}), &["status"]),
        (json!({"resource_type": "gpu-cluster"}), &["name"]),
    ] {
        t.root.post_invalid("/resources", input, invalid_fields).await;
    }
    assert!(t.root.get("/resources", 200).await.items().is_empty());
    let id = t.resource("node-1", "available").await;
    t.root.patch_invalid(&format!("/resources/{id}"), json!({"name": "\n", "specs": specs}), &["name", "specs"]).await;
}

async fn catalogue_is_read_only_for_users(t: TestServer) {
    let id = t.resource("node-1", "available").await;
    for client in [&t.alice, &t.browser("alice").await] {
        client.get("/resource-types", 200).await;
        client.get("/resource-types/gpu-cluster", 200).await;
        client.get("/resources", 200).await;
        client.post("/resource-types", json!({"slug": "vm", "name": "VM"}), 403).await;
        client.patch("/resource-types/gpu-cluster", json!({"name": "x"}), 403).await;
        client.delete("/resource-types/gpu-cluster", 403).await;
        client.post("/resources", json!({"name": "x", "resource_type": "gpu-cluster"}), 403).await;
        client.patch(&format!("/resources/{id}"), json!({"name": "x"}), 403).await;
        client.delete(&format!("/resources/{id}"), 403).await;
    }
    for path in ["/resource-types", "/resource-types/gpu-cluster", "/resources"] {
        t.anonymous.get(path, 401).await;
    }
    t.anonymous.post("/resources", json!({"name": "x", "resource_type": "gpu-cluster"}), 401).await;
}

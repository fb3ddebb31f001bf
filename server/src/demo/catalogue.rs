//! Sample resource types and resources.

use super::ignore_conflict;
use domain::authorization::Actor;
use domain::resource::{ResourceInput, ResourceStatus, ResourceTypeInput};
use serde_json::{Value, json};
use service::Service;

/// Name, type, location, specs and status of the sample resources.
const RESOURCES: [(&str, &str, &str, &str, ResourceStatus); 8] = [
    (
        "A100 cluster",
        "gpu-cluster",
        "Hall 1, row A",
        "4 nodes, 8 × NVIDIA A100 80 GB each, InfiniBand",
        ResourceStatus::Available,
    ),
    (
        "H100 cluster",
        "gpu-cluster",
        "Hall 1, row B",
        "2 nodes, 8 × NVIDIA H100 80 GB each, NVLink",
        ResourceStatus::Available,
    ),
    (
        "H200 pilot",
        "gpu-cluster",
        "Hall 2, row A",
        "1 node, 8 × NVIDIA H200; access on request",
        ResourceStatus::Restricted,
    ),
    ("epyc-01", "server", "Hall 1, row C", "2 × AMD EPYC 9654, 1.5 TB memory, 8 NVMe", ResourceStatus::Available),
    ("epyc-02", "server", "Hall 1, row C", "2 × AMD EPYC 9654, 1.5 TB memory, 8 NVMe", ResourceStatus::Available),
    ("epyc-03", "server", "Hall 1, row C", "Waiting for a new power supply", ResourceStatus::Maintenance),
    ("leaf-1 port 17", "switch-port", "Hall 1, rack 12", "100 GbE, QSFP28", ResourceStatus::Available),
    ("leaf-1 port 18", "switch-port", "Hall 1, rack 12", "100 GbE, QSFP28", ResourceStatus::Available),
];

/// Creates missing sample resource types and resources.
pub(super) async fn create(service: &Service, actor: &Actor) -> Result<(), String> {
    for (slug, name, color, schema) in types() {
        let input = ResourceTypeInput {
            slug: slug.into(),
            name: name.into(),
            color: Some(color.into()),
            config_schema: Some(schema),
            ..Default::default()
        };
        ignore_conflict(service.catalogue().create_type(actor, input).await)?;
    }
    for (name, kind, location, specs, status) in RESOURCES {
        let input = ResourceInput {
            name: name.into(),
            resource_type: kind.into(),
            location: Some(location.into()),
            specs: Some(specs.into()),
            status: Some(status),
        };
        ignore_conflict(service.catalogue().create_resource(actor, input).await)?;
    }
    Ok(())
}

/// The slugs of the sample resource types.
pub(super) fn slugs() -> impl Iterator<Item = &'static str> {
    types().into_iter().map(|(slug, ..)| slug)
}

/// Slug, name, colour and config schema of the sample resource types.
fn types() -> [(&'static str, &'static str, &'static str, Value); 3] {
    [
        (
            "gpu-cluster",
            "GPU cluster",
            "#4f46e5",
            json!({"type": "object", "properties": {
                "gpu_type": {"type": "string", "title": "GPU", "enum": ["nvidia-a100", "nvidia-h100", "nvidia-h200"], "default": "nvidia-a100"},
                "gpu_count": {"type": "integer", "title": "Number of GPUs", "minimum": 1, "maximum": 16, "default": 4},
                "memory_gb": {"type": "integer", "title": "Memory (GB)", "minimum": 16, "maximum": 2048, "default": 512},
            }}),
        ),
        (
            "server",
            "Server",
            "#0f766e",
            json!({"type": "object", "properties": {
                "image": {"type": "string", "title": "Operating system", "enum": ["debian-12", "ubuntu-24.04", "rocky-9"], "default": "debian-12"},
                "hyperthreading": {"type": "boolean", "title": "Hyper-threading", "default": true},
                "notes": {"type": "string", "title": "Notes for the operators", "maxLength": 300},
            }}),
        ),
        (
            "switch-port",
            "Switch port",
            "#b45309",
            json!({"type": "object", "required": ["vlan"], "properties": {
                "vlan": {"type": "integer", "title": "VLAN", "description": "The VLAN to put the port into.", "minimum": 2, "maximum": 4094},
                "mtu": {"type": "integer", "title": "MTU", "minimum": 1280, "maximum": 9216, "default": 1500},
            }}),
        ),
    ]
}

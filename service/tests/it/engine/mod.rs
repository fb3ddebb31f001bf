//! The delivery engine: the real dispatcher, stepped with a manual clock, on both databases, against a real receiver.

mod access;
mod classic;
mod clock_jumps;
mod delivery;
mod extension;
mod fast_path;
mod faults;
mod formats;
mod hand_over;
mod health;
mod isolation;
mod leases;
mod log;
mod order;
mod provisioning;
mod rejected_results;
mod start;
mod waiting;
mod wakeup;
mod webhook_state;

use crate::support::TestService;
use domain::authorization::{Actor, Role};
use domain::delivery::DeliveryFilter;
use domain::reservation::ReservationPatch;
use domain::resource::ResourceStatus;
use test_support::Receiver;

/// An administrator, a user, a resource, a receiver and its webhook.
struct Fixture {
    root: Actor,
    alice: Actor,
    resource: i64,
    receiver: Receiver,
    webhook: i64,
}

async fn fixture(t: &TestService) -> Fixture {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&root, &receiver).await;
    Fixture { root, alice, resource, receiver, webhook }
}

fn any_delivery() -> DeliveryFilter {
    DeliveryFilter::default()
}

fn retitled(text: &str) -> ReservationPatch {
    ReservationPatch { title: Some(text.into()), ..Default::default() }
}

fn of_webhook(webhook: i64) -> DeliveryFilter {
    DeliveryFilter { webhook_id: Some(webhook), ..Default::default() }
}

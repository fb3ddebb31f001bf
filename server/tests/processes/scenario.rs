//! A running server with clients and webhooks, for tests that disturb it.

use super::database::{Attempt, Database};
use super::guarantees::assert_guarantees;
use super::kill::flaky;
use super::load::{Api, Load, Reply};
use super::process::{Berth, Settings};
use std::collections::HashSet;
use test_support::Receiver;

/// A running server under load with two webhooks, one of them with a low concurrency limit.
pub struct Scenario {
    pub berth: Berth,
    pub api: Api,
    pub receiver: Receiver,
    pub load: Load,
    resource: i64,
    slot: i64,
}

impl Scenario {
    /// Starts the load on a fresh server.
    pub async fn open(settings: &Settings, berth: Berth) -> Self {
        let receiver = Receiver::start().await;
        receiver.respond_with(flaky);
        let api = Api::of(settings).await;
        api.resource_type(&berth.url).await;
        api.webhook(&berth.url, &receiver, 64).await;
        api.webhook(&berth.url, &receiver, 2).await;
        let resource = api.resource(&berth.url, "node-x").await;
        let load = Load::start(&api, &berth.url).await;
        load.progress(20).await;
        Self { berth, api, receiver, load, resource, slot: 0 }
    }

    /// Reserves the next free hour of a resource that the load does not use.
    pub async fn reserve(&mut self) -> Reply {
        self.slot += 1;
        self.api.reserve(&self.berth.url, self.resource, self.slot).await.unwrap()
    }

    pub async fn status_of(&self, path: &str) -> u16 {
        self.api.http.get(format!("{}{path}", self.berth.url)).send().await.unwrap().status().as_u16()
    }

    /// Ends the load and checks the guarantees; returns the number of 503 responses.
    pub async fn close(self, test: &str, database: &Database, interrupted: &HashSet<Attempt>) -> usize {
        let record = self.load.end().await;
        database.drain().await;
        assert_guarantees(test, database, &self.receiver, &record, interrupted).await;
        record.unavailable
    }
}

//! A Berth at work, and those who use it, while something befalls it.

use super::database::{Attempt, TestDatabase};
use super::kill::moody;
use super::ledger::compare;
use super::load::{Api, Load, Reply};
use super::process::{Berth, Setting};
use super::receiver::Receiver;
use std::collections::HashSet;

/// A running Berth under load, with two webhooks, one of them with little room.
pub struct Site {
    pub berth: Berth,
    pub api: Api,
    pub receiver: Receiver,
    pub load: Load,
    resource: i64,
    slot: i64,
}

impl Site {
    /// With a Berth that has just started.
    pub async fn open(setting: &Setting, berth: Berth) -> Self {
        let receiver = Receiver::start(moody).await;
        let api = Api::of(setting).await;
        api.resource_type(&berth.url).await;
        api.webhook(&berth.url, &receiver, 64).await;
        api.webhook(&berth.url, &receiver, 2).await;
        let resource = api.resource(&berth.url, "node-x").await;
        let load = Load::start(&api, &berth.url).await;
        load.progress(20).await;
        Self { berth, api, receiver, load, resource, slot: 0 }
    }

    /// Another hour of a resource that no client of the load asks for.
    pub async fn reserve(&mut self) -> Reply {
        self.slot += 1;
        self.api.reserve(&self.berth.url, self.resource, self.slot).await.unwrap()
    }

    pub async fn status_of(&self, path: &str) -> u16 {
        self.api.http.get(format!("{}{path}", self.berth.url)).send().await.unwrap().status().as_u16()
    }

    /// Ends the work and compares; how often clients were told that the database is away.
    pub async fn close(self, test: &str, database: &TestDatabase, interrupted: &HashSet<Attempt>) -> usize {
        let told = self.load.end().await;
        database.drained().await;
        compare(test, database, &self.receiver, &told, interrupted).await;
        told.unavailable
    }
}

//! Groups and owners in the database: what the removal of rows removes with them, and what authentication reads.

use crate::support::TestService;
use domain::account::{ApiTokenInput, UserPatch};
use domain::authorization::Role;
use domain::ownership::{GroupInput, GroupPatch, OwnersInput, Ownership};
use domain::resource::ResourceStatus;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use service::groups::OwnedObject;
use test_support::on_both_databases;

on_both_databases![
    removed_user_group_type_and_resource_take_their_ownerships_along,
    owners_of_an_object_are_stored_once,
    authentication_reads_ownership_in_person_and_through_groups,
];

async fn count(database: &DatabaseConnection, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let statement = sea_orm::Statement::from_string(database.get_database_backend(), sql);
    database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

fn users(names: &[&str]) -> OwnersInput {
    OwnersInput { users: names.iter().map(ToString::to_string).collect(), groups: Vec::new() }
}

async fn removed_user_group_type_and_resource_take_their_ownerships_along(t: TestService) {
    let root = t.administrator().await;
    for name in ["alice", "bob"] {
        t.person(name, Role::User).await;
    }
    let database = t.database().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let input =
        GroupInput { name: "GPU team".into(), members: Some(vec!["alice".into(), "bob".into()]), ..Default::default() };
    let group = t.groups().create(&root, input).await.unwrap().id;
    let owners = OwnersInput { groups: vec![group], ..users(&["alice", "bob"]) };
    t.owners().set(&root, OwnedObject::Type("gpu-cluster"), owners.clone()).await.unwrap();
    t.owners().set(&root, OwnedObject::Resource(resource), owners).await.unwrap();
    let counts = async || (count(&database, "group_members").await, count(&database, "owners").await);
    assert_eq!(counts().await, (2, 6));
    // No use case deletes accounts.
    database.execute_unprepared("DELETE FROM users WHERE username = 'bob'").await.unwrap();
    assert_eq!(counts().await, (1, 4));
    t.groups().delete(&root, group).await.unwrap();
    assert_eq!(counts().await, (0, 2));
    t.catalogue().delete_resource(&root, resource).await.unwrap();
    assert_eq!(counts().await, (0, 1));
    t.catalogue().delete_type(&root, "gpu-cluster").await.unwrap();
    assert_eq!(counts().await, (0, 0));
}

async fn owners_of_an_object_are_stored_once(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let database = t.database().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let set = || t.owners().set(&root, OwnedObject::Type("gpu-cluster"), users(&["alice"]));
    let (one, other) = tokio::join!(set(), set());
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(count(&database, "owners").await, 1);
    let twice = "INSERT INTO owners (username, resource_type) VALUES ('alice', 'gpu-cluster')";
    database.execute_unprepared(twice).await.unwrap_err();
    let of_nothing = "INSERT INTO owners (username) VALUES ('alice')";
    database.execute_unprepared(of_nothing).await.unwrap_err();
}

async fn authentication_reads_ownership_in_person_and_through_groups(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let token =
        t.accounts().create_token_as_operator("alice", ApiTokenInput { name: "ci".into(), ..Default::default() });
    let token = token.await.unwrap().token;
    let owned = async || {
        let (actor, info) = t.accounts().authenticate_token(&token).await.unwrap();
        assert_eq!(actor.owns, info.owns);
        actor.owns
    };
    assert!(owned().await.is_empty());
    t.owners().set(&root, OwnedObject::Resource(resource), users(&["alice"])).await.unwrap();
    let of_resource = Ownership { resources: [resource].into(), ..Default::default() };
    assert_eq!(owned().await, of_resource);
    let group =
        t.groups().create(&root, GroupInput { name: "GPU team".into(), ..Default::default() }).await.unwrap().id;
    let owners = OwnersInput { groups: vec![group], ..Default::default() };
    t.owners().set(&root, OwnedObject::Type("gpu-cluster"), owners).await.unwrap();
    assert_eq!(owned().await, of_resource);
    let patch = GroupPatch { members: Some(vec!["alice".into()]), ..Default::default() };
    t.groups().update(&root, group, patch).await.unwrap();
    assert_eq!(owned().await, Ownership { resource_types: ["gpu-cluster".to_owned()].into(), ..of_resource });
    // The permissions of other roles do not depend on ownership.
    for role in [Role::Auditor, Role::Administrator] {
        let patch = UserPatch { role: Some(role), ..Default::default() };
        t.update_user(&root, "alice", patch).await.unwrap();
        assert!(owned().await.is_empty());
    }
}

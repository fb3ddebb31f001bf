//! Sample data of `berth serve --demo`: users, resources and a receiver. It is created through the use cases, and only if it
//! does not exist yet.

mod catalogue;
mod receiver;

use domain::account::UserInput;
use domain::authorization::{Actor, Role, Scope};
use domain::{Problem, ProblemKind};
use service::Service;
use tokio_util::sync::CancellationToken;

const ADMIN: (&str, &str) = ("admin", "harbour crane and tide");
const USER: (&str, &str) = ("alice", "pontoon rope and gull");

/// Formats the welcome text for the terminal.
pub fn welcome(url: &str) -> String {
    format!(
        "\n  Berth runs at {url}\n\n    administrator   {} / {}\n    user            {} / {}\n\n  \
         Log in as alice, reserve a resource, and watch it become ready.\n  \
         Log in as admin and open Settings → Webhook Integrations to see the deliveries.\n",
        ADMIN.0, ADMIN.1, USER.0, USER.1
    )
}

/// Creates missing sample data and starts the sample receiver.
///
/// # Errors
/// Returns a message for the operator if an object cannot be created or the receiver cannot listen.
pub async fn set_up(service: &Service, cancel: &CancellationToken) -> Result<(), String> {
    for ((username, password), role) in [(ADMIN, Role::Administrator), (USER, Role::User)] {
        let input = UserInput {
            username: username.into(),
            email: format!("{username}@example.com"),
            password: password.into(),
            role,
        };
        ignore_conflict(service.accounts().create_user_as_operator(input).await)?;
    }
    let actor =
        Actor { username: ADMIN.0.into(), role: Role::Administrator, scopes: Scope::ALL.to_vec(), session: None };
    catalogue::create(service, &actor).await?;
    receiver::start(service, &actor, cancel).await
}

/// Treats a conflict as success, because an earlier start created the object.
fn ignore_conflict<T>(result: Result<T, Problem>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(problem) if problem.kind == ProblemKind::Conflict => Ok(()),
        Err(problem) => Err(format!("The sample data cannot be created: {}", problem.detail)),
    }
}

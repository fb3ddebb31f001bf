//! Sample data of `berth serve --demo`: users, resources and a receiver. It is created through the use cases, and only if it
//! does not exist yet.
//!
//! The demo starts only in development, on a loopback address, and on a database that is empty or that an earlier demo has
//! filled. Its passwords are random, because a known administrator would be a way in for everybody.

mod catalogue;
mod receiver;

use domain::account::UserInput;
use domain::authorization::{Actor, Role, Scope};
use domain::{Problem, ProblemKind};
use service::Service;
use service::secrets::random;
use tokio_util::sync::CancellationToken;

const ADMIN: &str = "admin";
const USER: &str = "alice";

/// The accounts of a demo, for the welcome text.
pub struct Accounts {
    /// Passwords of [`ADMIN`] and [`USER`]; `None` if an earlier start has set it.
    passwords: [Option<String>; 2],
}

impl Accounts {
    /// Formats the welcome text for the terminal.
    pub fn welcome(&self, url: &str) -> String {
        let shown = |password: &Option<String>| {
            password.clone().unwrap_or_else(|| "(as printed at the first start)".to_owned())
        };
        let [admin, user] = &self.passwords;
        let lost = if admin.is_none() || user.is_none() {
            "  To replace lost passwords, set BERTH_DEMO_PASSWORD and start again.\n"
        } else {
            ""
        };
        format!(
            "\n  Berth runs at {url}\n\n    administrator   {ADMIN} / {}\n    user            {USER} / {}\n\n{lost}  \
             Log in as {USER}, reserve a resource, and watch it become ready.\n  \
             Log in as {ADMIN} and open Settings → Webhook Integrations to see the deliveries.\n",
            shown(admin),
            shown(user)
        )
    }
}

/// Creates missing sample data and starts the sample receiver. `password` is that of both accounts; without it, new
/// accounts get random ones.
///
/// # Errors
/// Returns a message for the operator if the database contains other data, an object cannot be created, or the receiver
/// cannot listen.
pub async fn set_up(
    service: &Service,
    password: Option<String>,
    cancel: &CancellationToken,
) -> Result<Accounts, String> {
    if !service.accounts().mark_as_demo().await.map_err(|problem| problem.detail)? {
        return Err("--demo needs an empty database, or one that an earlier --demo has filled. This one has other \
                    accounts. Start without --demo, or set BERTH_DATA_DIR to a new folder."
            .into());
    }
    let admin = account(service, ADMIN, Role::Administrator, password.clone()).await?;
    let user = account(service, USER, Role::User, password).await?;
    let actor = Actor {
        username: ADMIN.into(),
        role: Role::Administrator,
        scopes: Scope::ALL.to_vec(),
        session: None,
        token: None,
        owns: Default::default(),
    };
    catalogue::create(service, &actor).await?;
    receiver::start(service, &actor, cancel).await?;
    Ok(Accounts { passwords: [admin, user] })
}

/// Creates an account if it is missing. Returns its password if this start has set it.
async fn account(
    service: &Service,
    username: &str,
    role: Role,
    password: Option<String>,
) -> Result<Option<String>, String> {
    let replace = password.is_some();
    let password = password.unwrap_or_else(|| hex::encode(random::<10>()));
    let input = UserInput {
        username: username.into(),
        email: format!("{username}@example.com"),
        password: password.clone(),
        role,
    };
    let prepared = service.accounts().prepare_demo_account(input, replace).await;
    let is_set =
        prepared.map_err(|problem| format!("The demo account {username} cannot be created. {}", problem.detail))?;
    Ok(is_set.then_some(password))
}

/// Treats a conflict as success, because an earlier start created the object.
fn ignore_conflict<T>(result: Result<T, Problem>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(problem) if problem.kind == ProblemKind::Conflict => Ok(()),
        Err(problem) => Err(format!("The sample data cannot be created: {}", problem.detail)),
    }
}

//! API tokens and user accounts (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::{AuthenticatedForSetup, AuthenticatedUser, Json, Path, Query};
use super::super::problem::{ApiError, ProblemBody};
use super::idempotency::create;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::account::{ApiToken, ApiTokenInput, NewApiToken, User, UserInput, UserPatch};
use domain::id::TokenId;
use domain::pagination::{Page, PageQuery};
use domain::second_factor::SecondFactors;
use domain::single_sign_on::{Identity, IdentityInput};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(list_users, create_user))
        .routes(routes!(update_user))
        .routes(routes!(end_user_sessions))
        .routes(routes!(list_identities, add_identity))
        .routes(routes!(remove_identity))
        .routes(routes!(list_second_factors, reset_second_factors))
        .routes(routes!(remove_second_factor))
}

/// Lists your API tokens without their secrets, newest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(PageQuery), responses((status = 200, body = Page<ApiToken>)))]
async fn list_tokens(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<ApiToken>>, ApiError> {
    Ok(axum::Json(app.service.accounts().list_tokens_page(&caller.actor, &page).await?))
}

/// Creates an API token.
///
/// Only this response contains the token. Requires a session: an API token cannot create tokens. It also requires a login or
/// confirmation within the last 10 minutes, or `current_password`.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = ApiTokenInput,
    responses((status = 201, body = NewApiToken)))]
async fn create_token(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<ApiTokenInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/tokens", &body.digest, async move |service, actor| {
        service.accounts().create_token(&actor, body.value).await
    })
    .await
}

/// Revokes one of your API tokens.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)), responses((status = 204)))]
async fn revoke_token(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().revoke_token(&caller.actor, &TokenId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists all accounts, ordered by login name.
///
/// Administrators only.
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery), responses((status = 200, body = Page<User>)))]
async fn list_users(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<User>>, ApiError> {
    Ok(axum::Json(app.service.accounts().list_users_page(&caller.actor, &page).await?))
}

/// Creates an account.
///
/// Administrators only. A session needs a login or confirmation within the last 10 minutes.
#[utoipa::path(post, path = "/users", tag = "users", request_body = UserInput,
    responses((status = 201, body = User), (status = 409, body = ProblemBody)))]
async fn create_user(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    headers: HeaderMap,
    body: Json<UserInput>,
) -> Result<Response, ApiError> {
    create(&app, caller, &headers, "/users", &body.digest, async move |service, actor| {
        service.accounts().create_user(&actor, body.value).await
    })
    .await
}

/// Changes an account.
///
/// Administrators can change every account. Other users can change their own e-mail address, password and SSH key. A change
/// of your own password requires `current_password`. The other changes require a login or confirmation of the session within
/// the last 10 minutes; for your own e-mail address and SSH key, `current_password` is accepted too. The account gets a
/// notification.
#[utoipa::path(patch, path = "/users/{username}", tag = "users", params(("username" = String, Path)), request_body = UserPatch,
    responses((status = 200, body = User), (status = 409, body = ProblemBody)))]
async fn update_user(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
    body: Json<UserPatch>,
) -> Result<axum::Json<User>, ApiError> {
    Ok(axum::Json(app.service.update_user(&caller.actor, &username, body.value).await?))
}

/// Ends all sessions of an account.
///
/// Administrators can end those of every account, other users their own.
#[utoipa::path(delete, path = "/users/{username}/sessions", tag = "users", params(("username" = String, Path)),
    responses((status = 204)))]
async fn end_user_sessions(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().end_all_sessions(&caller.actor, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the links of an account to identity providers.
///
/// Administrators can list those of every account, other users their own.
#[utoipa::path(get, path = "/users/{username}/identities", tag = "users", params(("username" = String, Path)),
    responses((status = 200, body = Page<Identity>)))]
async fn list_identities(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
) -> Result<axum::Json<Page<Identity>>, ApiError> {
    let items = app.service.accounts().list_identities(&caller.actor, &username).await?;
    Ok(axum::Json(Page { items, next_cursor: None }))
}

/// Links an account to a user of an identity provider.
///
/// Administrators only. The user can then log in there. The account gets a notification.
#[utoipa::path(post, path = "/users/{username}/identities", tag = "users", params(("username" = String, Path)),
    request_body = IdentityInput, responses((status = 201, body = Identity), (status = 409, body = ProblemBody)))]
async fn add_identity(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Json<IdentityInput>,
) -> Result<Response, ApiError> {
    let path = format!("/users/{username}/identities");
    create(&app, caller, &headers, &path, &body.digest, async move |service, actor| {
        service.accounts().add_identity(&actor, &username, body.value).await
    })
    .await
}

/// Removes the link of an account to an identity provider, and ends the sessions of that link.
///
/// Administrators can remove those of every account. Other users can remove their own within 10 minutes after a login,
/// unless they could not log in any more.
#[utoipa::path(delete, path = "/users/{username}/identities/{id}", tag = "users",
    params(("username" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn remove_identity(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path((username, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().remove_identity(&caller.actor, &username, &id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the second factors of an account.
///
/// Administrators and auditors can read those of every account, other users their own.
#[utoipa::path(get, path = "/users/{username}/second-factors", tag = "users", params(("username" = String, Path)),
    responses((status = 200, body = SecondFactors)))]
async fn list_second_factors(
    State(app): State<AppState>,
    caller: AuthenticatedForSetup,
    Path(username): Path<String>,
) -> Result<axum::Json<SecondFactors>, ApiError> {
    Ok(axum::Json(app.service.accounts().second_factors(&caller.actor, &username).await?))
}

/// Removes all second factors of an account whose user has lost them.
///
/// Administrators only. The user then logs in with the password alone. The account gets a notification.
#[utoipa::path(delete, path = "/users/{username}/second-factors", tag = "users", params(("username" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn reset_second_factors(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(username): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().reset_second_factors(&caller.actor, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes one second factor of an account: a passkey by id, or `authenticator-app`.
///
/// Administrators can remove those of every account. Other users can remove their own in a session, but not the last one if
/// the settings require a second factor. With the last one, the recovery codes become invalid. The account gets a
/// notification.
#[utoipa::path(delete, path = "/users/{username}/second-factors/{id}", tag = "users",
    params(("username" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn remove_second_factor(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path((username, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().remove_second_factor(&caller.actor, &username, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Server functions for the audit log. Each calls one use case of `service::audit`.

use super::{Rpc, RpcError};
use domain::audit::{AuditEntry, AuditFilter};
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;

/// Lists entries of the audit log, newest first.
#[server(prefix = "/rpc", endpoint = "list-audit-entries", protocol = Rpc)]
pub async fn list_audit_entries(filter: AuditFilter, page: PageQuery) -> Result<Page<AuditEntry>, RpcError> {
    let cx = super::context::context()?;
    let actor = cx.actor()?;
    Ok(cx.service.audit().list(actor, &filter, &page).await?)
}

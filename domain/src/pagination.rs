//! Pagination of lists (docs/contract.md §6: `{"items": […], "next_cursor": …}`).

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items, newest first unless the list documents another order.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// The requested page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct PageQuery {
    /// Page size, 1 to 200; 50 when absent.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 200))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Maximum number of items on a page.
    pub const MAX: u32 = 200;

    /// The effective limit.
    ///
    /// # Errors
    /// A [`crate::Problem`] naming `limit` when it is not within 1 to 200.
    pub fn limit(&self) -> Result<u64, crate::Problem> {
        self.limit_within(50, Self::MAX)
    }

    /// The effective limit of a list with another page size: `default` when absent, at most `max`.
    ///
    /// # Errors
    /// A [`crate::Problem`] naming `limit` when it is not within 1 to `max`.
    pub fn limit_within(&self, default: u32, max: u32) -> Result<u64, crate::Problem> {
        match self.limit {
            None => Ok(u64::from(default)),
            Some(n) if (1..=max).contains(&n) => Ok(u64::from(n)),
            Some(_) => Err(crate::Problem::field("limit", format!("Choose a limit from 1 to {max}."))),
        }
    }
}

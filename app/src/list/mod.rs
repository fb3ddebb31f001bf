//! The list of webhooks, users, resource types and resources: search, sort, filters, count, selection, and virtualised rows.
//!
//! The page has the complete list in memory, so that search and sort need no request (ARCHITECTURE.md, "Lists of the page").
//! Search, sort and filters are in the address.

mod bulk;
mod order;
mod rows;
mod state;
mod toolbar;

pub use bulk::{BulkChange, BulkText, ChangeRow};
pub use rows::{Cells, List};

use leptos::prelude::*;
use std::cmp::Ordering;

/// The height of a cell in a long list on a narrow screen, where a row is a card.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// One line of text.
    Line,
    /// Two lines of text.
    TwoLines,
    /// Buttons.
    Controls,
}

impl Cell {
    /// The CSS class of the cell.
    pub fn class(self) -> &'static str {
        match self {
            Self::Line => "",
            Self::TwoLines => "two-lines",
            Self::Controls => "controls",
        }
    }

    /// The height in pixels, as in `style/list.css`.
    fn card_height(self) -> f64 {
        match self {
            Self::Line => 30.0,
            Self::TwoLines => 50.0,
            Self::Controls => 42.0,
        }
    }
}

/// A column of a list.
pub struct Column<T> {
    /// The name in the address, and of the CSS class `column-…`.
    pub name: &'static str,
    /// The head. Hidden from sight in a column with buttons.
    pub label: &'static str,
    /// An explanation of the head.
    pub title: Option<&'static str>,
    /// The height of its cells.
    pub cell: Cell,
    /// The order of two rows, if the list can be sorted by the column.
    pub compare: Option<fn(&T, &T) -> Ordering>,
}

impl<T> Column<T> {
    /// A column by which the list can be sorted.
    pub fn sorted(name: &'static str, label: &'static str, compare: fn(&T, &T) -> Ordering) -> Self {
        Self { name, label, title: None, cell: Cell::Line, compare: Some(compare) }
    }

    /// Another column.
    pub fn plain(name: &'static str, label: &'static str) -> Self {
        Self { name, label, title: None, cell: Cell::Line, compare: None }
    }

    /// The column with another height of its cells.
    pub fn with_cell(self, cell: Cell) -> Self {
        Self { cell, ..self }
    }

    /// The column with an explanation.
    pub fn with_title(self, title: &'static str) -> Self {
        Self { title: Some(title), ..self }
    }
}

/// A selection field that limits the rows.
pub struct Filter<T> {
    /// The name in the address.
    pub parameter: &'static str,
    /// The label of the field.
    pub label: &'static str,
    /// Pairs of value and label. The empty value, which shows all rows, is added.
    pub options: Signal<Vec<(String, String)>>,
    /// Whether a row has a value.
    pub matches: fn(&T, &str) -> bool,
}

/// A change of the selected rows.
pub struct Action<T: 'static> {
    /// The verb, and what follows the object: `["Pause", ""]`, or `["Set", "to maintenance"]`.
    pub verb: Verb,
    /// Whether it would change a row.
    pub applies: fn(&T) -> bool,
    /// Changes the rows to which it applies.
    pub run: Callback<Vec<T>>,
}

/// What a list shows, and how it finds and compares rows.
pub struct ListSpec<T: 'static> {
    /// The name of the table, e.g. "Webhooks".
    pub label: &'static str,
    /// The name of one row and of several, e.g. `["webhook", "webhooks"]`.
    pub nouns: [&'static str; 2],
    /// The names of the search and of the sort in the address. A page with several lists has different ones.
    pub parameters: [&'static str; 2],
    /// The columns.
    pub columns: Vec<Column<T>>,
    /// The filters.
    pub filters: Vec<Filter<T>>,
    /// The changes of selected rows. Without any, rows cannot be selected.
    pub actions: Vec<Action<T>>,
    /// The progress of a change of selected rows.
    pub change: BulkChange,
    /// The identifier of a row.
    pub id: fn(&T) -> String,
    /// The name of a row, for the label of its check box.
    pub name: fn(&T) -> String,
    /// The text that the search finds.
    pub text: fn(&T) -> String,
}

impl<T> ListSpec<T> {
    /// Whether some cells have two lines.
    fn has_two_lines(&self) -> bool {
        self.columns.iter().any(|column| column.cell == Cell::TwoLines)
    }
}

/// A verb, and what follows its object.
pub type Verb = [&'static str; 2];

/// E.g. "Set 3 resources to maintenance".
fn phrase([verb, rest]: Verb, object: &str) -> String {
    let space = if rest.is_empty() { "" } else { " " };
    format!("{verb} {object}{space}{rest}")
}

/// A number of rows as text.
fn count(number: usize, nouns: [&'static str; 2]) -> String {
    let noun = if number == 1 { nouns[0] } else { nouns[1] };
    format!("{} {noun}", crate::intl::number(number as u64))
}

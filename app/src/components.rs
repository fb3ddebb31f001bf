//! The parts of which pages consist. They read nothing from the server.

mod badge;
mod button;
mod changes_link;
mod code;
mod dialog;
mod fields;
mod icon;
mod messages;
mod page_header;
mod table;
mod time;
mod time_input;

pub use badge::*;
pub use button::*;
pub use changes_link::*;
pub use code::*;
pub use dialog::*;
pub use fields::*;
pub use icon::*;
pub use messages::*;
pub use page_header::*;
pub use table::*;
pub use time::*;
pub use time_input::*;

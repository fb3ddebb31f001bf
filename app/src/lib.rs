//! What people see, and the server functions that the page calls.

pub mod rpc;

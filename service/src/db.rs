//! Persistence: connections, entities, and the hand-written statements of the queue.

pub(crate) mod bulk;
pub(crate) mod codec;
pub(crate) mod column;
pub(crate) mod connect;
pub(crate) mod entity;
pub(crate) mod table_lock;
pub(crate) mod vacuum;

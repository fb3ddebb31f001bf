//! The runtime of the tasks that claim and record.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The runtime for claims and for the recording of results.
pub(super) struct DbRuntime {
    pub(super) handle: Handle,
    /// Ends the dedicated thread when it is dropped.
    _end: Option<oneshot::Sender<()>>,
}

impl DbRuntime {
    /// Starts a separate thread for SQLite. A batch consists of many short steps, which alternate between this thread
    /// and SQLite's writer thread. On the main runtime each step would queue behind hundreds of requests, while the
    /// writer is idle.
    ///
    /// On PostgreSQL the main runtime is used: concurrent batches hide the latency, and connections belong to the
    /// runtime that opened them.
    pub(super) async fn start(is_postgres: bool) -> Self {
        let main = Self { handle: Handle::current(), _end: None };
        if is_postgres {
            return main;
        }
        let (started, starting) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("dispatcher-db".into()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = started.send(runtime.handle().clone());
                    let _ = runtime.block_on(ended);
                }
                Err(error) => tracing::warn!(%error, "the dispatcher has no separate thread for the database"),
            }
        });
        match (thread, starting.await) {
            (Ok(_), Ok(handle)) => Self { handle, _end: Some(end) },
            _ => main,
        }
    }
}

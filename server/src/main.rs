//! `berth`: see `berth --help`.

use std::process::ExitCode;

/// A delivery makes some hundred short-lived allocations, by one thread and freed by another: the system's allocator
/// takes a sixth of all time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}

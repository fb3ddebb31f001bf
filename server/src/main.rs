//! `berth`: see `berth --help`.

use std::process::ExitCode;

/// A delivery makes hundreds of short-lived allocations on one thread and frees them on another. The system allocator spends
/// a sixth of the CPU time on these.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}

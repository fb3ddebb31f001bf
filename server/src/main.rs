//! The binary `berth`. `berth --help` lists its commands.

use std::process::ExitCode;

/// A delivery makes hundreds of short-lived allocations on one thread and frees them on another. The system allocator
/// would use a sixth of the CPU time for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::cli::main()
}

//! The process: arguments, allocator, exit code.
use std::process::ExitCode;

/// Bodies are many buffers of 16 to 64 KiB that live for milliseconds; the system's allocator
/// keeps giving their pages back to the kernel and asking for them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    openpool_proxy::cli::main()
}

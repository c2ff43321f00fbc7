//! The process: arguments, runtime, exit code.
use std::process::ExitCode;

fn main() -> ExitCode {
    openpool_proxy::cli::main()
}

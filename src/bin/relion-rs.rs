//! The launcher and all tools for a login node.

use std::process::ExitCode;

fn main() -> ExitCode {
    relion_rs::cli::main()
}

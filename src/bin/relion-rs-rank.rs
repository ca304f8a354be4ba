//! One rank of the engine: `relion-rs-rank RUN_DIR`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}

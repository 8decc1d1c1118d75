//! The program `sgvi`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sgvi::cli::main())
}

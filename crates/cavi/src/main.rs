//! The command line `cavi`.

fn main() -> std::process::ExitCode {
    cavi::cli::main()
}

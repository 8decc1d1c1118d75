//! Ctrl-C as a request to end with what has been reached.

use crate::executor::Interruption;
use std::io::Write as _;

/// Why the handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Ctrl-C: {0}")]
pub struct InterruptError(#[from] ctrlc::Error);

/// Raises the flag at the first Ctrl-C, termination request or hang-up; the second ends the program at once with status 130.
///
/// # Errors
/// When a handler is already installed or the system refuses.
pub fn interrupt_on_ctrl_c(quiet: bool) -> Result<Interruption, InterruptError> {
    let flag = Interruption::new();
    let raised = flag.clone();
    ctrlc::set_handler(move || {
        if raised.is_raised() {
            std::process::exit(130);
        }
        raised.raise();
        if !quiet {
            let text = "\ninterrupted: ending after this iteration (Ctrl-C again to stop at once)\n";
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    })?;
    Ok(flag)
}

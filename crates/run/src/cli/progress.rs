//! Progress on standard error: one line that changes on a terminal, sparse lines elsewhere.

use super::number::{rate, significant};
use super::print_error;
use crate::executor::{Iteration, Observer};
use std::io::IsTerminal as _;
use std::time::Instant;

/// Seconds between two updates of a terminal's line.
const REFRESH: f64 = 0.1;
/// Seconds until the first line elsewhere; the pause then doubles up to [`LONGEST_PAUSE`].
const FIRST_LINE: f64 = 2.0;
/// The longest pause between two lines elsewhere, in seconds.
const LONGEST_PAUSE: f64 = 60.0;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    OneLine,
}

impl Mode {
    fn of_standard_error(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::OneLine,
            (false, false) => Self::Lines,
        }
    }

    fn first_pause(self) -> f64 {
        if self == Self::OneLine { REFRESH } else { FIRST_LINE }
    }
}

/// What an engine adds to the line.
type Detail<'a> = Box<dyn Fn(&Iteration<'_>) -> String + 'a>;

/// Shows iteration, ELBO, gain and rate while a run goes on.
pub struct ProgressLine<'a> {
    mode: Mode,
    next: f64,
    pause: f64,
    drawn: bool,
    mark: (f64, f64),
    done: f64,
    rows: Option<f64>,
    detail: Option<Detail<'a>>,
}

impl<'a> ProgressLine<'a> {
    /// On a terminal's standard error one line, elsewhere sparse lines; nothing with `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self::with_mode(Mode::of_standard_error(quiet))
    }

    fn with_mode(mode: Mode) -> Self {
        let pause = mode.first_pause();
        Self { mode, next: pause, pause, drawn: false, mark: (0.0, 0.0), done: 0.0, rows: None, detail: None }
    }

    /// Shows the rate in rows instead of iterations, where each iteration reads so many.
    #[must_use]
    pub fn rows_per_iteration(mut self, rows: usize) -> Self {
        self.rows = Some(rows as f64);
        self
    }

    /// Adds what `detail` says to the line.
    #[must_use]
    pub fn detail(mut self, detail: impl Fn(&Iteration<'_>) -> String + 'a) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// The line for an iteration, and its rate since the last line.
    fn line(&self, iteration: &Iteration<'_>) -> String {
        let mut parts = Vec::new();
        if iteration.num_restarts > 1 {
            parts.push(format!("restart {}/{}", iteration.restart, iteration.num_restarts));
        }
        parts.push(format!("iteration {}", iteration.iteration));
        let elbo = significant(iteration.progress.elbo, 9);
        parts.push(match iteration.progress.standard_error {
            Some(error) => format!("ELBO {elbo} ± {}", significant(error, 2)),
            None => format!("ELBO {elbo}"),
        });
        if let Some(gain) = iteration.gain {
            parts.push(format!("gain {}", significant(gain, 2)));
        }
        let elapsed = iteration.seconds - self.mark.0;
        if elapsed > 0.0 {
            let count = self.done - self.mark.1;
            parts.push(match self.rows {
                Some(rows) => format!("{} rows", rate(count * rows / elapsed)),
                None => rate(count / elapsed),
            });
        }
        if let Some(detail) = &self.detail {
            parts.push(detail(iteration));
        }
        parts.join(" · ")
    }

    /// The text to print now, if any.
    fn text(&mut self, iteration: &Iteration<'_>) -> Option<String> {
        self.done += 1.0;
        if self.mode == Mode::Silent || iteration.seconds < self.next {
            return None;
        }
        let line = self.line(iteration);
        self.mark = (iteration.seconds, self.done);
        self.next = iteration.seconds + self.pause;
        if self.mode == Mode::Lines {
            self.pause = (2.0 * self.pause).min(LONGEST_PAUSE);
            return Some(format!("{line}\n"));
        }
        self.drawn = true;
        Some(format!("\r{line}\x1b[K"))
    }
}

impl Observer for ProgressLine<'_> {
    fn iteration(&mut self, iteration: &Iteration<'_>) {
        if let Some(text) = self.text(iteration) {
            print_error(&text);
        }
    }

    fn finished(&mut self) {
        if self.drawn {
            print_error("\r\x1b[K");
            self.drawn = false;
        }
    }
}

/// Shows how much of something is done, where the number of its parts is known.
pub struct Counter {
    mode: Mode,
    what: &'static str,
    parts: &'static str,
    began: Instant,
    next: f64,
    pause: f64,
    drawn: bool,
}

impl Counter {
    /// Of `what`, made of `parts`; on a terminal's standard error one line, elsewhere sparse lines, nothing with `quiet`.
    #[must_use]
    pub fn new(quiet: bool, what: &'static str, parts: &'static str) -> Self {
        let mode = Mode::of_standard_error(quiet);
        let pause = mode.first_pause();
        Self { mode, what, parts, began: Instant::now(), next: pause, pause, drawn: false }
    }

    /// So many of all parts are done.
    pub fn reached(&mut self, done: usize, all: usize) {
        if let Some(text) = self.text(done, all, self.began.elapsed().as_secs_f64()) {
            print_error(&text);
        }
    }

    fn text(&mut self, done: usize, all: usize, seconds: f64) -> Option<String> {
        if self.mode == Mode::Silent || seconds < self.next {
            return None;
        }
        let line = format!("{} · {done} of {all} {}", self.what, self.parts);
        if self.mode == Mode::Lines {
            self.pause = (2.0 * self.pause).min(LONGEST_PAUSE);
        }
        self.next = seconds + self.pause;
        self.drawn = self.mode == Mode::OneLine;
        Some(if self.drawn { format!("\r{line}\x1b[K") } else { format!("{line}\n") })
    }

    /// Takes the line off the terminal.
    pub fn finished(&mut self) {
        if self.drawn {
            print_error("\r\x1b[K");
            self.drawn = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Progress;

    fn texts(mode: Mode, seconds: &[f64]) -> Vec<String> {
        let mut line = ProgressLine::with_mode(mode).detail(|iteration| format!("limit {}", iteration.max_iterations));
        let progress = Progress { standard_error: Some(0.25), ..Progress::new(-443.297_873) };
        let mut iteration = Iteration {
            restart: 2,
            num_restarts: 3,
            iteration: 0,
            max_iterations: 1000,
            seconds: 0.0,
            progress: &progress,
            gain: Some(1.5e-6),
        };
        seconds
            .iter()
            .filter_map(|&seconds| {
                iteration.iteration += 1;
                iteration.seconds = seconds;
                line.text(&iteration)
            })
            .collect()
    }

    #[test]
    fn sparse_lines_where_there_is_no_terminal() {
        let lines = texts(Mode::Lines, &[1.0, 2.0, 3.0, 4.0, 7.0, 8.0, 9.0]);
        let rest = "ELBO -443.297873 ± 0.25 · gain 1.5e-6";
        assert_eq!(
            lines,
            [
                format!("restart 2/3 · iteration 2 · {rest} · 1.00/s · limit 1000\n"),
                format!("restart 2/3 · iteration 4 · {rest} · 1.00/s · limit 1000\n"),
                format!("restart 2/3 · iteration 6 · {rest} · 0.500/s · limit 1000\n"),
            ]
        );
    }

    #[test]
    fn one_line_on_a_terminal_and_silence() {
        let lines = texts(Mode::OneLine, &[0.05, 0.15, 0.2, 0.3]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("\rrestart 2/3 · iteration 2") && lines[0].ends_with("\x1b[K"));
        assert!(texts(Mode::Silent, &[10.0, 100.0]).is_empty());
    }

    #[test]
    fn parts_are_counted() {
        let counter =
            |mode: Mode| Counter { mode, pause: 2.0, next: 2.0, ..Counter::new(true, "answers", "questions") };
        let mut sparse = counter(Mode::Lines);
        assert_eq!(sparse.text(1, 9, 1.0), None);
        assert_eq!(sparse.text(3, 9, 2.5).as_deref(), Some("answers · 3 of 9 questions\n"));
        assert_eq!(sparse.text(5, 9, 6.0), None);
        assert_eq!(counter(Mode::OneLine).text(3, 9, 2.5).as_deref(), Some("\ranswers · 3 of 9 questions\x1b[K"));
        assert_eq!(counter(Mode::Silent).text(3, 9, 2.5), None);
    }
}

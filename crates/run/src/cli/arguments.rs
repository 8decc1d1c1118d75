//! The arguments of `run` that both engines share.

use crate::executor::Checkpoints;
use crate::output::LocalFormat;
use crate::record::Record;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// The format of the tables that `--save` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SaveFormat {
    /// A text table with a header.
    #[default]
    Csv,
    /// A NumPy matrix of doubles.
    Npy,
}

impl From<SaveFormat> for LocalFormat {
    fn from(format: SaveFormat) -> Self {
        match format {
            SaveFormat::Csv => Self::Csv,
            SaveFormat::Npy => Self::Npy,
        }
    }
}

/// What a run writes and says.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputOptions {
    /// Folder for the results [default: runs/ and FILE without its ending]
    #[arg(long, short, value_name = "DIR", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Also write the row-level posterior of these variables to local/NAME.csv (repeat, or separate by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Output")]
    pub save: Vec<String>,

    /// Format of what --save writes
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub save_format: SaveFormat,

    /// Print summary.json on standard output and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print no progress and no summary, only errors
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// Draw no pictures
    #[arg(long, help_heading = "Output")]
    pub no_plot: bool,
}

/// The arguments of `run`; what is left out is taken from the file's `[inference]`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArguments {
    /// Model file (TOML)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Results and messages.
    #[command(flatten)]
    pub output: OutputOptions,

    /// Seed of all randomness
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    pub seed: Option<u64>,

    /// Number of restarts; the best ELBO is kept
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    pub restarts: Option<usize>,

    /// Stop after so many iterations per restart
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    pub max_iterations: Option<usize>,

    /// Stop when an iteration gains no more than X × |ELBO|
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true, help_heading = "Inference (overrides the file)")]
    pub tolerance: Option<f64>,

    /// Threads; the result does not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Go on where an interrupted run left its checkpoint
    #[arg(long)]
    pub resume: bool,
}

impl RunArguments {
    /// The folder of the results: `--output`, or `runs/<model file's stem>`.
    #[must_use]
    pub fn output_folder(&self) -> PathBuf {
        let stem = self.file.file_stem().unwrap_or(self.file.as_os_str());
        self.output.output.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem))
    }
}

/// Name of the file in a run's folder from which it can be resumed.
const CHECKPOINT: &str = "checkpoint.bin";
/// The least time between two checkpoints.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(30);

impl RunArguments {
    /// Where the run saves its state, and whether it goes on from there: `fingerprint` is of model, data and options.
    ///
    /// # Errors
    /// What to tell the user when there is nothing to resume.
    pub fn checkpoints(&self, fingerprint: u64, every_steps: Option<usize>) -> Result<Checkpoints, String> {
        let path = self.output_folder().join(CHECKPOINT);
        if self.resume && !path.is_file() {
            return Err(format!("there is no checkpoint at {}: only an interrupted run leaves one", path.display()));
        }
        Ok(Checkpoints { path, every: BETWEEN_CHECKPOINTS, every_steps, fingerprint, resume: self.resume })
    }

    /// Removes the checkpoint of a run that is whole: nothing is left to go on with. Of an interrupted one it says how to go on.
    pub fn settle_checkpoint(&self, record: &mut Record) {
        let path = self.output_folder().join(CHECKPOINT);
        if record.extra.contains_key("interrupted") && path.is_file() {
            record.advise("the same command with --resume goes on from here");
        } else {
            // Where there is none, none is removed.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// A count of at least 1.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}

/// A seed.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it must be a whole number of at least 0".to_owned())
}

/// A finite number of at least 0.
fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("it must be a number of at least 0, such as 1e-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// Fits models.
    #[derive(Debug, Parser)]
    enum Commands {
        /// Fits a model.
        Run(RunArguments),
    }

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        run: RunArguments,
    }

    fn parse(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
        Probe::try_parse_from([&["probe"], arguments].concat()).map(|probe| probe.run)
    }

    #[test]
    fn names_may_be_repeated_or_separated_by_commas() {
        let run = parse(&["models/gmm.toml", "--save", "z,x", "--save", "y", "--tolerance", "0", "-q"]).unwrap();
        assert_eq!(run.output.save, ["z", "x", "y"]);
        assert_eq!(run.tolerance, Some(0.0));
        assert!(run.output.quiet);
        assert_eq!(run.output_folder(), PathBuf::from("runs/gmm"));
        let run = parse(&["gmm.toml", "--output", "out", "--save-format", "npy"]).unwrap();
        assert_eq!(run.output_folder(), PathBuf::from("out"));
        assert_eq!(LocalFormat::from(run.output.save_format), LocalFormat::Npy);
    }

    #[test]
    fn a_command_keeps_its_own_description() {
        let help = Commands::try_parse_from(["probe", "run", "--help"]).unwrap_err().to_string();
        assert!(help.starts_with("Fits a model"), "{help}");
    }

    #[test]
    fn senseless_numbers_are_refused() {
        for bad in [["--restarts", "0"], ["--max-iterations", "-1"], ["--tolerance", "NaN"], ["--threads", "many"]] {
            let error = parse(&["m.toml", bad[0], bad[1]]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
        let error = parse(&["m.toml", "--tolerance", "-1"]).unwrap_err().to_string();
        assert!(error.contains("at least 0"), "{error}");
    }
}

//! The directory of a run: made, reused and filled without touching what is not a run's.

use super::{AtomicFile, LocalColumns, LocalFormat, LocalWriter, OutputError, elbo_csv};
use crate::record::Record;
use crate::summary::Summary;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The file that marks a run's directory; it lists the files that the run wrote, one per line.
const MARKER: &str = ".vi-run";

/// A directory that belongs to a run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    files: BTreeSet<String>,
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> OutputError + '_ {
    move |source| OutputError::Write { path: path.to_owned(), source }
}

/// Whether the path stays within the directory it is joined to.
fn is_inside(relative: &Path) -> bool {
    relative.components().all(|component| matches!(component, Component::Normal(_)))
        && relative.components().next().is_some()
}

/// Whether the directory holds a `summary.json` that a run wrote.
fn has_summary(path: &Path) -> bool {
    fs::read(path.join("summary.json")).is_ok_and(|text| serde_json::from_slice::<Summary>(&text).is_ok())
}

impl RunDirectory {
    /// Makes the directory, or takes over that of an earlier run, whose files (those it listed) are removed.
    ///
    /// # Errors
    /// When the path is a file, or a directory that is neither empty nor a run's: nothing is changed then.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let mut directory = Self::open(path)?;
        for file in std::mem::take(&mut directory.files) {
            let file = path.join(file);
            if file.is_file() {
                fs::remove_file(&file).map_err(write_error(&file))?;
            }
        }
        directory.write_marker()?;
        Ok(directory)
    }

    /// Makes the directory, or goes on in that of an earlier run, keeping its files: for resuming, and for what is done
    /// after a run.
    ///
    /// # Errors
    /// As [`RunDirectory::create`].
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        let mut directory = Self { path: path.to_owned(), files: BTreeSet::new() };
        match fs::read_dir(path) {
            Ok(mut entries) => match fs::read_to_string(path.join(MARKER)) {
                Ok(list) => {
                    directory.files =
                        list.lines().filter(|line| is_inside(Path::new(line))).map(str::to_owned).collect();
                }
                Err(_) if entries.next().is_none() || has_summary(path) => {}
                Err(_) => {
                    return Err(OutputError::NotARun { path: path.to_owned() });
                }
            },
            Err(_) if path.exists() => {
                return Err(OutputError::NotADirectory { path: path.to_owned() });
            }
            Err(_) => fs::create_dir_all(path).map_err(write_error(path))?,
        }
        directory.write_marker()?;
        Ok(directory)
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that this run wrote, relative to the directory, in alphabetical order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The path of a file of this run, which is from now on removed when another run takes over the directory. Its
    /// folder is made.
    ///
    /// # Errors
    /// When `relative` leads out of the directory, or the folder cannot be made.
    pub fn file(&mut self, relative: &str) -> Result<PathBuf, OutputError> {
        if !is_inside(Path::new(relative)) || relative.contains(['\n', '\r']) {
            return Err(OutputError::Name { name: relative.to_owned() });
        }
        let path = self.path.join(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(write_error(folder))?;
        }
        if self.files.insert(relative.to_owned()) {
            self.write_marker()?;
        }
        Ok(path)
    }

    /// Writes a whole file atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, relative: &str, content: &[u8]) -> Result<(), OutputError> {
        let path = self.file(relative)?;
        AtomicFile::write_whole(&path, content)
    }

    /// Writes a value as JSON, atomically and piece by piece: its text is never in memory as a whole.
    ///
    /// # Errors
    /// When it has no form in JSON or cannot be written.
    pub fn write_json(&mut self, relative: &str, value: &impl serde::Serialize) -> Result<(), OutputError> {
        let path = self.file(relative)?;
        let mut file = AtomicFile::create(&path)?;
        crate::json::write(value, &mut file).map_err(|source| OutputError::Json { path, source })?;
        file.commit()
    }

    /// Writes `elbo.csv`, `posterior.json` and, last, `summary.json`: where that is, the run is complete.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn write_record(&mut self, record: &Record) -> Result<(), OutputError> {
        self.write("elbo.csv", elbo_csv(record).as_bytes())?;
        self.write_json("posterior.json", &record.posterior)?;
        let path = self.path.join("summary.json");
        let summary = record.summary_json().map_err(|source| OutputError::Json { path, source })?;
        self.write("summary.json", summary.as_bytes())
    }

    /// The text of this run's `summary.json`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn summary_text(&self) -> Result<String, OutputError> {
        self.text("summary.json")
    }

    /// The text of one of this run's files.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&self, relative: &str) -> Result<String, OutputError> {
        let path = self.path.join(relative);
        fs::read_to_string(&path).map_err(|source| OutputError::Read { path, source })
    }

    /// Begins `local/NAME.csv` or `.npy`.
    ///
    /// # Errors
    /// When the name cannot be a file name, or the file cannot be created.
    pub fn local_writer(
        &mut self,
        name: &str,
        format: LocalFormat,
        columns: LocalColumns,
    ) -> Result<LocalWriter, OutputError> {
        if Path::new(name).components().count() != 1 {
            return Err(OutputError::Name { name: name.to_owned() });
        }
        let path = self.file(&format!("local/{name}.{}", format.extension()))?;
        LocalWriter::create(&path, name, format, columns)
    }

    fn write_marker(&self) -> Result<(), OutputError> {
        let list: String = self.files.iter().map(|file| format!("{file}\n")).collect();
        AtomicFile::write_whole(&self.path.join(MARKER), list.as_bytes())
    }
}

/// The engine whose finished run is in `folder`, as its `summary.json` says.
#[must_use]
pub fn engine_of(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("summary.json")).ok()?;
    let summary: serde_json::Value = serde_json::from_str(&text).ok()?;
    summary.get("engine").and_then(serde_json::Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_folder;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_takes_over_its_own_directory_and_removes_only_its_own_files() {
        let folder = test_folder("takes-over");
        let path = folder.join("runs/coin");
        let mut directory = RunDirectory::create(&path).unwrap();
        let record = Record::new("cavi", "coin.toml", "0.1.0", 0);
        let mut writer = directory.local_writer("z", LocalFormat::Csv, LocalColumns::Scalar).unwrap();
        writer.write_moments(&[1.0], &[2.0]).unwrap();
        writer.finish().unwrap();
        directory.write_record(&record).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert_eq!(names(&path), [".vi-run", "elbo.csv", "local", "notes.txt", "posterior.json", "summary.json"]);
        RunDirectory::open(&path).unwrap();
        assert!(path.join("summary.json").exists());
        RunDirectory::create(&path).unwrap();
        assert_eq!(names(&path), [".vi-run", "local", "notes.txt"]);
        assert!(names(&path.join("local")).is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_not_a_run_is_left_alone() {
        let folder = test_folder("not-a-run");
        fs::write(folder.join("summary.json"), "{\"total\": 3}").unwrap();
        assert!(matches!(RunDirectory::create(&folder), Err(OutputError::NotARun { .. })));
        assert_eq!(names(&folder), ["summary.json"]);
        let error = RunDirectory::create(&folder.join("summary.json")).unwrap_err();
        assert!(matches!(error, OutputError::NotADirectory { .. }), "{error}");
        let summary = Record::new("cavi", "coin.toml", "0.1.0", 0).summary_json().unwrap();
        fs::write(folder.join("summary.json"), summary).unwrap();
        RunDirectory::create(&folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_written_outside() {
        let folder = test_folder("outside");
        let mut directory = RunDirectory::create(&folder).unwrap();
        for name in ["../x", "/tmp/x", "", "a\nb"] {
            assert!(matches!(directory.file(name), Err(OutputError::Name { .. })), "{name:?}");
        }
        assert!(directory.local_writer("a/b", LocalFormat::Csv, LocalColumns::Scalar).is_err());
        fs::write(folder.join(MARKER), "../victim\nown.txt\n").unwrap();
        fs::write(folder.join("own.txt"), "").unwrap();
        let victim = folder.with_file_name(format!("victim-{}", std::process::id()));
        fs::write(&victim, "").unwrap();
        RunDirectory::create(&folder).unwrap();
        assert!(victim.exists() && !folder.join("own.txt").exists());
        fs::remove_file(victim).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}

//! Files that appear whole or not at all.

use super::OutputError;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that is written beside its destination and renamed onto it by [`AtomicFile::commit`]; dropped before that, it
/// leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    destination: PathBuf,
}

impl AtomicFile {
    /// Begins a file that is to appear at `destination`, whose folder must exist.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn create(destination: &Path) -> Result<Self, OutputError> {
        let name = destination.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = destination.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file =
            File::create(&temporary).map_err(|source| OutputError::Write { path: destination.to_owned(), source })?;
        let writer = Some(BufWriter::with_capacity(1 << 16, file));
        Ok(Self { writer, temporary, destination: destination.to_owned() })
    }

    /// Makes the file appear, in place of an older one.
    ///
    /// # Errors
    /// When the last bytes cannot be written or the file cannot be renamed.
    pub fn commit(mut self) -> Result<(), OutputError> {
        let finish = |this: &mut Self| {
            if let Some(mut writer) = this.writer.take() {
                writer.flush()?;
            }
            std::fs::rename(&this.temporary, &this.destination)
        };
        finish(&mut self).map_err(|source| {
            let _ = std::fs::remove_file(&self.temporary);
            OutputError::Write { path: self.destination.clone(), source }
        })
    }

    /// Writes a whole file atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_whole(destination: &Path, content: &[u8]) -> Result<(), OutputError> {
        let mut file = Self::create(destination)?;
        file.write_all(content).map_err(|source| OutputError::Write { path: destination.to_owned(), source })?;
        file.commit()
    }

    /// The path at which the file is to appear.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file is already closed"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.open()?.seek(position)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_folder;

    #[test]
    fn a_file_appears_only_when_committed() {
        let folder = test_folder("atomic");
        let path = folder.join("a.txt");
        AtomicFile::write_whole(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

//! NumPy `.npz` archives: vectors become columns, arrays with more axes blocks, single numbers constants.

use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::matrix::{Bytes, matrix_data};
use super::npy::{parse_header, parse_number};
use super::{ColumnId, Data, DataError};

/// A file inside an archive.
struct Entry<'a> {
    name: &'a str,
    method: u16,
    packed: &'a [u8],
    unpacked_size: usize,
}

/// Reads an archive: a vector `NAME` is a column of that name, any other array a block of that name with columns `NAME.0`,
/// `NAME.1`, …; one without axes is a number. All others must have equally many rows.
pub(super) fn read_file(path: &Path) -> Result<Data, DataError> {
    let file = path.display().to_string();
    let format = |reason: String| DataError::Format { path: file.clone(), reason };
    let bytes = Bytes::map(path)?;
    let mut data = Data::default();
    for entry in entries(bytes.get()).map_err(format)? {
        let name = entry.name.strip_suffix(".npy").unwrap_or(entry.name);
        let context = |reason: String| format(format!("array `{name}`: {reason}"));
        let unpacked = entry.unpack().map_err(context)?;
        if let Some(number) = parse_number(&unpacked).map_err(context)? {
            data.scalars.push((name.to_owned(), number));
            continue;
        }
        let layout = parse_header(&unpacked).map_err(context)?;
        let (num_columns, is_vector) = (layout.num_columns, layout.is_vector);
        let path = format!("{file}: array `{name}`");
        if is_vector {
            data.append(matrix_data(&path, Bytes::Owned(unpacked), layout, |_| name.to_owned())?)?;
        } else {
            let mut matrix = matrix_data(&path, Bytes::Owned(unpacked), layout, |j| format!("{name}.{j}"))?;
            let columns: Vec<ColumnId> = (0..num_columns).map(ColumnId).collect();
            matrix.hidden = columns.clone();
            matrix.add_block(name, columns);
            data.append(matrix)?;
        }
    }
    Ok(data)
}

/// The files of a ZIP archive, from its central directory (PKWARE APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16).
fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    const END_SIGNATURE: &[u8] = b"PK\x05\x06";
    const END_BYTES: usize = 22;
    const DIRECTORY_SIGNATURE: &[u8] = b"PK\x01\x02";
    const DIRECTORY_BYTES: usize = 46;
    const LOCAL_BYTES: usize = 30;
    let broken = || "this is not a .npz file: its directory cannot be read".to_owned();
    // The end record is followed by a comment of at most 65535 bytes.
    let last = bytes.len().checked_sub(END_BYTES).ok_or_else(broken)?;
    let end = (last.saturating_sub(usize::from(u16::MAX))..=last)
        .rev()
        .find(|at| bytes[*at..].starts_with(END_SIGNATURE))
        .ok_or_else(broken)?;
    let count = u16_at(bytes, end + 10).ok_or_else(broken)?;
    let mut at = u32_at(bytes, end + 16).ok_or_else(broken)?;
    if count == u16::MAX || at == u32::MAX as usize {
        return Err("archives beyond 4 GiB cannot be read; save the arrays as .npy files".to_owned());
    }
    let mut found = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let record = bytes.get(at..).filter(|rest| rest.starts_with(DIRECTORY_SIGNATURE)).ok_or_else(broken)?;
        let short = |offset: usize| u16_at(record, offset).map(usize::from).ok_or_else(broken);
        let long = |offset: usize| u32_at(record, offset).ok_or_else(broken);
        let (packed_size, unpacked_size, local) = (long(20)?, long(24)?, long(42)?);
        if [packed_size, unpacked_size, local].contains(&(u32::MAX as usize)) {
            return Err("arrays beyond 4 GiB cannot be read; save them as .npy files".to_owned());
        }
        let name_end = DIRECTORY_BYTES + short(28)?;
        let name = record.get(DIRECTORY_BYTES..name_end).and_then(|name| std::str::from_utf8(name).ok());
        let local_lengths = u16_at(bytes, local + 26).zip(u16_at(bytes, local + 28)).ok_or_else(broken)?;
        let start = local + LOCAL_BYTES + usize::from(local_lengths.0) + usize::from(local_lengths.1);
        found.push(Entry {
            name: name.ok_or_else(broken)?,
            method: u16_at(record, 10).ok_or_else(broken)?,
            packed: bytes.get(start..start + packed_size).ok_or_else(broken)?,
            unpacked_size,
        });
        at += name_end + short(30)? + short(32)?;
    }
    Ok(found)
}

impl Entry<'_> {
    fn unpack(&self) -> Result<Vec<u8>, String> {
        match self.method {
            0 => Ok(self.packed.to_vec()),
            8 => {
                let mut unpacked = Vec::new();
                DeflateDecoder::new(self.packed)
                    .take(self.unpacked_size as u64 + 1)
                    .read_to_end(&mut unpacked)
                    .map_err(|error| error.to_string())?;
                if unpacked.len() != self.unpacked_size {
                    return Err("the archive does not hold as many bytes as it says".to_owned());
                }
                Ok(unpacked)
            }
            other => Err(format!("compression method {other} is not known (numpy: savez or savez_compressed)")),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A ZIP archive without checksums.
    fn archive(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, content, compress) in files {
            let packed = if *compress {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            } else {
                content.to_vec()
            };
            let method = if *compress { 8u16 } else { 0 };
            let mut common = vec![20, 0, 0, 0];
            common.extend(method.to_le_bytes());
            common.extend([0; 8]);
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((content.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0, 0]);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend((bytes.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            bytes.extend(b"PK\x03\x04");
            bytes.extend(&common);
            bytes.extend(name.as_bytes());
            bytes.extend(packed);
        }
        let start = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend((files.len() as u16).to_le_bytes());
        bytes.extend((files.len() as u16).to_le_bytes());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    fn npy(shape: &str, body: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn vectors_are_columns_and_matrices_blocks() {
        let images = npy("(2, 3)", &[1, 2, 3, 4, 5, 6]);
        let labels = npy("(2,)", &[7, 9]);
        let path = std::env::temp_dir().join(format!("vi-model-{}.npz", std::process::id()));
        std::fs::write(&path, archive(&[("images.npy", &images, true), ("labels.npy", &labels, false)])).unwrap();
        let data = Data::from_file(&path).unwrap();
        let block = data.block_named("images").unwrap();
        let mut out = [0.0; 6];
        data.read_block(block, 0..2, &mut out).unwrap();
        assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let label = data.columns_matching("*").unwrap();
        assert_eq!(label, [data.column_named("labels").unwrap()]);
        data.read(&label, 1..2, &mut out[..1]).unwrap();
        assert_eq!(out[0], 9.0);

        let size = npy("()", &[5]);
        std::fs::write(&path, archive(&[("size.npy", &size, true), ("labels.npy", &labels, true)])).unwrap();
        let data = Data::from_file(&path).unwrap();
        assert_eq!((data.num_rows(), data.scalars), (2, vec![("size".to_owned(), 5.0)]));

        let three = npy("(3,)", &[1, 2, 3]);
        std::fs::write(&path, archive(&[("images.npy", &images, true), ("labels.npy", &three, true)])).unwrap();
        let error = Data::from_file(&path).unwrap_err();
        assert!(matches!(error, DataError::NumRows { found: 3, expected: 2, .. }), "{error}");
        std::fs::write(&path, b"PK").unwrap();
        assert!(Data::from_file(&path).unwrap_err().to_string().contains("not a .npz file"));
        std::fs::remove_file(path).unwrap();
    }
}

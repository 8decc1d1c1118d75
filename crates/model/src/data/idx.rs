//! IDX files, the format of the MNIST images, plain or compressed with gzip.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::matrix::{Bytes, Element, Layout, matrix_data};
use super::{Data, DataError};

/// Whether a file name (without `.gz`) is that of an IDX file, such as `train-images-idx3-ubyte` or `labels.idx`.
pub(super) fn is_idx(name: &str) -> bool {
    name.ends_with("ubyte") || name.ends_with(".idx")
}

/// Reads a file: plain ones are mapped, compressed ones unpacked; the first axis are the rows, the others together the columns
/// 0, 1, ….
pub(super) fn read_file(path: &Path, compressed: bool) -> Result<Data, DataError> {
    let name = path.display().to_string();
    let bytes = if compressed { Bytes::Owned(unpack(path)?) } else { Bytes::map(path)? };
    let layout = parse_header(bytes.get()).map_err(|reason| DataError::Format { path: name.clone(), reason })?;
    matrix_data(&name, bytes, layout, |j| j.to_string())
}

/// The content of a gzip file, which may have several members.
pub(super) fn unpack(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable =
        |error: std::io::Error| DataError::Read { path: path.display().to_string(), reason: error.to_string() };
    let mut bytes = Vec::new();
    MultiGzDecoder::new(File::open(path).map_err(unreadable)?).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Two zero bytes, the element type, the number of axes, then each length in four bytes, all big-endian (LeCun, Cortes &
/// Burges, "The MNIST database").
fn parse_header(bytes: &[u8]) -> Result<Layout, String> {
    let truncated = || "the file ends before its header does".to_owned();
    let (&[zero, also_zero, code, num_axes], _) = bytes.split_first_chunk::<4>().ok_or_else(truncated)?;
    if (zero, also_zero) != (0, 0) {
        return Err("this is not an IDX file: it does not begin with two zero bytes".to_owned());
    }
    let element = match code {
        0x08 => Element::U8,
        0x09 => Element::I8,
        0x0B => Element::I16,
        0x0C => Element::I32,
        0x0D => Element::F32,
        0x0E => Element::F64,
        other => return Err(format!("element type {other:#04x} of the IDX format is not known")),
    };
    let offset = 4 + 4 * usize::from(num_axes);
    let (lengths, _) = bytes.get(4..offset).ok_or_else(truncated)?.as_chunks::<4>();
    let shape: Vec<usize> = lengths.iter().map(|length| u32::from_be_bytes(*length) as usize).collect();
    Layout::row_major(element, true, &shape, offset)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::data::ColumnId;

    #[test]
    fn plain_and_compressed_images_agree() {
        // Two images of 2×3 bytes.
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]);
        let folder = std::env::temp_dir();
        let plain = folder.join(format!("vi-model-{}-idx3-ubyte", std::process::id()));
        let packed = folder.join(format!("vi-model-{}-idx3-ubyte.gz", std::process::id()));
        std::fs::write(&plain, &bytes).unwrap();
        // In two members, as `cat` and bgzip leave them.
        let mut members = Vec::new();
        for part in [&bytes[..19], &bytes[19..]] {
            let mut encoder = flate2::write::GzEncoder::new(&mut members, flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap();
        }
        std::fs::write(&packed, members).unwrap();
        for path in [&plain, &packed] {
            let data = Data::from_file(path).unwrap();
            assert_eq!((data.num_rows(), data.columns.len()), (2, 6));
            let mut out = [0.0; 3];
            data.read(&[ColumnId(0), ColumnId(3), ColumnId(5)], 1..2, &mut out).unwrap();
            assert_eq!(out, [7.0, 10.0, 255.0]);
        }
        std::fs::write(&plain, &bytes[..20]).unwrap();
        let error = Data::from_file(&plain).unwrap_err().to_string();
        assert!(error.contains("needs 12 bytes") && error.contains("holds 4"), "{error}");
        std::fs::remove_file(plain).unwrap();
        std::fs::remove_file(packed).unwrap();
    }
}

//! NumPy `.npy` files.

use std::path::Path;

use super::matrix::{Bytes, Element, Layout, matrix_data};
use super::{ColumnId, Data, DataError};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Maps a file; a vector is one column, a matrix has one column per column, named 0, 1, …; further axes are columns too, the
/// last one fastest.
pub(super) fn map_file(path: &Path) -> Result<Data, DataError> {
    let name = path.display().to_string();
    let bytes = Bytes::map(path)?;
    let layout = parse_header(bytes.get()).map_err(|reason| DataError::Format { path: name.clone(), reason })?;
    matrix_data(&name, bytes, layout, |j| j.to_string())
}

/// The element type with its byte order, the shape and where the elements begin, from the header (NumPy Enhancement Proposal 1)
/// of version 1, 2 or 3; also the header itself.
fn parse_shape(bytes: &[u8]) -> Result<(Element, bool, Vec<usize>, usize, &str), String> {
    let truncated = || "the file ends before its header does".to_owned();
    if !bytes.starts_with(MAGIC) {
        return Err("this is not a .npy file: it does not begin with \\x93NUMPY".to_owned());
    }
    let major = *bytes.get(6).ok_or_else(truncated)?;
    let (length, start) = match major {
        1 => {
            let field: [u8; 2] = take(bytes, 8).ok_or_else(truncated)?;
            (usize::from(u16::from_le_bytes(field)), 10)
        }
        2 | 3 => {
            let field: [u8; 4] = take(bytes, 8).ok_or_else(truncated)?;
            (u32::from_le_bytes(field) as usize, 12)
        }
        other => return Err(format!("version {other} of the .npy format is not known")),
    };
    let offset = start + length;
    let header = bytes.get(start..offset).ok_or_else(truncated)?;
    let header = std::str::from_utf8(header).map_err(|error| error.to_string())?;

    let description = value_of(header, "descr")?.trim_matches(['\'', '"']);
    let (order, code) = description.split_at_checked(1).ok_or("the element type is empty")?;
    let element = Element::from_code(code).filter(|_| ["<", ">", "|", "="].contains(&order)).ok_or_else(|| {
        format!(
            "elements of type `{description}` cannot be read; save it as float64, float32, float16, bool or an integer type \
             (numpy: array.astype(\"float64\"))"
        )
    })?;
    let shape = value_of(header, "shape")?
        .trim_matches(['(', ')'])
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<usize>().map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((element, order == ">", shape, offset, header))
}

/// The number that an array without axes is; `None` where it has axes.
pub(super) fn parse_number(bytes: &[u8]) -> Result<Option<f64>, String> {
    let (element, big_endian, shape, offset, _) = parse_shape(bytes)?;
    if !shape.is_empty() {
        return Ok(None);
    }
    let layout = Layout::row_major(element, big_endian, &[1], offset)?;
    let data = matrix_data("", Bytes::Owned(bytes.to_vec()), layout, |_| String::new()).map_err(|e| e.to_string())?;
    let mut number = [f64::NAN];
    data.read(&[ColumnId(0)], 0..1, &mut number).map_err(|error| error.to_string())?;
    match number[0].is_finite() {
        true => Ok(Some(number[0])),
        false => Err(format!("it is the single number {}, which must be finite", number[0])),
    }
}

/// What the header says.
pub(super) fn parse_header(bytes: &[u8]) -> Result<Layout, String> {
    let (element, big_endian, shape, offset, header) = parse_shape(bytes)?;
    let fortran = value_of(header, "fortran_order")? == "True";
    if !fortran {
        return Layout::row_major(element, big_endian, &shape, offset);
    }
    let [num_rows, num_columns] = shape[..] else {
        return Err(format!(
            "the array has {} axes in Fortran order, which only a matrix may have (numpy: np.ascontiguousarray(array))",
            shape.len()
        ));
    };
    Ok(Layout {
        element,
        big_endian,
        num_rows,
        num_columns,
        row_stride: 1,
        column_stride: num_rows,
        is_vector: false,
        offset,
    })
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The text of a key's value in the header's Python dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("its header has no `{key}`");
    let (_, after) = header.split_once(&format!("'{key}':")).ok_or_else(missing)?;
    let after = after.trim_start();
    let end = if after.starts_with('(') {
        after.find(')').map(|at| at + 1)
    } else if after.starts_with('[') {
        return Err("records with named fields cannot be read; save a plain matrix".to_owned());
    } else {
        after.find([',', '}'])
    };
    Ok(after[..end.ok_or_else(missing)?].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the temporary folder that is removed when the test ends.
    struct Scratch(std::path::PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn npy(name: &str, description: &str, fortran: &str, shape: &str, body: &[u8]) -> Scratch {
        let mut header = format!("{{'descr': '{description}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while !(10 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        let path = std::env::temp_dir().join(format!("vi-model-{}-{name}.npy", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }

    fn read_all(file: &Scratch, columns: &[usize]) -> Vec<f64> {
        let data = Data::from_file(&file.0).unwrap();
        let columns: Vec<ColumnId> = columns.iter().copied().map(ColumnId).collect();
        let mut out = vec![0.0; data.num_rows() * columns.len()];
        data.read(&columns, 0..data.num_rows(), &mut out).unwrap();
        out
    }

    #[test]
    fn row_major_and_column_major_matrices_agree() {
        let rows: Vec<u8> = [1.5f64, -2.0, 3.0, 4.0, f64::NAN, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let c = npy("c", "<f8", "False", "(2, 3)", &rows);
        assert_eq!(read_all(&c, &[0, 2]), [1.5, 3.0, 4.0, 6.0]);
        assert_eq!(read_all(&c, &[0, 1])[..3], [1.5, -2.0, 4.0]);
        assert!(read_all(&c, &[1])[1].is_nan());
        let columns: Vec<u8> = [1.5f32, 4.0, -2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let f = npy("f", ">f4", "True", "(2, 3)", &columns);
        assert_eq!(read_all(&f, &[0, 1, 2]), [1.5, -2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn vectors_and_integers() {
        let body: Vec<u8> = [-3i16, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = npy("v", "<i2", "False", "(2,)", &body);
        assert_eq!(read_all(&file, &[0]), [-3.0, 7.0]);
        let flags = npy("b", "|b1", "False", "(3,)", &[1, 0, 1]);
        assert_eq!(read_all(&flags, &[0]), [1.0, 0.0, 1.0]);
    }

    /// Bit patterns from IEEE 754: 1.5, −2, the least positive number 2⁻²⁴, 65504, and one that is none.
    #[test]
    fn half_precision() {
        let bits = [0x3e00u16, 0xc000, 0x0001, 0x7bff, 0x7e00];
        let body: Vec<u8> = bits.iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = npy("half", "<f2", "False", "(5,)", &body);
        let found = read_all(&file, &[0]);
        assert_eq!(found[..4], [1.5, -2.0, 2f64.powi(-24), 65504.0]);
        assert!(found[4].is_nan());
    }

    #[test]
    fn further_axes_are_columns() {
        let file = npy("images", "|u1", "False", "(2, 2, 2)", &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(read_all(&file, &[0, 1, 2, 3])[4..], [5.0, 6.0, 7.0, 8.0]);
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        for (name, description, shape, body, part) in [
            ("complex", "<c16", "(1,)", vec![0; 16], "astype"),
            ("scalar", "<f8", "()", vec![0; 8], "no axes"),
            ("short", "<f8", "(2, 2)", vec![0; 8], "needs 32 bytes"),
        ] {
            let file = npy(name, description, "False", shape, &body);
            let error = Data::from_file(&file.0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let text = Scratch(std::env::temp_dir().join(format!("vi-model-{}-not.npy", std::process::id())));
        std::fs::write(&text.0, "a,b\n").unwrap();
        let error = Data::from_file(&text.0).unwrap_err().to_string();
        assert!(error.contains("not a .npy file"), "{error}");
    }
}

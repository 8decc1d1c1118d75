//! JSON that people can read: tables over several lines, arrays of numbers on one.

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// The text of `value`, with one line feed at the end.
///
/// # Errors
/// When a value has no form in JSON.
pub fn to_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    write(value, &mut bytes)?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// Writes the text of `value` piece by piece, with one line feed at the end.
///
/// # Errors
/// When a value has no form in JSON, or the writer fails.
pub fn write(value: &impl Serialize, writer: &mut impl Write) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(&mut *writer, Readable(PrettyFormatter::new())))?;
    writer.write_all(b"\n").map_err(serde_json::Error::io)
}

/// Objects as the pretty formatter writes them, arrays on one line.
struct Readable(PrettyFormatter<'static>);

impl Formatter for Readable {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn tables_over_lines_and_arrays_on_one() {
        let value = json!({"a": {"mean": [[1.0, 2.0], [3.0, 4.5]], "empty": {}}, "b": []});
        let expected =
            "{\n  \"a\": {\n    \"empty\": {},\n    \"mean\": [[1.0, 2.0], [3.0, 4.5]]\n  },\n  \"b\": []\n}\n";
        assert_eq!(super::to_text(&value).unwrap(), expected);
    }
}

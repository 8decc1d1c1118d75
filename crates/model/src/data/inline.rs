//! Values written in `[data.values]`: columns, constants, blocks and constant arrays with named axes.

use super::{Cells, DataError};

/// A dense constant array with the axes' names as written.
#[derive(Debug, Clone, PartialEq)]
pub struct InlineArray {
    /// Names of the axes, outermost first.
    pub axes: Vec<String>,
    /// Length along each axis.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f64>,
}

/// One entry of `[data.values]`.
#[derive(Debug, Clone, PartialEq)]
pub enum InlineValue {
    /// A scalar: a constant.
    Constant(f64),
    /// An array: a column.
    Column(Cells),
    /// An array of arrays: a block, `[num_rows, num_columns]` row-major.
    Block {
        /// Number of columns.
        num_columns: usize,
        /// Values, row-major.
        values: Vec<f64>,
    },
    /// `{ axes, values }`: a constant array.
    Array(InlineArray),
}

impl InlineValue {
    /// Interprets an entry; `name` is for messages.
    ///
    /// # Errors
    /// [`DataError::Inline`] for anything but numbers, booleans, text and regular arrays of them.
    pub fn from_toml(name: &str, value: &toml::Value) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Inline { name: name.to_owned(), reason };
        match value {
            toml::Value::Array(items) if items.is_empty() => Err(refuse("an empty array has no rows".to_owned())),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_array) => {
                let (shape, values) = nested(value).map_err(refuse)?;
                if let [_, num_columns] = shape[..] {
                    return Ok(Self::Block { num_columns, values });
                }
                Err(refuse(format!(
                    "an array nested {} deep is neither a column nor a block; write {{ axes = […], values = … }} for a \
                     constant array with named axes",
                    shape.len()
                )))
            }
            toml::Value::Array(items) if items.iter().any(toml::Value::is_str) => {
                let texts = items.iter().map(|item| match item {
                    toml::Value::String(text) => {
                        let missing = matches!(text.as_str(), "" | "NA" | "NaN" | "nan" | "null");
                        Ok((!missing).then(|| text.clone()))
                    }
                    other => Err(refuse(format!(
                        "text and {} stand in one array; a column holds one kind",
                        other.type_str()
                    ))),
                });
                Ok(Self::Column(Cells::Text(texts.collect::<Result<_, _>>()?)))
            }
            toml::Value::Array(_) => {
                let (_, values) = nested(value).map_err(refuse)?;
                Ok(Self::Column(Cells::Numbers(values)))
            }
            toml::Value::Table(table) => {
                if let Some(key) = table.keys().find(|k| !["axes", "values"].contains(&k.as_str())) {
                    return Err(refuse(format!(
                        "unknown key `{key}`; a constant array is written {{ axes = [\"…\"], values = […] }}"
                    )));
                }
                let axes = table
                    .get("axes")
                    .and_then(toml::Value::as_array)
                    .and_then(|axes| axes.iter().map(|a| a.as_str().map(str::to_owned)).collect())
                    .ok_or_else(|| refuse("`axes` must be an array of names".to_owned()))?;
                let values =
                    table.get("values").ok_or_else(|| refuse("`values` is missing beside `axes`".to_owned()))?;
                Self::array(name, axes, values).map(Self::Array)
            }
            scalar => match number(scalar) {
                Some(value) if value.is_finite() => Ok(Self::Constant(value)),
                _ => Err(refuse("a constant must be a finite number or a boolean".to_owned())),
            },
        }
    }

    /// A constant array over named axes.
    ///
    /// # Errors
    /// [`DataError::Inline`] where the values are irregular, not finite, or nested to another depth than there are axes.
    pub fn array(name: &str, axes: Vec<String>, values: &toml::Value) -> Result<InlineArray, DataError> {
        let refuse = |reason: String| DataError::Inline { name: name.to_owned(), reason };
        let (shape, values) = nested(values).map_err(refuse)?;
        if shape.len() != axes.len() {
            return Err(refuse(format!(
                "{} axes are named, but the values are nested {} deep",
                axes.len(),
                shape.len()
            )));
        }
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(refuse(format!("holds {value}; constants must be finite")));
        }
        Ok(InlineArray { axes, shape, values })
    }
}

/// Shape and row-major values of nested arrays of numbers; a number has shape `[]`, NaN is a missing value.
///
/// # Errors
/// What is irregular.
fn nested(value: &toml::Value) -> Result<(Vec<usize>, Vec<f64>), String> {
    let toml::Value::Array(items) = value else {
        let found = number(value).ok_or_else(|| format!("holds a {} where a number is needed", value.type_str()))?;
        if found.is_infinite() {
            return Err(format!("holds {found}; numbers must be finite"));
        }
        return Ok((Vec::new(), vec![found]));
    };
    let mut shape: Option<Vec<usize>> = None;
    let mut values = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let (item_shape, item_values) = nested(item)?;
        match &shape {
            None => shape = Some(item_shape),
            Some(first) if *first != item_shape => {
                return Err(format!(
                    "its parts are of unequal shape: part 1 has shape {first:?}, part {} has {item_shape:?}",
                    position + 1
                ));
            }
            Some(_) => {}
        }
        values.extend(item_values);
    }
    let mut whole = vec![items.len()];
    whole.extend(shape.ok_or("holds an empty array")?);
    Ok((whole, values))
}

fn number(value: &toml::Value) -> Option<f64> {
    match value {
        toml::Value::Integer(value) => Some(*value as f64),
        toml::Value::Float(value) => Some(*value),
        toml::Value::Boolean(value) => Some(f64::from(u8::from(*value))),
        toml::Value::String(text) if matches!(text.as_str(), "NA" | "NaN" | "nan" | "null" | "") => Some(f64::NAN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Result<InlineValue, DataError> {
        let table: toml::Table = text.parse().unwrap();
        InlineValue::from_toml("x", &table["x"])
    }

    #[test]
    fn every_form_is_told_apart() {
        assert_eq!(entry("x = 2").unwrap(), InlineValue::Constant(2.0));
        assert_eq!(entry("x = [1, 0.5, true]").unwrap(), InlineValue::Column(Cells::Numbers(vec![1.0, 0.5, 1.0])));
        assert_eq!(
            entry("x = ['a', '', 'NA']").unwrap(),
            InlineValue::Column(Cells::Text(vec![Some("a".to_owned()), None, None]))
        );
        assert_eq!(
            entry("x = [[1, 2, 3], [4, 5, 6]]").unwrap(),
            InlineValue::Block { num_columns: 3, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] }
        );
        assert_eq!(
            entry("x = { axes = ['a', 'b'], values = [[1, 2], [3, 4]] }").unwrap(),
            InlineValue::Array(InlineArray {
                axes: vec!["a".to_owned(), "b".to_owned()],
                shape: vec![2, 2],
                values: vec![1.0, 2.0, 3.0, 4.0]
            })
        );
    }

    #[test]
    fn irregular_values_are_refused() {
        for (text, part) in [
            ("x = [[1, 2], [3]]", "unequal shape"),
            ("x = [[[1.0]]]", "nested 3 deep"),
            ("x = { axes = ['a'], values = [[1.0]] }", "1 axes are named"),
            ("x = { axis = ['a'], values = [1.0] }", "unknown key `axis`"),
            ("x = [1.0, inf]", "finite"),
            ("x = 'word'", "finite number"),
            ("x = ['a', 1]", "one kind"),
            ("x = []", "empty"),
        ] {
            let message = entry(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("`x`"), "{text}: {message}");
        }
    }
}

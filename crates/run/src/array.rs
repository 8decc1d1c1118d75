//! Arrays of any rank that are written as nested lists.

use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// A dense array in row-major order: the last axis varies fastest.
///
/// It serialises as nested lists, a scalar (no axes) as a number. Numbers keep full precision: the shortest decimal that
/// reads back as the same `f64`. Numbers that are not finite are written as `null`, and read back as NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct NestedArray {
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// The number of values does not agree with the shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an array of shape {shape:?} holds {expected} numbers, but {given} were given")]
pub struct ShapeError {
    /// The shape that was asked for.
    pub shape: Vec<usize>,
    /// The product of the shape.
    pub expected: usize,
    /// The number of values.
    pub given: usize,
}

impl NestedArray {
    /// An array of `shape` from `values` in row-major order.
    ///
    /// # Errors
    /// When the number of values is not the product of the shape.
    pub fn new(shape: Vec<usize>, values: Vec<f64>) -> Result<Self, ShapeError> {
        let expected = shape.iter().product();
        if values.len() == expected {
            Ok(Self { shape, values })
        } else {
            Err(ShapeError { shape, expected, given: values.len() })
        }
    }

    /// A single number.
    #[must_use]
    pub fn scalar(value: f64) -> Self {
        Self { shape: Vec::new(), values: vec![value] }
    }

    /// One axis of `values.len()` elements.
    #[must_use]
    pub fn vector(values: Vec<f64>) -> Self {
        Self { shape: vec![values.len()], values }
    }

    /// The length of each axis, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The same shape with `function` applied to every value.
    #[must_use]
    pub fn map(&self, function: impl FnMut(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), values: self.values.iter().copied().map(function).collect() }
    }
}

impl From<f64> for NestedArray {
    fn from(value: f64) -> Self {
        Self::scalar(value)
    }
}

impl From<Vec<f64>> for NestedArray {
    fn from(values: Vec<f64>) -> Self {
        Self::vector(values)
    }
}

/// One level of the nesting.
struct View<'a> {
    shape: &'a [usize],
    values: &'a [f64],
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((&length, inner)) = self.shape.split_first() else {
            return self.values[0].serialize(serializer);
        };
        let mut list = serializer.serialize_seq(Some(length))?;
        let stride: usize = inner.iter().product();
        for index in 0..length {
            let values = &self.values[index * stride..(index + 1) * stride];
            list.serialize_element(&View { shape: inner, values })?;
        }
        list.end()
    }
}

impl Serialize for NestedArray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        View { shape: &self.shape, values: &self.values }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NestedArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let mut shape = Vec::new();
        let mut inner = &value;
        while let Value::Array(list) = inner {
            shape.push(list.len());
            match list.first() {
                Some(first) => inner = first,
                None => break,
            }
        }
        let mut values = Vec::new();
        flatten(&value, &shape, &mut values).map_err(de::Error::custom)?;
        Ok(Self { shape, values })
    }
}

/// Appends the numbers of `value`, which must have exactly `shape`.
fn flatten(value: &Value, shape: &[usize], values: &mut Vec<f64>) -> Result<(), String> {
    match (value, shape.split_first()) {
        (Value::Array(list), Some((&length, inner))) if list.len() == length => {
            list.iter().try_for_each(|element| flatten(element, inner, values))
        }
        (Value::Null, None) => {
            values.push(f64::NAN);
            Ok(())
        }
        (Value::Number(number), None) => match number.as_f64() {
            Some(number) => {
                values.push(number);
                Ok(())
            }
            None => Err(format!("{number} is not a floating-point number")),
        },
        _ => Err("nested lists of numbers must be rectangular".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(array: &NestedArray) -> String {
        serde_json::to_string(array).unwrap()
    }

    #[test]
    fn nests_in_row_major_order_and_reads_back_bitwise() {
        let values = vec![0.1 + 0.2, 1e-300, -5.0, 4.0, std::f64::consts::PI, 6e22];
        let array = NestedArray::new(vec![2, 3], values).unwrap();
        assert_eq!(json(&array), "[[0.30000000000000004,1e-300,-5.0],[4.0,3.141592653589793,6e+22]]");
        assert_eq!(serde_json::from_str::<NestedArray>(&json(&array)).unwrap(), array);
        assert_eq!(json(&NestedArray::scalar(2.5)), "2.5");
        assert_eq!(json(&NestedArray::new(vec![2, 0], vec![]).unwrap()), "[[],[]]");
    }

    #[test]
    fn what_is_not_finite_is_null() {
        assert_eq!(json(&NestedArray::vector(vec![f64::NAN, f64::INFINITY, 1.0])), "[null,null,1.0]");
        assert!(serde_json::from_str::<NestedArray>("[null,1.0]").unwrap().values()[0].is_nan());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let error = NestedArray::new(vec![2, 2], vec![1.0]).unwrap_err();
        assert_eq!(error.to_string(), "an array of shape [2, 2] holds 4 numbers, but 1 were given");
        assert!(serde_json::from_str::<NestedArray>("[[1.0],[2.0,3.0]]").is_err());
    }
}

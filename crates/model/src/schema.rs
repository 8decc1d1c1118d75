//! The JSON Schema of model files, generated from the registry, so that editors complete and check them.

use serde_json::{Map, Value, json};

use crate::registry::{
    CONSTANT, DATA, DISTRIBUTIONS, DimensionRule, DistributionEntry, INFERENCE, INFERENCE_OPTIONS, Key, KeyKind,
    NETWORK, PLATE, Section, TOP, VARIABLE,
};

/// The JSON Schema (draft 2020-12) of a model file.
pub fn schema() -> Value {
    let mut top = properties(TOP.keys);
    top.insert("data".into(), data());
    top.insert("plates".into(), named(json!({ "$ref": "#/$defs/plate" }), TOP, "plates"));
    top.insert("variables".into(), named(json!({ "$ref": "#/$defs/variable" }), TOP, "variables"));
    top.insert("expressions".into(), named(json!({ "type": ["string", "number"] }), TOP, "expressions"));
    top.insert("networks".into(), named(object(NETWORK, properties(NETWORK.keys)), TOP, "networks"));
    let mut inference = properties(INFERENCE.keys);
    inference.append(&mut properties(INFERENCE_OPTIONS.keys));
    top.insert("inference".into(), object(INFERENCE, inference));
    let known: Vec<&str> = DISTRIBUTIONS.iter().map(|d| d.name).collect();
    let variables: Vec<Value> = DISTRIBUTIONS
        .iter()
        .map(|entry| {
            json!({
                "if": { "properties": { "distribution": { "const": entry.name } }, "required": ["distribution"] },
                "then": variable(entry),
            })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Model file",
        "description": TOP.summary,
        "type": "object",
        "properties": top,
        "additionalProperties": false,
        "$defs": {
            "plate": {
                "description": PLATE.summary,
                "oneOf": [
                    { "const": "rows" },
                    { "type": "integer", "minimum": 1 },
                    { "type": "object", "properties": plate_properties(), "additionalProperties": false, "minProperties": 1, "maxProperties": 1 },
                ],
            },
            "numbers": {
                "description": "An array of numbers, or of such arrays.",
                "type": "array",
                "items": { "anyOf": [{ "type": "number" }, { "$ref": "#/$defs/numbers" }] },
            },
            "parameter": {
                "description": "A number, an array of numbers, or an expression.",
                "anyOf": [{ "type": ["number", "string"] }, { "$ref": "#/$defs/numbers" }],
            },
            "variable": {
                "description": VARIABLE.summary,
                "type": "object",
                "required": ["distribution"],
                "properties": { "distribution": { "enum": known } },
                "allOf": variables,
            },
        },
    })
}

fn properties(keys: &[Key]) -> Map<String, Value> {
    keys.iter().map(|key| (key.name.to_string(), of_kind(key.kind, key.summary))).collect()
}

fn object(section: Section, properties: Map<String, Value>) -> Value {
    json!({
        "description": section.summary,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn named(value: Value, section: Section, key: &str) -> Value {
    let summary = section.keys.iter().find(|k| k.name == key).map_or("", |k| k.summary);
    json!({ "description": summary, "type": "object", "additionalProperties": value })
}

fn data() -> Value {
    let mut keys = properties(DATA.keys);
    let text_or_texts = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    keys.insert("blocks".into(), named(text_or_texts.clone(), DATA, "blocks"));
    keys.insert("standardize".into(), text_or_texts);
    let constant = object(CONSTANT, properties(CONSTANT.keys));
    let value = json!({ "anyOf": [{ "type": ["number", "boolean", "array"] }, constant] });
    keys.insert("values".into(), named(value, DATA, "values"));
    object(DATA, keys)
}

fn plate_properties() -> Map<String, Value> {
    let mut keys = properties(PLATE.keys);
    let text_or_texts = json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    keys.insert("levels".into(), text_or_texts);
    keys
}

/// The schema of one distribution's variables.
fn variable(entry: &DistributionEntry) -> Value {
    let mut keys = Map::new();
    for key in VARIABLE.keys {
        let takes = match key.name {
            "distribution" => false,
            "dimension" => entry.dimension != DimensionRule::Never,
            "lower" | "upper" => entry.truncatable,
            "amortized" => entry.is_amortizable(),
            _ => true,
        };
        if takes {
            keys.insert(key.name.into(), of_kind(key.kind, key.summary));
        }
    }
    if entry.is_amortizable() {
        let summary = "The covariance of an amortised factor.";
        keys.insert("covariance".into(), json!({ "enum": ["diagonal", "full"], "description": summary }));
    }
    keys.insert("distribution".into(), json!({ "const": entry.name, "description": entry.value }));
    for parameter in entry.parameters {
        let kind = if matches!(parameter.name, "sequence" | "parameters") { KeyKind::Text } else { KeyKind::Parameter };
        keys.insert(parameter.name.into(), of_kind(kind, parameter.summary));
    }
    let mut required = vec![json!("distribution")];
    if entry.dimension == DimensionRule::Required {
        required.push(json!("dimension"));
    }
    let mut schema = json!({
        "title": entry.name,
        "properties": keys,
        "additionalProperties": false,
        "required": required,
    });
    let forms: Vec<Value> = entry.forms.iter().filter(|form| !form.is_empty()).map(|form| self::form(form)).collect();
    let constraint = match forms.as_slice() {
        [] => return schema,
        [one] => one.clone(),
        // An amortised normal's `covariance` stands beside the prior's spread.
        _ => json!({ "anyOf": forms }),
    };
    schema["allOf"] = json!([constraint]);
    schema
}

fn form(groups: &[&[&str]]) -> Value {
    let all: Vec<Value> = groups
        .iter()
        .map(|group| {
            let options: Vec<Value> = group.iter().map(|name| json!({ "required": [name] })).collect();
            json!({ "anyOf": options })
        })
        .collect();
    json!({ "allOf": all })
}

fn of_kind(kind: KeyKind, summary: &str) -> Value {
    let mut schema = match kind {
        KeyKind::Text | KeyKind::Column => json!({ "type": "string" }),
        KeyKind::OneOf(options) => json!({ "enum": options }),
        KeyKind::Boolean => json!({ "type": "boolean" }),
        KeyKind::Integer(least) => json!({ "type": "integer", "minimum": least }),
        KeyKind::PositiveNumber => json!({ "type": "number", "exclusiveMinimum": 0 }),
        KeyKind::NonNegativeNumber => json!({ "type": "number", "minimum": 0 }),
        KeyKind::UnitNumber => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        KeyKind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        KeyKind::PositiveIntegers => json!({ "type": "array", "items": { "type": "integer", "minimum": 1 } }),
        KeyKind::TextLists => json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" } } }),
        KeyKind::Parameter | KeyKind::Numbers => json!({ "$ref": "#/$defs/parameter" }),
        KeyKind::Axis => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string" }] }),
        KeyKind::Observed => json!({ "anyOf": [{ "type": ["string", "number", "array"] }] }),
        KeyKind::Names => json!({ "type": "object" }),
    };
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".into(), json!(summary));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_and_key_is_in_the_schema() {
        let schema = schema();
        let variables = schema["$defs"]["variable"]["allOf"].as_array().expect("an array");
        assert_eq!(variables.len(), DISTRIBUTIONS.len());
        for (entry, found) in DISTRIBUTIONS.iter().zip(variables) {
            assert_eq!(found["if"]["properties"]["distribution"]["const"], entry.name);
            let found = &found["then"];
            for parameter in entry.parameters {
                assert!(found["properties"][parameter.name].is_object(), "{} {}", entry.name, parameter.name);
            }
        }
        for key in INFERENCE.keys.iter().chain(INFERENCE_OPTIONS.keys) {
            assert!(schema["properties"]["inference"]["properties"][key.name].is_object(), "{}", key.name);
        }
        assert_eq!(schema["properties"]["inference"]["properties"]["draws"]["minimum"], 1);
    }

    #[test]
    fn references_resolve() {
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.trim_start_matches('#');
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|v| walk(v, root));
                }
                Value::Array(items) => items.iter().for_each(|v| walk(v, root)),
                _ => {}
            }
        }
        let schema = schema();
        walk(&schema, &schema);
    }
}

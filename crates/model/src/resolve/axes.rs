//! Declares axes, constants, names and the outer shape of every variable.

use std::ops::Range;
use std::sync::Arc;

use super::data::RawConstant;
use super::{Meaning, Name, Plate, Reported, Resolver, Shell};
use crate::check::kinds::whole;
use crate::data::{BlockId, ColumnId};
use crate::diagnostic::Diagnostic;
use crate::graph::{Axis, AxisId, AxisKind, NetworkId, Tensor, VariableId};
use crate::registry::{self, nearest};
use crate::spec::{Value, ValueKind};

/// Elements of a plate of a fixed size at most.
const LARGEST_PLATE: i64 = 1_000_000_000;

impl Resolver<'_> {
    pub(super) fn add_axis(&mut self, name: &str, size: usize, kind: AxisKind) -> AxisId {
        self.axes.push(Axis { name: name.to_string(), size, kind });
        AxisId(self.axes.len() - 1)
    }

    /// Axes of the plates, then those of blocks that no plate names.
    pub(super) fn declare_axes(&mut self) {
        let spec = self.spec;
        for entry in &spec.plates {
            if entry.key.trim().is_empty() {
                self.empty_name("plate", entry.key_span.clone());
                continue;
            }
            let Ok((axis, levels)) = self.plate(&entry.key, &entry.value) else {
                continue;
            };
            self.plates.push(Plate { name: entry.key.clone(), axis, levels, span: entry.key_span.clone() });
        }
        for index in 0..self.data.blocks.len() {
            let id = BlockId(index);
            if !self.block_axes.contains_key(&id) {
                let block = self.data.block(id);
                let (name, size) = (block.name.clone(), block.columns.len());
                let axis = self.add_axis(&name, size, AxisKind::Block(id));
                self.block_axes.insert(id, axis);
            }
        }
    }

    fn plate(&mut self, name: &str, value: &Value) -> Result<(AxisId, Vec<ColumnId>), Reported> {
        let refuse = |code, message: String, help: String| {
            Diagnostic::new(code, message).at(value.span.clone(), "this plate").help(help)
        };
        match &value.kind {
            ValueKind::Text(text) if text == "rows" => {
                let rows = self.data.num_rows();
                if rows == 0 {
                    let why = if self.data.columns.is_empty() {
                        "the model has no data columns"
                    } else {
                        "the data have no rows"
                    };
                    return Err(self.report(refuse(
                        "no-rows",
                        format!("the plate `{name}` ranges over the data rows, but {why}"),
                        "give a `file` with rows, or arrays in [data.values]".into(),
                    )));
                }
                if let Some(other) = self.rows {
                    let other = self.axis_name(other).to_string();
                    return Err(self.report(refuse(
                        "two-row-plates",
                        format!("both `{other}` and `{name}` range over the data rows"),
                        format!("use `{other}` in place of `{name}`"),
                    )));
                }
                let axis = self.add_axis(name, rows, AxisKind::Rows);
                self.rows = Some(axis);
                Ok((axis, Vec::new()))
            }
            ValueKind::Text(text) => {
                let help = if self.data.column_named(text).is_some() {
                    format!("write {{ levels = \"{text}\" }} for one element per distinct value of that column")
                } else if self.data.block_named(text).is_some() {
                    format!("write {{ columns = \"{text}\" }} for one element per column of that block")
                } else {
                    crate::spec::PLATE_FORMS.into()
                };
                Err(self.report(refuse("plate-form", format!("the plate `{name}` cannot be \"{text}\""), help)))
            }
            ValueKind::Integer(size) => {
                if *size < 1 {
                    return Err(self.report(refuse(
                        "empty-plate",
                        format!("the plate `{name}` has {size} elements"),
                        "a plate has at least one element".into(),
                    )));
                }
                if *size > LARGEST_PLATE {
                    return Err(self.report(refuse(
                        "large-plate",
                        format!("the plate `{name}` has {size} elements"),
                        format!("write at most {LARGEST_PLATE}"),
                    )));
                }
                Ok((self.add_axis(name, *size as usize, AxisKind::Fixed), Vec::new()))
            }
            ValueKind::Table(fields) => match fields.as_slice() {
                [field] if field.key == "levels" => self.levels_plate(name, &field.value),
                [field] if field.key == "columns" => Ok((self.columns_plate(name, &field.value)?, Vec::new())),
                _ => Err(self.report(refuse(
                    "plate-form",
                    format!("the plate `{name}` must have exactly one of `levels` and `columns`"),
                    crate::spec::PLATE_FORMS.into(),
                ))),
            },
            _ => Err(self.report(refuse(
                "plate-form",
                format!("the plate `{name}` is {}", value.describe()),
                crate::spec::PLATE_FORMS.into(),
            ))),
        }
    }

    fn levels_plate(&mut self, name: &str, value: &Value) -> Result<(AxisId, Vec<ColumnId>), Reported> {
        let items: Vec<&Value> = match &value.kind {
            ValueKind::Array(items) if !items.is_empty() => items.iter().collect(),
            _ => vec![value],
        };
        let mut columns = Vec::new();
        let mut levels: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for item in items {
            let user = format!("the plate `{name}`");
            let Some(text) = item.text() else {
                let mistake = Diagnostic::new(
                    "wrong-kind",
                    format!("`levels` of {user} must name a column, or several in a list"),
                )
                .at(item.span.clone(), "not a column's name");
                return Err(self.report(mistake));
            };
            let Some(column) = self.data.column_named(text) else {
                return Err(self.unknown_column(text, item, &user));
            };
            for level in self.data.levels(column) {
                if seen.insert(level.clone()) {
                    levels.push(level);
                }
            }
            columns.push(column);
        }
        if levels.is_empty() {
            let mistake =
                Diagnostic::new("empty-plate", format!("the plate `{name}` has no elements: its column has no values"))
                    .at(value.span.clone(), "no values");
            return Err(self.report(mistake));
        }
        let kind = AxisKind::Levels { column: columns[0], levels: levels.clone() };
        Ok((self.add_axis(name, levels.len(), kind), columns))
    }

    fn columns_plate(&mut self, name: &str, value: &Value) -> Result<AxisId, Reported> {
        let text = value.text().unwrap_or_default();
        let Some(block) = self.data.block_named(text) else {
            let known: Vec<String> = self.data.blocks.iter().map(|b| b.name.clone()).collect();
            let hint = nearest(text, known.iter().map(String::as_str))
                .map(|n| format!(": did you mean `{n}`?"))
                .unwrap_or_default();
            let help = if known.is_empty() {
                "declare it in [data.blocks]".to_string()
            } else {
                format!("the blocks are `{}`", known.join("`, `"))
            };
            let mistake =
                Diagnostic::new("unknown-block", format!("the plate `{name}` names `{text}`, which is no block{hint}"))
                    .at(value.span.clone(), "no such block")
                    .help(help);
            return Err(self.report(mistake));
        };
        if let Some(axis) = self.block_axes.get(&block) {
            let other = self.axis_name(*axis).to_string();
            let mistake = Diagnostic::new(
                "two-column-plates",
                format!("both `{other}` and `{name}` are the columns of the block `{text}`"),
            )
            .at(value.span.clone(), "again")
            .help(format!("use `{other}` in place of `{name}`"));
            return Err(self.report(mistake));
        }
        let size = self.data.block(block).columns.len();
        let axis = self.add_axis(name, size, AxisKind::Block(block));
        self.block_axes.insert(block, axis);
        Ok(axis)
    }

    /// The axis that a plate's or block's name stands for.
    pub(super) fn axis_named(&self, name: &str) -> Option<AxisId> {
        if let Some(plate) = self.plates.iter().find(|p| p.name == name) {
            return Some(plate.axis);
        }
        let block = self.data.block_named(name)?;
        self.block_axes.get(&block).copied()
    }

    fn unknown_axis(&mut self, name: &str, span: Range<usize>, user: &str) -> Reported {
        // Why a declared plate has no axis stands in the list already.
        if self.spec.plates.iter().any(|plate| plate.key == name) {
            return Reported;
        }
        let known: Vec<String> =
            self.plates.iter().map(|p| p.name.clone()).chain(self.data.blocks.iter().map(|b| b.name.clone())).collect();
        let hint = nearest(name, known.iter().map(String::as_str))
            .map(|n| format!(": did you mean `{n}`?"))
            .unwrap_or_default();
        let help = if known.is_empty() {
            "declare it in [plates]".to_string()
        } else {
            format!("plates and blocks are `{}`", known.join("`, `"))
        };
        let mistake =
            Diagnostic::new("unknown-plate", format!("{user} names `{name}`, which is no plate or block{hint}"))
                .at(span, "no such plate")
                .help(help);
        self.report(mistake)
    }

    pub(super) fn declare_constants(&mut self, constants: Vec<(usize, RawConstant)>) {
        let spec = self.spec;
        for (index, constant) in constants {
            let entry = &spec.data.values[index];
            let meaning = match constant {
                RawConstant::Number(x) => Meaning::Number(x),
                RawConstant::Array { axes, shape, values } => {
                    let user = format!("the constant `{}`", entry.key);
                    let mut ids = Vec::new();
                    for ((name, span), length) in axes.iter().zip(&shape) {
                        let Some(axis) = self.axis_named(name) else {
                            self.unknown_axis(name, span.clone(), &user);
                            continue;
                        };
                        if self.axes[axis.0].size != *length {
                            let size = self.axes[axis.0].size;
                            let mistake = Diagnostic::new(
                                "constant-size",
                                format!("{user} has {length} values along `{name}`, which has {size} elements"),
                            )
                            .at(span.clone(), format!("{size} elements"))
                            .help("give one value per element, outermost axis first");
                            self.report(mistake);
                        }
                        ids.push(axis);
                    }
                    if ids.len() != axes.len() {
                        continue;
                    }
                    Meaning::Constant(Arc::new(Tensor { axes: ids, shape, values }))
                }
            };
            self.declare(&entry.key, meaning, "constant", Some(entry.key_span.clone()));
        }
    }

    fn declare(&mut self, name: &str, meaning: Meaning, kind: &'static str, span: Option<Range<usize>>) {
        if name.trim().is_empty() {
            self.empty_name(kind, span.unwrap_or(0..0));
            return;
        }
        if let Some(other) = self.names.get(name) {
            let mut mistake = Diagnostic::new("name-clash", format!("`{name}` is both a {} and a {kind}", other.kind));
            for span in [span, other.span.clone()].into_iter().flatten() {
                mistake = mistake.at(span, "declared here");
            }
            self.report(mistake.help("columns, blocks, constants, variables, expressions and networks share one namespace: rename one of them"));
            return;
        }
        self.names.insert(name.to_string(), Name { meaning, kind, span });
    }

    fn empty_name(&mut self, kind: &str, span: Range<usize>) -> Reported {
        let mistake = Diagnostic::new("empty-name", format!("a {kind} has an empty name, by which nothing can refer to it"))
            .at(span, "no name")
            .help("give it a name of letters, digits, `_` and `.`; other characters are put between backquotes in expressions");
        self.report(mistake)
    }

    pub(super) fn declare_names(&mut self) {
        let spec = self.spec;
        let inline = |name: &str| spec.data.values.iter().find(|e| e.key == name).map(|e| e.key_span.clone());
        for index in 0..self.data.columns.len() {
            let name = self.data.columns[index].name.clone();
            self.declare(&name, Meaning::Column(ColumnId(index)), "data column", inline(&name));
        }
        for index in 0..self.data.blocks.len() {
            let name = self.data.blocks[index].name.clone();
            let declared = spec.data.blocks.iter().find(|e| e.key == name).map(|e| e.key_span.clone());
            let span = declared.or_else(|| inline(&name));
            self.declare(&name, Meaning::Block(BlockId(index)), "data block", span);
        }
        for (name, number) in self.data.scalars.clone() {
            self.declare(&name, Meaning::Number(number), "constant", None);
        }
        for (index, variable) in spec.variables.iter().enumerate() {
            self.declare(&variable.name, Meaning::Variable(VariableId(index)), "variable", Some(variable.span.clone()));
        }
        for (index, entry) in spec.expressions.iter().enumerate() {
            self.declare(&entry.key, Meaning::Expression(index), "named expression", Some(entry.key_span.clone()));
        }
        for (index, network) in spec.networks.iter().enumerate() {
            self.declare(&network.name, Meaning::Network(NetworkId(index)), "network", Some(network.span.clone()));
        }
        let functions = registry::FUNCTIONS.iter().map(|f| f.0);
        for name in functions {
            if let Some(found) = self.names.get(name)
                && matches!(found.meaning, Meaning::Network(_))
            {
                let mut mistake =
                    Diagnostic::new("name-clash", format!("the network `{name}` has the name of a function"));
                if let Some(span) = found.span.clone() {
                    mistake = mistake.at(span, "declared here");
                }
                self.report(mistake.help("rename the network"));
            }
        }
    }

    /// The axis of an integer `dimension`: one for all variables with that integer, so that they match each other.
    fn anonymous_axis(&mut self, size: usize) -> AxisId {
        let found = self.axes.iter().position(|a| a.kind == AxisKind::Anonymous && a.size == size);
        match found {
            Some(index) => AxisId(index),
            None => self.add_axis(&format!("dimension {size}"), size, AxisKind::Anonymous),
        }
    }

    pub(super) fn declare_shells(&mut self) {
        for variable in &self.spec.variables {
            let user = format!("variable `{}`", variable.name);
            let mut plates = Vec::new();
            for item in variable.get("plates").and_then(Value::array).unwrap_or_default() {
                let name = item.text().unwrap_or_default();
                match self.axis_named(name) {
                    Some(axis) => plates.push(axis),
                    None => {
                        self.unknown_axis(name, item.span.clone(), &user);
                    }
                }
            }
            if let Some(rows) = self.rows
                && plates.iter().filter(|p| **p == rows).count() > 1
            {
                let span = variable.get("plates").map_or(0..0, |v| v.span.clone());
                let mistake = Diagnostic::new(
                    "rows-twice",
                    format!("{user} lists the plate `{}` of the data rows twice", self.axis_name(rows)),
                )
                .at(span, "twice")
                .help("only plates of a fixed size or of levels may stand twice");
                self.report(mistake);
            }
            let dimension = variable.get("dimension").and_then(|value| match whole(value) {
                Some(size) => Some(self.anonymous_axis(size as usize)),
                None => {
                    let name = value.text()?;
                    let found = self.axis_named(name);
                    if found.is_none() {
                        self.unknown_axis(name, value.span.clone(), &format!("`dimension` of {user}"));
                    } else if found == self.rows {
                        let mistake = Diagnostic::new(
                            "rows-dimension",
                            format!("`dimension` of {user} is the plate `{name}` of the data rows"),
                        )
                        .at(value.span.clone(), "one element per row")
                        .help("rows can only be a plate: put it into `plates`");
                        self.report(mistake);
                    }
                    found
                }
            });
            let entry = variable.get("distribution").and_then(Value::text).and_then(registry::distribution);
            let index = entry.is_some_and(|e| e.dimension == registry::DimensionRule::Range);
            self.shells.push(Shell {
                entry,
                plates,
                dimension: dimension.filter(|_| !index),
                range: dimension.filter(|_| index),
            });
        }
    }
}

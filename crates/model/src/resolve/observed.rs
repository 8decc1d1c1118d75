//! Observed values: which columns or expressions, and along which axes of the variable they lie.

use super::{Context, Lookup, Meaning, Reported, Resolver};
use crate::data::{BlockId, ColumnId};
use crate::diagnostic::Diagnostic;
use crate::expression::SyntaxKind;
use crate::graph::{AxisId, Distribution, NodeId, NodeKind, Observation};
use crate::registry::Support;
use crate::resolve::parameters::Shape;
use crate::spec::Value;

impl Resolver<'_> {
    pub(super) fn observed(
        &mut self,
        index: usize,
        distribution: &Distribution,
    ) -> Result<Option<Observation>, Reported> {
        let spec = self.spec;
        let written = &spec.variables[index];
        let Some(value) = written.get("observed") else {
            return Ok(None);
        };
        let context = self.context(index, "observed");
        match self.shells[index].entry.map(|e| e.support) {
            Some(Support::Pair) => {
                let mistake = Diagnostic::new(
                    "observed-pair",
                    format!("variable `{}` is a pair of mean and precision, which cannot be observed", written.name),
                )
                .at(value.span.clone(), "not for a joint variable")
                .help("observe the normal variable that it parametrises");
                return Err(self.report(mistake));
            }
            Some(Support::Index) => return self.observed_index(index, value, &context, distribution).map(Some),
            _ => {}
        }
        let node = self.observed_values(index, value, &context)?;
        let mut latent = None;
        self.each_variable(node, &mut |id| latent = Some(id));
        if let Some(id) = latent {
            let mistake = Diagnostic::new(
                "observed-latent",
                format!("{} depends on the variable `{}`", context.user, spec.variables[id.0].name),
            )
            .at(value.span.clone(), "not data")
            .help("observed values are an expression of data only");
            return Err(self.report(mistake));
        }
        self.same_axes(index, node, value, &context)?;
        Ok(Some(Observation::Numeric(node)))
    }

    /// The list of columns `["a", "b"]` as a block.
    fn listed(&mut self, items: &[Value], context: &Context) -> Result<BlockId, Reported> {
        let mut columns = Vec::new();
        for item in items {
            let text = item.text().unwrap_or_default();
            columns.extend(self.columns_of(text, item, &context.user)?);
        }
        let name: Vec<String> = columns.iter().map(|c| self.data.column(*c).name.clone()).collect();
        Ok(self.data.add_block(&name.join(","), columns))
    }

    /// The axis of the variable that a block fills.
    fn filled(&mut self, index: usize, block: BlockId, value: &Value, context: &Context) -> Result<AxisId, Reported> {
        let shell = self.shells[index].clone();
        let width = self.data.block(block).columns.len();
        let own = self.block_axes.get(&block).copied();
        let target = match (shell.dimension, own) {
            (Some(dimension), _) => Some(dimension),
            (None, Some(axis)) if shell.plates.contains(&axis) => Some(axis),
            (None, _) => shell.plates.last().copied().filter(|p| Some(*p) != self.rows),
        };
        let name = self.data.block(block).name.clone();
        let variable = self.spec.variables[index].name.clone();
        let Some(target) = target else {
            let mistake = Diagnostic::new("observed-axes", format!("{} is the block `{name}` of {width} columns, but `{variable}` has neither a dimension nor a further plate for them", context.user))
                .at(value.span.clone(), format!("{width} columns"))
                .help(format!("give `{variable}` the plate of the block's columns, or a `dimension` if its distribution takes one"));
            return Err(self.report(mistake));
        };
        let size = self.axes[target.0].size;
        if size != width {
            let mistake = Diagnostic::new(
                "observed-width",
                format!(
                    "{} is the block `{name}` of {width} columns, but `{}` of `{variable}` has {size} elements",
                    context.user,
                    self.axis_name(target)
                ),
            )
            .at(value.span.clone(), format!("{width} columns"))
            .help("a block fills, column by column, the dimension or the last plate, which must have its width");
            return Err(self.report(mistake));
        }
        Ok(target)
    }

    fn observed_values(&mut self, index: usize, value: &Value, context: &Context) -> Result<NodeId, Reported> {
        if let Some(items) = value.array()
            && items.iter().any(|i| i.text().is_some())
        {
            let block = self.listed(items, context)?;
            let axis = self.filled(index, block, value, context)?;
            let rows = self.rows_or_report(&context.user, &value.span)?;
            for column in self.data.block(block).columns.clone() {
                self.numeric(column, &value.span)?;
            }
            let roles = vec![super::node::Role::Either; 2];
            return Ok(self.push(NodeKind::Block(block), vec![rows, axis], roles, value.span.clone()));
        }
        let Some(text) = value.text() else {
            let entry =
                crate::spec::Entry { key: "observed".into(), key_span: value.span.clone(), value: value.clone() };
            return self.parameter(&entry, Shape::Vector, context);
        };
        // A header need not look like a name: `50` of a matrix, `length (cm)` of a table.
        if let Some(column) = self.data.column_named(text)
            && !crate::expression::is_plain_name(text)
            && self.rows.is_some_and(|rows| context.plates.contains(&rows))
        {
            let rows = self.rows_or_report(text, &value.span)?;
            self.numeric(column, &value.span)?;
            let roles = vec![super::node::Role::Either];
            return Ok(self.push(NodeKind::Column(column), vec![rows], roles, value.span.clone()));
        }
        let syntax = self.parse(value, text)?;
        let mut blocks = Vec::new();
        syntax.visit(&mut |part| {
            if let SyntaxKind::Name(name) = &part.kind
                && let Some(Meaning::Block(block)) = self.names.get(name).map(|n| &n.meaning)
            {
                blocks.push(*block);
            }
        });
        let mut own = context.clone();
        let has = |this: &Self, axis: AxisId| {
            this.shells[index].plates.contains(&axis) || this.shells[index].dimension == Some(axis)
        };
        for block in blocks {
            let aligned = self.block_axes.get(&block).is_some_and(|axis| has(self, *axis));
            if !aligned {
                let axis = self.filled(index, block, value, context)?;
                own.fills.push((block, axis));
            }
        }
        self.expression(&syntax, &own)
    }

    fn observed_index(
        &mut self,
        index: usize,
        value: &Value,
        context: &Context,
        distribution: &Distribution,
    ) -> Result<Observation, Reported> {
        let (Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. }) = *distribution else {
            return Err(Reported);
        };
        let source = match (value.text(), value.array()) {
            (Some(name), _) => self.names.get(name).map(|n| n.meaning.clone()),
            (None, Some(items)) if items.iter().all(|i| i.text().is_some()) && !items.is_empty() => {
                Some(Meaning::Block(self.listed(items, context)?))
            }
            _ => None,
        };
        let lookup = |column: ColumnId| Lookup { column, axis: range, span: value.span.clone(), observed: true };
        let plates = self.shells[index].plates.clone();
        let rows = self.rows;
        match source {
            Some(Meaning::Column(column)) => {
                let name = self.data.column(column).name.clone();
                let rows = self.rows_or_report(&name, &value.span)?;
                if plates != [rows] {
                    return Err(self.wrong_axes(index, &[rows], value, context));
                }
                self.lookups.push(lookup(column));
                Ok(Observation::Levels { column, axis: range })
            }
            Some(Meaning::Block(block)) => {
                let axis = self.filled(index, block, value, context)?;
                let further: Vec<AxisId> = plates.iter().copied().filter(|p| Some(*p) != rows).collect();
                if further != [axis] || plates.len() != 2 {
                    let found: Vec<AxisId> = rows.into_iter().chain([axis]).collect();
                    return Err(self.wrong_axes(index, &found, value, context));
                }
                for column in self.data.block(block).columns.clone() {
                    self.lookups.push(lookup(column));
                }
                Ok(Observation::LevelsBlock { block, axis: range })
            }
            Some(_) => {
                let mistake = Diagnostic::new("observed-index", format!("{} is not a column or block", context.user))
                    .at(value.span.clone(), "not a column")
                    .help("an index is observed as a column of levels, or of whole numbers from 0");
                Err(self.report(mistake))
            }
            None => match value.text() {
                Some(text) if crate::expression::is_plain_name(text) => {
                    Err(self.unknown_name(text, value.span.clone(), context))
                }
                _ => {
                    let mistake = Diagnostic::new(
                        "observed-index",
                        format!("{} must name a column or a block, not an expression", context.user),
                    )
                    .at(value.span.clone(), "not a column")
                    .help("an index is observed as a column of levels, or of whole numbers from 0");
                    Err(self.report(mistake))
                }
            },
        }
    }

    fn same_axes(&mut self, index: usize, node: NodeId, value: &Value, context: &Context) -> Result<(), Reported> {
        let shell = &self.shells[index];
        let copies = if shell.entry.map(|e| e.support) == Some(Support::PositiveDefinite) { 2 } else { 1 };
        let mut wanted: Vec<AxisId> = shell.plates.clone();
        wanted.extend(std::iter::repeat_n(shell.dimension, copies).flatten());
        let found = self.axes_of(node).to_vec();
        wanted.sort_unstable();
        let mut sorted = found.clone();
        sorted.sort_unstable();
        if wanted == sorted {
            return Ok(());
        }
        Err(self.wrong_axes(index, &found, value, context))
    }

    fn wrong_axes(&mut self, index: usize, found: &[AxisId], value: &Value, context: &Context) -> Reported {
        let shell = &self.shells[index];
        let has: Vec<AxisId> = shell.plates.iter().copied().chain(shell.dimension).collect();
        let variable = &self.spec.variables[index].name;
        let mistake = Diagnostic::new(
            "observed-axes",
            format!(
                "{} varies along {}, but `{variable}` has {}",
                context.user,
                self.axis_names(found),
                self.axis_names(&has)
            ),
        )
        .at(value.span.clone(), "other axes than the variable's")
        .help("observed values must have exactly the plates and the dimension of their variable");
        self.report(mistake)
    }
}

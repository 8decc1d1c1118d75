//! Resolves `a[b]`: which axis an index replaces, and with what.

use std::ops::Range;

use super::element::Element;
use super::node::Role;
use super::{Context, Lookup, Meaning, Reported, Resolver};
use crate::data::ColumnId;
use crate::diagnostic::Diagnostic;
use crate::expression::{Syntax, SyntaxKind};
use crate::graph::{AxisId, AxisKind, IndexSource, NodeId, NodeKind, VariableId};
use crate::registry::Support;

/// An axis of a value that is being indexed.
#[derive(Debug, Clone, Copy)]
struct Slot {
    axis: AxisId,
    role: Role,
    replaced: bool,
}

/// An index before its axis is found.
enum Source {
    Column(ColumnId),
    Gate { node: NodeId, range: AxisId },
}

impl Resolver<'_> {
    pub(super) fn index(
        &mut self,
        base: NodeId,
        indices: &[Syntax],
        span: Range<usize>,
        context: &Context,
    ) -> Result<NodeId, Reported> {
        let mut slots: Vec<Slot> = self
            .axes_of(base)
            .iter()
            .zip(self.roles_of(base))
            .map(|(axis, role)| Slot { axis: *axis, role: *role, replaced: false })
            .collect();
        let mut node = base;
        for (i, syntax) in indices.iter().enumerate() {
            if let Some(wanted) = Element::of(syntax) {
                let open = slots.iter().map(|s| (s.axis, s.replaced)).collect::<Vec<_>>();
                let named: Vec<AxisId> = indices[i + 1..].iter().filter_map(|r| self.plate_of_levels(r)).collect();
                let rest = indices.len() - i - 1 - named.len();
                let position = self.element_axis(&open, &named, rest, &wanted, syntax, context)?;
                let axis = slots.remove(position).axis;
                let element = self.element(axis, &wanted, syntax, context)?;
                let roles = slots.iter().map(|s| s.role).collect();
                node = self.select(
                    node,
                    axis,
                    element,
                    slots.iter().map(|s| s.axis).collect(),
                    roles,
                    [span.clone(), syntax.span.clone()],
                );
                continue;
            }
            let source = self.index_source(syntax, context)?;
            let position = self.slot(&slots, &source, syntax, &indices[i + 1..], context)?;
            let (index, axes) = match source {
                Source::Column(column) => {
                    let axis = slots[position].axis;
                    self.lookups.push(Lookup { column, axis, span: syntax.span.clone(), observed: false });
                    let name = self.data.column(column).name.clone();
                    let rows = self.rows_or_report(&name, &syntax.span)?;
                    (IndexSource::Column(column), vec![rows])
                }
                Source::Gate { node, .. } => (IndexSource::Gate(node), self.axes_of(node).to_vec()),
            };
            slots.remove(position);
            let fresh: Vec<Slot> = axes
                .into_iter()
                .filter(|axis| slots.iter().all(|s| s.axis != *axis))
                .map(|axis| Slot { axis, role: Role::Plate, replaced: true })
                .collect();
            slots.splice(position..position, fresh);
            let kind = NodeKind::Index { base: node, position, index };
            let axes = slots.iter().map(|s| s.axis).collect();
            let roles = slots.iter().map(|s| s.role).collect();
            node = self.push(kind, axes, roles, span.clone());
        }
        Ok(node)
    }

    fn index_source(&mut self, syntax: &Syntax, context: &Context) -> Result<Source, Reported> {
        let refuse = |message: String, help: &str| {
            Diagnostic::new("not-an-index", message).at(syntax.span.clone(), "not an index").help(help.to_string())
        };
        const HELP: &str = "an index is a data column (a look-up), a categorical or markov-chain variable (a gate), such a variable looked up, as in block[sender], or one element: a number from 0 or a name in single quotes";
        let variable = match &syntax.kind {
            SyntaxKind::Name(name) => {
                if let Some(Meaning::Column(column)) = self.names.get(name).map(|n| n.meaning.clone()) {
                    return Ok(Source::Column(column));
                }
                if !self.names.contains_key(name)
                    && let Some(plate) = self.plates.iter().find(|p| p.name == *name)
                {
                    let columns = plate.levels.clone();
                    let plate_span = plate.span.clone();
                    return match columns[..] {
                        [column] => Ok(Source::Column(column)),
                        _ => {
                            let mistake = refuse(
                                format!("the plate `{name}` in {} is not an index", context.user),
                                "name the data column that selects its elements",
                            )
                            .at(plate_span, "the plate");
                            Err(self.report(mistake))
                        }
                    };
                }
                match self.names.get(name).map(|n| n.meaning.clone()) {
                    Some(Meaning::Variable(id)) => id,
                    Some(_) => {
                        return Err(self.report(refuse(format!("`{name}` in {} is not an index", context.user), HELP)));
                    }
                    None => return Err(self.unknown_name(name, syntax.span.clone(), context)),
                }
            }
            SyntaxKind::Index { base, .. } => match &base.kind {
                SyntaxKind::Name(name) => match self.names.get(name).map(|n| n.meaning.clone()) {
                    Some(Meaning::Variable(id)) => id,
                    Some(_) => {
                        return Err(
                            self.report(refuse(format!("`{name}[…]` in {} is not an index", context.user), HELP))
                        );
                    }
                    None => return Err(self.unknown_name(name, base.span.clone(), context)),
                },
                _ => {
                    return Err(self.report(refuse(
                        format!("this index in {} is neither a column nor a categorical variable", context.user),
                        HELP,
                    )));
                }
            },
            _ => {
                return Err(self.report(refuse(
                    format!("this index in {} is neither a column nor a categorical variable", context.user),
                    HELP,
                )));
            }
        };
        let shell = &self.shells[variable.0];
        let name = self.spec.variables[variable.0].name.clone();
        if shell.entry.map(|e| e.support) != Some(Support::Index) {
            let distribution = shell.entry.map_or("", |e| e.name);
            return Err(self.report(refuse(
                format!("`{name}` in {} is `{distribution}`, not an index", context.user),
                "only categorical and markov-chain variables select elements; multiply by a bernoulli variable instead",
            )));
        }
        let Some(range) = shell.range else {
            return Err(Reported);
        };
        let node = self.gate(variable, syntax, context)?;
        Ok(Source::Gate { node, range })
    }

    fn gate(&mut self, variable: VariableId, syntax: &Syntax, context: &Context) -> Result<NodeId, Reported> {
        let axes = self.shells[variable.0].plates.clone();
        let roles = vec![Role::Plate; axes.len()];
        match &syntax.kind {
            SyntaxKind::Index { base, indices } => {
                let node = self.push(NodeKind::Variable(variable), axes, roles, base.span.clone());
                self.index(node, indices, syntax.span.clone(), context)
            }
            _ => Ok(self.push(NodeKind::Variable(variable), axes, roles, syntax.span.clone())),
        }
    }

    /// The plate of levels that an index names by its column.
    fn plate_of_levels(&self, syntax: &Syntax) -> Option<AxisId> {
        let SyntaxKind::Name(name) = &syntax.kind else { return None };
        match self.names.get(name).map(|n| n.meaning.clone()) {
            Some(Meaning::Column(column)) => self.plates.iter().find(|p| p.levels.contains(&column)).map(|p| p.axis),
            _ => self.plates.iter().find(|p| p.name == *name && !p.levels.is_empty()).map(|p| p.axis),
        }
    }

    /// Position of the axis that an index replaces; `rest` are the indices that follow it.
    fn slot(
        &mut self,
        slots: &[Slot],
        source: &Source,
        syntax: &Syntax,
        rest: &[Syntax],
        context: &Context,
    ) -> Result<usize, Reported> {
        let open: Vec<usize> =
            (0..slots.len()).filter(|i| !slots[*i].replaced && slots[*i].role != Role::Dimension).collect();
        let kind = |i: &usize| &self.axes[slots[*i].axis.0].kind;
        let found = match source {
            Source::Column(column) => {
                let same = open
                    .iter()
                    .copied()
                    .find(|i| self.plates.iter().any(|p| p.axis == slots[*i].axis && p.levels.contains(column)));
                // Plates that later indices name are theirs; as many indices as plates are taken in order.
                let named: Vec<Option<AxisId>> = rest.iter().map(|r| self.plate_of_levels(r)).collect();
                let unnamed = named.iter().filter(|n| n.is_none()).count();
                let only = |wanted: fn(&AxisKind) -> bool| {
                    let free = |i: &usize| wanted(kind(i)) && !named.contains(&Some(slots[*i].axis));
                    let fitting: Vec<usize> = open.iter().copied().filter(free).collect();
                    match fitting[..] {
                        [i] => Some(i),
                        [first, ..] if fitting.len() == 1 + unnamed => Some(first),
                        _ => None,
                    }
                };
                same.or_else(|| only(|k| matches!(k, AxisKind::Fixed | AxisKind::Levels { .. }))).or_else(|| {
                    let none = !open.iter().any(|i| matches!(kind(i), AxisKind::Fixed | AxisKind::Levels { .. }));
                    none.then(|| only(|k| matches!(k, AxisKind::Block(_) | AxisKind::Anonymous))).flatten()
                })
            }
            Source::Gate { range, .. } => open.iter().copied().find(|i| slots[*i].axis == *range).or_else(|| {
                let size = self.axes[range.0].size;
                let fitting: Vec<usize> = open
                    .iter()
                    .copied()
                    .filter(|i| self.axes[slots[*i].axis.0].size == size && Some(slots[*i].axis) != self.rows)
                    .collect();
                // What the variable itself has stays where there is another. Several of one name are taken from the first on.
                let own = |i: &usize| {
                    let axis = slots[*i].axis;
                    context.dimension == Some(axis) || context.plates.contains(&axis)
                };
                let others: Vec<usize> = fitting.iter().copied().filter(|i| !own(i)).collect();
                let fitting = if others.is_empty() { fitting } else { others };
                let fixed: Vec<usize> =
                    fitting.iter().copied().filter(|i| !matches!(kind(i), AxisKind::Block(_))).collect();
                let fitting = if fixed.is_empty() { fitting } else { fixed };
                let one_axis = fitting.windows(2).all(|w| slots[w[0]].axis == slots[w[1]].axis);
                fitting.first().copied().filter(|_| one_axis)
            }),
        };
        found.ok_or_else(|| self.no_axis(slots, &open, source, syntax, context))
    }

    /// Says that an index selects along no axis, or that several fit; `open` are the places of those that it could replace.
    fn no_axis(
        &mut self,
        slots: &[Slot],
        open: &[usize],
        source: &Source,
        syntax: &Syntax,
        context: &Context,
    ) -> Reported {
        let kind = |i: &usize| &self.axes[slots[*i].axis.0].kind;
        let plates: Vec<AxisId> = open.iter().map(|i| slots[*i].axis).collect();
        let (what, wanted) = match source {
            Source::Column(column) => {
                let name = self.data.column(*column).name.clone();
                let plate = self.plates.iter().find(|p| p.levels.contains(column)).map(|p| p.axis);
                (format!("the column `{name}`"), plate)
            }
            Source::Gate { range, .. } => (format!("an index into `{}`", self.axis_name(*range)), Some(*range)),
        };
        let several = matches!(source, Source::Column(_))
            && wanted.is_none()
            && open.iter().filter(|i| matches!(kind(i), AxisKind::Fixed | AxisKind::Levels { .. })).count() > 1;
        if several {
            let mistake = Diagnostic::new(
                "index-mismatch",
                format!(
                    "{what} in {} could select along several of the plates of what it indexes ({})",
                    context.user,
                    self.axis_names(&plates)
                ),
            )
            .at(syntax.span.clone(), "several plates fit")
            .help("write as many indices as there are plates, in their order, or name the column in a plate { levels = \"…\" }");
            return self.report(mistake);
        }
        let in_dimension = wanted.filter(|w| slots.iter().any(|s| s.axis == *w && s.role == Role::Dimension));
        let help = match (in_dimension, wanted) {
            (Some(axis), _) => format!(
                "`{0}` is its dimension, and an index replaces a plate: declare plates = [\"{0}\"] in place of dimension = \"{0}\"",
                self.axis_name(axis)
            ),
            (None, Some(axis)) if self.axes[axis.0].kind == AxisKind::Anonymous => {
                let size = self.axes[axis.0].size;
                format!(
                    "it ranges over {size} elements: give what it indexes a plate of that size, and name the plate in the index's variable, dimension = \"PLATE\""
                )
            }
            (None, Some(axis)) => format!("give it the plate `{}`", self.axis_name(axis)),
            (None, None) => {
                "declare a plate { levels = \"…\" } of that column and give it to the indexed variable".into()
            }
        };
        let mistake = Diagnostic::new(
            "index-mismatch",
            format!(
                "{what} in {} selects along none of the plates of what it indexes ({})",
                context.user,
                self.axis_names(&plates)
            ),
        )
        .at(syntax.span.clone(), "no plate fits")
        .help(help);
        self.report(mistake)
    }

    /// Checks that every look-up and every observed category lies on its axis.
    pub(super) fn check_lookups(&mut self) {
        let lookups = std::mem::take(&mut self.lookups);
        let mut seen = Vec::new();
        for lookup in lookups {
            let id = (lookup.column, lookup.axis, lookup.observed);
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            match self.data.codes(lookup.column, &self.axes[lookup.axis.0]) {
                Err(error) => {
                    self.data_mistake(&error, lookup.span, "looked up here");
                }
                Ok(codes) => {
                    if !lookup.observed
                        && let Some(row) = codes.first_missing()
                    {
                        let column = self.data.column(lookup.column).name.clone();
                        let mistake = Diagnostic::new(
                            "missing-covariate",
                            format!(
                                "the column `{column}` is missing in {}, but is used to look up `{}`",
                                self.data.place(row),
                                self.axis_name(lookup.axis)
                            ),
                        )
                        .at(lookup.span, "looked up here")
                        .help("remove the row, or give the missing value a level of its own");
                        self.report(mistake);
                    }
                }
            }
        }
    }
}

//! Turns parsed expressions into nodes.

use std::ops::Range;

use super::node::Role;
use super::{Context, Meaning, Reported, Resolver};
use crate::data::ColumnId;
use crate::diagnostic::Diagnostic;
use crate::expression::{Syntax, SyntaxKind, is_plain_name};
use crate::graph::{Function, NodeId, NodeKind, VariableId};
use crate::registry::{self, Support, nearest};

impl Resolver<'_> {
    /// The node of an expression.
    pub(super) fn expression(&mut self, syntax: &Syntax, context: &Context) -> Result<NodeId, Reported> {
        let span = syntax.span.clone();
        match &syntax.kind {
            SyntaxKind::Number(x) => Ok(self.number(*x, span)),
            SyntaxKind::Name(name) => self.name(name, span, context),
            SyntaxKind::Element(name) => {
                let message = format!("'{name}' in {} stands by itself", context.user);
                let mistake = Diagnostic::new("not-a-value", message)
                    .at(span, "the name of an element")
                    .help(format!("it selects an element of a value, as in effect['{name}']; a column with such a name is written `{name}`"));
                Err(self.report(mistake))
            }
            SyntaxKind::Negate(a) => {
                let a = self.expression(a, context)?;
                let (axes, roles) = (self.axes_of(a).to_vec(), self.roles_of(a).to_vec());
                Ok(self.push(NodeKind::Negate(a), axes, roles, span))
            }
            SyntaxKind::Binary(operator, a, b) => {
                let left = self.expression(a, context);
                let right = self.expression(b, context);
                let (left, right) = (left?, right?);
                let (axes, roles) = self.aligned(left, right);
                Ok(self.push(NodeKind::Binary(*operator, left, right), axes, roles, span))
            }
            SyntaxKind::Call { function, arguments } => self.call(function, arguments, span, context),
            SyntaxKind::Index { base, indices } => {
                let base = self.expression(base, context)?;
                self.index(base, indices, span, context)
            }
        }
    }

    fn name(&mut self, name: &str, span: Range<usize>, context: &Context) -> Result<NodeId, Reported> {
        let Some(found) = self.names.get(name).cloned() else {
            return Err(self.unknown_name(name, span, context));
        };
        match found.meaning {
            Meaning::Number(x) => Ok(self.number(x, span)),
            Meaning::Constant(tensor) => {
                let axes = tensor.axes.clone();
                let roles = vec![Role::Either; axes.len()];
                Ok(self.push(NodeKind::Constant(tensor), axes, roles, span))
            }
            Meaning::Column(column) => {
                let rows = self.rows_or_report(name, &span)?;
                self.numeric(column, &span)?;
                Ok(self.push(NodeKind::Column(column), vec![rows], vec![Role::Either], span))
            }
            Meaning::Block(block) => {
                let rows = self.rows_or_report(name, &span)?;
                for column in self.data.block(block).columns.clone() {
                    self.numeric(column, &span)?;
                }
                let filled = context.fills.iter().find(|(b, _)| *b == block).map(|(_, axis)| *axis);
                let axis = match filled.or_else(|| self.block_axes.get(&block).copied()) {
                    Some(axis) => axis,
                    None => return Err(self.unknown_name(name, span, context)),
                };
                Ok(self.push(NodeKind::Block(block), vec![rows, axis], vec![Role::Either; 2], span))
            }
            Meaning::Variable(id) => self.variable_node(id, span, context),
            Meaning::Expression(index) => self.named_expression(index, name, span, context),
            Meaning::Network(_) => {
                let mistake = Diagnostic::new(
                    "network-without-input",
                    format!("the network `{name}` stands in {} without an input", context.user),
                )
                .at(span, "no input")
                .help(format!("write {name}(…)"));
                Err(self.report(mistake))
            }
        }
    }

    /// A named expression where it is used: what holds a pair of mean and precision stands in `parameters` alone.
    fn pair_in_place(&mut self, node: NodeId, span: Range<usize>, context: &Context) -> Result<NodeId, Reported> {
        let mut pair = None;
        if !context.joint {
            self.each_variable(node, &mut |id| {
                let joint = self.shells[id.0].entry.is_some_and(|e| e.support == Support::Pair);
                pair = pair.or(joint.then_some(id));
            });
        }
        match pair {
            Some(pair) => self.variable_node(pair, span, context),
            None => Ok(node),
        }
    }

    /// What is reported of a named expression: a pair of mean and precision matrix, indexed or not, stands for its location,
    /// which has the dimension that the pair lacks.
    pub(super) fn located(&mut self, node: NodeId) -> NodeId {
        let (kind, dimension) = match self.nodes[node.0].kind.clone() {
            NodeKind::Variable(id) if self.shells[id.0].entry.is_some_and(|e| e.name == "normal-wishart") => {
                (NodeKind::Variable(id), self.shells[id.0].dimension)
            }
            NodeKind::Index { base, position, index } => {
                let located = self.located(base);
                let dimension = if located == base { None } else { self.axes_of(located).last().copied() };
                (NodeKind::Index { base: located, position, index }, dimension)
            }
            _ => return node,
        };
        let Some(dimension) = dimension else { return node };
        let (mut axes, mut roles) = (self.axes_of(node).to_vec(), self.roles_of(node).to_vec());
        axes.push(dimension);
        roles.push(Role::Dimension);
        self.push(kind, axes, roles, self.nodes[node.0].span.clone())
    }

    /// A named expression whose precision is a matrix is nothing but its pair.
    fn whole_pair(&mut self, node: NodeId, name: &str) -> Result<NodeId, Reported> {
        let mut base = node;
        while let NodeKind::Index { base: inner, .. } = self.nodes[base.0].kind {
            base = inner;
        }
        let mut matrix = None;
        self.each_variable(node, &mut |id| {
            let pair = self.shells[id.0].entry.is_some_and(|e| e.name == "normal-wishart");
            matrix = matrix.or(pair.then_some(id));
        });
        let Some(pair) = matrix.filter(|_| !matches!(self.nodes[base.0].kind, NodeKind::Variable(_))) else {
            return Ok(node);
        };
        let pair = &self.spec.variables[pair.0].name;
        let message = format!("the expression `{name}` computes with `{pair}`, a pair of mean and precision matrix");
        let mistake = Diagnostic::new("joint-variable", message)
            .at(self.nodes[node.0].span.clone(), "more than the pair itself")
            .help(format!(
                "name the pair alone, possibly indexed (\"{pair}[z]\"), for a normal variable's `parameters`"
            ));
        Err(self.report(mistake))
    }

    fn variable_node(&mut self, id: VariableId, span: Range<usize>, context: &Context) -> Result<NodeId, Reported> {
        let shell = self.shells[id.0].clone();
        let name = &self.spec.variables[id.0].name;
        let support = shell.entry.map(|e| e.support);
        let distribution = shell.entry.map_or("", |e| e.name);
        if support == Some(Support::Pair) && !context.joint {
            let mistake = Diagnostic::new(
                "joint-variable",
                format!(
                    "`{name}` is a pair of mean and precision (`{distribution}`), which cannot stand in {}",
                    context.user
                ),
            )
            .at(span, "a pair")
            .help(if shell.dimension.is_some() && distribution == "normal-gamma" {
                format!(
                    "write parameters = \"dot({name}, x)\", or another expression linear in `{name}`, in the normal variable \
                     whose mean it is and whose precision it holds"
                )
            } else {
                format!("write parameters = \"{name}\" in the normal variable that it parametrises")
            });
            return Err(self.report(mistake));
        }
        if support == Some(Support::Index) {
            let mistake = Diagnostic::new(
                "index-as-number",
                format!("`{name}` is an index (`{distribution}`), which is not a number in {}", context.user),
            )
            .at(span, "an index")
            .help(format!("use it in brackets: a[{name}]"));
            return Err(self.report(mistake));
        }
        let mut axes = shell.plates.clone();
        let mut roles = vec![Role::Plate; axes.len()];
        // A precision matrix beside its mean: the pair has no single vector.
        if distribution != "normal-wishart" {
            let copies = if support == Some(Support::PositiveDefinite) { 2 } else { 1 };
            let dimension = shell.dimension.or(shell.range);
            if support == Some(Support::Counts) || shell.dimension.is_some() {
                for axis in std::iter::repeat_n(dimension, copies).flatten() {
                    axes.push(axis);
                    roles.push(Role::Dimension);
                }
            }
        }
        Ok(self.push(NodeKind::Variable(id), axes, roles, span))
    }

    fn named_expression(
        &mut self,
        index: usize,
        name: &str,
        span: Range<usize>,
        context: &Context,
    ) -> Result<NodeId, Reported> {
        let Some(named) = self.named.get(index).cloned().flatten() else {
            return Err(Reported);
        };
        if named.failed {
            return Err(Reported);
        }
        if !named.has_network {
            let node = match named.node {
                Some(node) => Ok(node),
                None => {
                    let user = format!("the expression `{name}`");
                    let own = Context { user, named: true, joint: true, ..Context::default() };
                    let node = self.expression(&named.syntax, &own).and_then(|node| self.whole_pair(node, name));
                    if let Some(Some(entry)) = self.named.get_mut(index) {
                        entry.node = node.ok();
                        entry.failed = node.is_err();
                    }
                    node
                }
            };
            return self.pair_in_place(node?, span, context);
        }
        if context.named {
            // Both are resolved again by the variable that uses them.
            return self.expression(&named.syntax, context);
        }
        let key = (context.plates.clone(), context.dimension, context.range);
        if let Some((_, node)) = named.cache.iter().find(|(k, _)| *k == key) {
            return Ok(*node);
        }
        let node = self.expression(&named.syntax, context);
        if let Some(Some(entry)) = self.named.get_mut(index) {
            match node {
                Ok(node) => {
                    entry.node.get_or_insert(node);
                    entry.cache.push((key, node));
                }
                Err(Reported) => entry.failed = true,
            }
        }
        let _ = span;
        node
    }

    /// Resolves `[expressions]` that no variable uses.
    pub(super) fn unused_expressions(&mut self) {
        for index in 0..self.named.len() {
            let waiting = self.named[index].as_ref().is_some_and(|n| n.node.is_none() && !n.has_network && !n.failed);
            if waiting {
                let entry = &self.spec.expressions[index];
                let (name, span) = (entry.key.clone(), entry.value.span.clone());
                let _ = self.named_expression(index, &name, span, &Context { joint: true, ..Context::default() });
            }
        }
    }

    /// The rows' axis, which data columns need.
    pub(super) fn rows_or_report(&mut self, name: &str, span: &Range<usize>) -> Result<crate::graph::AxisId, Reported> {
        self.rows.ok_or(()).map_err(|()| {
            let mistake = Diagnostic::new(
                "no-rows-plate",
                format!("`{name}` has one value per data row, but no plate ranges over the rows"),
            )
            .at(span.clone(), "data")
            .help("add to [plates]: observation = \"rows\"");
            self.report(mistake)
        })
    }

    /// Reports a column of text where numbers are needed, once per column.
    pub(super) fn numeric(&mut self, column: ColumnId, span: &Range<usize>) -> Result<(), Reported> {
        if let Some(good) = self.checked_numeric.get(&column) {
            return if *good { Ok(()) } else { Err(Reported) };
        }
        let result = self.data.require_numeric(column);
        self.checked_numeric.insert(column, result.is_ok());
        result.map_err(|error| self.data_mistake(&error, span.clone(), "used as numbers"))
    }

    pub(super) fn unknown_name(&mut self, name: &str, span: Range<usize>, context: &Context) -> Reported {
        let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
        known.sort_unstable();
        // `my` of `my-mean`, which without backquotes is a difference.
        let begins = |known: &&&str| {
            !is_plain_name(known)
                && known.strip_prefix(name).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let hint = match known.iter().find(begins) {
            Some(whole) => format!(": the name `{whole}` is put between backquotes in an expression"),
            None => nearest(name, known.iter().copied()).map(|n| format!(": did you mean `{n}`?")).unwrap_or_default(),
        };
        let of_kind = |kinds: &[&str]| {
            let mut names: Vec<&str> =
                self.names.iter().filter(|(_, n)| kinds.contains(&n.kind)).map(|(n, _)| n.as_str()).collect();
            names.sort_unstable();
            let more = if names.len() > 12 { ", …" } else { "" };
            let shown: Vec<&str> = names.into_iter().take(12).collect();
            (!shown.is_empty()).then(|| format!("`{}`{more}", shown.join("`, `")))
        };
        let mut help = Vec::new();
        if let Some(names) = of_kind(&["variable", "named expression", "network"]) {
            help.push(format!("variables and expressions: {names}"));
        }
        if let Some(names) = of_kind(&["data column", "data block", "constant"]) {
            help.push(format!("data: {names}"));
        }
        let mistake = Diagnostic::new("unknown-name", format!("unknown name `{name}` in {}{hint}", context.user))
            .at(span, "not declared");
        let mistake = if help.is_empty() { mistake } else { mistake.help(help.join("; ")) };
        self.report(mistake)
    }

    fn call(
        &mut self,
        function: &str,
        arguments: &[Syntax],
        span: Range<usize>,
        context: &Context,
    ) -> Result<NodeId, Reported> {
        if function == "dot" {
            let [a, b] = arguments else {
                return Err(self.argument_count("dot", 2, arguments.len(), span));
            };
            return self.dot(a, b, span, context);
        }
        let known = match function {
            "exp" => Some(Function::Exp),
            "log" => Some(Function::Log),
            "sqrt" => Some(Function::Sqrt),
            "square" => Some(Function::Square),
            "logistic" => Some(Function::Logistic),
            "softplus" => Some(Function::Softplus),
            _ => None,
        };
        if let Some(known) = known {
            let [a] = arguments else {
                return Err(self.argument_count(function, 1, arguments.len(), span));
            };
            let a = self.expression(a, context)?;
            let (axes, roles) = (self.axes_of(a).to_vec(), self.roles_of(a).to_vec());
            return Ok(self.push(NodeKind::Function(known, a), axes, roles, span));
        }
        if let Some(Meaning::Network(id)) = self.names.get(function).map(|n| n.meaning.clone()) {
            return self.network_call(id, arguments, span, context);
        }
        let networks = self.spec.networks.iter().map(|n| n.name.as_str());
        let hint = match function {
            "sigmoid" | "expit" | "inv_logit" => Some("logistic"),
            "ln" => Some("log"),
            "matmul" | "inner" | "sum" => Some("dot"),
            "pow" => Some("square"),
            _ => nearest(function, registry::FUNCTIONS.iter().map(|f| f.0).chain(networks)),
        };
        let hint = hint.map(|n| format!(": did you mean `{n}`?")).unwrap_or_default();
        let mut known: Vec<&str> = registry::FUNCTIONS.iter().map(|f| f.0).collect();
        known.extend(self.spec.networks.iter().map(|n| n.name.as_str()));
        let mistake =
            Diagnostic::new("unknown-function", format!("unknown function `{function}` in {}{hint}", context.user))
                .at(span, "not a function or network")
                .help(format!("functions and networks: {}", known.join(", ")));
        Err(self.report(mistake))
    }

    fn argument_count(&mut self, function: &str, wanted: usize, found: usize, span: Range<usize>) -> Reported {
        let mistake = Diagnostic::new(
            "argument-count",
            format!("`{function}` takes {wanted} argument{}, not {found}", if wanted == 1 { "" } else { "s" }),
        )
        .at(span, format!("{found} arguments"));
        self.report(mistake)
    }
}

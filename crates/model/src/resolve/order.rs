//! Parses every expression and finds an order in which each variable comes after its parents.

use super::{Meaning, Named, Resolver};
use crate::diagnostic::Diagnostic;
use crate::expression::{self, Place, Syntax, SyntaxKind};
use crate::spec::Value;

impl Resolver<'_> {
    /// Parses an expression written in the model file.
    pub(super) fn parse(&mut self, value: &Value, text: &str) -> Result<Syntax, super::Reported> {
        let place = Place::of(&self.spec.source.text, &value.span, text);
        expression::parse(text, &place).map_err(|mistake| self.report(mistake))
    }

    fn named_syntaxes(&mut self) {
        let spec = self.spec;
        for entry in &spec.expressions {
            let value = &entry.value;
            let parsed = match (value.text(), value.number()) {
                (Some(text), _) => self.parse(value, text).ok(),
                (None, Some(x)) => Some(Syntax { kind: SyntaxKind::Number(x), span: value.span.clone() }),
                _ => {
                    let mistake = Diagnostic::new(
                        "wrong-kind",
                        format!("the expression `{}` must be a string, not {}", entry.key, value.describe()),
                    )
                    .at(value.span.clone(), "expected a string")
                    .help("write it between quotes");
                    self.report(mistake);
                    None
                }
            };
            self.named.push(parsed.map(|syntax| Named {
                syntax,
                node: None,
                has_network: false,
                cache: Vec::new(),
                failed: false,
            }));
        }
    }

    /// Variables that a syntax tree names, through named expressions.
    fn mentions(&self, syntax: &Syntax, found: &mut Vec<usize>) {
        syntax.visit(&mut |node| {
            if let SyntaxKind::Name(name) = &node.kind {
                match self.names.get(name).map(|n| &n.meaning) {
                    Some(Meaning::Variable(id)) => found.push(id.0),
                    Some(Meaning::Expression(index)) => {
                        if let Some(Some(named)) = self.named.get(*index)
                            && !named.failed
                        {
                            self.mentions(&named.syntax, found);
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    fn check_named_order(&mut self) {
        for index in 0..self.named.len() {
            let Some(named) = &self.named[index] else { continue };
            let mut late = None;
            let mut network = false;
            named.syntax.visit(&mut |node| match &node.kind {
                SyntaxKind::Name(name) => match self.names.get(name).map(|n| &n.meaning) {
                    Some(Meaning::Expression(other)) if *other >= index => {
                        late.get_or_insert((name.clone(), node.span.clone()));
                    }
                    Some(Meaning::Expression(other)) => {
                        network |= self.named[*other].as_ref().is_some_and(|n| n.has_network);
                    }
                    _ => {}
                },
                SyntaxKind::Call { function, .. } => {
                    network |= matches!(self.names.get(function).map(|n| &n.meaning), Some(Meaning::Network(_)));
                }
                _ => {}
            });
            if let Some(named) = &mut self.named[index] {
                named.has_network = network;
                named.failed = late.is_some();
            }
            if let Some((name, span)) = late {
                let own = &self.spec.expressions[index].key;
                let mistake = if name == *own {
                    Diagnostic::new("expression-order", format!("the expression `{own}` uses itself"))
                        .at(span, "its own name")
                        .help("an expression may use variables, data and expressions declared before it")
                } else {
                    let message = format!("the expression `{own}` uses `{name}`, which is not declared before it");
                    Diagnostic::new("expression-order", message)
                        .at(span, "declared later")
                        .help(format!("move `{name}` above `{own}`"))
                };
                self.report(mistake);
            }
        }
    }

    /// An order of the variables in which parents come first; also parses `[expressions]`.
    pub(super) fn order_of_variables(&mut self) -> Option<Vec<usize>> {
        self.named_syntaxes();
        self.check_named_order();
        let spec = self.spec;
        let count = spec.variables.len();
        let mut parents: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (index, variable) in spec.variables.iter().enumerate() {
            let parameters = self.shells[index].entry.map_or(&[][..], |e| e.parameters);
            for field in &variable.keys {
                let is_expression =
                    parameters.iter().any(|p| p.name == field.key) || matches!(field.key.as_str(), "lower" | "upper");
                if let Some(text) = field.value.text()
                    && is_expression
                    && field.key != "sequence"
                {
                    let place = Place::of(&spec.source.text, &field.value.span, text);
                    if let Ok(syntax) = expression::parse(text, &place) {
                        self.mentions(&syntax, &mut parents[index]);
                    }
                }
            }
        }
        // Depth-first; state 1 is on the path, 2 is done.
        let mut state = vec![0u8; count];
        let mut order = Vec::with_capacity(count);
        for start in 0..count {
            let mut path: Vec<(usize, usize)> = Vec::new();
            if state[start] == 0 {
                state[start] = 1;
                path.push((start, 0));
            }
            while let Some((node, next)) = path.last_mut() {
                let node = *node;
                match parents[node].get(*next) {
                    Some(&parent) => {
                        *next += 1;
                        if state[parent] == 1 {
                            let from = path.iter().position(|(n, _)| *n == parent).unwrap_or(0);
                            let mut names: Vec<String> =
                                path[from..].iter().map(|(n, _)| format!("`{}`", spec.variables[*n].name)).collect();
                            names.push(format!("`{}`", spec.variables[parent].name));
                            let mistake = Diagnostic::new(
                                "cyclic-parents",
                                format!("variables depend on each other in a circle: {}", names.join(" → ")),
                            )
                            .at(spec.variables[parent].span.clone(), "depends on itself")
                            .help("a variable's parameters may name only variables that do not depend on it");
                            self.report(mistake);
                            return None;
                        }
                        if state[parent] == 0 {
                            state[parent] = 1;
                            path.push((parent, 0));
                        }
                    }
                    None => {
                        state[node] = 2;
                        order.push(node);
                        path.pop();
                    }
                }
            }
        }
        Some(order)
    }
}

//! Names and units of what is said of each row: elements by the names of their axes, observed values on the scale of the data.

use crate::graph::{AxisId, AxisKind, Distribution, Graph, NodeId, NodeKind, Observation, VariableId};

/// Where values of standardized columns stand on the data's own scale, for each element of a row: x = mean + sd · standardized.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnScale {
    /// Mean and sd of the column of each element.
    columns: Vec<(f64, f64)>,
}

impl OwnScale {
    /// Means, quantiles or draws `[…, elements, repeats]`, brought to the data's own scale.
    pub fn locations(&self, values: &mut [f64], repeats: usize) {
        for (group, (mean, sd)) in values.chunks_mut(repeats.max(1)).zip(self.columns.iter().cycle()) {
            group.iter_mut().for_each(|value| *value = mean + sd * *value);
        }
    }

    /// Standard deviations `[…, elements]`, brought to the data's own scale.
    pub fn spreads(&self, values: &mut [f64]) {
        for (value, (_, sd)) in values.iter_mut().zip(self.columns.iter().cycle()) {
            *value *= sd;
        }
    }
}

impl Graph {
    /// Names of a row's elements along `axes` (those of the rows are left out), the last axis fastest: levels and columns of blocks by
    /// their names, others by number from 0, those of several axes joined by `_`. Where the axes do not have `width` elements all are
    /// numbered. Empty where there is one element.
    pub fn names_of_elements(&self, axes: &[AxisId], width: usize) -> Vec<String> {
        if width == 1 {
            return Vec::new();
        }
        let mut names: Vec<String> = Vec::new();
        for &axis in axes.iter().filter(|axis| Some(**axis) != self.rows) {
            let axis = self.axis(axis);
            let own = match &axis.kind {
                AxisKind::Levels { .. } | AxisKind::Block(_) => self.data.element_names(axis),
                _ => None,
            };
            let own = own.unwrap_or_else(|| (0..axis.size).map(|i| i.to_string()).collect());
            names = if names.is_empty() {
                own
            } else {
                names.iter().flat_map(|first| own.iter().map(move |last| format!("{first}_{last}"))).collect()
            };
        }
        if names.len() == width { names } else { (0..width).map(|i| i.to_string()).collect() }
    }

    /// Names of the probabilities that a row of a categorical variable or chain has: of its categories, behind those of the elements
    /// where a row has several.
    pub fn names_of_categories(&self, variable: VariableId, width: usize) -> Vec<String> {
        let mut axes = self.value_axes(variable);
        if let Distribution::Categorical { range, .. } | Distribution::MarkovChain { range, .. } =
            self.variable(variable).distribution
        {
            axes.push(range);
        }
        match self.names_of_elements(&axes, width) {
            names if names.is_empty() => vec!["0".to_owned()],
            names => names,
        }
    }

    /// The scale of the data of an observed variable whose column, or columns of a block, are standardized, for the elements of a row
    /// along `axes`. `None` where nothing is standardized, where what is observed is an expression, and where the elements along
    /// `axes` are of columns with different scales.
    pub fn own_scale(&self, variable: VariableId, axes: &[AxisId]) -> Option<OwnScale> {
        let Some(Observation::Numeric(node)) = self.variable(variable).observed else { return None };
        let (columns, along) = self.observed_columns(node)?;
        let scales: Vec<(f64, f64)> =
            columns.iter().map(|c| self.data.column(*c).standardization.unwrap_or((0.0, 1.0))).collect();
        if scales.iter().all(|scale| *scale == (0.0, 1.0)) {
            return None;
        }
        let axes: Vec<AxisId> = axes.iter().copied().filter(|axis| Some(*axis) != self.rows).collect();
        let sizes: Vec<usize> = axes.iter().map(|axis| self.axis(*axis).size).collect();
        let place = along.and_then(|along| axes.iter().position(|axis| *axis == along));
        let Some(place) = place else {
            return scales.iter().all(|scale| *scale == scales[0]).then(|| OwnScale { columns: vec![scales[0]] });
        };
        let stride: usize = sizes[place + 1..].iter().product();
        let elements: usize = sizes.iter().product();
        Some(OwnScale { columns: (0..elements).map(|e| scales[e / stride % sizes[place]]).collect() })
    }

    /// The columns behind an observed node, and the axis along which they stand.
    fn observed_columns(&self, node: NodeId) -> Option<(Vec<crate::data::ColumnId>, Option<AxisId>)> {
        let node = self.node(node);
        match node.kind {
            NodeKind::Column(column) => Some((vec![column], None)),
            NodeKind::Block(block) => {
                let along = node.axes.iter().copied().find(|axis| Some(*axis) != self.rows);
                Some((self.data.block(block).columns.clone(), along))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let text = "[data]\nstandardize = [\"a\", \"b\"]\n[data.values]\na = [1.0, 3.0]\nb = [10.0, 30.0]\nc = [1.0, 2.0]
kind = [\"red\", \"blue\"]\n[data.blocks]\nboth = [\"a\", \"b\"]\n[plates]\nrow = \"rows\"\ncolumn = { columns = \"both\" }
colour = { levels = \"kind\" }\npair = 2
[variables.y]\nplates = [\"row\", \"column\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\nobserved = \"both\"
[variables.z]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\nobserved = \"c\"
[variables.w]\nplates = [\"row\", \"colour\", \"pair\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n";
        crate::load_str(text, "rows.toml", std::path::Path::new(".")).unwrap()
    }

    #[test]
    fn elements_go_by_the_names_of_their_axes() {
        let graph = graph();
        let names = |name: &str, width: usize| {
            graph.names_of_elements(&graph.value_axes(graph.variable_named(name).unwrap()), width)
        };
        assert_eq!(names("y", 2), ["a", "b"]);
        assert_eq!(names("z", 1), Vec::<String>::new());
        assert_eq!(names("w", 4), ["red_0", "red_1", "blue_0", "blue_1"]);
        assert_eq!(names("y", 3), ["0", "1", "2"]);
    }

    #[test]
    fn values_of_standardized_columns_return_to_the_scale_of_the_data() {
        let graph = graph();
        let y = graph.variable_named("y").unwrap();
        let scale = graph.own_scale(y, &graph.value_axes(y)).unwrap();
        // Means 2 and 20, sds 1 and 10; two rows of two columns with two draws each.
        let mut draws = [0.0, 1.0, 0.0, 1.0, -1.0, 2.0, -1.0, 2.0];
        scale.locations(&mut draws, 2);
        assert_eq!(draws, [2.0, 3.0, 20.0, 30.0, 1.0, 4.0, 10.0, 40.0]);
        let mut sds = [1.0, 1.0, 0.5, 0.5];
        scale.spreads(&mut sds);
        assert_eq!(sds, [1.0, 10.0, 0.5, 5.0]);
        // One number for columns of different scales has no scale of its own.
        assert_eq!(graph.own_scale(y, &[]), None);
        let z = graph.variable_named("z").unwrap();
        assert_eq!(graph.own_scale(z, &graph.value_axes(z)), None);
    }
}

//! What a picture of a posterior mean needs to know of the model: its axes, their names, and where pixels are.

use crate::data::Data;
use crate::graph::{Axis, AxisId, AxisKind, Distribution, Graph};

/// How a reported mean is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depiction {
    /// The axes of the mean, outermost first.
    pub axes: Vec<AxisId>,
    /// Whether its last axis holds probabilities.
    pub is_simplex: bool,
}

impl Graph {
    /// The layout of the posterior mean of a variable, or of an expression with these plates. `None`: it is a matrix or an index into
    /// an axis, of which a mean says little.
    pub fn depiction(&self, name: &str, plates: &[String]) -> Option<Depiction> {
        let Some(id) = self.variable_named(name) else {
            let named = |plate: &String| self.axes.iter().position(|axis| axis.name == *plate).map(AxisId);
            let axes = plates.iter().map(named).collect::<Option<Vec<_>>>()?;
            return Some(Depiction { axes, is_simplex: false });
        };
        let is_simplex = match self.variable(id).distribution {
            Distribution::Wishart { .. } | Distribution::Categorical { .. } | Distribution::MarkovChain { .. } => {
                return None;
            }
            Distribution::Dirichlet { .. } | Distribution::StickBreaking { .. } => true,
            _ => false,
        };
        Some(Depiction { axes: self.value_axes(id), is_simplex })
    }

    /// The names of the elements of the axis called `name`: levels, or the columns of a block. `None` where it is no axis, or its
    /// elements are numbered.
    pub fn element_names(&self, name: &str) -> Option<Vec<String>> {
        self.axes.iter().find(|axis| axis.name == name).and_then(|axis| self.data.element_names(axis))
    }
}

impl Axis {
    /// Its name where the model gives it one, otherwise nothing.
    pub fn label(&self) -> &str {
        if self.kind == AxisKind::Anonymous { "" } else { &self.name }
    }
}

impl Data {
    /// The side of the square image whose pixels are the columns of a block: at least 16, numbered without gaps after one common name.
    pub fn square_image(&self, axis: &Axis) -> Option<usize> {
        let AxisKind::Block(block) = axis.kind else { return None };
        let columns = &self.block(block).columns;
        let side = columns.len().isqrt();
        if side < 4 || side * side != columns.len() {
            return None;
        }
        let split = |name: &str| {
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            let number = name[stem.len()..].parse::<usize>().ok()?;
            Some((stem, number))
        };
        let (stem, first) = split(&self.column(columns[0]).name)?;
        let consecutive = columns.iter().enumerate().all(|(i, column)| {
            split(&self.column(*column).name).is_some_and(|(own, number)| own == stem && number == first + i)
        });
        consecutive.then_some(side)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;

    fn graph(columns: usize) -> Graph {
        let values: String = (0..columns).map(|i| format!("pixel_{i} = [0.0, 1.0]\n")).collect();
        let text = format!(
            "[data.values]\n{values}[data.blocks]\npixels = \"pixel_*\"\n[plates]\nrow = \"rows\"\ngroup = 2\n\
             [variables.loading]\nplates = [\"group\"]\ndimension = \"pixels\"\ndistribution = \"normal\"\nmean = 0\nprecision = 1\n\
             [variables.share]\ndistribution = \"dirichlet\"\ndimension = \"group\"\nconcentration = 1\n\
             [variables.z]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\n\
             [variables.x]\nplates = [\"row\"]\ndimension = \"pixels\"\ndistribution = \"normal\"\nmean = \"loading[z]\"\n\
             precision = 1\nobserved = \"pixels\"\n"
        );
        crate::load_str(&text, "pictures.toml", std::path::Path::new(".")).unwrap()
    }

    #[test]
    fn axes_simplices_and_images() {
        let graph = graph(16);
        let names = |name: &str| {
            let depiction = graph.depiction(name, &["group".to_owned()])?;
            let labels = depiction.axes.iter().map(|axis| graph.axis(*axis).label()).collect::<Vec<_>>().join(" ");
            Some((labels, depiction.is_simplex))
        };
        assert_eq!(names("loading"), Some(("group pixels".to_owned(), false)));
        assert_eq!(names("share"), Some(("group".to_owned(), true)));
        assert_eq!(names("an expression"), Some(("group".to_owned(), false)));
        assert_eq!(names("z"), None);
        let pixels = graph.axes.iter().find(|axis| axis.name == "pixels").unwrap();
        assert_eq!(graph.data.square_image(pixels), Some(4));
    }

    #[test]
    fn columns_that_are_no_square_are_no_image() {
        for columns in [9, 17] {
            let graph = graph(columns);
            let pixels = graph.axes.iter().find(|axis| axis.name == "pixels").unwrap();
            assert_eq!(graph.data.square_image(pixels), None);
        }
    }
}

//! All numbers that are learned, in one flat buffer with named views.

use super::aligned::LINE;
use super::noise::StepNoise;
use rand_distr::{Distribution, Uniform};
use std::ops::Range;

/// How a view starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Initial {
    /// Every element the same number.
    Constant(f32),
    /// Uniform in (−bound, bound).
    Uniform(f32),
}

impl Initial {
    /// Uniform with variance 1 / (3·fan_in), a sixth of He et al. 2015: on images of digits both the training and the
    /// held-out ELBO end higher from here than from the larger starts.
    #[must_use]
    pub(crate) fn by_fan_in(fan_in: usize) -> Self {
        Self::Uniform(1.0 / (fan_in.max(1) as f32).sqrt())
    }
}

/// A named array within the buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Its name in a file of weights, such as `decoder.layer_1.weight`.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
    /// How it starts.
    pub initial: Initial,
    /// Whether the optimiser changes it.
    pub trainable: bool,
}

/// Index of a view in [`Layout::views`].
pub(crate) type ViewId = usize;

/// Names, shapes and places of all parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layout {
    views: Vec<View>,
    length: usize,
}

impl Layout {
    /// Appends a view.
    pub(crate) fn allocate(&mut self, name: impl Into<String>, shape: &[usize], initial: Initial) -> ViewId {
        let size: usize = shape.iter().product();
        self.views.push(View {
            name: name.into(),
            shape: shape.to_vec(),
            range: self.length..self.length + size,
            initial,
            trainable: true,
        });
        self.length += size;
        self.views.len() - 1
    }

    /// Moves the views that are whole lines of the cache before all others, so that each of them begins at a line of a buffer
    /// that does, and vectors loaded from it do not straddle two. Places that were handed out before are void.
    pub(crate) fn arrange(&mut self) {
        let mut order: Vec<ViewId> = (0..self.views.len()).collect();
        order.sort_by_key(|&id| !self.views[id].range.len().is_multiple_of(LINE));
        let mut start = 0;
        for id in order {
            let range = &mut self.views[id].range;
            *range = start..start + range.len();
            start = range.end;
        }
    }

    /// All views, in the order in which they were allocated; together they are the buffer, without gaps.
    #[must_use]
    pub(crate) fn views(&self) -> &[View] {
        &self.views
    }

    /// All views, to change their starts or to freeze them.
    pub(crate) fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        self.views.iter_mut()
    }

    /// The view of that name.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn named(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.name == name)
    }

    /// Number of parameters.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The part of `buffer` that a view names.
    #[must_use]
    pub(crate) fn slice<'a>(&self, buffer: &'a [f32], view: ViewId) -> &'a [f32] {
        &buffer[self.views[view].range.clone()]
    }

    /// A buffer with every view at its start; each view has random numbers of its own.
    #[must_use]
    pub(crate) fn initialize(&self, seed: u64) -> Vec<f32> {
        let noise = StepNoise::new(seed, u64::MAX);
        let mut buffer = vec![0.0; self.length];
        for (index, view) in self.views.iter().enumerate() {
            let target = &mut buffer[view.range.clone()];
            match view.initial {
                Initial::Constant(value) => target.fill(value),
                Initial::Uniform(bound) => {
                    if let Ok(uniform) = Uniform::new_inclusive(-bound, bound) {
                        let mut generator = noise.row(index as u64, 0);
                        target.fill_with(|| uniform.sample(&mut generator));
                    }
                }
            }
        }
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_lie_side_by_side_and_start_as_asked() {
        let mut layout = Layout::default();
        let weight = layout.allocate("encoder.layer_1.weight", &[300, 200], Initial::by_fan_in(300));
        let bias = layout.allocate("encoder.layer_1.bias", &[200], Initial::Constant(0.0));
        assert_eq!(layout.len(), 60_200);
        let buffer = layout.initialize(5);
        assert_eq!(buffer, layout.initialize(5));
        assert_ne!(buffer, layout.initialize(6));
        let values = layout.slice(&buffer, weight);
        let variance = values.iter().map(|w| f64::from(w * w)).sum::<f64>() / values.len() as f64;
        assert!((variance * 900.0 - 1.0).abs() < 0.02, "{variance}");
        assert!(layout.slice(&buffer, bias).iter().all(|&b| b == 0.0));
        assert_eq!(layout.named("encoder.layer_1.bias").unwrap().range, 60_000..60_200);
    }

    #[test]
    fn whole_lines_come_first_and_starts_stay_as_they_are() {
        let mut layout = Layout::default();
        let views = [30, 64, 7, 160].map(|size| layout.allocate(format!("{size}"), &[size], Initial::Uniform(1.0)));
        let before = layout.initialize(2);
        let old = layout.clone();
        layout.arrange();
        let after = layout.initialize(2);
        let ranges = views.map(|view| layout.views()[view].range.clone());
        assert_eq!(ranges, [224..254, 0..64, 254..261, 64..224]);
        assert_eq!(layout.len(), 261);
        for view in views {
            assert_eq!(old.slice(&before, view), layout.slice(&after, view));
        }
    }
}

//! k-means++ on sparse points: what is alike begins in one category.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Points with few coordinates that are not zero, one after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Points {
    /// Number of coordinates.
    pub(super) width: usize,
    /// Where each point's coordinates begin, and the end of the last.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

impl Points {
    /// No points yet.
    pub(super) fn new(width: usize) -> Self {
        Self { width, starts: vec![0], ..Self::default() }
    }

    /// Appends a point; coordinates that are zero may be left out.
    pub(super) fn push(&mut self, coordinates: impl Iterator<Item = (u32, f64)>) {
        for (column, value) in coordinates.filter(|(_, v)| *v != 0.0) {
            self.columns.push(column);
            self.values.push(value);
        }
        self.starts.push(self.columns.len());
    }

    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The coordinates of a point.
    fn point(&self, i: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let own = self.starts[i]..self.starts[i + 1];
        self.columns[own.clone()].iter().zip(&self.values[own]).map(|(c, v)| (*c as usize, *v))
    }

    fn squared_norm(&self, i: usize) -> f64 {
        self.values[self.starts[i]..self.starts[i + 1]].iter().map(|v| v * v).sum()
    }

    /// ‖x − c‖², where ‖c‖² is known.
    fn squared_distance(&self, i: usize, centre: &[f64], centre_norm: f64) -> f64 {
        let product: f64 = self.point(i).map(|(c, v)| v * centre[c]).sum();
        let sum = self.squared_norm(i) + centre_norm;
        let distance = sum - 2.0 * product;
        // What is left of rounding between equal points.
        if distance > 1e-12 * sum { distance } else { 0.0 }
    }

    /// k-means++ (Arthur & Vassilvitskii 2007) with some Lloyd steps: centres `[k, width]`.
    pub(super) fn centres(&self, k: usize, steps: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
        let (count, width) = (self.len(), self.width);
        let mut centres = vec![0.0; k * width];
        if count == 0 {
            return centres;
        }
        let mut distance = vec![f64::INFINITY; count];
        let mut chosen = random.random_range(0..count);
        for c in 0..k {
            let centre = &mut centres[c * width..(c + 1) * width];
            self.point(chosen).for_each(|(column, v)| centre[column] = v);
            let norm = self.squared_norm(chosen);
            let mut total = 0.0;
            for (i, d) in distance.iter_mut().enumerate() {
                *d = d.min(self.squared_distance(i, centre, norm));
                total += *d;
            }
            let mut left = random.random::<f64>() * total;
            chosen = random.random_range(0..count);
            for (i, d) in distance.iter().enumerate() {
                left -= d;
                if left <= 0.0 && *d > 0.0 {
                    chosen = i;
                    break;
                }
            }
        }
        for _ in 0..steps {
            let mut sums = vec![0.0; k * width];
            let mut sizes = vec![0.0; k];
            for (i, best) in self.nearest(&centres).into_iter().enumerate() {
                let best = best as usize;
                sizes[best] += 1.0;
                self.point(i).for_each(|(column, v)| sums[best * width + column] += v);
            }
            for c in (0..k).filter(|c| sizes[*c] > 0.0) {
                let own = c * width..(c + 1) * width;
                centres[own.clone()].iter_mut().zip(&sums[own]).for_each(|(m, s)| *m = s / sizes[c]);
            }
        }
        centres
    }

    /// The nearest of the centres `[k, width]` to each point.
    pub(super) fn nearest(&self, centres: &[f64]) -> Vec<u32> {
        let width = self.width.max(1);
        let norms: Vec<f64> = centres.chunks_exact(width).map(|c| c.iter().map(|x| x * x).sum()).collect();
        (0..self.len())
            .map(|i| {
                let mut best = (0, f64::INFINITY);
                for (c, (centre, norm)) in centres.chunks_exact(width).zip(&norms).enumerate() {
                    let d = self.squared_distance(i, centre, *norm);
                    if d < best.1 {
                        best = (c as u32, d);
                    }
                }
                best.0
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn far_clusters_get_a_centre_each() {
        let mut points = Points::new(3);
        for i in 0..60_u32 {
            points.push([(i % 3, 10.0 + 0.01 * f64::from(i))].into_iter());
        }
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let centres = points.centres(3, 2, &mut random);
        let nearest = points.nearest(&centres);
        assert!((0..60).all(|i| nearest[i] == nearest[i % 3]));
        assert!(nearest[0] != nearest[1] && nearest[1] != nearest[2] && nearest[0] != nearest[2]);
        // A Lloyd step puts a centre at the mean of its points: 10 + 0.01 · (0 + 3 + … + 57) / 20.
        let own = &centres[nearest[0] as usize * 3..][..3];
        assert!((own[0] - 10.285).abs() < 1e-12 && own[1] == 0.0);
    }
}

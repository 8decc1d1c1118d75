//! Convolutions of channel-last images as matrix products: patches are gathered before, or scattered after, the product.

/// A strided convolution from a large image to a small one; read backwards it is the transposed convolution.
///
/// Images are `[height, width, channels]`, channels last. The weight is `[kernel·kernel·large_channels, small_channels]`
/// for the convolution and its transpose's layout `[small_channels, kernel·kernel·large_channels]` for the transposed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Height and width of the large image.
    pub large: [usize; 2],
    /// Channels of the large image.
    pub large_channels: usize,
    /// Height and width of the small image.
    pub small: [usize; 2],
    /// Channels of the small image.
    pub small_channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Distance between neighbouring patches.
    pub stride: usize,
    /// Rows and columns of zeros around the large image.
    pub padding: usize,
}

impl Geometry {
    /// The padding that keeps the size of the image at stride 1 with an odd kernel.
    #[must_use]
    pub(crate) fn same_padding(kernel: usize) -> usize {
        (kernel - 1) / 2
    }

    /// A convolution; the small image has ⌊(size + 2·padding − kernel) / stride⌋ + 1 rows (columns).
    #[must_use]
    pub(crate) fn new(
        large: [usize; 2],
        large_channels: usize,
        small_channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        let length = |size: usize| (size + 2 * padding).saturating_sub(kernel) / stride + 1;
        Self {
            large,
            large_channels,
            small: [length(large[0]), length(large[1])],
            small_channels,
            kernel,
            stride,
            padding,
        }
    }

    /// Numbers in the large image.
    #[must_use]
    pub(crate) fn large_width(&self) -> usize {
        self.large[0] * self.large[1] * self.large_channels
    }

    /// Numbers in the small image.
    #[must_use]
    pub(crate) fn small_width(&self) -> usize {
        self.positions() * self.small_channels
    }

    /// Patches per image.
    #[must_use]
    pub(crate) fn positions(&self) -> usize {
        self.small[0] * self.small[1]
    }

    /// Numbers in a patch.
    #[must_use]
    pub(crate) fn patch_width(&self) -> usize {
        self.kernel * self.kernel * self.large_channels
    }

    /// Calls `see(patch offset, image offset, length)` for every run of numbers that a patch shares with the image.
    #[inline]
    fn runs(&self, mut see: impl FnMut(usize, usize, usize)) {
        let padding = self.padding;
        let channels = self.large_channels;
        for row in 0..self.small[0] {
            for column in 0..self.small[1] {
                let patch = (row * self.small[1] + column) * self.patch_width();
                // First and one past the last kernel column that lies inside the image.
                let left = column * self.stride;
                let first = padding.saturating_sub(left);
                let last = self.kernel.min((self.large[1] + padding).saturating_sub(left));
                if first >= last {
                    continue;
                }
                for kernel_row in 0..self.kernel {
                    let Some(image_row) = (row * self.stride + kernel_row).checked_sub(padding) else {
                        continue;
                    };
                    if image_row >= self.large[0] {
                        continue;
                    }
                    let image_column = left + first - padding;
                    see(
                        patch + (kernel_row * self.kernel + first) * channels,
                        (image_row * self.large[1] + image_column) * channels,
                        (last - first) * channels,
                    );
                }
            }
        }
    }

    /// Gathers the patches of images `[rows, large_width]` into `[rows·positions, patch_width]`; zero outside the image.
    pub(crate) fn gather(&self, images: &[f32], patches: &mut [f32]) {
        let patches_per_image = self.positions() * self.patch_width();
        for (image, target) in images.chunks_exact(self.large_width()).zip(patches.chunks_exact_mut(patches_per_image))
        {
            target.fill(0.0);
            self.runs(|to, from, length| target[to..to + length].copy_from_slice(&image[from..from + length]));
        }
    }

    /// Adds patches `[rows·positions, patch_width]` onto images `[rows, large_width]`; the transpose of [`Self::gather`].
    pub(crate) fn scatter(&self, patches: &[f32], images: &mut [f32]) {
        let patches_per_image = self.positions() * self.patch_width();
        for (image, source) in images.chunks_exact_mut(self.large_width()).zip(patches.chunks_exact(patches_per_image))
        {
            self.runs(|from, to, length| {
                for (pixel, &value) in image[to..to + length].iter_mut().zip(&source[from..from + length]) {
                    *pixel += value;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_strides() {
        let first = Geometry::new([28, 28], 1, 16, 3, 2, 1);
        assert_eq!(first.small, [14, 14]);
        assert_eq!(Geometry::new([7, 7], 1, 1, 3, 2, 1).small, [4, 4]);
        assert_eq!(Geometry::new([8, 8], 1, 1, 4, 2, 1).small, [4, 4]);
        assert_eq!(Geometry::new([5, 6], 2, 1, 3, 1, 1).small, [5, 6]);
    }

    #[test]
    fn patches_hold_what_the_definition_says() {
        for (large, kernel, stride, padding) in [
            ([5, 4], 3, 1, 1),
            ([6, 7], 3, 2, 1),
            ([8, 8], 5, 3, 2),
            ([4, 4], 4, 2, 1),
            ([6, 5], 3, 2, 0),
            ([4, 5], 3, 1, 2),
        ] {
            let geometry = Geometry::new(large, 2, 1, kernel, stride, padding);
            let images: Vec<f32> = (0..2 * geometry.large_width()).map(|i| i as f32 + 1.0).collect();
            let mut patches = vec![9.0; 2 * geometry.positions() * geometry.patch_width()];
            geometry.gather(&images, &mut patches);
            let mut index = 0;
            for image in 0..2 {
                for row in 0..geometry.small[0] {
                    for column in 0..geometry.small[1] {
                        for i in 0..kernel {
                            for j in 0..kernel {
                                for channel in 0..2 {
                                    let y = (row * stride + i) as isize - padding as isize;
                                    let x = (column * stride + j) as isize - padding as isize;
                                    let inside = y >= 0 && x >= 0 && y < large[0] as isize && x < large[1] as isize;
                                    let want = if inside {
                                        images[image * geometry.large_width()
                                            + (y as usize * large[1] + x as usize) * 2
                                            + channel]
                                    } else {
                                        0.0
                                    };
                                    assert_eq!(patches[index], want);
                                    index += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn scatter_is_the_transpose_of_gather() {
        let geometry = Geometry::new([6, 5], 3, 1, 3, 2, 1);
        let wave = |n: usize, rate: f32| (0..n).map(|i| (i as f32 * rate).sin()).collect::<Vec<f32>>();
        let images = wave(2 * geometry.large_width(), 0.7);
        let weights = wave(2 * geometry.positions() * geometry.patch_width(), 0.3);
        let mut patches = vec![0.0; weights.len()];
        geometry.gather(&images, &mut patches);
        let mut back = vec![0.0; images.len()];
        geometry.scatter(&weights, &mut back);
        let forward: f32 = patches.iter().zip(&weights).map(|(a, b)| a * b).sum();
        let backward: f32 = images.iter().zip(&back).map(|(a, b)| a * b).sum();
        assert!((forward - backward).abs() < 1e-4, "{forward} against {backward}");
    }
}

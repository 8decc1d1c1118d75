//! From the description of a network and the widths of its use to its layers.

use super::activation::Activation;
use super::convolution::Geometry;
use super::layer::{Kind, Layer};
use super::parameters::{Initial, Layout};
use thiserror::Error;

/// A network as described, before its input and output widths are known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    /// Its name, which begins the names of its parameters.
    pub name: String,
    /// Widths of the hidden dense layers; empty for a linear network.
    pub layers: Vec<usize>,
    /// Applied after every hidden layer.
    pub activation: Activation,
    /// Whether the inputs of each activation are normalised.
    pub layer_norm: bool,
    /// Fraction of hidden units that are dropped in training.
    pub dropout: f32,
    /// The convolutional side, if any.
    pub image: Option<Image>,
}

/// The convolutional layers of a network, next to the image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image {
    /// Height and width of the image.
    pub size: [usize; 2],
    /// Channels of the image, one after the other: `[channels, height, width]`.
    pub channels: usize,
    /// Channels of the convolutional layers, in the order in which the network applies them.
    pub layers: Vec<usize>,
    /// Height and width of the kernels.
    pub kernel: usize,
    /// Distance between neighbouring patches.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
}

/// A description that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NetworkError {
    /// Neither side of a convolutional network is its image.
    #[error(
        "network {name} has image = [{height}, {width}] with {channels} channels, {expected} numbers, but it maps {input} numbers to {output}; \
         one side must be the image"
    )]
    NoImageSide {
        /// The network.
        name: String,
        /// Height of the image.
        height: usize,
        /// Width of the image.
        width: usize,
        /// Channels of the image.
        channels: usize,
        /// Numbers in the image.
        expected: usize,
        /// Input width.
        input: usize,
        /// Output width.
        output: usize,
    },
    /// The strides leave nothing of the image.
    #[error(
        "network {name}: after {layers} convolutional layers with stride {stride} nothing is left of the image; use fewer layers"
    )]
    ImageTooSmall {
        /// The network.
        name: String,
        /// How many layers were asked for.
        layers: usize,
        /// Their stride.
        stride: usize,
    },
}

impl Description {
    /// The layers of the network from `input` to `output` numbers per row, their parameters allocated in `layout`.
    ///
    /// A convolutional network whose input is the image begins with convolutions; otherwise its output must be the image,
    /// and it ends with transposed ones.
    ///
    /// # Errors
    /// [`NetworkError`] where `image` does not fit.
    pub(crate) fn build(&self, layout: &mut Layout, input: usize, output: usize) -> Result<Vec<Layer>, NetworkError> {
        let mut builder = Builder { description: self, layout, layers: Vec::new(), width: input };
        match &self.image {
            None => {
                builder.hidden();
                builder.dense("output", output, Activation::Identity);
            }
            Some(image) => {
                let geometries = self.geometries(image, input)?;
                let pixels = image.size[0] * image.size[1] * image.channels;
                if input == pixels {
                    builder.reorder(image.channels, Kind::ChannelsLast(image.channels));
                    for (index, geometry) in geometries.into_iter().enumerate() {
                        builder.convolution(&format!("convolution_{}", index + 1), geometry);
                    }
                    builder.hidden();
                    builder.dense("output", output, Activation::Identity);
                } else if output == pixels {
                    builder.hidden();
                    if let Some(first) = geometries.first() {
                        builder.dense("expand", first.small_width(), self.activation);
                    }
                    let count = geometries.len();
                    for (index, geometry) in geometries.into_iter().enumerate() {
                        let last = index + 1 == count;
                        let name = if last { "output".to_owned() } else { format!("convolution_{}", index + 1) };
                        builder.transposed(&name, geometry, if last { Activation::Identity } else { self.activation });
                    }
                    builder.reorder(image.channels, Kind::ChannelsFirst(image.channels));
                } else {
                    return Err(NetworkError::NoImageSide {
                        name: self.name.clone(),
                        height: image.size[0],
                        width: image.size[1],
                        channels: image.channels,
                        expected: pixels,
                        input,
                        output,
                    });
                }
            }
        }
        Ok(builder.layers)
    }

    /// The convolutions in the order in which the network applies them.
    fn geometries(&self, image: &Image, input: usize) -> Result<Vec<Geometry>, NetworkError> {
        let downwards = input == image.size[0] * image.size[1] * image.channels;
        let mut channels = image.layers.clone();
        if !downwards {
            channels.reverse();
        }
        let (mut size, mut depth) = (image.size, image.channels);
        let mut geometries = Vec::with_capacity(channels.len());
        for next in channels {
            let geometry = Geometry::new(size, depth, next, image.kernel, image.stride, image.padding);
            let padded = size[0].min(size[1]) + 2 * image.padding;
            if padded < image.kernel || size.contains(&0) || size[0].min(size[1]) < image.stride {
                return Err(NetworkError::ImageTooSmall {
                    name: self.name.clone(),
                    layers: image.layers.len(),
                    stride: image.stride,
                });
            }
            (size, depth) = (geometry.small, next);
            geometries.push(geometry);
        }
        if !downwards {
            geometries.reverse();
        }
        Ok(geometries)
    }
}

struct Builder<'a> {
    description: &'a Description,
    layout: &'a mut Layout,
    layers: Vec<Layer>,
    width: usize,
}

impl Builder<'_> {
    fn hidden(&mut self) {
        for (index, &width) in self.description.layers.iter().enumerate() {
            let name = format!("layer_{}", index + 1);
            self.dense(&name, width, self.description.activation);
            if self.description.dropout > 0.0 {
                self.layers.push(Layer {
                    kind: Kind::Dropout(self.description.dropout),
                    input_width: width,
                    output_width: width,
                    activation: Activation::Identity,
                    weight: None,
                    bias: None,
                });
            }
        }
    }

    /// The order of the numbers of an image with several channels.
    fn reorder(&mut self, channels: usize, kind: Kind) {
        if channels > 1 {
            let (width, activation) = (self.width, Activation::Identity);
            self.layers.push(Layer {
                kind,
                input_width: width,
                output_width: width,
                activation,
                weight: None,
                bias: None,
            });
        }
    }

    /// A dense layer; where asked for, a hidden one gets a normalisation between the product and the activation.
    fn dense(&mut self, name: &str, output: usize, activation: Activation) {
        let initial = Initial::by_fan_in(self.width);
        let normalize = self.description.layer_norm && activation != Activation::Identity;
        let inner = if normalize { Activation::Identity } else { activation };
        self.push(name, Kind::Dense, &[self.width, output], output, output, initial, inner);
        if normalize {
            let name = format!("{name}_normalization");
            self.push(&name, Kind::Normalization, &[output], output, output, Initial::Constant(1.0), activation);
        }
    }

    fn convolution(&mut self, name: &str, g: Geometry) {
        let shape = [g.patch_width(), g.small_channels];
        let initial = Initial::by_fan_in(g.patch_width());
        let activation = self.description.activation;
        self.push(name, Kind::Convolution(g), &shape, g.small_channels, g.small_width(), initial, activation);
    }

    fn transposed(&mut self, name: &str, g: Geometry, activation: Activation) {
        let shape = [g.small_channels, g.patch_width()];
        // Every number of the large image is reached from small_channels·(kernel / stride)² inputs.
        let fan_in = (g.small_channels * g.kernel * g.kernel / (g.stride * g.stride)).max(1);
        let initial = Initial::by_fan_in(fan_in);
        let kind = Kind::TransposedConvolution(g);
        self.push(name, kind, &shape, g.large_channels, g.large_width(), initial, activation);
    }

    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        name: &str,
        kind: Kind,
        weight: &[usize],
        bias: usize,
        output_width: usize,
        initial: Initial,
        activation: Activation,
    ) {
        let network = &self.description.name;
        let layer = Layer {
            kind,
            input_width: self.width,
            output_width,
            activation,
            weight: Some(self.layout.allocate(format!("{network}.{name}.weight"), weight, initial)),
            bias: Some(self.layout.allocate(format!("{network}.{name}.bias"), &[bias], Initial::Constant(0.0))),
        };
        self.width = output_width;
        self.layers.push(layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(layers: &[usize]) -> Description {
        Description {
            name: "net".to_owned(),
            layers: layers.to_vec(),
            activation: Activation::Relu,
            layer_norm: false,
            dropout: 0.0,
            image: None,
        }
    }

    #[test]
    fn a_linear_network_is_one_matrix_and_a_bias() {
        let mut layout = Layout::default();
        let layers = description(&[]).build(&mut layout, 5, 2).unwrap();
        assert_eq!(layers.len(), 1);
        assert_eq!(layout.len(), 12);
        assert_eq!(layout.views()[0].name, "net.output.weight");
    }

    #[test]
    fn decoders_mirror_encoders() {
        let image = Image { size: [28, 28], channels: 1, layers: vec![8, 16], kernel: 3, stride: 2, padding: 1 };
        let mut layout = Layout::default();
        let encoder = Description { image: Some(image.clone()), ..description(&[32]) };
        let layers = encoder.build(&mut layout, 784, 10).unwrap();
        let widths: Vec<usize> = layers.iter().map(|l| l.output_width).collect();
        assert_eq!(widths, [14 * 14 * 8, 7 * 7 * 16, 32, 10]);
        let decoder = Description { image: Some(Image { layers: vec![16, 8], ..image }), ..description(&[32]) };
        let layers = decoder.build(&mut layout, 10, 784).unwrap();
        let widths: Vec<usize> = layers.iter().map(|l| l.output_width).collect();
        assert_eq!(widths, [32, 7 * 7 * 16, 14 * 14 * 8, 784]);
    }

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let image = Image { size: [8, 8], channels: 1, layers: vec![4], kernel: 3, stride: 2, padding: 1 };
        let bad = Description { image: Some(image.clone()), ..description(&[]) };
        assert!(matches!(bad.build(&mut Layout::default(), 63, 5), Err(NetworkError::NoImageSide { .. })));
        let deep = Description { image: Some(Image { layers: vec![4; 6], ..image }), ..description(&[]) };
        assert!(matches!(deep.build(&mut Layout::default(), 64, 5), Err(NetworkError::ImageTooSmall { .. })));
    }

    /// Numbers of PyTorch 2 (`conv2d`, `conv_transpose2d`) for the same images, weights and biases.
    #[test]
    fn images_with_channels_agree_with_another_implementation() {
        use super::super::kernels::Processor;
        let wave = |n: usize, rate: f32| (0..n).map(|i| (i as f32 * rate + 0.3).sin()).collect::<Vec<f32>>();
        let run = |layers: &[Layer], layout: &Layout, parameters: &[f32], input: Vec<f32>| {
            layers.iter().fold(input, |input, layer| {
                let rows = input.len() / layer.input_width;
                let mut output = vec![0.0; rows * layer.output_width];
                let mut scratch = layer.scratch(rows);
                layer.forward(&Processor, layout, parameters, &input, &mut output, &mut scratch, None);
                output
            })
        };
        let close = |got: &[f32], want: &[f32]| {
            for (a, b) in got.iter().zip(want) {
                assert!((a - b).abs() < 2e-5, "{a} against {b}");
            }
        };
        // A weight [out, in, row, column] as [row, column, in] × out.
        let torch = wave(3 * 2 * 3 * 3, 1.3);
        let weight: Vec<f32> = (0..54)
            .map(|at| {
                let (out, channel, cell) = (at % 3, at / 3 % 2, at / 6);
                torch[(out * 2 + channel) * 9 + cell]
            })
            .collect();
        let cases: [(usize, usize, [f32; 6], f32); 3] = [
            (0, 1, [2.726515, 1.521126, -0.276569, -1.559022, 0.085572, 1.831629], 25.276746),
            (1, 2, [-0.182858, -1.126796, 2.076432, -1.10272, 0.085572, 3.508868], 24.81602),
            (2, 2, [-0.358858, 0.872985, 0.875089, -0.515084, 0.115547, 2.726515], 50.391904),
        ];
        for (padding, stride, first, sum) in cases {
            let image = Image { size: [4, 5], channels: 2, layers: vec![3], kernel: 3, stride, padding };
            let mut layout = Layout::default();
            let encoder = Description { image: Some(image), ..description(&[]) };
            let layers = encoder.build(&mut layout, 40, 1).unwrap();
            let mut parameters = layout.initialize(1);
            parameters[..54].copy_from_slice(&weight);
            parameters[54..57].copy_from_slice(&wave(3, 0.9));
            let plain: Vec<Layer> =
                layers[..2].iter().map(|l| Layer { activation: Activation::Identity, ..l.clone() }).collect();
            let output = run(&plain, &layout, &parameters, wave(80, 0.71));
            assert!((output.iter().sum::<f32>() - sum).abs() < 1e-3, "{} against {sum}", output.iter().sum::<f32>());
            // Positions of the first channel; ours are channels last within the network.
            let channel: Vec<f32> = output.iter().step_by(3).copied().take(6).collect();
            close(&channel, &first);
        }
        let image = Image { size: [4, 5], channels: 2, layers: vec![3], kernel: 3, stride: 2, padding: 1 };
        let mut layout = Layout::default();
        let decoder = Description { image: Some(image), ..description(&[]) };
        let layers = decoder.build(&mut layout, 1, 40).unwrap();
        let [_, transposed, order] = &layers[..] else { panic!("{} layers", layers.len()) };
        let mut parameters = layout.initialize(1);
        // A weight [in, out, row, column] as in × [row, column, out].
        let weight: Vec<f32> = (0..54).map(|at| torch[at / 18 * 18 + at % 2 * 9 + at % 18 / 2]).collect();
        let place = layout.views()[transposed.weight.unwrap()].range.clone();
        parameters[place].copy_from_slice(&weight);
        let place = layout.views()[transposed.bias.unwrap()].range.clone();
        parameters[place].copy_from_slice(&wave(2, 1.1));
        let small = wave(2 * 3 * 6, 0.37);
        let channels_last: Vec<f32> = (0..36).map(|at| small[at / 18 * 18 + at % 3 * 6 + at % 18 / 3]).collect();
        let output = run(&[transposed.clone(), order.clone()], &layout, &parameters, channels_last);
        assert!((output.iter().sum::<f32>() - 46.093487).abs() < 1e-3);
        close(&output[..6], &[-1.148069, -0.916592, -1.113024, -0.761991, -0.88734, 2.667017]);
        close(&output[60..66], &[-0.426957, -0.209856, -0.565129, -0.257234, -0.493437, 3.770934]);
    }
}

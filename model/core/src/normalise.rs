//! Bytes to a net's numbers while they are copied, and its numbers to outputs: what all engines do alike.

use registry::Input;

use crate::{EngineError, Pixels};

/// `(value - mean) / std` by one table look-up a byte, exactly what the formula gives. As two passes of libtorch over the floats it cost
/// a Lite0 image 0.19 ms.
#[derive(Clone, Debug)]
pub struct Normalise {
    size: u32,
    /// For each channel and each value of a byte.
    tables: Vec<[f32; 256]>,
}

impl Normalise {
    /// For images of that input.
    #[must_use]
    pub fn new(input: &Input) -> Self {
        let table = |(mean, std): (&f32, &f32)| {
            let mut table = [0.0; 256];
            for (value, entry) in (0_u8..=255).zip(&mut table) {
                *entry = (f32::from(value) - mean) / std;
            }
            table
        };
        Self { size: input.size, tables: input.mean.iter().zip(&input.std).map(table).collect() }
    }

    /// The side of the images, in pixels.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Their channels.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.tables.len() as u32
    }

    /// How many numbers an image has.
    #[must_use]
    pub fn values(&self) -> usize {
        (self.size * self.size * self.channels()) as usize
    }

    /// Fills `into` with the images `[n, size, size, channels]`: a pixel's channels side by side, as they come. `first` is the place of
    /// the first image in its batch, for messages.
    ///
    /// # Errors
    /// If an image has another size, or `into` another length.
    pub fn interleaved(&self, images: &[&Pixels], first: usize, into: &mut [f32]) -> Result<(), EngineError> {
        self.pixel_by_pixel(images, first, false, into)
    }

    /// As [`interleaved`](Self::interleaved), each image turned by 180 degrees.
    ///
    /// # Errors
    /// As [`interleaved`](Self::interleaved).
    pub fn turned(&self, images: &[&Pixels], first: usize, into: &mut [f32]) -> Result<(), EngineError> {
        self.pixel_by_pixel(images, first, true, into)
    }

    fn pixel_by_pixel(
        &self,
        images: &[&Pixels],
        first: usize,
        last_first: bool,
        into: &mut [f32],
    ) -> Result<(), EngineError> {
        let (channels, values) = (self.tables.len(), self.values());
        if into.len() != images.len() * values {
            let text = format!("{} numbers for {} images", into.len(), images.len());
            return Err(EngineError::Compute(text.into()));
        }
        for (position, (image, into)) in images.iter().zip(into.chunks_exact_mut(values)).enumerate() {
            self.check(image, first + position)?;
            let (to, from) = (into.chunks_exact_mut(channels), image.data.chunks_exact(channels));
            if last_first { self.fill(to, from.rev()) } else { self.fill(to, from) }
        }
        Ok(())
    }

    fn check(&self, image: &Pixels, position: usize) -> Result<(), EngineError> {
        let (size, channels) = (self.size, self.channels());
        let fits = image.width == size && image.height == size && image.channels == channels;
        if fits && image.data.len() == (size * size * channels) as usize {
            return Ok(());
        }
        Err(EngineError::WrongSize {
            position,
            size,
            channels,
            found_width: image.width,
            found_height: image.height,
            found_channels: image.channels,
        })
    }

    fn fill<'a>(&self, to: impl Iterator<Item = &'a mut [f32]>, from: impl Iterator<Item = &'a [u8]>) {
        let pixels = to.zip(from);
        match self.tables.as_slice() {
            [grey] => pixels.for_each(|(to, from)| to[0] = grey[usize::from(from[0])]),
            [r, g, b] => pixels.for_each(|(to, from)| {
                to[0] = r[usize::from(from[0])];
                to[1] = g[usize::from(from[1])];
                to[2] = b[usize::from(from[2])];
            }),
            tables => pixels.for_each(|(to, from)| {
                to.iter_mut()
                    .zip(from)
                    .zip(tables)
                    .for_each(|((to, &from), table)| *to = table[usize::from(from)]);
            }),
        }
    }
}

/// A net's outputs, one row an image. `first` is the place of the first image in its batch, for messages.
///
/// # Errors
/// If one of them is no number.
pub fn rows(flat: &[f32], outputs: usize, first: usize) -> Result<Vec<Vec<f32>>, EngineError> {
    let row = |(position, row): (usize, &[f32])| {
        if row.iter().all(|value| value.is_finite()) {
            Ok(row.to_vec())
        } else {
            Err(EngineError::NotANumber { position: first + position })
        }
    };
    flat.chunks_exact(outputs.max(1)).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Fit, Interpolation, Layout, Order, Polarity};

    fn input(channels: usize, size: u32) -> Input {
        Input {
            size,
            channels: channels as u32,
            order: Order::Rgb,
            layout: Layout::Nchw,
            fit: Fit::Stretch,
            crop: None,
            interpolation: Interpolation::Bilinear,
            polarity: Polarity::AsIs,
            mean: (0..channels).map(|c| 72.93 + c as f32).collect(),
            std: (0..channels).map(|c| 90.015 - 7.3 * c as f32).collect(),
        }
    }

    #[test]
    fn each_channel_has_its_own_mean_and_deviation_to_the_last_bit_turned_or_not() {
        for channels in [1_usize, 3, 4] {
            let input = input(channels, 16);
            let images: Vec<Pixels> = (0..2)
                .map(|n| Pixels {
                    width: 16,
                    height: 16,
                    channels: channels as u32,
                    data: (0..256 * channels).map(|at| (at * 7 % 256 + n) as u8).collect(),
                })
                .collect();
            let batch: Vec<&Pixels> = images.iter().collect();
            let value = |at: usize, byte: u8| {
                (f32::from(byte) - input.mean[at % channels]) / input.std[at % channels]
            };
            let expected: Vec<f32> = images
                .iter()
                .flat_map(|image| image.data.iter().enumerate().map(|(at, &byte)| value(at, byte)))
                .collect();
            let normalise = Normalise::new(&input);
            let mut found = vec![0.5; expected.len()];
            normalise.interleaved(&batch, 0, &mut found).unwrap();
            assert_eq!(found, expected);
            assert!(normalise.interleaved(&batch, 0, &mut found[1..]).is_err(), "too short for two images");

            normalise.turned(&batch, 0, &mut found).unwrap();
            for (turned, image) in
                found.chunks_exact(256 * channels).zip(expected.chunks_exact(256 * channels))
            {
                let last_first: Vec<f32> = image.chunks_exact(channels).rev().flatten().copied().collect();
                assert_eq!(turned, last_first);
            }
        }
    }

    #[test]
    fn an_image_of_another_size_is_named_by_its_place() {
        let good = Pixels::black(16, 3);
        let hollow = Pixels { data: vec![], ..good.clone() };
        for bad in [Pixels::black(15, 3), Pixels::black(16, 1), hollow] {
            let normalise = Normalise::new(&input(3, 16));
            let error = normalise.interleaved(&[&good, &bad], 4, &mut [0.0; 2 * 3 * 256]).unwrap_err();
            assert!(matches!(error, EngineError::WrongSize { position: 5, size: 16, .. }), "{error}");
        }
    }

    #[test]
    fn outputs_that_are_no_numbers_are_refused_by_their_image() {
        assert_eq!(rows(&[1.0, 2.0, 3.0, 4.0], 2, 0).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        let error = rows(&[1.0, 2.0, 3.0, f32::NAN], 2, 8).unwrap_err();
        assert!(matches!(error, EngineError::NotANumber { position: 9 }), "{error}");
    }
}

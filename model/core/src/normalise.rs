//! Bytes to a net's numbers while they are copied, and its numbers to outputs: what all engines do alike.

use registry::{Input, Layout};

use crate::{EngineError, Pixels};

/// `(value - mean) / std` by one table look-up a byte, exactly what the formula gives. As two passes of libtorch over the floats it cost
/// a Lite0 image 0.19 ms.
#[derive(Clone, Debug)]
pub struct Normalise {
    size: u32,
    layout: Layout,
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
        let tables = input.mean.iter().zip(&input.std).map(table).collect();
        Self { size: input.size, layout: input.layout, tables }
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

    /// Fills `into` with the images `[n, size, size, channels]`: a pixel's channels side by side, as they come. `first` is the place of
    /// the first image in its batch, for messages.
    ///
    /// # Errors
    /// If an image has another size.
    pub fn interleaved(
        &self,
        images: &[&Pixels],
        first: usize,
        into: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        into.clear();
        for (position, image) in images.iter().enumerate() {
            self.check(image, first + position)?;
            self.extend(into, &image.data);
        }
        Ok(())
    }

    /// Fills `into` with the images `[n, channels, size, size]`: one channel after another. `first` as in
    /// [`interleaved`](Self::interleaved).
    ///
    /// # Errors
    /// If an image has another size, or `into` another length.
    pub fn planes(&self, images: &[&Pixels], first: usize, into: &mut [f32]) -> Result<(), EngineError> {
        let channels = self.tables.len();
        let plane = (self.size * self.size) as usize;
        if into.len() != images.len() * channels * plane {
            let text = format!("{} numbers for {} images", into.len(), images.len());
            return Err(EngineError::Compute(text.into()));
        }
        for (position, (image, into)) in
            images.iter().zip(into.chunks_exact_mut(channels * plane)).enumerate()
        {
            self.check(image, first + position)?;
            for (channel, (table, plane)) in self.tables.iter().zip(into.chunks_exact_mut(plane)).enumerate()
            {
                let values = image.data.iter().skip(channel).step_by(channels);
                plane.iter_mut().zip(values).for_each(|(to, &value)| *to = table[usize::from(value)]);
            }
        }
        Ok(())
    }

    /// Fills `into` with the images as the net wants them, `[n, channels, size, size]` or `[n, size, size, channels]`. `first` as in
    /// [`interleaved`](Self::interleaved).
    ///
    /// # Errors
    /// As [`planes`](Self::planes).
    pub fn laid_out(&self, images: &[&Pixels], first: usize, into: &mut [f32]) -> Result<(), EngineError> {
        match self.layout {
            Layout::Nchw => self.planes(images, first, into),
            Layout::Nhwc => {
                let mut values = Vec::with_capacity(into.len());
                self.interleaved(images, first, &mut values)?;
                if values.len() != into.len() {
                    let text = format!("{} numbers for {} images", into.len(), images.len());
                    return Err(EngineError::Compute(text.into()));
                }
                into.copy_from_slice(&values);
                Ok(())
            }
        }
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

    /// Appends an image.
    fn extend(&self, into: &mut Vec<f32>, pixels: &[u8]) {
        match self.tables.as_slice() {
            [grey] => into.extend(pixels.iter().map(|&value| grey[usize::from(value)])),
            [r, g, b] => {
                let start = into.len();
                into.resize(start + pixels.len(), 0.0);
                for (to, from) in into[start..].chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
                    to[0] = r[usize::from(from[0])];
                    to[1] = g[usize::from(from[1])];
                    to[2] = b[usize::from(from[2])];
                }
            }
            tables => into.extend(
                pixels.iter().zip(tables.iter().cycle()).map(|(&value, table)| table[usize::from(value)]),
            ),
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
    use registry::{Fit, Interpolation, Order, Polarity};

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
    fn each_channel_has_its_own_mean_and_deviation_to_the_last_bit_in_both_orders() {
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
            // What was there is gone.
            let mut found = vec![0.5];
            normalise.interleaved(&batch, 0, &mut found).unwrap();
            assert_eq!(found, expected);

            let mut planes = vec![0.0; expected.len()];
            normalise.planes(&batch, 0, &mut planes).unwrap();
            for (at, &value) in expected.iter().enumerate() {
                let (image, pixel, channel) =
                    (at / (256 * channels), at % (256 * channels) / channels, at % channels);
                assert_eq!(planes[image * 256 * channels + channel * 256 + pixel], value);
            }
            assert!(normalise.planes(&batch, 0, &mut planes[1..]).is_err(), "too short for two images");

            let mut laid_out = vec![0.0; expected.len()];
            normalise.laid_out(&batch, 0, &mut laid_out).unwrap();
            assert_eq!(laid_out, planes);
            let normalise = Normalise::new(&Input { layout: Layout::Nhwc, ..input.clone() });
            normalise.laid_out(&batch, 0, &mut laid_out).unwrap();
            assert_eq!(laid_out, expected);
            assert!(normalise.laid_out(&batch, 0, &mut laid_out[1..]).is_err(), "too short for two images");
        }
    }

    #[test]
    fn an_image_of_another_size_is_named_by_its_place() {
        let good = Pixels::black(16, 3);
        let hollow = Pixels { data: vec![], ..good.clone() };
        for bad in [Pixels::black(15, 3), Pixels::black(16, 1), hollow] {
            let normalise = Normalise::new(&input(3, 16));
            let error = normalise.interleaved(&[&good, &bad], 4, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, EngineError::WrongSize { position: 5, size: 16, .. }), "{error}");
            let error = normalise.planes(&[&good, &bad], 4, &mut [0.0; 2 * 3 * 256]).unwrap_err();
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

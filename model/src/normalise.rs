//! Bytes to the net's numbers while they are copied: one table look-up a byte, exactly what `(value - mean) / std` gives.
//! As two passes of libtorch over the floats it cost a Lite0 image 0.19 ms.

/// `(value - mean) / std` for each channel and each value of a byte.
#[derive(Clone, Debug)]
pub(crate) struct Normalise {
    channels: Vec<[f32; 256]>,
}

impl Normalise {
    /// `mean` and `std` hold one value for each channel, in units of 0 to 255.
    pub(crate) fn new(mean: &[f32], std: &[f32]) -> Self {
        let table = |(mean, std): (&f32, &f32)| {
            let mut table = [0.0; 256];
            for (value, entry) in (0_u8..=255).zip(&mut table) {
                *entry = (f32::from(value) - mean) / std;
            }
            table
        };
        Self { channels: mean.iter().zip(std).map(table).collect() }
    }

    /// Appends an image whose pixels have their channels side by side.
    pub(crate) fn extend(&self, into: &mut Vec<f32>, pixels: &[u8]) {
        match self.channels.as_slice() {
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
            channels => into.extend(
                pixels.iter().zip(channels.iter().cycle()).map(|(&value, table)| table[usize::from(value)]),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_mean_and_deviation_to_the_last_bit() {
        for channels in [1_usize, 3, 4] {
            let mean: Vec<f32> = (0..channels).map(|c| 72.93 + c as f32).collect();
            let std: Vec<f32> = (0..channels).map(|c| 90.015 - 7.3 * c as f32).collect();
            let pixels: Vec<u8> = (0..256 * channels).map(|at| (at * 7 % 256) as u8).collect();
            let mut found = vec![0.5];
            Normalise::new(&mean, &std).extend(&mut found, &pixels);
            let expected = pixels
                .iter()
                .enumerate()
                .map(|(at, &value)| (f32::from(value) - mean[at % channels]) / std[at % channels]);
            // What was there stays.
            assert_eq!(found, std::iter::once(0.5).chain(expected).collect::<Vec<f32>>());
        }
    }
}

//! Photographs made by the tests, of any size without that much memory, and what they are shown to.
#![allow(dead_code, clippy::unwrap_used, reason = "each file uses its own part; a test may panic")]

use model_core::Preprocessor;
use mozjpeg::{ColorSpace, Compress};
use registry::{
    Activation, Architecture, Artifact, Class, Classes, FileEntry, Fit, Input, Interpolation, Layout,
    Manifest, Order, Polarity, Schema,
};

/// A JPEG to be made: a landscape of soft colours with fine detail in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Photograph {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// As EXIF numbers them; 1 is upright.
    pub(crate) orientation: u8,
    pub(crate) progressive: bool,
    /// Colour at full size, not at half.
    pub(crate) full_colour: bool,
    /// How much each pixel differs from its neighbours: 24 makes a file as long as a camera's.
    pub(crate) noise: u32,
}

impl Default for Photograph {
    fn default() -> Self {
        Self { width: 500, height: 375, orientation: 1, progressive: false, full_colour: false, noise: 0 }
    }
}

impl Photograph {
    /// The whole file.
    pub(crate) fn file(self) -> Vec<u8> {
        let mut encoder = Compress::new(ColorSpace::JCS_RGB);
        encoder.set_size(self.width as usize, self.height as usize);
        encoder.set_quality(85.0);
        encoder.set_fastest_defaults();
        let colour = if self.full_colour { 1 } else { 2 };
        encoder.set_chroma_sampling_pixel_sizes((colour, colour), (colour, colour));
        if self.progressive {
            encoder.set_progressive_mode();
        }
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        if self.orientation != 1 {
            encoder.write_marker(mozjpeg::Marker::APP(1), &exif(self.orientation));
        }
        let mut row = vec![0; self.width as usize * 3];
        for y in 0..self.height {
            // A new row now and then: making them takes longer than encoding them.
            if y % 4 == 0 {
                for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                    pixel.copy_from_slice(&self.colour(x as u32, y));
                }
            }
            encoder.write_scanlines(&row).unwrap();
        }
        let file = encoder.finish().unwrap();
        // The marker that begins a progressive frame: the encoder's settings are many.
        assert_eq!(file.windows(2).any(|pair| pair == [0xff, 0xc2]), self.progressive);
        file
    }

    /// The colour at a place, the same at the same place of any size, but for the fine detail.
    fn colour(self, x: u32, y: u32) -> [u8; 3] {
        let (across, down) =
            (u64::from(x) * 255 / u64::from(self.width), u64::from(y) * 255 / u64::from(self.height));
        let noise = (x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663)) >> 5;
        let detail = (x * 7 + y * 13) % 16 + noise % (self.noise + 1);
        [across as u8, (down / 2 + u64::from(detail)) as u8, ((across + down) / 2) as u8]
    }
}

/// An EXIF block that holds nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"Exif\0\0II*\0\x08\0\0\0\x01\0".to_vec();
    // Tag 0x0112, one short.
    block.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

/// What prepares images as a manifest with that input asks.
pub(crate) fn preprocessor(input: Input) -> Preprocessor {
    let manifest = Manifest {
        schema: Schema::default(),
        name: "test".into(),
        version: 1,
        artifacts: vec![Artifact::libtorch("model.safetensors", Architecture::FashionCnn)],
        classes: Classes {
            outputs: 1,
            activation: Activation::Softmax,
            labels: vec![Class { index: 0, label: "thing".into() }],
            reject: None,
            calibration: None,
        },
        input,
        metrics: vec![],
        parents: vec![],
        data: vec![],
        configuration: None,
        samples: Vec::new(),
        license: "CC0-1.0".into(),
        origin: "made up".into(),
        files: [("model.safetensors".to_owned(), FileEntry { size: 0, sha256: "0".repeat(64) })].into(),
    };
    Preprocessor::new(&manifest).unwrap()
}

/// The middle of a photograph in colour, as EfficientNet takes it.
pub(crate) fn colour(size: u32) -> Preprocessor {
    preprocessor(Input {
        size,
        channels: 3,
        order: Order::Rgb,
        layout: Layout::Nchw,
        fit: Fit::CentreCrop,
        crop: Some(0.875),
        interpolation: Interpolation::Bicubic,
        polarity: Polarity::AsIs,
        mean: vec![127.0; 3],
        std: vec![128.0; 3],
    })
}

/// A thing on a plain background, as the Fashion-MNIST net takes it.
pub(crate) fn grey(size: u32) -> Preprocessor {
    preprocessor(Input {
        size,
        channels: 1,
        order: Order::Rgb,
        layout: Layout::Nchw,
        fit: Fit::TrimAndPad,
        crop: None,
        interpolation: Interpolation::Lanczos,
        polarity: Polarity::LightOnDark,
        mean: vec![0.0],
        std: vec![255.0],
    })
}

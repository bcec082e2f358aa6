//! How an image becomes a net's input.

use serde::{Deserialize, Serialize};

/// How an image becomes the net's input: `size` x `size` pixels of `channels` values, each `(value - mean) / std`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Width and height in pixels.
    pub size: u32,
    /// 1 (grey) or 3 (colour).
    pub channels: u32,
    /// In which order a net takes colours; `mean` and `std` are in this order.
    #[serde(default, skip_serializing_if = "Order::is_default")]
    pub order: Order,
    /// How the values lie that a net takes.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
    /// How the image's shape becomes a square.
    pub fit: Fit,
    /// The share of the shorter side that `centre-crop` keeps, above 0 and at most 1; only with that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<f32>,
    /// The resampling filter.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether light and dark have a fixed meaning.
    #[serde(default)]
    pub polarity: Polarity,
    /// Subtracted from each channel, in units of 0 to 255.
    pub mean: Vec<f32>,
    /// Each channel is then divided by this, in units of 0 to 255.
    pub std: Vec<f32>,
}

/// The largest side of a net's input, in pixels: time and memory grow with its square.
const LARGEST: u32 = 4096;

/// The order of a pixel's colours.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV reads images. Needs three channels.
    Bgr,
}

/// The order of a net's input's dimensions: images (N), channels, rows (H), columns (W).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One channel after another, as PyTorch has it.
    #[default]
    Nchw,
    /// A pixel's channels together, as TensorFlow has it.
    Nhwc,
}

impl Order {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Layout {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How an image of any shape becomes a square.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The middle square whose side is the share `crop` of the shorter side, resized; rounded as torchvision's `Resize` to
    /// `size / crop` and `CenterCrop` to `size` round.
    CentreCrop,
    /// The whole image resized, its proportions not kept.
    Stretch,
    /// The image without its plain border, resized so that the longer side fits, and centred on black.
    /// An image that already has the net's size stays as it is.
    TrimAndPad,
}

/// The resampling filter, widened when shrinking, as in Pillow.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Triangle.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5 (Catmull-Rom).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// Whether light and dark have a fixed meaning to the net.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The image is taken as it is.
    #[default]
    AsIs,
    /// The net knows light things on a dark ground: an image with a light ground is inverted. Needs one channel.
    LightOnDark,
}

impl Input {
    pub(super) fn validate(&self) -> Result<(), String> {
        if !(1..=LARGEST).contains(&self.size) {
            return Err(format!("input: size must be 1 to {LARGEST}, and is {}", self.size));
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(format!("input: channels must be 1 or 3, and is {}", self.channels));
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels as usize {
                return Err(format!(
                    "input: {name} must have one value for each of the {} channels, and has {}",
                    self.channels,
                    values.len()
                ));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return Err(format!("input: {name} must be finite numbers"));
            }
        }
        if self.std.iter().any(|&std| std <= 0.0) {
            return Err("input: std must be above 0".into());
        }
        match (self.fit, self.crop) {
            (Fit::CentreCrop, None) => {
                return Err("input: fit centre-crop needs crop, the share of the shorter side".into());
            }
            (Fit::CentreCrop, Some(share)) if !(share > 0.0 && share <= 1.0) => {
                return Err(format!("input: crop must be above 0 and at most 1, and is {share}"));
            }
            (Fit::Stretch | Fit::TrimAndPad, Some(_)) => {
                return Err("input: crop goes with fit centre-crop only".into());
            }
            _ => {}
        }
        if self.fit == Fit::TrimAndPad && self.channels != 1 {
            return Err("input: fit trim-and-pad needs 1 channel".into());
        }
        if self.order == Order::Bgr && self.channels != 3 {
            return Err("input: order bgr needs 3 channels".into());
        }
        if self.polarity == Polarity::LightOnDark && self.channels != 1 {
            return Err("input: polarity light-on-dark needs 1 channel".into());
        }
        Ok(())
    }
}

//! How others say how an image becomes a net's input, in the manifest's words: the `preprocessor_config.json` of Hugging Face's
//! transformers ([`hugging_face`]), a net's `config.json`, timm's included ([`config`]), and the names of torchvision's weights
//! ([`torchvision`]).
//!
//! A setting of theirs that the manifest has no word for is never passed over: in its place stands the sentence that says so, for
//! whoever does not give a setting of his own instead.

pub mod config;
pub mod hugging_face;
mod processors;
pub mod torchvision;

use registry::{Fit, Interpolation, Order};
use serde_json::{Map, Value};

/// A setting, or why it can't be followed and what to do.
pub type Setting<T> = Result<T, String>;

/// How an image becomes a net's input, as somebody else says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Whose it is: an image processor's name, or that of a set of weights.
    pub name: String,
    /// Width and height in pixels.
    pub size: Setting<u32>,
    /// How the image's shape becomes a square, and `centre-crop`'s share.
    pub fit: Setting<(Fit, Option<f32>)>,
    /// The resampling filter.
    pub interpolation: Setting<Interpolation>,
    /// The order of the colours.
    pub order: Order,
    /// What is subtracted from each channel and what it is divided by, 0 to 255.
    pub colours: Setting<Colours>,
}

impl Preset {
    /// How many channels the net takes: as many as there are means.
    #[must_use]
    pub fn channels(&self) -> u32 {
        if self.colours.as_ref().is_ok_and(|colours| colours.mean.len() == 1) { 1 } else { 3 }
    }
}

/// `(value - mean) / std`, 0 to 255: one number for all channels or one for each, as many of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Colours {
    /// What is subtracted.
    pub mean: Vec<f32>,
    /// What is divided by.
    pub std: Vec<f32>,
}

/// The largest number of pixels that a side is resized to: beyond it lies no net, and no picture.
const LARGEST: u32 = 1 << 16;

/// A resize of the shorter side to `resize` pixels, of which the middle `size` are kept.
fn middle(resize: u32, size: u32) -> Setting<(Fit, Option<f32>)> {
    if size > resize {
        return Err(format!(
            "it takes the middle {size} pixels of {resize}, with a border to fill, which no fit here does: say --fit"
        ));
    }
    // The manifest's centre-crop rounds `size / share` to whole pixels, so that they are these again.
    Ok((Fit::CentreCrop, Some((f64::from(size) / f64::from(resize)) as f32)))
}

/// `(value * factor - mean) / std` as it is for values of 0 to 255, if those are numbers that can be.
fn colours(factor: f64, mean: &[f64], std: &[f64]) -> Setting<Colours> {
    let each = |values: &[f64]| values.iter().map(|value| (value / factor) as f32).collect::<Vec<f32>>();
    let colours = Colours { mean: each(mean), std: each(std) };
    let known = [1, 3].contains(&mean.len()) && mean.len() == std.len();
    let finite = colours.mean.iter().chain(&colours.std).all(|value| value.is_finite());
    if known && finite && colours.std.iter().all(|&std| std > 0.0) {
        return Ok(colours);
    }
    let (mean, std) = (short(&format!("{mean:?}")), short(&format!("{std:?}")));
    Err(format!(
        "its mean {mean} and std {std} (of values times {factor}) are no numbers for 1 or 3 channels: say --mean and --std"
    ))
}

/// A whole number of pixels.
fn pixels(value: &Value) -> Option<u32> {
    // Python's programs write 224 as 224.0 now and then.
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 1.0)?;
    (number <= f64::from(LARGEST)).then_some(number as u32)
}

/// A list of numbers.
fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

/// What a file holds, which is one JSON object.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it holds no JSON object".to_owned()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

/// A value as it stands in a message, see [`short`].
fn shown(value: &Value) -> String {
    short(&value.to_string())
}

/// A stranger's text as it stands in a message: not long, and nothing in it that steers a terminal.
fn short(text: &str) -> String {
    let whole = text.chars().count() <= 60;
    let end = if whole { "" } else { "..." };
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().take(if whole { 60 } else { 57 }).map(escaped).collect::<String>() + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pixels_that_a_share_was_made_of_are_found_again() {
        for resize in 1..=2048_u32 {
            for size in [1, resize / 3, resize / 2, resize.saturating_sub(1), resize].map(|size| size.max(1))
            {
                let (fit, share) = middle(resize, size).unwrap();
                let share = f64::from(share.unwrap());
                assert_eq!(fit, Fit::CentreCrop);
                assert_eq!((f64::from(size) / share).round() as u32, resize, "{size} of {resize}");
            }
        }
        assert!(middle(223, 224).unwrap_err().contains("a border to fill"));
    }

    #[test]
    fn a_stranger_s_value_is_shown_short_and_does_not_steer_the_terminal() {
        assert_eq!(shown(&Value::from("a\u{1b}[2J\u{7f}\u{9b}31m")), r#""a\u001b[2J\u{7f}\u{9b}31m""#);
        let long = shown(&Value::from("\u{9b}".repeat(1000)));
        assert!(long.ends_with("...") && long.len() < 500, "{long}");
    }

    #[test]
    fn a_file_of_something_else_is_said_to_be_that() {
        for (text, words) in [("", "no JSON"), ("[1]", "no JSON object"), ("{\"a\": NaN}", "line 1 column 7")]
        {
            assert!(object(text.as_bytes()).unwrap_err().contains(words), "{text}");
        }
        let deep = [&b"{\"a\":"[..], &b"[".repeat(100_000)].concat();
        assert!(object(&deep).unwrap_err().contains("recursion limit"));
    }
}

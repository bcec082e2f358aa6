//! `preprocessor_config.json` of Hugging Face's transformers, as its image processors follow it: resize, crop, rescale, normalise.

use registry::{Fit, Interpolation, Order};
use serde_json::{Map, Value};

use super::processors::{self, BICUBIC, BILINEAR, LANCZOS, Processor, Rule, Side};
use super::{Colours, Preset, Setting, colours, middle, numbers, object, pixels, short, shown};

/// What a processor looks at, and this program with it.
const FOLLOWED: [&str; 15] = [
    "do_resize",
    "size",
    "resample",
    "crop_pct",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "rescale_offset",
    "do_normalize",
    "image_mean",
    "image_std",
    "include_top",
    "do_flip_channel_order",
    "data_format",
];

/// What changes nothing of what a net is given: names, and how a program is asked. Images are always made red, green and blue here.
const WITHOUT_EFFECT: [&str; 15] = [
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "_processor_class",
    "_valid_processor_keys",
    "do_convert_rgb",
    "default_to_square",
    "return_tensors",
    "device",
    "disable_grouping",
    "use_fast",
    "model_input_names",
    "_name_or_path",
    "transformers_version",
    "image_processor_class",
];

/// Reads a `preprocessor_config.json`. `model_type` is the one of the `config.json` beside it, which tells the processor where
/// the file names none.
///
/// # Errors
/// If it is no such file, names a processor that is not known here, or asks for something that no setting can be given instead of.
pub fn read(bytes: &[u8], model_type: Option<&str>) -> Setting<Preset> {
    let file = object(bytes)?;
    let class =
        ["image_processor_type", "feature_extractor_type"].iter().find_map(|key| file.get(*key)?.as_str());
    let said = Said { processor: processors::find(class, model_type)?, file: &file };
    said.hold_to_what_is_known()?;
    let square = said.square();
    Ok(Preset {
        name: class.map_or_else(|| format!("{}ImageProcessor", said.processor.name), short),
        size: square.clone().map(|(size, _)| size),
        fit: square.and_then(|(_, fit)| fit),
        interpolation: said.interpolation(),
        order: if said.flag("do_flip_channel_order", said.processor.rule == Rule::MobileVit)? {
            Order::Bgr
        } else {
            Order::Rgb
        },
        colours: said.colours(),
    })
}

/// A net's side, and how an image becomes such a square.
type Square = (u32, Setting<(Fit, Option<f32>)>);

/// A file, and the processor that it is for.
struct Said<'a> {
    processor: &'static Processor,
    file: &'a Map<String, Value>,
}

impl Said<'_> {
    /// A key's value; one of null counts as absent, as for transformers.
    fn get(&self, key: &str) -> Option<&Value> {
        self.file.get(key).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str, default: bool) -> Setting<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(format!(
                "its {key} is {}, and neither true nor false: mend it, or take the settings by hand, with --mean and the others",
                shown(other)
            )),
        }
    }

    fn number(&self, key: &str, default: f64) -> Setting<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => {
                let number = value.as_f64().filter(|number| *number > 0.0);
                number.ok_or_else(|| {
                    format!(
                        "its {key} is {}, and no number above 0: mend it, or say --fit, --mean and --std",
                        shown(value)
                    )
                })
            }
        }
    }

    /// Refuses what would be passed over. A key that is null or false asks for nothing.
    fn hold_to_what_is_known(&self) -> Setting<()> {
        for (key, value) in self.file {
            let asks = !matches!(value, Value::Null | Value::Bool(false));
            if asks && !FOLLOWED.contains(&key.as_str()) && !WITHOUT_EFFECT.contains(&key.as_str()) {
                let key = short(key);
                return Err(format!(
                    "it asks for \"{key}\": {}, which this program can't do: take the settings that matter from it by hand, with \
                     --input, --mean, --std, --fit and --interpolation, and name config.json alone for the labels",
                    shown(value)
                ));
            }
        }
        let rule = self.processor.rule;
        for (key, rules) in [
            ("crop_pct", &[Rule::ConvNext, Rule::PoolFormer][..]),
            ("rescale_offset", &[Rule::EfficientNet]),
            ("include_top", &[Rule::EfficientNet]),
            ("do_flip_channel_order", &[Rule::MobileVit]),
        ] {
            let asks = self.get(key).is_some_and(|value| *value != Value::Bool(false));
            if asks && !rules.contains(&rule) {
                return Err(format!(
                    "it has {key}, which the image processor {} does not know",
                    self.processor.name
                ));
            }
        }
        if let Some(format) = self.get("data_format")
            && format != "channels_first"
        {
            let text = "take the settings from it by hand, with --layout nhwc among them";
            return Err(format!("its data_format is {}, not \"channels_first\": {text}", shown(format)));
        }
        Ok(())
    }

    /// What `size` says, or the processor where the file does not.
    fn size(&self) -> Setting<Side> {
        let Some(value) = self.get("size") else {
            let name = self.processor.name;
            return self.processor.size.ok_or_else(|| {
                format!("it has no size, which is another in each release of {name}: say --input, as 3x224x224, and --fit")
            });
        };
        if let Some(side) = pixels(value) {
            return Ok(self.processor.side(side));
        }
        let (across, down, shorter) = match value {
            Value::Array(sides) => (sides.get(1), sides.first().filter(|_| sides.len() == 2), None),
            Value::Object(sides)
                if sides.contains_key("longest_edge") || sides.contains_key("max_height") =>
            {
                (None, None, None)
            }
            Value::Object(sides) => (sides.get("width"), sides.get("height"), sides.get("shortest_edge")),
            _ => (None, None, None),
        };
        match (across.and_then(pixels), down.and_then(pixels), shorter.and_then(pixels)) {
            (Some(width), Some(height), None) if width == height => Ok(Side::Both(width)),
            (Some(width), Some(height), None) => Err(format!(
                "it resizes to {width} x {height} pixels, and nets here take squares: none of its settings for that can be kept"
            )),
            (None, None, Some(shorter)) => Ok(Side::Shorter(shorter)),
            _ => Err(format!(
                "its size is {}, of which no square can be made: say --input and --fit",
                shown(value)
            )),
        }
    }

    /// The side that is cropped to, where it crops.
    fn crop(&self) -> Setting<Option<u32>> {
        let default = self.processor.crops;
        let crops = match (self.get("do_center_crop"), default) {
            (None, None) => {
                let name = self.processor.name;
                return Err(format!(
                    "it has no do_center_crop, which is another in each release of {name}: say --input and --fit"
                ));
            }
            _ => self.flag("do_center_crop", default.unwrap_or(false))?,
        };
        if !crops {
            return Ok(None);
        }
        let Some(value) = self.get("crop_size") else { return Ok(Some(self.processor.crop)) };
        let side = |key: &str| value.get(key).and_then(pixels);
        let square = pixels(value).or_else(|| side("height").filter(|_| side("height") == side("width")));
        square.map(Some).ok_or_else(|| {
            format!("its crop_size is {}, and nets here take squares: say --input and --fit", shown(value))
        })
    }

    fn square(&self) -> Setting<Square> {
        if !self.flag("do_resize", true)? {
            let text = "its do_resize is false: images are taken in the size that they have, and nets here take one size: \
                        say --input and --fit";
            return Err(text.to_owned());
        }
        let (size, mut crop) = (self.size()?, self.crop()?);
        let share = |pixels: u32| -> Setting<u32> {
            let default = if self.processor.rule == Rule::ConvNext { 224.0 / 256.0 } else { 0.9 };
            let resized = (f64::from(pixels) / self.number("crop_pct", default)?).floor();
            pixels_of(resized)
                .ok_or_else(|| format!("its crop_pct makes {resized} pixels of {pixels}: say --fit"))
        };
        let resized = match (self.processor.rule, size) {
            (Rule::ConvNext, Side::Both(_)) => {
                return Err(
                    "its size has no shortest_edge, which the image processor ConvNext needs".to_owned()
                );
            }
            (Rule::ConvNext, Side::Shorter(side)) => {
                if crop.is_some_and(|crop| crop != side) {
                    let text = "it crops after what the image processor ConvNext crops already: say --input and --fit";
                    return Err(text.to_owned());
                }
                crop = (side < 384).then_some(side);
                if side < 384 { Side::Shorter(share(side)?) } else { Side::Both(side) }
            }
            (Rule::PoolFormer, Side::Both(side) | Side::Shorter(side)) => Side::Shorter(share(side)?),
            (Rule::Levit, Side::Shorter(side)) => {
                let resized = (256.0 / 224.0 * f64::from(side)).floor();
                Side::Shorter(pixels_of(resized).unwrap_or(side))
            }
            (_, size) => size,
        };
        match (resized, crop) {
            (Side::Both(side), None) => Ok((side, Ok((Fit::Stretch, None)))),
            (Side::Both(side), Some(crop)) if crop == side => Ok((side, Ok((Fit::Stretch, None)))),
            (Side::Both(side), Some(crop)) => {
                let text = format!(
                    "it stretches an image to {side} x {side} pixels and takes the middle {crop} of them, which no fit here does: \
                     say --fit (centre-crop is near where images are nearly square)"
                );
                Ok((crop, Err(text)))
            }
            (Side::Shorter(side), Some(crop)) => Ok((crop, middle(side, crop))),
            (Side::Shorter(side), None) => Err(format!(
                "it makes the shorter side {side} pixels long and leaves the longer one as it comes, and nets here take squares: \
                 say --input and --fit"
            )),
        }
    }

    fn interpolation(&self) -> Setting<Interpolation> {
        let Some(value) = self.get("resample") else {
            let known = self.processor.resample.and_then(filter);
            return known.ok_or_else(|| {
                let name = self.processor.name;
                format!("it has no resample, which is another in each release of {name}: say --interpolation")
            });
        };
        value.as_u64().and_then(filter).ok_or_else(|| {
            let name = match value.as_u64() {
                Some(0) => " (nearest)",
                Some(4) => " (box)",
                Some(5) => " (hamming)",
                _ => "",
            };
            let text = "which no interpolation here is: say --interpolation, as bilinear";
            format!("its resample is {}{name}, {text}", shown(value))
        })
    }

    fn colours(&self) -> Setting<Colours> {
        let rule = self.processor.rule;
        let rescales = self.flag("do_rescale", true)?;
        let factor = if rescales { self.number("rescale_factor", 1.0 / 255.0)? } else { 1.0 };
        let offset = f64::from(u8::from(rescales && self.flag("rescale_offset", false)?));
        let list = |key: &str, default: &[f64; 3]| match self.get(key) {
            None => Ok(default.to_vec()),
            Some(value) => {
                // One number is for all channels.
                let list = value.as_f64().map(|number| vec![number; 3]).or_else(|| numbers(value));
                list.ok_or_else(|| {
                    format!("its {key} is {}, and no list of numbers: say --mean and --std", shown(value))
                })
            }
        };
        let (mean, std) =
            (list("image_mean", &self.processor.mean)?, list("image_std", &self.processor.std)?);
        let normalises = self.flag("do_normalize", rule != Rule::MobileVit)?;
        if normalises && rule == Rule::MobileVit {
            return Err(
                "it has do_normalize, which the image processor MobileViT never heeds: say --mean and --std"
                    .into(),
            );
        }
        let again = rule == Rule::EfficientNet && self.flag("include_top", true)?;
        let times = i32::from(normalises) + i32::from(again);
        let std: Vec<f64> = std.iter().map(|std| std.powi(times)).collect();
        let mean: Vec<f64> =
            mean.iter().map(|mean| if normalises { mean + offset } else { offset }).collect();
        colours(factor, &mean, &std)
    }
}

fn pixels_of(number: f64) -> Option<u32> {
    pixels(&Value::from(number))
}

/// By Pillow's number (<https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters>).
fn filter(number: u64) -> Option<Interpolation> {
    match number {
        LANCZOS => Some(Interpolation::Lanczos),
        BILINEAR => Some(Interpolation::Bilinear),
        BICUBIC => Some(Interpolation::Bicubic),
        _ => None,
    }
}

#[cfg(test)]
#[path = "hugging_face_tests.rs"]
mod tests;

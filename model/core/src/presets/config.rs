//! `config.json`, which lies beside a net's weights: labels and what its outputs are, as Hugging Face's transformers write it, and
//! timm's own form of it, which says how an image becomes the net's input too.

use registry::{Activation, Fit, Interpolation, Order};
use serde_json::{Map, Value};

use super::{Colours, Preset, Setting, colours, middle, numbers, object, pixels, short, shown};

/// What a `config.json` says of a net that tells classes of images apart. All else in it is of the net's inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The kind of net, by which transformers finds an image processor where none is named.
    pub model_type: Option<String>,
    /// The outputs' names, in their order.
    pub labels: Setting<Vec<String>>,
    /// What makes probabilities of the outputs; nothing where the file does not say.
    pub activation: Setting<Option<Activation>>,
    /// How an image becomes the net's input, where timm wrote the file.
    pub preset: Option<Preset>,
}

/// Reads a `config.json`.
///
/// # Errors
/// If it is none.
pub fn read(bytes: &[u8]) -> Setting<Config> {
    let file = object(bytes)?;
    let text = |key: &str| file.get(key).and_then(Value::as_str).map(str::to_owned);
    let labels = labels(&file);
    let count = labels
        .as_ref()
        .map_or_else(|_| file.get("num_labels").and_then(Value::as_u64), |l| Some(l.len() as u64));
    Ok(Config {
        model_type: text("model_type"),
        activation: activation(file.get("problem_type"), count),
        labels,
        preset: file
            .get("pretrained_cfg")
            .and_then(Value::as_object)
            .map(|timm| preset(timm, text("architecture"))),
    })
}

/// `id2label`, or what it can be made of: `label2id`, which loses one of two labels that are alike, or timm's `label_names`.
fn labels(file: &Map<String, Value>) -> Setting<Vec<String>> {
    let name = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("one of its labels is {}: say --labels", shown(other))),
    };
    let within = |key: &str| file.get(key).or_else(|| file.get("pretrained_cfg")?.get(key));
    let pairs: Vec<(Option<usize>, String)> = if let Some(Value::Object(labels)) = file.get("id2label") {
        labels.iter().map(|(index, label)| Ok((index.parse().ok(), name(label)?))).collect::<Setting<_>>()?
    } else if let Some(Value::Object(numbers)) = file.get("label2id") {
        let index = |value: &Value| value.as_u64().and_then(|index| usize::try_from(index).ok());
        numbers.iter().map(|(label, value)| (index(value), label.clone())).collect()
    } else if let Some(Value::Array(labels)) = within("label_names") {
        return labels.iter().map(name).collect();
    } else {
        return Err("it names no labels (id2label): say --labels".to_owned());
    };
    let mut labels = vec![None; pairs.len()];
    for (index, label) in pairs {
        match index.and_then(|index| labels.get_mut(index)) {
            Some(place) if place.is_none() => *place = Some(label),
            _ => {
                let label = short(&label);
                return Err(format!(
                    "its labels are not numbered from 0 to {}, each once (\"{label}\" is not): say --labels",
                    labels.len() - 1
                ));
            }
        }
    }
    Ok(labels.into_iter().flatten().collect())
}

/// As transformers' pipeline for images chooses it.
fn activation(problem: Option<&Value>, labels: Option<u64>) -> Setting<Option<Activation>> {
    match problem {
        None | Some(Value::Null) => Ok((labels == Some(1)).then_some(Activation::Sigmoid)),
        Some(Value::String(text)) if text == "single_label_classification" => Ok(Some(Activation::Softmax)),
        Some(Value::String(text)) if text == "multi_label_classification" => Ok(Some(Activation::Sigmoid)),
        Some(other) => Err(format!(
            "its problem_type is {}, whose outputs are no classes: say --activation if they are",
            shown(other)
        )),
    }
}

/// timm's `pretrained_cfg`, as its `create_transform` follows it where nothing else is said.
fn preset(timm: &Map<String, Value>, architecture: Option<String>) -> Preset {
    let text = |key: &str, default: &str| match timm.get(key) {
        // As in Python, what is empty counts as absent.
        None | Some(Value::Null) => Ok(default.to_owned()),
        Some(Value::String(text)) if text.is_empty() => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("its {key} is {}", shown(other))),
    };
    let input = input(timm.get("input_size"));
    let size = input.clone().map(|(_, size)| size);
    let channels = input.map(|(channels, _)| channels);
    Preset {
        name: architecture
            .map_or_else(|| "timm".to_owned(), |architecture| format!("timm, {}", short(&architecture))),
        fit: size.clone().and_then(|size| fit(size, timm.get("crop_pct"), &text("crop_mode", "center")?)),
        size,
        interpolation: text("interpolation", "bicubic").and_then(|name| match name.as_str() {
            "bilinear" => Ok(Interpolation::Bilinear),
            "bicubic" => Ok(Interpolation::Bicubic),
            "lanczos" => Ok(Interpolation::Lanczos),
            other => Err(format!(
                "its interpolation is {:?}, which none here is: say --interpolation",
                short(other)
            )),
        }),
        order: Order::Rgb,
        colours: normalisation(timm, channels.unwrap_or(3)),
    }
}

/// Channels, and width and height.
fn input(value: Option<&Value>) -> Setting<(u32, u32)> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok((3, 224)) };
    let sides: Option<Vec<u32>> = value.as_array().and_then(|sides| sides.iter().map(pixels).collect());
    match sides.as_deref() {
        Some([channels, height, width]) if height == width => Ok((*channels, *width)),
        _ => Err(format!(
            "its input_size is {}, and nets here take squares: say --input and --fit",
            shown(value)
        )),
    }
}

fn fit(size: u32, share: Option<&Value>, mode: &str) -> Setting<(Fit, Option<f32>)> {
    let share = match share {
        None | Some(Value::Null) => 0.875,
        Some(value) => match value.as_f64() {
            Some(share) if share > 0.0 => share,
            Some(0.0) => 0.875,
            _ => {
                return Err(format!(
                    "its crop_pct is {}, and no number above 0: say --fit and --crop",
                    shown(value)
                ));
            }
        },
    };
    let resized = (f64::from(size) / share).floor();
    let Some(resized) = pixels(&Value::from(resized)) else {
        return Err(format!("its crop_pct makes {resized} pixels of {size}: say --fit and --crop"));
    };
    match mode {
        "center" => middle(resized, size),
        "squash" if resized == size => Ok((Fit::Stretch, None)),
        "squash" => Err(format!(
            "it stretches an image to {resized} x {resized} pixels and takes the middle {size} of them, which no fit here does: say --fit"
        )),
        mode => Err(format!("its crop_mode is {:?}, which no fit here is: say --fit", short(mode))),
    }
}

fn normalisation(timm: &Map<String, Value>, channels: u32) -> Setting<Colours> {
    let list = |key: &str, default: [f64; 3]| match timm.get(key) {
        None | Some(Value::Null) => Ok(default.to_vec()),
        Some(value) => {
            let list = numbers(value).map(|list| if list.is_empty() { default.to_vec() } else { list });
            list.ok_or_else(|| {
                format!("its {key} is {}, and no list of numbers: say --mean and --std", shown(value))
            })
        }
    };
    let (mean, std) = (list("mean", [0.485, 0.456, 0.406])?, list("std", [0.229, 0.224, 0.225])?);
    if mean.len() != channels as usize {
        return Err(format!("it has {} means for {channels} channels: say --mean and --std", mean.len()));
    }
    colours(1.0 / 255.0, &mean, &std)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn labels_are_in_the_order_of_their_numbers() {
        let in_order = |text: &str| config(text).labels;
        let twelve: Vec<String> = (0..12).map(|n| format!("\"{n}\": \"label {n}\"")).collect();
        let labels = in_order(&format!("{{\"id2label\": {{{}}}}}", twelve.join(", "))).unwrap();
        assert_eq!(labels, (0..12).map(|n| format!("label {n}")).collect::<Vec<_>>(), "10 comes after 9");
        for text in [
            r#"{"id2label": {"1": "b", "0": "a"}, "label2id": {"x": 0}}"#,
            r#"{"label2id": {"b": 1, "a": 0}}"#,
            r#"{"label_names": ["a", "b"]}"#,
            r#"{"pretrained_cfg": {"label_names": ["a", "b"]}}"#,
        ] {
            assert_eq!(in_order(text).unwrap(), ["a", "b"], "{text}");
        }
        assert_eq!(
            in_order(r#"{"id2label": {"0": 0, "1": "crane", "2": "crane"}}"#).unwrap(),
            ["0", "crane", "crane"]
        );
        for (text, words) in [
            ("{}", "names no labels"),
            (r#"{"id2label": {"0": "a", "2": "b"}}"#, "from 0 to 1, each once (\"b\" is not)"),
            (r#"{"id2label": {"0": "a", "00": "b"}}"#, "each once"),
            (r#"{"id2label": {"x": "a"}}"#, "each once"),
            (r#"{"label2id": {"a": 0, "b": 0}}"#, "each once"),
            (r#"{"id2label": {"0": ["a"]}}"#, "one of its labels is [\"a\"]"),
        ] {
            let error = in_order(text).unwrap_err();
            assert!(error.contains(words) && error.contains("--labels"), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_outputs_are_follows_the_kind_of_problem() {
        for (text, expected) in [
            ("{}", None),
            (r#"{"problem_type": null, "num_labels": 5}"#, None),
            (r#"{"num_labels": 1}"#, Some(Activation::Sigmoid)),
            (r#"{"id2label": {"0": "a"}}"#, Some(Activation::Sigmoid)),
            (r#"{"problem_type": "single_label_classification"}"#, Some(Activation::Softmax)),
            (r#"{"problem_type": "multi_label_classification"}"#, Some(Activation::Sigmoid)),
        ] {
            assert_eq!(config(text).activation, Ok(expected), "{text}");
        }
        let error = config(r#"{"problem_type": "regression"}"#).activation.unwrap_err();
        assert!(error.contains("--activation"), "{error}");
    }

    #[test]
    fn timm_s_form_is_followed_as_its_transforms_do() {
        let of = |text: &str| {
            config(&format!("{{\"architecture\": \"resnet50\", \"pretrained_cfg\": {text}}}")).preset.unwrap()
        };
        let told = of(
            r#"{"input_size": [3, 288, 288], "interpolation": "bilinear", "crop_pct": 0.95, "crop_mode": "center",
                          "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "test_input_size": [3, 320, 320], "url": "x"}"#,
        );
        assert_eq!((told.name.as_str(), told.size.clone()), ("timm, resnet50", Ok(288)));
        // 288 / 0.95 = 303.2
        assert_eq!(told.fit, Ok((Fit::CentreCrop, Some(288.0 / 303.0))));
        assert_eq!(told.interpolation, Ok(Interpolation::Bilinear));
        assert_eq!(told.colours, Ok(Colours { mean: vec![127.5; 3], std: vec![63.75; 3] }));
        let untold = of("{}");
        assert_eq!((untold.size, untold.fit), (Ok(224), Ok((Fit::CentreCrop, Some(0.875)))));
        assert_eq!(untold.interpolation, Ok(Interpolation::Bicubic));
        assert_eq!(untold.colours.unwrap().mean, [123.675, 116.28, 103.53]);
        assert_eq!(of(r#"{"crop_pct": 1.0, "crop_mode": "squash"}"#).fit, Ok((Fit::Stretch, None)));
        assert_eq!(
            of(r#"{"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5]}"#).colours.unwrap().mean,
            [127.5]
        );

        let words = |text: &str| {
            let Preset { size, fit, interpolation, colours, .. } = of(text);
            [size.err(), fit.err(), interpolation.err(), colours.err()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; ")
        };
        for (text, expected) in [
            (r#"{"input_size": [3, 224, 192]}"#, "nets here take squares"),
            (r#"{"crop_pct": 0.9, "crop_mode": "squash"}"#, "248 x 248"),
            (r#"{"crop_pct": 1.1}"#, "a border to fill"),
            (r#"{"crop_pct": -1}"#, "no number above 0"),
            (r#"{"crop_pct": 1e-9}"#, "pixels of 224"),
            (r#"{"crop_mode": "border"}"#, "\"border\""),
            (r#"{"interpolation": "random"}"#, "\"random\""),
            (r#"{"mean": [0.5], "std": [0.5]}"#, "1 means for 3 channels"),
            (r#"{"std": [0, 0, 0]}"#, "no numbers"),
            (r#"{"mean": "x"}"#, "no list of numbers"),
        ] {
            assert!(words(text).contains(expected), "{text}: {}", words(text));
        }
    }
}

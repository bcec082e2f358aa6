//! torchvision's names of weights, as `ResNet50_Weights.IMAGENET1K_V2`: each is how an image becomes the net's input
//! (<https://docs.pytorch.org/vision/stable/models.html>). The table is written by a script, `torchvision.py`.

use registry::{Interpolation, Order};

use super::{Preset, Setting, colours, middle};

const TABLE: &str = include_str!("torchvision.tsv");

/// How many names are proposed in place of one that there is not.
const PROPOSED: usize = 3;

/// The names, in torchvision's order.
pub fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|(name, _)| name)
}

/// Each name, and the columns after it.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

/// The set of weights of that name, spelled as torchvision spells it: resized so that the shorter side has `resize_size` pixels, and
/// the middle `crop_size` kept.
///
/// # Errors
/// If there is none; the sentence names those that are spelled most alike.
pub fn find(name: &str) -> Setting<Preset> {
    let row = rows().find_map(|(known, row)| (known == name).then_some(row));
    let Some(row) = row else {
        let (near, name) = (near(name).join(", "), name.chars().take(80).collect::<String>());
        return Err(format!(
            "torchvision has no weights {name:?} that are known here; spelled most alike are {near}"
        ));
    };
    let columns: Vec<&str> = row.split('\t').collect();
    let broken = || format!("the table of torchvision's weights is broken at {name}");
    let [resize, crop, filter, mean, std] = columns[..] else { return Err(broken()) };
    let side = |text: &str| text.parse::<u32>().map_err(|_| broken());
    let list =
        |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>().map_err(|_| broken());
    let (resize, crop) = (side(resize)?, side(crop)?);
    Ok(Preset {
        name: name.to_owned(),
        size: Ok(crop),
        fit: middle(resize, crop),
        interpolation: Ok(match filter {
            "bilinear" => Interpolation::Bilinear,
            "bicubic" => Interpolation::Bicubic,
            _ => return Err(broken()),
        }),
        order: Order::Rgb,
        colours: colours(1.0 / 255.0, &list(mean)?, &list(std)?),
    })
}

/// The names that are spelled most alike.
fn near(name: &str) -> Vec<&'static str> {
    // No name is longer; and a distance takes time with the product of both lengths.
    let wanted: Vec<u8> = name.bytes().take(80).map(|byte| byte.to_ascii_lowercase()).collect();
    let mut all: Vec<_> =
        names().map(|name| (distance(&wanted, name.to_ascii_lowercase().as_bytes()), name)).collect();
    all.sort_by_key(|&(distance, _)| distance);
    all.into_iter().take(PROPOSED).map(|(_, name)| name).collect()
}

/// How many bytes must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use registry::Fit;

    use super::super::Colours;
    use super::*;

    #[test]
    fn each_name_is_there_once_and_says_everything() {
        let all: Vec<&str> = names().collect();
        assert_eq!(all.len(), 221);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        for name in all {
            let Preset { size, fit, interpolation, colours, .. } = find(name).unwrap();
            assert!(size.is_ok() && fit.is_ok() && interpolation.is_ok() && colours.is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_says_what_torchvision_does() {
        let colours = Colours { mean: vec![123.675, 116.28, 103.53], std: vec![58.395, 57.12, 57.375] };
        for (name, size, share, interpolation) in [
            ("ResNet50_Weights.IMAGENET1K_V1", 224, 224.0 / 256.0, Interpolation::Bilinear),
            ("ResNet50_Weights.IMAGENET1K_V2", 224, 224.0 / 232.0, Interpolation::Bilinear),
            ("ResNet50_Weights.DEFAULT", 224, 224.0 / 232.0, Interpolation::Bilinear),
            ("Inception_V3_Weights.IMAGENET1K_V1", 299, 299.0 / 342.0, Interpolation::Bilinear),
            ("EfficientNet_B0_Weights.IMAGENET1K_V1", 224, 224.0 / 256.0, Interpolation::Bicubic),
        ] {
            let preset = find(name).unwrap();
            let said = (preset.size, preset.fit, preset.interpolation, preset.colours);
            let fit = Ok((Fit::CentreCrop, Some(share)));
            assert_eq!(said, (Ok(size), fit, Ok(interpolation), Ok(colours.clone())), "{name}");
        }
        assert_eq!(find("EfficientNet_V2_L_Weights.DEFAULT").unwrap().colours.unwrap().mean, [127.5; 3]);
    }

    #[test]
    fn what_there_is_not_is_told_what_there_is() {
        for (name, near) in [
            ("resnet50_weights.imagenet1k_v2", "ResNet50_Weights.IMAGENET1K_V2"),
            ("MobileNetV3_Large_Weights.IMAGENET1K_V2", "MobileNet_V3_Large_Weights.IMAGENET1K_V2"),
            ("ResNet50_Weights.IMAGENET1K_V3", "ResNet50_Weights.IMAGENET1K_V2"),
        ] {
            let error = find(name).unwrap_err();
            assert!(error.contains(near), "{error}");
        }
        for name in [
            "",
            "#",
            "# Written by torchvision",
            "ResNet50_Weights.IMAGENET1K_V2\t232",
            "ResNet50_Weights.IMAGENET1K_V2\t232\t224",
            &"x".repeat(100_000),
        ] {
            assert!(find(name).unwrap_err().len() < 400, "{name:.60}");
        }
    }
}

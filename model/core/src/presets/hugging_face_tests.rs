//! Files as they lie beside nets, and what of them can't be followed.

use super::*;

const VIT: &str = r#"{"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 2,
    "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}}"#;

/// A file of that processor, with these keys beside its name.
fn of(processor: &str, keys: &str) -> Setting<Preset> {
    read(format!("{{\"image_processor_type\": \"{processor}ImageProcessor\" {keys}}}").as_bytes(), None)
}

type Shape = (u32, Fit, Option<f32>);

fn shape(preset: Setting<Preset>) -> Setting<Shape> {
    let preset = preset?;
    let (fit, share) = preset.fit?;
    Ok((preset.size?, fit, share))
}

#[test]
fn a_whole_file_is_followed() {
    let preset = read(VIT.as_bytes(), None).unwrap();
    let half = Colours { mean: vec![127.5; 3], std: vec![127.5; 3] };
    assert_eq!(preset.name, "ViTImageProcessor");
    assert_eq!((preset.size, preset.fit), (Ok(224), Ok((Fit::Stretch, None))));
    assert_eq!((preset.interpolation, preset.order), (Ok(Interpolation::Bilinear), Order::Rgb));
    assert_eq!(preset.colours, Ok(half.clone()));

    // Files of 2021 say less: the kind of net tells the processor, and a size is one number.
    let short = r#"{"do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 224}"#;
    let preset = read(short.as_bytes(), Some("swin")).unwrap();
    assert_eq!((preset.name.as_str(), preset.size, preset.colours), ("ViTImageProcessor", Ok(224), Ok(half)));
    for name in ["ViTFeatureExtractor", "ViTImageProcessorFast", "ViTImageProcessorPil"] {
        assert_eq!(read(VIT.replace("ViTImageProcessor", name).as_bytes(), None).unwrap().name, name);
    }
}

#[test]
fn each_processor_makes_a_square_in_its_own_way() {
    let crop =
        |size: u32, of: u32| Ok((size, Fit::CentreCrop, Some((f64::from(size) / f64::from(of)) as f32)));
    let stretch = |size: u32| Ok((size, Fit::Stretch, None));
    for (processor, keys, expected) in [
        ("ViT", "", stretch(224)),
        ("ViT", r#", "size": [384, 384]"#, stretch(384)),
        ("ViT", r#", "size": 224.0"#, stretch(224)),
        ("DeiT", r#", "size": 224, "do_center_crop": false"#, stretch(224)),
        ("DeiT", r#", "size": 224, "crop_size": 224"#, stretch(224)),
        ("Bit", "", crop(224, 224)),
        (
            "Bit",
            r#", "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}"#,
            crop(224, 256),
        ),
        ("CLIP", r#", "size": 224, "crop_size": 224"#, crop(224, 224)),
        ("ConvNext", r#", "size": 224, "crop_pct": 0.875"#, crop(224, 256)),
        ("ConvNext", r#", "size": {"shortest_edge": 224}, "crop_pct": 0.95"#, crop(224, 235)),
        ("ConvNext", r#", "size": {"shortest_edge": 384}"#, stretch(384)),
        ("EfficientNet", r#", "size": {"height": 224, "width": 224}"#, stretch(224)),
        ("Levit", "", crop(224, 256)),
        ("MobileNetV1", "", crop(224, 256)),
        ("MobileNetV2", r#", "do_pad": null, "do_reduce_labels": false"#, crop(224, 256)),
        (
            "MobileViT",
            r#", "size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}"#,
            crop(256, 288),
        ),
        // 224 / 0.9 = 248.9
        ("PoolFormer", "", crop(224, 248)),
        ("PoolFormer", r#", "crop_pct": 0.95"#, crop(224, 235)),
        ("Pvt", "", stretch(224)),
    ] {
        assert_eq!(shape(of(processor, keys)), expected, "{processor} {keys}");
    }
}

#[test]
fn numbers_count_from_0_to_255() {
    let of = |processor: &str, keys: &str| {
        let colours = of(processor, keys).unwrap().colours.unwrap();
        (colours.mean, colours.std)
    };
    assert_eq!(of("Pvt", ""), (vec![123.675, 116.28, 103.53], vec![58.395, 57.12, 57.375]));
    assert_eq!(of("ViT", r#", "image_mean": 0.5, "image_std": 0.25"#), (vec![127.5; 3], vec![63.75; 3]));
    assert_eq!(of("ViT", r#", "image_mean": [0.5], "image_std": [0.25]"#), (vec![127.5], vec![63.75]));
    assert_eq!(of("ViT", r#", "do_normalize": false"#), (vec![0.0; 3], vec![255.0; 3]));
    assert_eq!(of("ViT", r#", "do_rescale": false, "do_normalize": false"#), (vec![0.0; 3], vec![1.0; 3]));
    assert_eq!(of("ViT", r#", "do_rescale": false, "image_mean": [127, 127, 127]"#).0, [127.0; 3]);
    assert_eq!(of("ViT", r#", "rescale_factor": 0.5"#), (vec![1.0; 3], vec![1.0; 3]));
    assert_eq!(of("MobileViT", ""), (vec![0.0; 3], vec![255.0; 3]));
    // From -1 to 1, and divided by the deviation twice: (value / 127.5 - 1 - 0.5) / 0.5 / 0.5.
    let keys = r#", "rescale_factor": 0.00784313725490196, "rescale_offset": true"#;
    assert_eq!(of("EfficientNet", keys), (vec![191.25; 3], vec![31.875; 3]));
    assert_eq!(of("EfficientNet", r#", "include_top": false"#), (vec![127.5; 3], vec![127.5; 3]));
    assert_eq!(of("EfficientNet", r#", "do_normalize": false"#), (vec![0.0; 3], vec![127.5; 3]));
}

#[test]
fn blue_comes_first_where_channels_are_flipped() {
    assert_eq!(of("MobileViT", "").unwrap().order, Order::Bgr);
    assert_eq!(of("MobileViT", r#", "do_flip_channel_order": false"#).unwrap().order, Order::Rgb);
}

#[test]
fn what_no_setting_can_stand_for_refuses_the_file() {
    for (processor, keys, words) in [
        ("Detr", "", "\"DetrImageProcessor\", and known here are those of ViT, "),
        ("ViT", r#", "do_pad": true"#, "\"do_pad\": true"),
        ("MobileNetV2", r#", "do_reduce_labels": true"#, "\"do_reduce_labels\": true"),
        ("ViT", r#", "size_divisor": 32"#, "\"size_divisor\": 32"),
        ("ViT", r#", "\u001b[2J": 1"#, "\"\\u{1b}[2J\": 1"),
        ("ViT", r#", "crop_pct": 0.9"#, "crop_pct, which the image processor ViT does not know"),
        ("ViT", r#", "data_format": "channels_last""#, "--layout nhwc"),
        ("MobileViT", r#", "do_flip_channel_order": 1"#, "neither true nor false"),
    ] {
        let error = of(processor, keys).unwrap_err();
        assert!(error.contains(words), "{processor} {keys}: {error}");
    }
    let long = format!(", \"{}\": 1", "x".repeat(3000));
    for (processor, keys) in [("ViT", long.as_str()), (&"Detr".repeat(1000), "")] {
        assert!(of(processor, keys).unwrap_err().len() < 700);
    }
    assert!(read(b"{\"size\": 224}", None).unwrap_err().contains("no image_processor_type"));
    assert!(read(b"{\"size\": 224}", Some("llama")).unwrap_err().contains("\"llama\""));
}

#[test]
fn what_can_not_be_followed_leaves_the_other_settings() {
    let words = |processor: &str, keys: &str| {
        let Preset { size, fit, interpolation, colours, .. } = of(processor, keys).unwrap();
        [size.err(), fit.err(), interpolation.err(), colours.err()]
    };
    for (processor, keys, at, expected) in [
        ("ViT", r#", "do_resize": false"#, 0, "do_resize is false"),
        ("ViT", r#", "size": {"height": 224, "width": 192}"#, 0, "192 x 224"),
        ("ViT", r#", "size": {"shortest_edge": 800, "longest_edge": 1333}"#, 0, "no square can be made"),
        ("ViT", r#", "size": -1"#, 0, "its size is -1"),
        ("ViT", r#", "size": 1e30"#, 0, "its size is 1e+30"),
        ("ViT", r#", "size": {"shortest_edge": 224}"#, 0, "leaves the longer one as it comes"),
        ("Beit", "", 0, "has no size, which is another in each release"),
        ("Beit", r#", "size": 224"#, 0, "has no do_center_crop"),
        ("Bit", r#", "crop_size": {"height": 224, "width": 192}"#, 0, "crop_size is"),
        ("ConvNext", r#", "size": {"height": 224, "width": 224}"#, 0, "no shortest_edge"),
        ("ConvNext", r#", "size": 224, "do_center_crop": true, "crop_size": 200"#, 0, "crops already"),
        ("ConvNext", r#", "size": 224, "crop_pct": 0"#, 0, "crop_pct is 0, and no number above 0"),
        ("ConvNext", r#", "size": 224, "crop_pct": 1e-300"#, 0, "crop_pct makes"),
        ("DeiT", "", 1, "the middle 224 of them"),
        ("Bit", r#", "crop_size": 288"#, 1, "a border to fill"),
        ("ViT", r#", "resample": 0"#, 2, "resample is 0 (nearest)"),
        ("ViT", r#", "resample": "bilinear""#, 2, "resample is \"bilinear\""),
        ("ConvNext", "", 2, "has no resample, which is another in each release of ConvNext"),
        ("ViT", r#", "image_std": [0, 0, 0]"#, 3, "no numbers for 1 or 3 channels"),
        ("ViT", r#", "image_mean": []"#, 3, "no numbers for 1 or 3 channels"),
        ("ViT", r#", "image_mean": "x""#, 3, "no list of numbers"),
        ("ViT", r#", "rescale_factor": 0"#, 3, "rescale_factor is 0"),
        ("ViT", r#", "rescale_factor": 1e-300"#, 3, "no numbers for 1 or 3 channels"),
        ("MobileViT", r#", "do_normalize": true"#, 3, "never heeds"),
    ] {
        let said = words(processor, keys);
        let error = said[at].as_deref().unwrap_or_default();
        assert!(error.contains(expected), "{processor} {keys}: {said:?}");
        assert!(error.contains("--") || at == 0, "{error}: and what to do?");
    }
}

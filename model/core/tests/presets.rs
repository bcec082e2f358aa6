//! What transformers makes of an image, made here by what its files say.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use model_core::presets::hugging_face;
use model_core::{ImageLimits, Preprocessor};
use registry::{Interpolation, Manifest};
use serde_json::Value;

/// As in presets.py, as a file without loss.
fn image(width: u32, height: u32) -> Vec<u8> {
    let wave = |x: u32, y: u32, c: u32| ((x * (c + 2) + y + (x * y) / (c + 5) % 97 + 29 * c) % 256) as u8;
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([0, 1, 2].map(|c| wave(x, y, c))));
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A manifest with the input that the file says.
fn manifest(file: &Value) -> Manifest {
    let preset = hugging_face::read(file.to_string().as_bytes(), None).unwrap();
    let text = format!(
        "{{ schema: 1, name: m, version: 1, license: MIT, origin: here,
            artifacts: [{{ engine: openvino, file: model.onnx, precision: f32 }}],
            classes: {{ outputs: 1000, labels: [{{ index: 0, label: a }}] }},
            input: {{ size: {}, channels: 3, fit: stretch, mean: [0, 0, 0], std: [1, 1, 1] }},
            files: {{ model.onnx: {{ size: 0, sha256: \"{}\" }} }} }}",
        preset.size.clone().unwrap(),
        "0".repeat(64)
    );
    let mut manifest = Manifest::from_yaml(&text, Path::new("m")).unwrap();
    let (input, colours) = (&mut manifest.input, preset.colours.unwrap());
    (input.fit, input.crop) = preset.fit.unwrap();
    input.interpolation = preset.interpolation.unwrap();
    input.order = preset.order;
    (input.mean, input.std) = (colours.mean, colours.std);
    manifest.to_yaml(Path::new("m")).unwrap();
    manifest
}

#[test]
fn an_image_becomes_what_transformers_makes_of_it() {
    let all: Vec<Value> = serde_json::from_str(include_str!("presets.json")).unwrap();
    assert!(all.len() > 15);
    let image = image(400, 300);
    for one in all {
        let manifest = manifest(&one["file"]);
        let input = &manifest.input;
        assert_eq!(input.size, one["size"].as_u64().unwrap() as u32, "{}", one["file"]);
        let pixels = Preprocessor::new(&manifest).unwrap().decode(&image, &ImageLimits::default()).unwrap();
        let expected: Vec<f64> =
            one["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let grid = 6;
        let places: Vec<u32> = (0..grid).map(|place| (2 * place + 1) * input.size / (2 * grid)).collect();
        let (mut largest, mut sum) = (0_f64, 0.0);
        let all =
            (0..3).flat_map(|c| places.iter().flat_map(move |&y| [(c, y); 6])).zip(places.iter().cycle());
        for (((c, y), &x), expected) in all.zip(&expected) {
            let value = f64::from(pixels.data[((y * input.size + x) * 3 + c) as usize]);
            let (mean, std) = (f64::from(input.mean[c as usize]), f64::from(input.std[c as usize]));
            // In steps of the image's own 256.
            let difference = ((value - mean) / std - expected).abs() * std;
            largest = largest.max(difference);
            sum += difference;
        }
        let mean = sum / expected.len() as f64;
        println!("{:.3} at most, {mean:.3} in the mean: {}", largest, one["file"]);
        // By the filters with lobes, an edge of the picture overshoots.
        let (most, usual) =
            if input.interpolation == Interpolation::Bilinear { (1.01, 0.25) } else { (5.01, 0.45) };
        assert!(largest < most && mean < usual, "{largest} at most, {mean} in the mean: {}", one["file"]);
    }
}

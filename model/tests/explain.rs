//! Heat maps lie where the thing is, on the picture as it is shown.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod common;
mod scripts;
mod tiny;

use std::ffi::OsStr;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use common::{bird, inception, lite1, pixels, project};
use image::codecs::png::PngEncoder;
use image::{DynamicImage, GenericImageView as _, GrayImage, ImageEncoder as _, Luma, RgbImage};
use model::explain::{Explainer, HeatMap};
use model::{Device, weights};
use model_core::Pixels;
use registry::{
    Activation, Architecture, Artifact, Class, Classes, EngineKind, FileEntry, Fit, Input, Interpolation,
    Layout, Manifest, ModelVersion, Order, Polarity, Registry, Reject, Schema,
};
use tch::{Kind, Tensor};
use tiny::{objects, stderr};

/// What a cell of the net's map is of its square.
const CELL: f64 = 1.0 / 14.0;

/// A net whose last convolution gives two channels: how light the image is, and how dark. Its outputs rise with `[light, dark]` as said.
fn net(folder: &Path, name: &str, fit: Fit, outputs: &[[f32; 2]]) -> ModelVersion {
    let store = tch::nn::VarStore::new(tch::Device::Cpu);
    model::nets::build(Architecture::FashionCnn, &store.root(), outputs.len() as i64).unwrap();
    let tensors: Vec<(String, Tensor)> = store
        .variables()
        .into_iter()
        .map(|(name, variable)| (name.clone(), values(&name, &variable, outputs)))
        .collect();
    let file = folder.join("net.safetensors");
    Tensor::write_safetensors(&tensors, &file).unwrap();
    let labels = ["light", "dark", "neither"].iter().zip(0..).take(outputs.len());
    let manifest = Manifest {
        schema: Schema::default(),
        name: name.into(),
        version: 1,
        artifacts: vec![Artifact::libtorch("model.safetensors", Architecture::FashionCnn)],
        classes: Classes {
            outputs: outputs.len() as u32,
            activation: Activation::Softmax,
            labels: labels.map(|(label, index)| Class { index, label: (*label).into() }).collect(),
            reject: (fit == Fit::TrimAndPad).then(|| Reject { label: "nothing".into(), threshold: 0.5 }),
            calibration: None,
        },
        input: Input {
            size: 28,
            channels: 1,
            order: Order::Rgb,
            layout: Layout::Nchw,
            fit,
            crop: (fit == Fit::CentreCrop).then_some(0.875),
            interpolation: Interpolation::Bilinear,
            polarity: if fit == Fit::TrimAndPad { Polarity::LightOnDark } else { Polarity::AsIs },
            mean: vec![0.0],
            std: vec![255.0],
        },
        metrics: vec![],
        parents: vec![],
        data: vec![],
        configuration: None,
        samples: Vec::new(),
        license: "CC0-1.0".into(),
        origin: "made up".into(),
        files: [("model.safetensors".to_owned(), FileEntry { size: 0, sha256: "0".repeat(64) })].into(),
    };
    let files: [(&str, &[u8]); 1] = [("model.safetensors", &fs::read(&file).unwrap())];
    let registry = Registry::at(folder.join("weights")).unwrap();
    let version = registry.publish(manifest, &files).unwrap();
    fs::write(folder.join("weights").join(name).join("production"), "1\n").unwrap();
    version
}

/// Each convolution passes its first channel on and drops the others; the last one gives `x` and `1 - x`.
fn values(name: &str, variable: &Tensor, outputs: &[[f32; 2]]) -> Tensor {
    let zeros = variable.zeros_like();
    let set = |at: &[i64], value: f64| {
        let (last, first) = at.split_last().unwrap();
        let row = first.iter().fold(zeros.shallow_clone(), |tensor, &at| tensor.get(at));
        drop(row.narrow(0, *last, 1).fill_(value));
    };
    match name {
        _ if name.ends_with("running_var") => return zeros.ones_like(),
        _ if name.starts_with("bn") && name.ends_with("weight") => return zeros.ones_like(),
        "conv4.weight" => {
            set(&[0, 0, 1, 1], 1.0);
            set(&[1, 0, 1, 1], -1.0);
        }
        "bn4.bias" => set(&[1], 1.0),
        _ if name.starts_with("conv") => set(&[0, 0, 1, 1], 1.0),
        // One hidden unit for each channel: the sum over its places.
        "fc1.weight" => {
            for channel in 0..2 {
                drop(zeros.get(channel).narrow(0, channel * 49, 49).fill_(1.0));
            }
        }
        "fc2.weight" => {
            for (output, rises) in outputs.iter().enumerate() {
                set(&[output as i64, 0], rises[0].into());
                set(&[output as i64, 1], rises[1].into());
            }
        }
        _ => {}
    }
    zeros
}

/// A light spot on black, its middle at that share of the sides.
fn spot(width: u32, height: u32, (across, down): (f64, f64)) -> GrayImage {
    let radius = f64::from(width.min(height)) / 14.0;
    let (across, down) = (across * f64::from(width), down * f64::from(height));
    GrayImage::from_fn(width, height, |x, y| {
        let distance = (f64::from(x) + 0.5 - across).hypot(f64::from(y) + 0.5 - down) / radius;
        Luma([(255.0 * (-distance * distance / 2.0).exp()).round() as u8])
    })
}

/// A PNG file of the picture that viewers turn, by that number of EXIF's, to show it as it is here.
fn turned_file(shown: &GrayImage, orientation: u8) -> Vec<u8> {
    use image::metadata::Orientation;
    let back = match Orientation::from_exif(orientation).unwrap() {
        Orientation::Rotate90 => Orientation::Rotate270,
        Orientation::Rotate270 => Orientation::Rotate90,
        other => other,
    };
    let mut stored = DynamicImage::ImageLuma8(shown.clone());
    stored.apply_orientation(back);
    let mut file = Cursor::new(Vec::new());
    let mut encoder = PngEncoder::new(&mut file);
    let mut exif = b"II*\0\x08\0\0\0\x01\0".to_vec();
    // Tag 0x0112, one short.
    exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    encoder.set_exif_metadata(exif).unwrap();
    encoder
        .write_image(stored.as_bytes(), stored.width(), stored.height(), image::ExtendedColorType::L8)
        .unwrap();
    file.into_inner()
}

/// Where the map's colours, half of the picture that was drawn, are lightest, in shares of the sides.
fn hottest(drawn: &RgbImage, shown: &GrayImage) -> (f64, f64) {
    assert_eq!(drawn.dimensions(), shown.dimensions());
    let light = |x: u32, y: u32| {
        let map = |channel: usize| {
            2 * i32::from(drawn.get_pixel(x, y).0[channel]) - i32::from(shown.get_pixel(x, y).0[0])
        };
        map(0) + 2 * map(1)
    };
    let (width, height) = drawn.dimensions();
    let (x, y) =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).max_by_key(|&(x, y)| light(x, y)).unwrap();
    ((f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height))
}

fn assert_at(found: (f64, f64), expected: (f64, f64), within: (f64, f64), case: &str) {
    let far = ((found.0 - expected.0).abs(), (found.1 - expected.1).abs());
    assert!(
        far.0 <= within.0 && far.1 <= within.1,
        "{case}: at {found:?}, not {expected:?} within {within:?}"
    );
}

/// Explains pictures of a spot in each corner of `part`, what the net sees: left, top, width and height in shares.
fn corners(fit: Fit, name: &str, (width, height): (u32, u32), part: [f64; 4]) {
    let folder = tempfile::tempdir().unwrap();
    net(folder.path(), "spot", fit, &[[1.0, 0.0], [-1.0, 0.0]]);
    let mut cases = Vec::new();
    for (corner, (across, down)) in
        [(0.14, 0.14), (0.86, 0.14), (0.14, 0.86), (0.86, 0.86)].into_iter().enumerate()
    {
        let place = (part[0] + across * part[2], part[1] + down * part[3]);
        let shown = spot(width, height, place);
        for orientation in 1..=8 {
            let file = format!("{name}{corner}{orientation}.png");
            fs::write(folder.path().join(&file), turned_file(&shown, orientation)).unwrap();
            cases.push((file, place, shown.clone()));
        }
    }
    let mut arguments = vec!["explain", "--model", "spot", "--json", "--class", "light"];
    arguments.extend(cases.iter().map(|(file, ..)| file.as_str()));
    let answers = tiny::lines(folder.path(), &arguments);
    assert_eq!(answers.len(), cases.len());
    // A cell of the map there, and nearly half of it to the next one's middle; half as much more since pixels are no finer.
    let within = (0.75 * CELL * part[2], 0.75 * CELL * part[3]);
    for ((file, place, shown), answer) in cases.iter().zip(&answers) {
        assert_eq!((&answer["width"], &answer["height"]), (&width.into(), &height.into()), "{file}");
        let peak = |axis: &str, side: u32| answer["peak"][axis].as_f64().unwrap() / f64::from(side);
        assert_at((peak("x", width), peak("y", height)), *place, within, &format!("peak of {file}"));
        let output = folder.path().join(answer["output"].as_str().unwrap());
        let drawn = image::open(&output).unwrap().to_rgb8();
        assert_at(hottest(&drawn, shown), *place, within, &format!("picture of {file}"));
    }
}

#[test]
fn a_spot_in_a_corner_is_hot_there_however_the_picture_is_turned_and_stretched() {
    corners(Fit::Stretch, "wide", (300, 140), [0.0, 0.0, 1.0, 1.0]);
    corners(Fit::Stretch, "tall", (112, 336), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn a_spot_in_a_corner_of_the_middle_is_hot_there_where_the_net_sees_that_alone() {
    // 0.875 of the shorter side, in the middle.
    let (wide, tall) = (0.875 * 140.0 / 300.0, 0.875 * 112.0 / 336.0);
    corners(Fit::CentreCrop, "wide", (300, 140), [(1.0 - wide) / 2.0, 0.0625, wide, 0.875]);
    corners(Fit::CentreCrop, "tall", (112, 336), [0.0625, (1.0 - tall) / 2.0, 0.875, tall]);
}

#[test]
fn a_thing_that_was_cut_out_and_padded_is_hot_where_it_lies_in_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    net(folder.path(), "spot", Fit::TrimAndPad, &[[1.0, 0.0], [0.0, 1.0]]);
    let (width, height) = (400, 240);
    // A grey slab of 120 x 60 off the middle, which the net sees alone and padded, with the light spot in one of its corners.
    let (left, top) = (230, 150);
    let mut cases = Vec::new();
    for (corner, place) in [(0.12, 0.2), (0.88, 0.2), (0.12, 0.8), (0.88, 0.8)].into_iter().enumerate() {
        let light = spot(120, 60, place);
        let shown = GrayImage::from_fn(width, height, |x, y| {
            let slab = x >= left && y >= top && x < left + 120 && y < top + 60;
            Luma([if slab { light.get_pixel(x - left, y - top).0[0].max(90) } else { 0 }])
        });
        let place = ((230.0 + 120.0 * place.0) / 400.0, (150.0 + 60.0 * place.1) / 240.0);
        for orientation in [1, 6, 7] {
            let file = format!("slab{corner}{orientation}.png");
            fs::write(folder.path().join(&file), turned_file(&shown, orientation)).unwrap();
            cases.push((file, place, shown.clone()));
        }
    }
    let mut arguments = vec!["explain", "--model", "spot", "--json", "--class", "light"];
    arguments.extend(cases.iter().map(|(file, ..)| file.as_str()));
    // The square is 120 x 120 pixels there.
    let within = (0.75 * CELL * 120.0 / 400.0, 0.75 * CELL * 120.0 / 240.0);
    for ((file, place, shown), answer) in cases.iter().zip(tiny::lines(folder.path(), &arguments)) {
        let peak = |axis: &str, side: u32| answer["peak"][axis].as_f64().unwrap() / f64::from(side);
        assert_at((peak("x", width), peak("y", height)), *place, within, &format!("peak of {file}"));
        let drawn = image::open(folder.path().join(answer["output"].as_str().unwrap())).unwrap().to_rgb8();
        assert_at(hottest(&drawn, shown), *place, within, &format!("picture of {file}"));
        // What the net did not see is as it was.
        assert_eq!((drawn.get_pixel(3, 3).0, drawn.get_pixel(200, 170).0), ([0; 3], [0; 3]), "{file}");
    }

    GrayImage::from_pixel(50, 40, Luma([200])).save(folder.path().join("blank.png")).unwrap();
    let refused = tiny::model(folder.path(), &["explain", "--model", "spot", "blank.png"]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("blank.png: there is nothing in it"), "{}", stderr(&refused));
    assert!(!folder.path().join("blank-explained.png").exists());
}

fn explain(version: &ModelVersion, pixels: &Pixels, class: u32) -> HeatMap {
    let explainer = Explainer::load(version, EngineKind::Libtorch, Device::Cpu).unwrap();
    let explanation = explainer.explain(pixels, Some(class)).unwrap();
    assert_eq!(explanation.class, class);
    explanation.map
}

/// Values that are the same up to rounding, the largest of them as 1.
fn assert_alike(found: &[f32], expected: &[f32], case: &str) {
    let most = expected.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    assert_eq!(found.len(), expected.len());
    for (cell, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() / most < 1e-3, "{case}: cell {cell}: {found}, not {expected}");
    }
}

#[test]
fn a_map_is_the_sum_of_the_last_channels_by_their_gradient_where_it_is_above_zero() {
    let folder = tempfile::tempdir().unwrap();
    let version = net(folder.path(), "spot", Fit::Stretch, &[[2.0, 1.0], [1.0, -3.0], [-1.0, 0.0]]);
    // A place of the map sees 2 x 2 pixels, and each place has a light of its own.
    let light = |cell: usize| (cell * 37 % 251) as u8;
    let cell_of = |at: usize| at / 28 / 2 * 14 + at % 28 / 2;
    let pixels =
        Pixels { width: 28, height: 28, channels: 1, data: (0..784).map(|at| light(cell_of(at))).collect() };
    // Behind the map a pool lets the lightest of four places through, and the darkest of the other channel.
    let pool = |cell: usize| {
        let first = cell / 14 / 2 * 2 * 14 + cell % 14 / 2 * 2;
        [first, first + 1, first + 14, first + 15].map(light)
    };
    for (class, [by_light, by_dark]) in [(0, [2.0, 1.0]), (1, [1.0, -3.0]), (2, [-1.0, 0.0])] {
        let map = explain(&version, &pixels, class);
        assert_eq!((map.rows, map.columns), (14, 14));
        let expected = |cell: usize| {
            let (own, pool) = (light(cell), pool(cell));
            let share = |counts: bool, value: f32| if counts { value } else { 0.0 };
            let x = f32::from(own) / 255.0;
            let lightest = share(pool.iter().max() == Some(&own), by_light * x);
            let darkest = share(pool.iter().min() == Some(&own), by_dark * (1.0 - x));
            (lightest + darkest).max(0.0)
        };
        assert_alike(&map.values, &(0..196).map(expected).collect::<Vec<_>>(), &format!("class {class}"));
    }
    let explainer = Explainer::load(&version, EngineKind::Libtorch, Device::Cpu).unwrap();
    let likeliest = explainer.explain(&pixels, None).unwrap();
    assert_eq!((likeliest.class, likeliest.predictions[0].index), (0, Some(0)));
    let error = explainer.explain(&pixels, Some(3)).unwrap_err().to_string();
    assert!(error.contains("its outputs are 0 to 2"), "{error}");
}

/// Where the last layer sees the mean of each channel alone, the gradient is that layer's weight.
#[test]
fn nets_that_end_in_a_mean_are_explained_by_their_last_layer() {
    let folder = tempfile::tempdir().unwrap();
    for (version, class, layer) in
        [(bird(), 88, "_fc"), (lite1(folder.path()), 3, "_fc"), (inception(folder.path()), 7, "fc")]
    {
        let input = &version.manifest.input;
        let pixels = &pixels(1, input.size, 3)[0];
        let (store, net) = weights::net(&version, tch::Device::Cpu).unwrap();
        let bytes = pixels.data.chunks_exact(3).map(|pixel| pixel.to_vec()).collect::<Vec<_>>();
        let value = |channel: usize| {
            bytes.iter().map(move |pixel| (f32::from(pixel[channel]) - input.mean[0]) / input.std[0])
        };
        let values: Vec<f32> = (0..3).flat_map(value).collect();
        let side = i64::from(input.size);
        let image = Tensor::from_slice(&values).view([1, 3, side, side]);
        let maps = tch::no_grad(|| net.maps(&image, false).unwrap());
        let weights = store.variables()[&format!("{layer}.weight")].get(class.into()).view([1, -1, 1, 1]);
        let sum =
            tch::no_grad(|| (maps * weights).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float).relu());
        let cells = sum.numel();
        let mut expected = vec![0.0_f32; cells];
        (sum / cells as f64).copy_data(&mut expected, cells);
        let map = explain(&version, pixels, class);
        assert_alike(&map.values, &expected, &version.manifest.name);
        assert!(map.values.iter().any(|&value| value > 0.0), "{}", version.manifest.name);
    }
}

#[test]
fn birds_are_hot_where_they_are_and_what_is_none_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, samples) = (project("weights"), project("data/samples"));
    let files: Vec<String> = ["scarlet_macaw.webp", "hen.webp", "sandal5.png"]
        .map(|name| samples.join(name).display().to_string())
        .into();
    let mut arguments = vec![
        "explain",
        "--model",
        "bird",
        "--model-version",
        "1",
        "--json",
        "--weights",
        weights.to_str().unwrap(),
    ];
    arguments.extend(files.iter().map(String::as_str));
    let answers = tiny::lines(folder.path(), &arguments);
    let [macaw, hen, sandal] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((&macaw["prediction"]["label"], &macaw["class"]["label"]), (&"macaw".into(), &"macaw".into()));
    assert_eq!(macaw["prediction"]["probability"], macaw["class"]["probability"]);
    assert_eq!(hen["class"]["label"], "hen");
    assert_eq!(
        (&sandal["prediction"]["label"], &sandal["prediction"]["index"]),
        (&"not a bird".into(), &serde_json::Value::Null)
    );
    assert!(sandal["class"]["index"].is_u64(), "{sandal}");
    // By eye: the parrot's shoulder, and the hen that looks at who took the picture.
    for (answer, name, x, y) in
        [(macaw, "scarlet_macaw.webp", 420..860, 200..560), (hen, "hen.webp", 500..760, 230..500)]
    {
        let peak = |axis: &str| answer["peak"][axis].as_f64().unwrap() as i32;
        assert!(x.contains(&peak("x")) && y.contains(&peak("y")), "{answer}");
        let drawn = image::open(folder.path().join(answer["output"].as_str().unwrap())).unwrap();
        assert_eq!(drawn.dimensions(), image::open(samples.join(name)).unwrap().dimensions());
    }
}

#[test]
fn what_can_not_be_written_or_meant_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    net(here, "spot", Fit::Stretch, &[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]);
    fs::create_dir(here.join("other")).unwrap();
    for file in ["a.png", "b.png", "other/a.png"] {
        spot(60, 40, (0.2, 0.2)).save(here.join(file)).unwrap();
    }
    fs::write(here.join("bad.png"), "no image").unwrap();
    let explain = |arguments: &[&str]| {
        let output = tiny::model(here, &[&["explain", "--model", "spot"], arguments].concat());
        (output.status.code().unwrap(), stderr(&output), output)
    };
    let files = ["--class", "light", "a.png", "bad.png", "gone.png", "b.png", "other/a.png"];
    let (code, said, output) = explain(&files);
    assert_eq!((code, said.lines().count()), (5, 3), "{said}");
    assert!(
        said.contains("bad.png: this is no image") && said.contains("gone.png: there is no such file"),
        "{said}"
    );
    assert!(said.contains("other/a.png: its picture would take the place of another image's"), "{said}");
    let words = String::from_utf8(output.stdout).unwrap();
    let first = "a.png: dark 100.00 %; explained is light 0.00 %, most of it at 11, 7: a-explained.png";
    assert_eq!(words.lines().next(), Some(first));
    assert!(here.join("b-explained.png").is_file());

    let (code, said, _) = explain(&["a.png"]);
    assert!(code == 5 && said.contains("a-explained.png is there already: not without --force"), "{said}");
    assert_eq!(explain(&["a.png", "--force"]).0, 0);
    // A name that is no text is no reason to end.
    let odd = Path::new(OsStr::from_bytes(b"\xff.png"));
    fs::copy(here.join("a.png"), here.join("other").join(odd)).unwrap();
    assert_eq!(explain(&["other", "--json", "--output", "."]).0, 5);
    assert!(here.join(OsStr::from_bytes(b"\xff-explained.png")).is_file());
    let (code, said, _) = explain(&["a.png", "--output", "a.png", "--force"]);
    assert!(code == 5 && said.contains("its own place"), "{said}");
    let (code, said, _) = explain(&["a.png", "b.png", "--output", "c.png"]);
    assert!(code == 2 && said.contains("2 images can't all be written to one --output"), "{said}");
    assert_eq!(explain(&["other", "--output", "other"]).0, 0);
    assert!(here.join("other/a-explained.png").is_file());

    let (code, said, _) = explain(&["a.png", "--class", "hen"]);
    assert!(code == 2 && said.contains("no such label, but: light, dark, neither"), "{said}");
    let (code, said, _) = explain(&["a.png", "--class", "3"]);
    assert!(code == 2 && said.contains("numbered 0 to 2"), "{said}");
    let (code, said, _) = explain(&["a.png", "--engine", "openvino"]);
    assert!(code == 2 && said.contains("leave --engine out"), "{said}");
    let nothing = explain(&["a.png", "--class", "Neither", "--json", "--output", "d.png"]);
    let answer = &objects(&nothing.2)[0];
    assert_eq!(
        (&answer["class"]["index"], &answer["peak"]),
        (&2.into(), &serde_json::Value::Null),
        "{}",
        nothing.1
    );

    // A net of which nothing is known but what it answers.
    let path = here.join("weights/spot/1/manifest.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("libtorch", "openvino").replace("  architecture: fashion-cnn\n", ""))
        .unwrap();
    let (code, said, _) = explain(&["b.png", "--force"]);
    assert!(code == 1 && said.contains("spot version 1 can't be explained"), "{said}");
}

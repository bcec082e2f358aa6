//! JPEG files as cameras and phones make them: large ones, with something behind their end, and what is no JPEG but looks like a
//! photograph.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod bombs;
mod photographs;
mod pictures;

use std::fs;
use std::path::Path;

use image::ImageFormat;
use model_core::{ImageError, ImageLimits, Pixels, shown};
use photographs::{Photograph, colour};
use pictures::encoded;

fn decode(file: &[u8]) -> Result<Pixels, ImageError> {
    colour(224).decode(file, &ImageLimits::default())
}

fn difference(a: &Pixels, b: &Pixels) -> f64 {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels));
    let sum: u64 = a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.data.len() as f64
}

#[test]
fn photographs_of_all_sizes_look_alike() {
    let of = |width, height| Photograph { width, height, ..Photograph::default() };
    let small = decode(&of(800, 600).file()).unwrap();
    let sizes = [
        ("12 megapixels", of(4000, 3000)),
        ("24 megapixels", of(5656, 4242)),
        ("100 megapixels", of(11_600, 8_700)),
        ("progressive, 12 megapixels", Photograph { progressive: true, ..of(4000, 3000) }),
        ("12 megapixels, colour at full size", Photograph { full_colour: true, ..of(4000, 3000) }),
    ];
    for (name, photograph) in sizes {
        let found = decode(&photograph.file()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference = difference(&found, &small);
        println!("{name}: {difference}");
        assert!(difference < 2.0, "{name}: mean difference {difference}");
    }
}

/// A picture that is drawn on is turned as viewers turn it, and made smaller only where it would take more than it may.
#[test]
fn a_photograph_is_shown_at_its_size_if_memory_allows_and_its_sides_are_the_files() {
    let file = Photograph { width: 1600, height: 1200, orientation: 6, ..Photograph::default() }.file();
    let whole = shown(&file, &ImageLimits::default()).unwrap();
    assert_eq!((whole.width, whole.height, whole.pixels.channels), (1200, 1600, 3));
    assert_eq!((whole.pixels.width, whole.pixels.height), (1200, 1600));
    // Its colours rise from left to right as stored: from the top to the bottom as shown.
    let red = |y: usize| whole.pixels.data[(y * 1200 + 600) * 3];
    assert!(red(100) < 60 && red(1500) > 200, "{}, {}", red(100), red(1500));

    let small = shown(&file, &ImageLimits { max_alloc_bytes: 4 << 20, ..ImageLimits::default() }).unwrap();
    assert_eq!((small.width, small.height), (1200, 1600));
    assert_eq!((small.pixels.width, small.pixels.height), (600, 800));
    let error =
        shown(&file, &ImageLimits { max_alloc_bytes: 4 << 10, ..ImageLimits::default() }).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

/// Real photographs: resampled from a smaller decode they are what they are resampled from the full one.
#[test]
fn decoding_smaller_does_not_show() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/samples");
    for name in ["duck.webp", "hen.webp", "owl.webp", "scarlet_macaw.webp"] {
        let image = image::load_from_memory(&fs::read(samples.join(name)).unwrap()).unwrap();
        let jpeg = encoded(&image.to_rgb8().into(), ImageFormat::Jpeg);
        let full = encoded(&image::load_from_memory(&jpeg).unwrap(), ImageFormat::Png);
        for size in [28, 56, 112] {
            let decode = |file: &[u8]| colour(size).decode(file, &ImageLimits::default()).unwrap();
            let difference = difference(&decode(&jpeg), &decode(&full));
            println!("{name} at {size} pixels: {difference}");
            assert!(difference < 1.0, "{name} at {size} pixels: mean difference {difference}");
        }
    }
}

#[test]
fn large_photographs_are_turned_as_small_ones() {
    for orientation in 1..=8 {
        let of = |width, height| Photograph { width, height, orientation, ..Photograph::default() };
        let small = decode(&of(600, 450).file()).unwrap();
        let large = decode(&of(2400, 1800).file()).unwrap();
        let difference = difference(&small, &large);
        assert!(difference < 2.0, "orientation {orientation}: mean difference {difference}");
        if orientation > 1 {
            let upright = decode(&Photograph { orientation: 1, ..of(600, 450) }.file()).unwrap();
            assert!(self::difference(&small, &upright) > 20.0, "orientation {orientation} is not seen");
        }
    }
}

#[test]
fn what_stands_behind_the_end_of_a_jpeg_is_passed_over() {
    let photograph = Photograph::default().file();
    let expected = decode(&photograph).unwrap();
    let film: Vec<u8> = (0..50_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let behind: [(&str, &[u8]); 5] = [
        ("a film", &film),
        ("what looks like a scan", b"\0\0\0\x18ftypmp42 \xff\xda\0\x0c\x03\x01\0\x02"),
        ("another picture", &photograph),
        ("half of another picture", &photograph[..photograph.len() / 2]),
        ("zeros", &[0; 4096]),
    ];
    for (name, behind) in behind {
        let found = decode(&[&photograph, behind].concat()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_jpeg_without_its_end_is_cut_off_whatever_it_holds() {
    for photograph in [Photograph::default(), Photograph { progressive: true, ..Photograph::default() }] {
        let file = photograph.file();
        for end in [file.len() / 10, file.len() / 2, file.len() - 3, file.len() - 2, file.len() - 1] {
            let error = decode(&file[..end]).unwrap_err();
            assert!(matches!(error, ImageError::Broken { .. }), "{end} of {} bytes: {error}", file.len());
        }
    }
}

#[test]
fn more_scans_than_an_encoder_makes_are_refused() {
    let file = Photograph { progressive: true, ..Photograph::default() }.file();
    // The last scan once more, and once more; its end marker only then.
    let last = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let scan = &file[last..file.len() - 2];
    let of = |times| [&file[..last], &scan.repeat(times), &[0xff, 0xd9]].concat();
    let error = decode(&of(200)).unwrap_err().to_string();
    assert!(error.contains("more than 100 scans"), "{error}");
}

#[test]
fn too_large_a_photograph_is_refused_by_the_limit_that_it_breaks() {
    let error = |file: Vec<u8>| decode(&file).unwrap_err();
    let wide = error(bombs::jpeg_header(16_385, 100, false));
    assert!(matches!(&wide, ImageError::TooLarge { reason } if reason.contains("max_width")), "{wide}");
    // Its coefficients alone are 90 million bytes.
    let progressive = error(bombs::jpeg_header(6_000, 5_000, true));
    assert!(
        matches!(&progressive, ImageError::TooLarge { reason } if reason.contains("max_alloc_bytes")),
        "{progressive}"
    );
}

#[test]
fn what_is_not_decoded_is_refused_by_its_name() {
    let cases: [(&[u8], &str); 7] = [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
    ];
    for (file, name) in cases {
        let error = decode(file).unwrap_err();
        assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(name) && error.to_string().contains("send it as JPEG"), "{error}");
    }
    assert_eq!(decode(b"\0\0\0\x18ftypmp42\0\0\0\0").unwrap_err(), ImageError::UnknownFormat);
}

//! Decoding stays within its budget, and what would not is refused before a pixel is allocated.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod bombs;
mod counting;
mod photographs;
mod pictures;

use counting::{Counting, most_held};
use image::{DynamicImage, ImageFormat, RgbaImage};
use model_core::{ImageError, ImageLimits, Preprocessor};
use photographs::{Photograph, colour, grey};
use pictures::encoded;

#[global_allocator]
static COUNTING: Counting = Counting;

const MIB: u64 = 1 << 20;
/// Rows, tables, the decoder's own state: what a decoder of a picture of any size holds.
const ROWS: u64 = 4 * MIB;

fn both() -> [(&'static str, Preprocessor); 2] {
    [("birds", colour(224)), ("clothes", grey(28))]
}

#[test]
fn bombs_are_refused_before_a_pixel_is_allocated() {
    for (name, file) in bombs::refused() {
        for (net, preprocessor) in both() {
            let (result, held) = most_held(|| preprocessor.decode(&file, &ImageLimits::default()));
            println!("{name}, for {net}: {held} bytes, {result:?}");
            assert!(
                matches!(result, Err(ImageError::TooLarge { .. } | ImageError::Broken { .. })),
                "{name}: {result:?}"
            );
            assert!(held < MIB, "{name}, for {net}: {held} bytes were held");
        }
    }
}

#[test]
fn large_sound_files_are_decoded_within_the_limit_or_refused_at_once() {
    let limits = ImageLimits::default();
    let mut decoded = Vec::new();
    for (name, file) in bombs::sound() {
        for (net, preprocessor) in both() {
            let (result, held) = most_held(|| preprocessor.decode(&file, &limits));
            println!("{name}, for {net}: {held} bytes, {:?}", result.as_ref().map(|_| "decoded"));
            match result {
                Ok(_) => {
                    assert!(
                        held < limits.max_alloc_bytes + ROWS,
                        "{name}, for {net}: {held} bytes were held"
                    );
                    decoded.push((name, net));
                }
                Err(ImageError::TooLarge { .. }) => {
                    assert!(held < MIB, "{name}, for {net}: {held} bytes were held");
                }
                Err(error) => panic!("{name}, for {net}: {error}"),
            }
        }
    }
    // A limit is no reason to refuse what would have fitted.
    let expected = [
        ("a PNG with alpha, 4,096 x 4,096", "birds"),
        ("a progressive JPEG of 22 megapixels", "clothes"),
        ("a JPEG of 22 megapixels, turned by a quarter", "birds"),
        ("a JPEG of 22 megapixels, turned by a quarter", "clothes"),
    ];
    assert_eq!(decoded, expected);
}

#[test]
fn a_refusal_names_the_limit() {
    let error = |file: &[u8], limits: ImageLimits| grey(28).decode(file, &limits).unwrap_err().to_string();
    let file = bombs::png(300, 200, 8, 2);
    let narrow = error(&file, ImageLimits { max_width: 299, ..ImageLimits::default() });
    assert!(
        narrow.contains("300 x 200") && narrow.contains("299") && narrow.contains("max_width"),
        "{narrow}"
    );
    let little = error(&file, ImageLimits { max_alloc_bytes: 180_000, ..ImageLimits::default() });
    assert!(little.contains("180000") && little.contains("max_alloc_bytes"), "{little}");
}

#[test]
fn the_whole_decode_stays_within_the_limit() {
    let turned = |orientation| Photograph { width: 1900, height: 1300, orientation, ..Photograph::default() };
    let rgba = RgbaImage::from_fn(1200, 900, |x, y| image::Rgba([x as u8, y as u8, 9, (x + y) as u8]));
    let files = [
        ("PNG of one bit, 3,000 x 3,000", bombs::png(3000, 3000, 1, 0)),
        ("PNG with alpha, 2,000 x 2,000", bombs::png(2000, 2000, 8, 6)),
        ("PNG of 16 bits", bombs::png(1500, 1500, 16, 6)),
        ("WebP with alpha", encoded(&DynamicImage::ImageRgba8(rgba.clone()), ImageFormat::WebP)),
        ("GIF", encoded(&DynamicImage::ImageRgba8(rgba.clone()), ImageFormat::Gif)),
        ("BMP with alpha", encoded(&DynamicImage::ImageRgba8(rgba), ImageFormat::Bmp)),
        ("JPEG", turned(1).file()),
        ("JPEG turned by a quarter", turned(6).file()),
        ("progressive JPEG", Photograph { progressive: true, ..turned(6) }.file()),
        (
            "progressive JPEG, colour at full size",
            Photograph { progressive: true, full_colour: true, ..turned(1) }.file(),
        ),
    ];
    for (name, file) in files {
        for (net, preprocessor) in both() {
            // The least limit that it is decoded with is found by asking: what it takes is in the refusal.
            let least = ImageLimits { max_alloc_bytes: 1, ..ImageLimits::default() };
            let refusal = preprocessor.decode(&file, &least).unwrap_err().to_string();
            let takes: u64 = refusal.split(' ').find_map(|word| word.parse().ok()).unwrap();
            let limits = ImageLimits { max_alloc_bytes: takes, ..ImageLimits::default() };
            let (result, held) = most_held(|| preprocessor.decode(&file, &limits));
            println!("{name}, for {net}: {held} bytes held, {takes} counted");
            result.unwrap_or_else(|error| panic!("{name}, for {net}: {error}"));
            assert!(held <= takes + ROWS, "{name}, for {net}: {held} bytes held, {takes} counted");
            // Nor does the count refuse what would have fitted: it expects a thing in each picture, where these have none.
            assert!(takes <= 3 * held + ROWS, "{name}, for {net}: {held} bytes held, {takes} counted");
            assert!(takes < 64 * MIB, "{name}, for {net}: {takes} bytes");
        }
    }
}

use proptest::prelude::*;

use super::*;

const SIDE: usize = 28;

/// A thing in the middle, from 5 to `SIDE - 5`: its own light at a pixel, 0 elsewhere.
fn thing(x: usize, y: usize) -> f32 {
    let inside = (5..SIDE - 5).contains(&x) && (5..SIDE - 5).contains(&y);
    if inside { (80 + (x * 7 + y * 11) % 160) as f32 / 255.0 } else { 0.0 }
}

/// The thing blended by its own light over a background, as `to` (white or black).
fn picture(level: impl Fn(usize, usize) -> f32, to: f32) -> Pixels {
    let value = |at: usize| {
        let (x, y) = (at % SIDE, at / SIDE);
        let (share, level) = (thing(x, y), level(x, y));
        (level + (to - level) * share).round().clamp(0.0, 255.0) as u8
    };
    let data = (0..SIDE * SIDE).map(value).collect();
    Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data }
}

fn greatest_difference(found: &Pixels) -> f32 {
    let pairs = found.data.iter().enumerate();
    let differences =
        pairs.map(|(at, &value)| (f32::from(value) - 255.0 * thing(at % SIDE, at / SIDE)).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn the_border_is_each_outermost_pixel_once() {
    for (width, height) in [(1, 1), (1, 4), (4, 1), (2, 2), (5, 3)] {
        let mut found: Vec<_> = border(width, height).collect();
        found.sort_unstable();
        let outermost = |x: usize, y: usize| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
        let all = (0..width).flat_map(|x| (0..height).map(move |y| (x, y)));
        let expected: Vec<_> = all.filter(|&(x, y)| outermost(x, y)).collect();
        assert_eq!(found, expected, "{width} x {height}");
    }
}

#[test]
fn a_thing_that_covers_nearly_half_of_the_border_is_not_taken_for_the_background() {
    // Dark below, from the left edge to the right, on a background that is lighter to the right.
    let level = |x: usize| 150.0 + 2.0 * x as f32;
    let value = |at: usize| if at / SIDE >= 16 { 30 } else { level(at % SIDE) as u8 };
    let data = (0..SIDE * SIDE).map(value).collect();
    let pixels = Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data };
    let (light, _) = light_on_black(&pixels).unwrap_or_else(|| panic!("there is a thing"));
    // Twelve of 28 rows, and two of the corners.
    let share = light.data.iter().filter(|&&value| value > 150).count() as f64 / light.data.len() as f64;
    assert!((0.4..0.5).contains(&share), "{share}");
}

/// Noise of a normal distribution around 0, by Box and Muller from SplitMix64.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    let mut share = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 40) as f32 + 0.5) / (1 << 24) as f32
    };
    move || (-2.0 * share().ln()).sqrt() * (std::f32::consts::TAU * share()).cos()
}

/// A picture of that level and noise, with a square that is so much darker in its middle.
fn noisy(side: usize, level: f32, deviation: f32, darker: f32, seed: u64) -> Pixels {
    let mut noise = noise(seed);
    let margin = side / 4;
    let inside = |at: usize| (margin..side - margin).contains(&at);
    let value = |at: usize| {
        let thing = if inside(at % side) && inside(at / side) { darker } else { 0.0 };
        (level - thing + deviation * noise()).round().clamp(0.0, 255.0) as u8
    };
    let data = (0..side * side).map(value).collect();
    Pixels { width: side as u32, height: side as u32, channels: 1, data }
}

#[test]
fn noise_shows_nothing_and_hides_no_thing() {
    for side in [28, 90, 300] {
        for (deviation, seed) in [2.0, 4.0, 8.0, 16.0, 24.0].into_iter().zip(1..) {
            for level in [100.0, 150.0] {
                let blank = noisy(side, level, deviation, 0.0, seed + side as u64);
                let found = light_on_black(&blank).map(|(_, frame)| frame);
                assert_eq!(found, None, "noise of {deviation} around {level}, {side} pixels");
            }
            let found = light_on_black(&noisy(side, 200.0, deviation, 160.0, seed + side as u64));
            let (_, frame) =
                found.unwrap_or_else(|| panic!("a thing in noise of {deviation}, {side} pixels"));
            let (margin, length) = ((side / 4) as u32, (side - side / 4 * 2) as u32);
            assert_eq!(frame, Frame { left: margin, top: margin, width: length, height: length });
        }
    }
}

/// A thing of each light from 1 to 255, in its own colour, as opaque as it is light, on grey of that level, and its lights.
fn blend(level: impl Fn(usize, usize) -> f32) -> (Pixels, Vec<f32>) {
    let light = |at: usize| {
        let (x, y) = (at % SIDE, at / SIDE);
        let inside = (5..SIDE - 5).contains(&x) && (5..SIDE - 5).contains(&y);
        if inside { (1 + ((y - 5) * 18 + x - 5) * 254 / 323) as f32 } else { 0.0 }
    };
    let lights: Vec<f32> = (0..SIDE * SIDE).map(light).collect();
    let middle = SIDE as f32 / 2.0;
    let grey = level(middle as usize, middle as usize);
    let value = |(at, &light): (usize, &f32)| {
        let ramp = level(at % SIDE, at / SIDE) / grey;
        ((grey * (1.0 - light / 255.0) + light * light / 255.0) * ramp).round().clamp(0.0, 255.0) as u8
    };
    let data = lights.iter().enumerate().map(value).collect();
    (Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data }, lights)
}

#[test]
fn what_is_nearly_as_light_as_the_background_does_not_bend_it() {
    // The background's left and right thirds of the border are hidden by what is a little darker than it.
    let level = |x: usize, y: usize| 130.0 + 0.8 * x as f32 + 0.4 * y as f32;
    let value = |at: usize| {
        let (x, y) = (at % SIDE, at / SIDE);
        let darker = if (8..24).contains(&y) && x < 20 { 9.0 } else { 0.0 };
        (level(x, y) - darker).round() as u8
    };
    let data = (0..SIDE * SIDE).map(value).collect();
    let (plane, noise) = plane::fit(&Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data });
    for (x, found) in plane.row(SIDE - 1).enumerate() {
        assert!((found - level(x, SIDE - 1)).abs() < 0.5, "{found} at {x}");
    }
    assert!(noise < 1.0, "{noise}");
}

/// A dark pixel beside lighter ones had the greater of two lights rather than one beside the background.
#[test]
fn what_is_around_a_dark_pixel_tells_its_light() {
    // On a background of 120 a level of 112 is 20 or 100 of the thing's light; 106 is about 60.
    let value = |at: usize| match (at % SIDE, at / SIDE) {
        (9, 9 | 15) => 112,
        (9..19, 9..19) => 106,
        (4..24, 12..24) => 200,
        _ => 120,
    };
    let data = (0..SIDE * SIDE).map(value).collect();
    let pixels = Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data };
    let (found, _) = light_on_black(&pixels).unwrap_or_else(|| panic!("there is a thing"));
    let [at_corner, beside_light] = [9, 15].map(|y| found.data[y * SIDE + 9]);
    assert!((24..44).contains(&at_corner), "{at_corner}");
    assert!((76..96).contains(&beside_light), "{beside_light}");
}

#[test]
fn a_light_thing_in_what_jpeg_leaves_around_it_is_no_blend() {
    // Light on grey, `g (1 - v) + 255 v`; a rim of darker pixels around it, most of them faint.
    let value = |at: usize| {
        let (x, y) = (at % SIDE, at / SIDE);
        let dark = match x {
            4 | 23 => 15.0,
            3 | 24 => 4.0,
            _ => 0.0,
        };
        let dark = if (4..SIDE - 4).contains(&y) { dark } else { 0.0 };
        (120.0 - dark / (1.0 + (y % 4) as f32) + 135.0 * thing(x, y)).round() as u8
    };
    let data: Vec<u8> = (0..SIDE * SIDE).map(value).collect();
    let pixels = Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data };
    let (plane, noise) = plane::fit(&pixels);
    assert!(Blend::of(&pixels, &plane, noise).is_none());
    let (found, _) = light_on_black(&pixels).unwrap_or_else(|| panic!("there is a thing"));
    assert!(greatest_difference(&found) <= 4.0, "{}", greatest_difference(&found));
}

proptest! {
    /// What was lighter than the background comes back as it was, what was darker between the two lights that it may have had.
    #[test]
    fn a_thing_blended_by_its_own_light_comes_back(
        middle in 100.0_f32..160.0,
        across in -0.1_f32..0.1,
        down in -0.1_f32..0.1,
    ) {
        let ramp = |at: usize| 2.0 * at as f32 / (SIDE - 1) as f32 - 1.0;
        let (pixels, lights) = blend(|x, y| middle * (1.0 + across * ramp(x) + down * ramp(y)));
        let (plane, noise) = plane::fit(&pixels);
        prop_assert!(Blend::of(&pixels, &plane, noise).is_some());
        let (found, _) = light_on_black(&pixels).ok_or_else(|| TestCaseError::fail("no thing found"))?;
        for (at, (&found, &light)) in found.data.iter().zip(&lights).enumerate() {
            let found = f32::from(found);
            // A level of rounding is many lights where these are nearly the background's, and where they are half of it.
            if light == 0.0 {
                prop_assert_eq!(found, 0.0, "background at {}", at);
            } else if light > middle + 12.0 && pixels.data[at] < 255 {
                prop_assert!((found - light).abs() <= 6.0, "{found} of {light} on {middle}");
            } else if light < middle - 12.0 && light > 12.0 {
                let (lesser, greater) = (light.min(middle - light), light.max(middle - light));
                prop_assert!((lesser - 15.0..=greater + 15.0).contains(&found), "{found} of {light} on {middle}");
            }
        }
    }

    /// Grey or lit from one side, the thing comes back as it was.
    #[test]
    fn a_thing_on_any_plane_comes_back(
        middle in 96.0_f32..180.0,
        across in -0.1_f32..0.1,
        down in -0.1_f32..0.1,
        dark in any::<bool>(),
    ) {
        let ramp = |at: usize| 2.0 * at as f32 / (SIDE - 1) as f32 - 1.0;
        let level = |x, y| middle * (1.0 + across * ramp(x) + down * ramp(y));
        let found = light_on_black(&picture(level, if dark { 0.0 } else { 255.0 }));
        let (found, frame) = found.ok_or_else(|| TestCaseError::fail("no thing found"))?;
        // A level of rounding, magnified where there is little room above or below the background.
        let difference = greatest_difference(&found);
        prop_assert!(difference <= 12.0, "{difference}");
        prop_assert_eq!(frame, Frame { left: 5, top: 5, width: 18, height: 18 });
    }

    /// A blank sheet, evenly grey or lit from one side, with noise below the threshold, shows nothing.
    #[test]
    fn a_blank_sheet_shows_nothing(
        middle in 0.0_f32..255.0,
        across in -0.2_f32..0.2,
        noise in prop::collection::vec(-6_i16..=6, SIDE * SIDE),
    ) {
        let level = |at: usize| middle * (1.0 + across * (2.0 * (at % SIDE) as f32 / (SIDE - 1) as f32 - 1.0));
        let value = |(at, noise): (usize, &i16)| (level(at).min(240.0) + f32::from(*noise)).clamp(0.0, 255.0) as u8;
        let data: Vec<u8> = noise.iter().enumerate().map(value).collect();
        // Where the light is cut off at white, a plane does not fit.
        prop_assume!(middle * 1.2 < 240.0);
        let pixels = Pixels { width: SIDE as u32, height: SIDE as u32, channels: 1, data };
        prop_assert!(light_on_black(&pixels).is_none());
    }

    /// Whatever is shown, nothing panics, and the frame lies within the picture.
    #[test]
    fn any_picture_is_framed_within_itself(
        width in 1_u32..40,
        height in 1_u32..40,
        bytes in prop::collection::vec(any::<u8>(), 40 * 40),
    ) {
        let data = bytes[..(width * height) as usize].to_vec();
        let pixels = Pixels { width, height, channels: 1, data };
        let _ = is_light_on_black(&pixels);
        for frame in [light_on_black(&pixels).map(|(_, frame)| frame), opaque(&pixels)].into_iter().flatten() {
            prop_assert!(frame.width > 0 && frame.left + frame.width <= width, "{frame:?}");
            prop_assert!(frame.height > 0 && frame.top + frame.height <= height, "{frame:?}");
        }
    }
}

//! A colour for each share of heat: from a dark violet by red to a light yellow. Its lightness rises evenly as eyes see it, so that it is read
//! right in grey too, and by those who do not tell red from green.

/// Lightness, chroma and hue in degrees of the darkest colour, one in between, and the lightest, in Oklab's cylinder
/// (<https://bottosson.github.io/posts/oklab/>).
const FROM: [f32; 3] = [0.20, 0.08, 285.0];
const MIDDLE: [f32; 3] = [0.58, 0.20, 375.0];
const TO: [f32; 3] = [0.96, 0.09, 465.0];

/// Red, green and blue of a heat of 0 to 1, in sRGB.
#[must_use]
pub fn of(heat: f32) -> [u8; 3] {
    let heat = heat.clamp(0.0, 1.0);
    // A parabola through three points.
    let between = |place: usize| {
        let (a, b, c) = (FROM[place], MIDDLE[place], TO[place]);
        a * (1.0 - heat) * (1.0 - 2.0 * heat) + 4.0 * b * heat * (1.0 - heat) + c * heat * (2.0 * heat - 1.0)
    };
    let [lightness, chroma, hue] = [between(0), between(1), between(2)];
    srgb(lightness, chroma * hue.to_radians().cos(), chroma * hue.to_radians().sin())
}

/// Oklab to sRGB; what is beyond is brought to its border.
fn srgb(lightness: f32, a: f32, b: f32) -> [u8; 3] {
    let cone = |by_a: f32, by_b: f32| (lightness + by_a * a + by_b * b).powi(3);
    let (l, m, s) = (
        cone(0.396_337_78, 0.215_803_76),
        cone(-0.105_561_346, -0.063_854_17),
        cone(-0.089_484_18, -1.291_485_5),
    );
    [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_4 * s,
        -0.004_196_086 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ]
    .map(|linear| {
        let linear = linear.clamp(0.0, 1.0);
        let value =
            if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        // From 0 to 255 by the clamp.
        (255.0 * value).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_are_where_oklab_has_them() {
        assert_eq!(srgb(1.0, 0.0, 0.0), [255; 3]);
        assert_eq!(srgb(0.0, 0.0, 0.0), [0; 3]);
        assert_eq!(srgb(0.627_955, 0.224_863, 0.125_846), [255, 0, 0]);
    }

    #[test]
    fn more_heat_is_always_lighter_by_about_as_much() {
        let light = |heat: usize| {
            let [red, green, blue] = of(heat as f32 / 16.0).map(|value| (f32::from(value) / 255.0).powf(2.2));
            (0.2126 * red + 0.7152 * green + 0.0722 * blue).cbrt()
        };
        for heat in 0..16 {
            let step = light(heat + 1) - light(heat);
            assert!((0.02..0.08).contains(&step), "{heat}: {step}");
        }
    }
}

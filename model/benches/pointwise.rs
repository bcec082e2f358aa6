//! Where a 1 x 1 convolution is faster by oneDNN's name than as `conv2d`: each of EfficientNet-Lite0's, by how many images go through
//! at once. `cargo bench -p model --bench pointwise`; `docs/performance.md` says what follows from it.
//!
//! CPU time of the process, the median of all rounds, and both arms take turns call by call, so the ratios hold on a busy machine too.

mod cpu_time;

use std::hint::black_box;

use cpu_time::cpu_time;
use model::nets::layers::onednn_is_faster;
use tch::kind::FLOAT_CPU;
use tch::{TchError, Tensor};

const BATCHES: [i64; 6] = [1, 2, 4, 8, 16, 32];
/// The first warms up.
const ROUNDS: usize = 10;

/// Channels in and out, pixels a side, and how many there are.
const LAYERS: [(i64, i64, i64, u32); 20] = [
    (32, 16, 112, 1),
    (16, 96, 112, 1),
    (96, 24, 56, 1),
    (24, 144, 56, 2),
    (144, 24, 56, 1),
    (144, 40, 28, 1),
    (40, 240, 28, 2),
    (240, 40, 28, 1),
    (240, 80, 14, 1),
    (80, 480, 14, 3),
    (480, 80, 14, 2),
    (480, 112, 14, 1),
    (112, 672, 14, 3),
    (672, 112, 14, 2),
    (672, 192, 7, 1),
    (192, 1152, 7, 4),
    (1152, 192, 7, 3),
    (1152, 320, 7, 1),
    (320, 1280, 7, 1),
    (1280, 1000, 1, 1),
];

fn main() -> Result<(), TchError> {
    model::configure_process();
    // The last is no convolution in the net: it shows where the rule ends.
    println!("conv2d's time : oneDNN's, images at once {BATCHES:?}");
    let mut sums = [[0.0; 3]; BATCHES.len()];
    for (c_in, c_out, side, count) in LAYERS {
        let mut ratios = Vec::new();
        for (sums, images) in sums.iter_mut().zip(BATCHES) {
            let [conv2d, onednn] = seconds(c_in, c_out, side, images)?;
            if side > 1 {
                sums[0] += conv2d * f64::from(count);
                sums[1] += onednn * f64::from(count);
                let by_name = onednn_is_faster(c_in, c_out, images * side * side);
                sums[2] += if by_name { onednn } else { conv2d } * f64::from(count);
            }
            ratios.push(format!("{:6.2}", conv2d / onednn));
        }
        println!("{c_in:5} to {c_out:4} channels, {side:3} x {side:3} pixels: {}", ratios.join(" "));
    }
    for ([conv2d, onednn, served], images) in sums.into_iter().zip(BATCHES) {
        let each = |seconds: f64| 1000.0 * seconds / images as f64;
        println!(
            "all of the net's, {images:2} at once: {:6.2} ms an image as conv2d, {:6.2} by oneDNN ({:.2}), {:6.2} as served ({:.2})",
            each(conv2d),
            each(onednn),
            conv2d / onednn,
            each(served),
            conv2d / served
        );
    }
    Ok(())
}

/// Of a call of each arm.
fn seconds(c_in: i64, c_out: i64, side: i64, images: i64) -> Result<[f64; 2], TchError> {
    let channels_last = |shape: [i64; 4]| Tensor::f_rand(shape, FLOAT_CPU)?.f_permute([0, 3, 1, 2]);
    let images = channels_last([images, side, side, c_in])?;
    let weight = channels_last([c_out, 1, 1, c_in])?;
    let bias = Some(Tensor::f_rand([c_out], FLOAT_CPU)?);
    let arms: [&dyn Fn() -> Result<Tensor, TchError>; 2] =
        [&|| images.f_conv2d(&weight, bias.as_ref(), [1, 1], [0, 0], [1, 1], 1), &|| {
            images.f_mkldnn_convolution(&weight, bias.as_ref(), [0, 0], [1, 1], [1, 1], 1)
        }];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (times, arm) in times.iter_mut().zip(arms) {
            let start = cpu_time();
            black_box(&tch::no_grad(arm)?);
            times.push((cpu_time() - start).as_secs_f64());
        }
    }
    Ok(times.map(|mut times| {
        let warm = &mut times[1..];
        warm.sort_by(f64::total_cmp);
        warm[warm.len() / 2]
    }))
}

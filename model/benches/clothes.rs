//! How fast one image of clothes is named beside the code of commit 870e4e0, which is written out here: that code, libtorch as served, and
//! OpenVINO where it is fetched, in turn, CPU time of the process, the median of the rounds. `cargo bench -p model --bench clothes`; exit
//! code 1 where the faster engine is not twice as fast.

mod cpu_time;
mod instruction_set;

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;

use anyhow::{Context, Result};
use cpu_time::cpu_time;
use instruction_set::instruction_set;
use model::{Device, Pixels, engines, weights};
use registry::{EngineKind, Registry, Select};
use tch::{Kind, TchError, Tensor};

const ROUNDS: usize = 25;
const CALLS: u32 = 100;
/// The faster engine against the earlier code.
const PROMISED: f64 = 2.0;

fn main() -> Result<ExitCode> {
    model::configure_process();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
    let version = Registry::open(root)?.load("fashion-mnist", &Select::Version(1))?;
    let (store, _net) = weights::net(&version, tch::Device::Cpu)?;
    let input = &version.manifest.input;
    let earlier = Earlier::new(&store.variables(), input.mean[0], input.std[0])?;

    let mut image = Pixels::black(28, 1);
    image.data.iter_mut().enumerate().for_each(|(at, value)| *value = (at * 31 / 7 % 256) as u8);
    let mut arms: Vec<Arm> =
        vec![("870e4e0".to_owned(), Box::new(|| Ok(earlier.logits(&image.data)?)) as Box<Answer>)];
    for kind in [EngineKind::Libtorch, EngineKind::Openvino] {
        match engines::load(&version, kind, Device::Cpu) {
            Ok(mut engine) => {
                engine.warm_up(1)?;
                let image = &image;
                arms.push((kind.to_string(), Box::new(move || Ok(engine.logits(&[image])?.remove(0)))));
            }
            Err(error) => println!("not by {kind}: {error}"),
        }
    }
    let expected = arms[0].1()?;
    for (name, answer) in &mut arms {
        let furthest = answer()?.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        anyhow::ensure!(furthest < 1e-4, "{name} answers otherwise, by up to {furthest}");
    }

    let mut times = vec![Vec::new(); arms.len()];
    for round in 0..=ROUNDS {
        for (times, (_, answer)) in times.iter_mut().zip(&mut arms) {
            let start = cpu_time();
            for _ in 0..CALLS {
                black_box(answer()?);
            }
            // The first round warms up.
            if round > 0 {
                times.push((cpu_time() - start).as_secs_f64() * 1000.0 / f64::from(CALLS));
            }
        }
    }
    println!("one image, {}, {:.3} ms by 870e4e0", instruction_set(), median(times[0].clone()));
    let mut fastest = 0.0;
    for ((name, _), own) in arms.iter().zip(&times).skip(1) {
        let ratio = median(times[0].iter().zip(own).map(|(then, now)| then / now).collect());
        println!("{name}: {:.3} ms, {ratio:.2} times as fast", median(own.clone()));
        fastest = ratio.max(fastest);
    }
    if arms.len() < 3 {
        println!("the faster one, at least {PROMISED}: to be judged where both are there");
        return Ok(ExitCode::SUCCESS);
    }
    let kept = fastest >= PROMISED;
    println!("the faster one, at least {PROMISED}: {}", if kept { "kept" } else { "MISSED" });
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Answer<'a> = dyn FnMut() -> Result<Vec<f32>> + 'a;
/// What it is, and what answers.
type Arm<'a> = (String, Box<Answer<'a>>);

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Normalisation as two passes over floats; each convolution, its activation and each pool a call of its own.
struct Earlier {
    convolutions: Vec<(Tensor, Tensor)>,
    hidden: (Tensor, Tensor),
    output: (Tensor, Tensor),
    mean: Tensor,
    std: Tensor,
}

impl Earlier {
    fn new(variables: &HashMap<String, Tensor>, mean: f32, std: f32) -> Result<Self> {
        let of = |name: &str| variables.get(name).with_context(|| format!("no {name}"));
        let folded = |layer: &str, norm: &str| -> Result<(Tensor, Tensor)> {
            let of_norm = |what: &str| of(&format!("{norm}.{what}"));
            let weight = of(&format!("{layer}.weight"))?;
            let scale = of_norm("weight")? / (of_norm("running_var")? + 1e-5).sqrt();
            let mut rows = vec![1; weight.dim()];
            rows[0] = -1;
            let bias = of_norm("bias")? - of_norm("running_mean")? * &scale;
            Ok((weight * scale.view(rows.as_slice()), bias))
        };
        tch::no_grad(|| {
            let convolution = |place: usize| -> Result<(Tensor, Tensor)> {
                let (weight, bias) = folded(&format!("conv{place}"), &format!("bn{place}"))?;
                // Channels last.
                Ok((weight.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]), bias))
            };
            let convolutions = (1..=4).map(convolution).collect::<Result<_>>()?;
            let output = (of("fc2.weight")?.shallow_clone(), of("fc2.bias")?.shallow_clone());
            let by_channel = |value: f32| Tensor::from_slice(&[value]).view([1, 1, 1, 1]);
            let (mean, std) = (by_channel(mean), by_channel(std));
            Ok(Self { convolutions, hidden: folded("fc1", "bn5")?, output, mean, std })
        })
    }

    fn logits(&self, pixels: &[u8]) -> Result<Vec<f32>, TchError> {
        let outputs = tch::no_grad(|| -> Result<Tensor, TchError> {
            let images =
                Tensor::f_from_data_size(pixels, &[1, 28, 28, 1], Kind::Uint8)?.f_permute([0, 3, 1, 2])?;
            let mut xs = images.f_to_kind(Kind::Float)?.f_sub(&self.mean)?.f_div(&self.std)?;
            for (place, (weight, bias)) in self.convolutions.iter().enumerate() {
                xs = xs.f_conv2d(weight, Some(bias), [1, 1], [1, 1], [1, 1], 1)?.f_relu_()?;
                if place % 2 == 1 {
                    xs = xs.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
                }
            }
            let hidden = xs.f_flatten(1, 3)?.f_linear(&self.hidden.0, Some(&self.hidden.1))?.f_relu_()?;
            hidden.f_linear(&self.output.0, Some(&self.output.1))
        })?;
        let mut flat = vec![0_f32; outputs.numel()];
        let count = flat.len();
        outputs.f_contiguous()?.f_copy_data(&mut flat, count)?;
        Ok(flat)
    }
}

//! How fast a bird is named on one core: the net as it is served against the same net run plainly, batch by batch, and decoding.
//! `cargo bench -p model`; `docs/performance.md` says what to expect. `cargo bench -p model -- micro-batches` measures instead
//! by how many images at once each net is fastest.
//!
//! Times are the CPU time of the process that computes, so that other work on the machine disturbs them little. The plain side is a
//! child process: glibc's allocator cannot be set back once it is told to keep its pages.

mod cpu_time;
mod instruction_set;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use cpu_time::cpu_time;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput};
use instruction_set::instruction_set;
use model::{Device, ImageLimits, Pixels, Predictor, Preprocessor, weights};
use registry::{ModelVersion, Registry, Select};
use tch::{Kind, Tensor};

const PLAIN_ARM: &str = "--plain-arm";
const MICRO_BATCHES: &str = "micro-batches";
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// What the project promises; see `docs/performance.md`.
const FASTER_THAN_PLAIN: f64 = 1.6;
const SLOWER_THAN_ONE: f64 = 1.1;
const DECODED_A_SECOND: f64 = 600.0;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == PLAIN_ARM) {
        serve_plain_arm()?;
        return Ok(ExitCode::SUCCESS);
    }
    model::configure_process();
    println!("libtorch computes with {}", instruction_set());
    if arguments.iter().any(|argument| argument == MICRO_BATCHES) {
        return micro_batches();
    }
    let fixture = Fixture::new()?;
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    let mut plain = PlainArm::start()?;
    fixture.with_criterion(&mut criterion, &mut plain);
    criterion.final_summary();
    // `cargo test --benches` and `cargo bench -- --list` want no figures.
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(ExitCode::SUCCESS);
    }
    fixture.compare(&mut plain)
}

struct Fixture {
    predictor: Predictor,
    preprocessor: Preprocessor,
    image: Pixels,
    jpeg: Vec<u8>,
}

impl Fixture {
    fn new() -> Result<Self> {
        let version = bird()?;
        let preprocessor = Preprocessor::new(&version.manifest)?;
        // data/samples/hen.webp (public domain), made 500 x 375 and saved by Pillow with quality 85 and 4:2:0, as cameras do.
        let jpeg = std::fs::read(project("model/benches/hen.jpg"))?;
        let image = preprocessor.decode(&jpeg, &ImageLimits::default())?;
        let predictor = Predictor::load(&version, Device::Cpu)?;
        predictor.warm_up(32)?;
        Ok(Self { predictor, preprocessor, image, jpeg })
    }

    fn predict(&self, images: usize) -> Duration {
        let batch = vec![&self.image; images];
        let start = cpu_time();
        let scores = self.predictor.predict(&batch);
        assert_eq!(scores.map(|scores| scores.len()).ok(), Some(images));
        cpu_time() - start
    }

    fn decode(&self, images: usize) -> Duration {
        let start = cpu_time();
        for _ in 0..images {
            let pixels = self.preprocessor.decode(&self.jpeg, &ImageLimits::default());
            assert!(std::hint::black_box(pixels).is_ok());
        }
        cpu_time() - start
    }

    fn with_criterion(&self, criterion: &mut Criterion<CpuTime>, plain: &mut PlainArm) {
        let mut group = criterion.benchmark_group("lite0");
        for images in BATCHES {
            group.throughput(Throughput::Elements(images as u64));
            group.bench_function(BenchmarkId::new("served", images), |bencher| {
                bencher.iter_custom(|passes| (0..passes).map(|_| self.predict(images)).sum());
            });
        }
        group.throughput(Throughput::Elements(8));
        group.bench_function(BenchmarkId::new("plain", 8), |bencher| {
            bencher.iter_custom(|passes| plain.passes(passes));
        });
        group.finish();
        let mut group = criterion.benchmark_group("jpeg 500 x 375");
        group.throughput(Throughput::Elements(1));
        group.bench_function("decode and resize", |bencher| {
            bencher.iter_custom(|images| self.decode(images as usize));
        });
        group.finish();
    }

    /// All arms in turn, several rounds of them, so that a busy minute falls on all; then the medians against the promises.
    fn compare(&self, plain: &mut PlainArm) -> Result<ExitCode> {
        const ROUNDS: usize = 15;
        let mut served = vec![Vec::new(); BATCHES.len()];
        let (mut plainly, mut decoded) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (times, images) in served.iter_mut().zip(BATCHES) {
                let passes = 32 / images;
                let time: Duration = (0..passes).map(|_| self.predict(images)).sum();
                times.push(time.as_secs_f64() / 32.0);
            }
            plainly.push(plain.passes(4).as_secs_f64() / 32.0);
            decoded.push(self.decode(100).as_secs_f64() / 100.0);
        }
        println!("\nImages a second on one core (medians of {ROUNDS} rounds, CPU time):");
        let served: Vec<f64> = served.into_iter().map(median).collect();
        for (images, seconds) in BATCHES.into_iter().zip(&served) {
            println!("  served, batch {images:2}        {:7.1}", 1.0 / seconds);
        }
        let (plainly, decoded) = (median(plainly), median(decoded));
        println!("  plainly, batch  8       {:7.1}", 1.0 / plainly);
        println!("  decode and resize JPEG  {:7.1}\n", 1.0 / decoded);

        let batch_8 = served[3];
        let slowest = served.iter().copied().fold(0.0, f64::max);
        let promises = [
            ("batch 8 served : plainly", plainly / batch_8, FASTER_THAN_PLAIN, true),
            ("slowest batch : batch 1, time an image", slowest / served[0], SLOWER_THAN_ONE, false),
            ("decode and resize a second", 1.0 / decoded, DECODED_A_SECOND, true),
        ];
        let mut code = ExitCode::SUCCESS;
        for (what, figure, promise, at_least) in promises {
            let kept = if at_least { figure >= promise } else { figure <= promise };
            let (side, verdict) =
                (if at_least { "at least" } else { "at most" }, if kept { "kept" } else { "MISSED" });
            println!("{what}: {figure:.2} ({side} {promise}: {verdict})");
            if !kept {
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }
}

/// The same net as it comes from tch, in a process whose allocator is as glibc made it.
struct PlainArm {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl PlainArm {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        for setting in ["THP_MEM_ALLOC_ENABLE", "GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX"] {
            command.env_remove(setting);
        }
        let mut child = command.arg(PLAIN_ARM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(child.stdout.take().context("the child has no stdout")?);
        Ok(Self { child, answers })
    }

    /// The CPU time of so many passes of 8 images.
    fn passes(&mut self, passes: u64) -> Duration {
        let mut ask = || -> Result<Duration> {
            writeln!(self.child.stdin.as_mut().context("the child has no stdin")?, "{passes}")?;
            let mut answer = String::new();
            self.answers.read_line(&mut answer)?;
            Ok(Duration::from_nanos(answer.trim().parse()?))
        };
        ask().unwrap_or_else(|error| panic!("the plain arm failed: {error}"))
    }
}

impl Drop for PlainArm {
    fn drop(&mut self) {
        // It ends by itself when its input does.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn serve_plain_arm() -> Result<()> {
    tch::set_num_threads(1);
    let version = bird()?;
    let (_store, net) = weights::net(&version, tch::Device::Cpu)?;
    let images = Tensor::rand([8, 3, 224, 224], (Kind::Float, tch::Device::Cpu));
    let pass = || tch::no_grad(|| net.forward_t(&images, false));
    for _ in 0..3 {
        std::hint::black_box(&pass()?);
    }
    for line in std::io::stdin().lock().lines() {
        let passes: u64 = line?.trim().parse()?;
        let start = cpu_time();
        for _ in 0..passes {
            std::hint::black_box(&pass()?);
        }
        println!("{}", (cpu_time() - start).as_nanos());
    }
    Ok(())
}

/// Both nets as they are served, with so many images at once: all sizes in turn, several rounds of them, the medians.
fn micro_batches() -> Result<ExitCode> {
    for name in ["bird", "fashion-mnist"] {
        let version = shipped(name)?;
        let manifest = &version.manifest;
        let (_store, mut net) = weights::net(&version, tch::Device::Cpu)?;
        net.fuse()?;
        let (size, channels) = (i64::from(manifest.input.size), i64::from(manifest.input.channels));
        let largest = BATCHES[BATCHES.len() - 1];
        let images = Tensor::rand([largest as i64, size, size, channels], tch::kind::FLOAT_CPU);
        let pass = |count: usize| -> Result<Duration> {
            let images = images.f_narrow(0, 0, count as i64)?.f_permute([0, 3, 1, 2])?;
            let start = cpu_time();
            std::hint::black_box(&tch::no_grad(|| net.forward_t(&images, false))?);
            Ok(cpu_time() - start)
        };
        // As many images a round that a round of the small net is long enough to measure.
        let whole = if name == "bird" { largest } else { 16 * largest };
        let mut times = vec![Vec::new(); BATCHES.len()];
        for round in 0..16 {
            for (times, count) in times.iter_mut().zip(BATCHES) {
                let time: Duration = (0..whole / count).map(|_| pass(count)).sum::<Result<_>>()?;
                // The first round warms up.
                if round > 0 {
                    times.push(time.as_secs_f64() / whole as f64);
                }
            }
        }
        println!("{name}, served in micro-batches of {}:", net.micro_batch_size());
        for (count, times) in BATCHES.into_iter().zip(times) {
            println!("  {count:2} at once {:8.1} images a second", 1.0 / median(times));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bird() -> Result<ModelVersion> {
    shipped("bird")
}

fn shipped(name: &str) -> Result<ModelVersion> {
    let registry = Registry::open(project("weights"))?;
    registry.load(name, &Select::Version(1)).context("make setup fetches the weights")
}

fn project(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Criterion's wall clock, with CPU time for wall time.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Self::Intermediate {
        cpu_time()
    }

    fn end(&self, start: Self::Intermediate) -> Self::Value {
        cpu_time() - start
    }

    fn add(&self, a: &Self::Value, b: &Self::Value) -> Self::Value {
        *a + *b
    }

    fn zero(&self) -> Self::Value {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Self::Value) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

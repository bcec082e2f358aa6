//! The work on images: reading those that calibrate, and asking two nets about the others, on all cores.

use anyhow::Context as _;
use model::parallel::side_by_side;
use model_core::{Engine, ImageLimits, Pixels, Preprocessor, Scorer};
use model_openvino::OpenVino;
use registry::{FileEntry, Manifest};

use super::compare::{Answered, Compared};
use super::images::{Image, Images, Taken, plain};
use crate::cli::progress;
use crate::cli::publish::Refusal;

/// Images that can't be used are said one by one up to so many.
const SAID: usize = 3;

/// The calibration images as the net takes them, and the digest of their list: a line for each, as sha256sum writes it, by name.
pub(super) fn calibration(
    images: &Images,
    preprocessor: &Preprocessor,
    threads: usize,
) -> anyhow::Result<(Vec<Pixels>, String)> {
    let tools = (0..threads).map(|_| ()).collect();
    let decoded = all("reading", &images.calibration, tools, |(), image| {
        let Taken { file, sha256 } = images.read(image)?;
        Ok((preprocessor.decode(&file, &ImageLimits::default())?, sha256))
    })?;
    let mut lines: Vec<String> = Vec::new();
    let mut pixels = Vec::new();
    for (image, decoded) in usable(&images.calibration, decoded) {
        lines.push(format!("{}  {}\n", decoded.1, image.name));
        pixels.push(decoded.0);
    }
    if pixels.is_empty() {
        return Err(Refusal::Usage("none of the calibration images can be used".to_owned()).into());
    }
    lines.sort_by(|a, b| a[64..].cmp(&b[64..]));
    Ok((pixels, FileEntry::of_bytes(lines.concat().as_bytes()).sha256))
}

/// What both nets answer to the images that measure.
pub(super) fn measure(
    images: &Images,
    nets: [&OpenVino; 2],
    manifest: &Manifest,
    preprocessor: &Preprocessor,
    threads: usize,
) -> anyhow::Result<Compared> {
    let scorer = Scorer::new(manifest);
    let share = |net: &OpenVino| net.share();
    let tools = (0..threads)
        .map(|_| Ok([share(nets[0])?, share(nets[1])?]))
        .collect::<anyhow::Result<Vec<[Box<dyn Engine>; 2]>>>()?;
    let answered = all("measuring", &images.measured, tools, |engines, image| {
        let pixels = preprocessor.decode(&images.read(image)?.file, &ImageLimits::default())?;
        // An image that can't be used is passed over; a net that can't be computed is not.
        Ok((|| -> anyhow::Result<Answered> {
            let mut answers = Vec::new();
            for engine in engines {
                let logits = engine.logits(&[&pixels])?.pop().context("the engine gave no answer")?;
                answers.push(scorer.top_k(&pixels, logits, 1).pop().context("the model has no answers")?);
            }
            let [first, second] = &answers[..] else { anyhow::bail!("two nets gave other than two answers") };
            let right = |label: &String| (plain(&first.label) == *label, plain(&second.label) == *label);
            Ok(Answered { same: first.index == second.index, right: image.label.as_ref().map(right) })
        })())
    })?;
    let answered: anyhow::Result<Vec<Answered>> =
        usable(&images.measured, answered).map(|(_, answered)| answered).collect();
    Ok(Compared::of(&answered?))
}

/// Those that could be used; the first of the others are said.
fn usable<T>(images: &[Image], results: Vec<anyhow::Result<T>>) -> impl Iterator<Item = (&Image, T)> {
    let bad = results.iter().filter(|result| result.is_err()).count();
    for (image, result) in images.iter().zip(&results).filter(|(_, result)| result.is_err()).take(SAID) {
        let error = result.as_ref().err().map(crate::cli::sentence).unwrap_or_default();
        eprintln!("model: {} is passed over: {error}", image.name);
    }
    if bad > SAID {
        eprintln!("model: {} more images are passed over", bad - SAID);
    }
    images.iter().zip(results).filter_map(|(image, result)| Some((image, result.ok()?)))
}

/// `work` on each image, on as many threads as there are tools, behind a bar; results in the order of the images.
fn all<W: Send, R: Send>(
    message: &'static str,
    images: &[Image],
    tools: Vec<W>,
    work: impl Fn(&mut W, &Image) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<anyhow::Result<R>>> {
    let bar = progress::bar(images.len(), true);
    bar.set_message(message);
    let mut all: Vec<Option<anyhow::Result<R>>> = images.iter().map(|_| None).collect();
    side_by_side(images, tools, work, |place, result| {
        all[place] = Some(result);
        bar.inc(1);
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    all.into_iter().collect::<Option<Vec<_>>>().context("a thread ended early")
}

//! A version beside the one in service, on the same labelled images: whether it may take its place.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use model::evaluate::{Evaluated, Images, Paired, Truth, measure};
use registry::{Evidence, Registry, Select};

use super::super::evaluate::{Half, dataset, images, usage};
use super::super::publish::Refusal;
use super::super::{Computing, Loaded, progress};

/// What both versions are held against.
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// Show both versions these images: a folder for each class, named as it is, FOLDER/<class>/*; or idx files, t10k-images-idx3-ubyte and
    /// t10k-labels-idx1-ubyte, plain or gzipped.
    #[arg(long, env = "MLAAS_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The most by which accuracy may drop, in points of a hundred.
    #[arg(long, env = "MLAAS_MAX_DROP", default_value_t = 0.0, value_name = "POINTS", value_parser = points)]
    max_drop: f64,
    #[command(flatten)]
    pub(super) computing: Computing,
}

/// How two versions did.
pub(super) struct Held {
    model: String,
    /// The one in service, and the other.
    versions: [u32; 2],
    max_drop: f64,
    pub(super) evidence: Evidence,
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("it is a number from 0 to 100".to_owned()),
    }
}

impl Gate {
    /// Shows both versions the images, if there are any.
    pub(super) fn hold(
        &self,
        registry: &Registry,
        model: &str,
        versions: [u32; 2],
    ) -> anyhow::Result<Option<Held>> {
        let Some(folder) = &self.data else { return Ok(None) };
        let data = dataset(folder, Half::Test)?;
        // All that may be refused is, before the first image is computed.
        let mut both = Vec::new();
        for version in versions {
            let loaded = self.computing.load(registry, model, &Select::Version(version))?;
            let images = images(folder, Half::Test, data.as_ref(), &loaded.version.manifest)?;
            eprintln!("model: version {version} is computed by {}: {}", loaded.kind, loaded.why);
            both.push((loaded, images));
        }
        let names =
            |images: &Images<'_>| images.list().iter().map(|image| image.name.clone()).collect::<Vec<_>>();
        if names(&both[0].1) != names(&both[1].1) {
            let text = format!("the two versions of {model} see other images in {}", folder.display());
            return Err(Refusal::Usage(text).into());
        }
        let bar = progress::bar(both.iter().map(|(_, images)| images.list().len()).sum(), true);
        bar.set_message("images");
        let mut right = Vec::new();
        for (Loaded { version, engine, .. }, images) in &both {
            let before = bar.position();
            let mut on = |done: usize| bar.set_position(before + done as u64);
            let instances = self.computing.instances();
            let measured = measure(&**engine, &version.manifest, images, instances, false, &mut on);
            right.push(answers(images, &measured.map_err(usage)?));
        }
        bar.finish_and_clear();
        let [champion, challenger] = &right[..] else {
            anyhow::bail!("two versions have other than two results")
        };
        let pairs: Vec<(bool, bool)> = champion.iter().copied().zip(challenger.iter().copied()).collect();
        let paired = Paired::of(&pairs).context("there is no image to decide by")?;
        let half = if data.is_some() { " (test images)" } else { "" };
        let evidence = Evidence {
            data: format!("{}{half}", folder.display()),
            images: paired.images as u64,
            champion: paired.first,
            challenger: paired.second,
            difference: paired.difference,
            interval: paired.interval,
        };
        Ok(Some(Held { model: model.to_owned(), versions, max_drop: self.max_drop, evidence }))
    }
}

/// Whether each image of a class is answered right. One that can't be answered is not.
fn answers(images: &Images<'_>, evaluated: &Evaluated) -> Vec<bool> {
    let mut right = vec![false; images.list().len()];
    for judgement in &evaluated.judgements {
        right[judgement.image] = judgement.is_right();
    }
    let of_class = |(image, _): &(usize, bool)| images.list()[*image].truth != Truth::Other;
    right.into_iter().enumerate().filter(of_class).map(|(_, right)| right).collect()
}

impl Held {
    /// # Errors
    /// Where the version names fewer images right than the one in service, by more than is allowed.
    pub(super) fn refuse_worse(&self) -> anyhow::Result<()> {
        let Self { model, versions: [champion, challenger], max_drop, evidence } = self;
        // What is allowed is given in decimals, and differences are of binary fractions.
        if evidence.difference * 100.0 >= -max_drop - 1e-9 {
            return Ok(());
        }
        let chance = if evidence.interval[1] >= 0.0 {
            ": by chance, perhaps, which more images would tell"
        } else {
            ""
        };
        let worse = format!(
            "version {challenger} of {model} is not promoted: it is worse than version {champion}, which is in service{chance}. {}. \
             --max-drop allows {max_drop} points; --force --reason TEXT promotes it all the same",
            percentages(evidence)
        );
        Err(Refusal::Unfit(worse).into())
    }
}

/// What was found, for people.
pub(super) fn percentages(evidence: &Evidence) -> String {
    let Evidence { data, images, champion, challenger, difference, interval } = evidence;
    let [low, high] = interval.map(|points| points * 100.0);
    format!(
        "{images} images of {data}: {:.2} % right, {:.2} % before; {:+.2} points (95 % interval {low:+.2} to {high:+.2})",
        challenger * 100.0,
        champion * 100.0,
        difference * 100.0
    )
}

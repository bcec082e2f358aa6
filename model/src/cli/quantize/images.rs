//! The images that a net is calibrated on, and those that it is measured on: no image is both.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::dataset::{Dataset, Split};
use model::variants::{Grey, Variant};
use registry::{Classes, FileEntry};

use crate::cli::predict::{files, read};
use crate::cli::publish::Refusal;

/// An image of the data.
pub(super) struct Image {
    /// Its name, which is that of its file within the data's folder.
    pub(super) name: String,
    /// What it shows, as [`plain`] writes it; none where nobody says.
    pub(super) label: Option<String>,
    place: Place,
}

enum Place {
    File(PathBuf),
    /// Of that data set, by its number.
    Idx(Split, usize),
}

/// All of it.
pub(super) struct Images {
    pub(super) calibration: Vec<Image>,
    pub(super) measured: Vec<Image>,
    /// Those of idx files.
    sets: Vec<(Split, Dataset)>,
}

/// An image's file, and the digest of what it was read from.
pub(super) struct Taken {
    pub(super) file: Vec<u8>,
    pub(super) sha256: String,
}

/// A label without what folders' names are spelled otherwise in.
pub(super) fn plain(label: &str) -> String {
    label.trim().to_lowercase().replace(['_', '-'], " ")
}

impl Images {
    /// The images of a folder: those of idx files, of which `train` calibrates and `t10k` measures, or image files, in folders that are
    /// named as their labels where they are labelled. Of these the first `count` calibrate in an order that `seed` and their names give;
    /// images without a label come first.
    pub(super) fn find(folder: &Path, classes: &Classes, count: usize, seed: u64) -> anyhow::Result<Self> {
        let order = |images: &mut Vec<Image>| {
            let key = |image: &Image| FileEntry::of_bytes(format!("{seed} {}", image.name).as_bytes()).sha256;
            images.sort_by_cached_key(|image| (image.label.is_some(), key(image)));
        };
        let is_idx = |name: &str| folder.join(name).is_file();
        if is_idx("t10k-images-idx3-ubyte") || is_idx("t10k-images-idx3-ubyte.gz") {
            let sets = vec![
                (Split::Train, Dataset::read(folder, Split::Train)?),
                (Split::Test, Dataset::read(folder, Split::Test)?),
            ];
            let mut calibration = idx(Split::Train, &sets[0].1, classes)?;
            order(&mut calibration);
            calibration.truncate(count);
            return Ok(Self { calibration, measured: idx(Split::Test, &sets[1].1, classes)?, sets });
        }
        let mut calibration = in_folder(folder, classes)?;
        order(&mut calibration);
        let measured = calibration.split_off(count.min(calibration.len()));
        Ok(Self { calibration, measured, sets: Vec::new() })
    }

    /// An image's file.
    pub(super) fn read(&self, image: &Image) -> anyhow::Result<Taken> {
        match &image.place {
            Place::File(path) => {
                let file = read(path).map_err(|failure| anyhow::anyhow!("{}", failure.message))?;
                Ok(Taken { sha256: FileEntry::of_bytes(&file).sha256, file })
            }
            Place::Idx(split, number) => {
                let set = self.sets.iter().find(|(of, _)| of == split).map(|(_, set)| set);
                let set = set.context("the data set is gone")?;
                let pixels = set.images().nth(*number).context("the data set has fewer images")?;
                let grey = Grey { pixels, width: set.columns as u32, height: set.rows as u32 };
                let file = Variant::Raw.file(grey, 0, *number)?;
                Ok(Taken { file, sha256: FileEntry::of_bytes(pixels).sha256 })
            }
        }
    }
}

/// The images of an idx file.
fn idx(split: Split, set: &Dataset, classes: &Classes) -> Result<Vec<Image>, Refusal> {
    let half = if split == Split::Train { "train" } else { "t10k" };
    let labels: HashMap<u32, String> =
        classes.labels.iter().map(|class| (class.index, plain(&class.label))).collect();
    let image = |(number, &label): (usize, &u8)| {
        let name = format!("{half}-images-idx3-ubyte/{number}");
        let label = labels.get(&u32::from(label)).cloned().ok_or_else(|| {
            Refusal::Usage(format!("{name} has label {label}, and the model has no class of that number: this data is not the model's"))
        })?;
        Ok(Image { name, label: Some(label), place: Place::Idx(split, number) })
    };
    set.labels.iter().enumerate().map(image).collect()
}

/// The image files of a folder and of the folders in it.
fn in_folder(folder: &Path, classes: &Classes) -> anyhow::Result<Vec<Image>> {
    let listing = || format!("cannot list {}", folder.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders.insert(0, folder.to_owned());
    let reject = classes.reject.iter().map(|reject| &reject.label);
    let known: Vec<String> =
        classes.labels.iter().map(|class| &class.label).chain(reject).map(|label| plain(label)).collect();
    let mut images = Vec::new();
    for (place, path) in folders.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let label = Some(plain(&name)).filter(|label| place > 0 && known.contains(label));
        // A folder in which there is none is passed over.
        for (file, _) in files(path).into_iter().filter(|(_, usable)| usable.is_ok()) {
            let within = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned();
            images.push(Image { name: within, label: label.clone(), place: Place::File(file) });
        }
    }
    if images.is_empty() {
        let text =
            "holds no images, neither by themselves nor in folders named as their labels, and no idx files";
        return Err(Refusal::Usage(format!("{} {text}", folder.display())).into());
    }
    Ok(images)
}

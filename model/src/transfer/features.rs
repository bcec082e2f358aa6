//! What the backbone sees in each view of each image, computed once: kept in a folder under the image's own digest, so that neither a
//! run that was ended nor another set of classes computes it again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use model_core::{ImageLimits, Preprocessor, View};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::TransferError;
use super::config::Augmentation;
use super::folder::{Folder, Labelled, read_again, sha256};
use crate::Predictor;
use crate::parallel::side_by_side;

/// How long a digest is, in hexadecimal digits.
const DIGEST: usize = 64;

/// Of each image one row for each view, the plain one first.
#[derive(Debug)]
pub(super) struct Features {
    /// Numbers in a row.
    pub(super) width: usize,
    /// Rows of an image.
    pub(super) views: usize,
    /// Image after image, view after view.
    pub(super) values: Vec<f32>,
}

/// How features are made: what they depend on, but the image and the net.
pub(super) struct Extractor<'a> {
    /// The identity of the backbone's version.
    pub(super) digest: &'a str,
    pub(super) preprocessor: &'a Preprocessor,
    pub(super) augmentation: &'a Augmentation,
    pub(super) seed: u64,
    /// Where features are kept.
    pub(super) cache: &'a Path,
    pub(super) threads: usize,
}

#[derive(Serialize)]
struct Key<'a> {
    /// The shape of the files.
    layout: u32,
    backbone: &'a str,
    augmentation: &'a Augmentation,
    seed: u64,
}

impl Extractor<'_> {
    /// The features of all images by `backbone`; `on` hears how many of how many are done.
    pub(super) fn all(
        &self,
        backbone: &Predictor,
        folder: &Folder,
        on: &mut dyn FnMut(usize, usize),
    ) -> Result<Features, TransferError> {
        let kept = self.folder()?;
        let images = &folder.images;
        let mut rows: Vec<Vec<f32>> = vec![Vec::new(); images.len()];
        let backbones = (0..self.threads.max(1)).map(|_| backbone.share()).collect();
        let mut done = 0;
        let one = |backbone: &mut Predictor, image: &Labelled| self.one(backbone, image, &kept);
        side_by_side(images, backbones, one, |place, row| {
            rows[place] = row?;
            done += 1;
            on(done, images.len());
            Ok::<_, TransferError>(())
        })?;
        let views = self.views();
        let width = rows.first().map_or(0, |row| row.len() / views);
        Ok(Features { width, views, values: rows.concat() })
    }

    fn views(&self) -> usize {
        self.augmentation.views + 1
    }

    /// The folder of features made in this way, which is there then.
    fn folder(&self) -> Result<PathBuf, TransferError> {
        let Self { digest, augmentation, seed, .. } = *self;
        let key = serde_json::to_vec(&Key { layout: 2, backbone: digest, augmentation, seed })
            .map_err(|error| TransferError::Configuration(error.into()))?;
        let folder = self.cache.join(&sha256(&key)[..16]);
        fs::create_dir_all(&folder).map_err(TransferError::write(&folder))?;
        Ok(folder)
    }

    fn one(&self, backbone: &Predictor, image: &Labelled, kept: &Path) -> Result<Vec<f32>, TransferError> {
        let path = kept.join(&image.sha256);
        if let Some(values) = fs::read(&path).ok().and_then(|bytes| numbers(&bytes, self.views())) {
            return Ok(values);
        }
        let bytes = read_again(image)?;
        let mut random = drawn_for(image, self.seed);
        let mut views = vec![View::PLAIN];
        views.extend((0..self.augmentation.views).map(|_| self.augmentation.draw(&mut random)));
        let broken = |source| TransferError::Image { path: image.path.clone(), source };
        let pixels = self.preprocessor.views(&bytes, &ImageLimits::default(), &views).map_err(broken)?;
        let values = backbone.features(&pixels.iter().collect::<Vec<_>>())?.concat();
        keep(&path, &values)?;
        Ok(values)
    }
}

/// What is drawn for an image: by its content, so that neither its place nor its neighbours change it.
pub(super) fn drawn_for(image: &Labelled, seed: u64) -> ChaCha8Rng {
    let own = u64::from_str_radix(image.sha256.get(..16).unwrap_or_default(), 16).unwrap_or_default();
    ChaCha8Rng::seed_from_u64(own ^ seed)
}

/// Writes the numbers and their digest under another name first: what lies under its own name is whole. Not made durable one by one:
/// what a loss of power takes is computed again.
fn keep(path: &Path, values: &[f32]) -> Result<(), TransferError> {
    let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes.extend(sha256(&bytes).into_bytes());
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let write = || {
        fs::File::create(&partial)?.write_all(&bytes)?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        drop(fs::remove_file(&partial));
        TransferError::write(path)(error)
    })
}

/// The numbers that [`keep`] wrote; nothing where it did not write this.
fn numbers(bytes: &[u8], views: usize) -> Option<Vec<f32>> {
    let (values, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    let whole = !values.is_empty() && values.len() % (4 * views) == 0;
    if !whole || sha256(values).as_bytes() != digest {
        return None;
    }
    Some(
        values.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_numbers_are_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let values = [1.0, -2.5, 3e-9, 4.0];
        keep(&path, &values).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(numbers(&bytes, 2).unwrap(), values);
        assert_eq!(numbers(&bytes, 3), None);
        for cut in 0..bytes.len() {
            assert_eq!(numbers(&bytes[..cut], 2), None, "{cut}");
        }
        let mut other = bytes;
        other[5] ^= 1;
        assert_eq!(numbers(&other, 2), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something else was left");
    }
}

//! Grad-CAM for a TorchScript net that another program wrote. libtorch gives what such a net answers, and nothing of what is inside it; but
//! the file holds the net's source, and a net that gives one of its values too is a few words longer. Which value that is, is found out: the last
//! one that is a map of the image, as the last convolution's is in the project's own nets.
//!
//! Nothing of this is taken on trust. The longer net has to answer as the file itself does. The answer has to hang on the value alone: made
//! another image's, it brings that image's answer with it, which a branch beside others does not. And it has to change where the image does:
//! what turns or mixes places (attention from each to each, dimensions in another order) is no map.

mod archive;
mod code;

use model_core::normalise::Normalise;
use model_core::{Engine as _, Pixels};
use registry::{Input, Layout};
use tch::{CModule, IValue, TchError, Tensor};

use self::archive::Archive;
use self::code::{Method, SEEN, Way, seen};
use crate::torchscript::TorchScript;
use crate::{Device, ModelError};

/// So many values are tried, each by a net that is loaded for it.
const MOST_TRIES: usize = 300;
/// Calls in calls.
const DEEPEST: usize = 12;
/// How far the longer net's outputs may be from the file's own, as a share of the largest.
const ALIKE: f32 = 1e-4;
/// The same where a map is made another one's by what is added to it, which rounds.
const CUT: f32 = 1e-3;
/// How far apart changes at two sides of an image are seen at least, as a share of the map's side.
const APART: f64 = 0.05;
/// The side of the part of an image that is changed, as a share of the image's.
const PART: f64 = 0.3;

/// A TorchScript net that gives its last map too.
pub(super) struct Script {
    module: CModule,
    /// How many images it wants at once.
    images: i64,
    layout: Layout,
    device: tch::Device,
    /// What the map is of, in the words of the file's source.
    pub(super) layer: String,
}

impl Script {
    /// Loads a file as [`TorchScript::load`] does, and looks for its last map.
    pub(super) fn load(
        file: &str,
        bytes: &[u8],
        input: &Input,
        outputs: u32,
        device: Device,
    ) -> Result<Self, ModelError> {
        let engine = TorchScript::load(file, bytes, input, outputs, device)?;
        let unseen = |reason: String| ModelError::NoMap { file: file.to_owned(), reason };
        let archive = Archive::read(bytes).map_err(|error| unseen(error.to_string()))?;
        let mut search = Search::new(&archive, engine, input, device);
        let found = search.search(&Method::forward(&archive.class), &Way::new());
        found.ok_or_else(|| unseen("no value in it was found that is a map of the image".to_owned()))
    }

    /// What the net answers to an image's values, `[1, channels, size, size]`, of what it makes a map, and what gradients of the map can be
    /// taken by: `[1, outputs]`, `[1, channels, rows, columns]` and as the latter.
    pub(super) fn seen(&self, image: &Tensor) -> Result<(Tensor, Tensor, Tensor), TchError> {
        let shape = tch::no_grad(|| self.pass(image, &nothing(self.device)?))?.1.size();
        let added = Tensor::f_zeros(&shape, (image.kind(), self.device))?.f_set_requires_grad(true)?;
        let (outputs, map) = self.pass(image, &added)?;
        Ok((outputs.f_flatten(1, -1)?.f_narrow(0, 0, 1)?, map, added))
    }

    /// The outputs and the map of an image, alone or with blank ones to make up the number, with `added` to the map.
    fn pass(&self, image: &Tensor, added: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let mut shape = image.size();
        shape[0] = self.images - 1;
        let blank = Tensor::f_zeros(&shape, (image.kind(), self.device))?;
        let images = Tensor::f_cat(&[image, &blank], 0)?;
        let images = match self.layout {
            Layout::Nchw => images,
            Layout::Nhwc => images.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        };
        let given = [IValue::Tensor(added.shallow_clone()), IValue::Tensor(images)];
        let other = || TchError::Torch("the net gave something else than before".into());
        let IValue::Tuple(values) = self.module.method_is(SEEN, &given)? else { return Err(other()) };
        let [IValue::Tensor(outputs), IValue::Tensor(map)] = values.as_slice() else { return Err(other()) };
        Ok((outputs.shallow_clone(), map.shallow_clone()))
    }
}

/// A number that changes nothing where it is added.
fn nothing(device: tch::Device) -> Result<Tensor, TchError> {
    Tensor::f_zeros([0_i64; 0], (tch::Kind::Float, device))
}

/// The way back from a net's answer to its last map.
struct Search<'a> {
    archive: &'a Archive<'a>,
    device: Device,
    layout: Layout,
    images: i64,
    /// A picture, and the same with another part in each corner: left and right above, then below.
    pictures: [Tensor; 5],
    /// What the file itself answers to the first.
    answer: Vec<f32>,
    tries: usize,
}

impl<'a> Search<'a> {
    fn new(archive: &'a Archive<'a>, mut engine: TorchScript, input: &Input, device: Device) -> Self {
        let pictures = pictures(input.size, input.channels);
        let answer = engine.logits(&[&pictures[0]]).ok().and_then(|mut rows| rows.pop()).unwrap_or_default();
        let normalise = Normalise::new(input);
        let tensor = |pixels: Pixels| {
            super::image(&normalise, &pixels, device.into()).unwrap_or_else(|_| Tensor::new())
        };
        Self {
            archive,
            device,
            layout: input.layout,
            images: engine.fixed_batch().unwrap_or(1) as i64,
            pictures: pictures.map(tensor),
            answer,
            tries: 0,
        }
    }

    /// The net that gives the last map in a method, which lies at the end of `way`. What a call gives is later than what is in it.
    fn search(&mut self, method: &Method, way: &Way) -> Option<Script> {
        let sources = &self.archive.sources;
        for call in method.calls(sources) {
            if self.tries >= MOST_TRIES || way.len() >= DEEPEST {
                return None;
            }
            self.tries += 1;
            let called = method.called(&call, sources);
            let mut longer = way.clone();
            longer.push((method.clone(), call));
            let found = self.found(&longer).or_else(|| self.search(&called?, &longer));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The net that gives the value at the end of `way`, if that is a map.
    fn found(&self, way: &Way) -> Option<Script> {
        let longer = self.archive.with(&seen(&self.archive.sources, way)?).ok()?;
        // What is no tensor can't be added to: then it is refused.
        let mut module = CModule::load_data_on_device(&mut longer.as_slice(), self.device.into()).ok()?;
        module.f_set_eval().ok()?;
        let layer = code::words(&self.archive.sources, way);
        let script =
            Script { module, images: self.images, layout: self.layout, device: self.device.into(), layer };
        tch::no_grad(|| self.is_right(&script)).unwrap_or(false).then_some(script)
    }

    fn is_right(&self, script: &Script) -> Result<bool, TchError> {
        let nothing = nothing(self.device.into())?;
        let [plain, corners @ ..] = &self.pictures;
        let (outputs, map) = script.pass(plain, &nothing)?;
        let &[images, _, rows, columns] = map.size().as_slice() else { return Ok(false) };
        let outputs = first(&outputs)?;
        if images != self.images || rows < 2 || columns < 2 || !are_alike(&outputs, &self.answer, ALIKE) {
            return Ok(false);
        }
        let mut places = Vec::new();
        for corner in corners {
            let (answer, changed) = script.pass(corner, &nothing)?;
            let change = changed.f_sub(&map)?;
            let Some(place) = place_of(&change.f_narrow(0, 0, 1)?)? else { return Ok(false) };
            let brought = first(&script.pass(plain, &change)?.0)?;
            if !are_alike(&brought, &first(&answer)?, CUT) {
                return Ok(false);
            }
            places.push(place);
        }
        let [above_left, above_right, below_left, below_right] = places.as_slice() else { return Ok(false) };
        let across = [(above_left, above_right), (below_left, below_right)];
        let down = [(above_left, below_left), (above_right, below_right)];
        Ok(across.iter().all(|(left, right)| right.0 - left.0 > APART)
            && down.iter().all(|(above, below)| below.1 - above.1 > APART))
    }
}

/// The outputs for the first image.
fn first(outputs: &Tensor) -> Result<Vec<f32>, TchError> {
    let outputs = outputs.f_narrow(0, 0, 1)?.f_flatten(0, -1)?.f_to_device(tch::Device::Cpu)?;
    Vec::try_from(outputs.f_to_kind(tch::Kind::Float)?)
}

/// Whether outputs are the same but for that share of the largest.
fn are_alike(found: &[f32], expected: &[f32], within: f32) -> bool {
    let most = expected.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    let near = |(one, other): (&f32, &f32)| (one - other).abs() <= within * most;
    !found.is_empty() && found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// Where a map has changed, in the mean: across and down in shares of its sides. Nothing where it has not.
fn place_of(change: &Tensor) -> Result<Option<(f64, f64)>, TchError> {
    let squares = change.f_mul(change)?.f_sum_dim_intlist(&[0_i64, 1][..], false, tch::Kind::Double)?;
    let squares = squares.f_to_device(tch::Device::Cpu)?;
    let all = squares.f_sum(tch::Kind::Double)?.f_double_value(&[])?;
    if !(all > 0.0 && all.is_finite()) {
        return Ok(None);
    }
    let mean = |along: i64| {
        let shares: Vec<f64> =
            Vec::try_from(squares.f_sum_dim_intlist(&[1 - along][..], false, tch::Kind::Double)?)?;
        let cells = shares.len() as f64;
        let sum: f64 =
            shares.iter().zip(0..).map(|(share, cell)| share * (f64::from(cell) + 0.5) / cells).sum();
        Ok::<_, TchError>(sum / all)
    };
    Ok(Some((mean(1)?, mean(0)?)))
}

/// A picture of noise, and the same with other noise in each corner.
fn pictures(size: u32, channels: u32) -> [Pixels; 5] {
    let side = f64::from(size);
    let picture = |corner: Option<(f64, f64)>| {
        let is_part = |x: u32, y: u32| {
            corner.is_some_and(|(left, top)| {
                let within =
                    |at: u32, from: f64| (from..from + PART).contains(&((f64::from(at) + 0.5) / side));
                within(x, left) && within(y, top)
            })
        };
        let mut data = Vec::new();
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            // Blotches of several pixels: single ones go under where a net looks at the whole.
            let (cell, part) = ((y / 4 * size + x / 4).into(), u64::from(is_part(x, y)));
            data.extend((0..channels.into()).map(|channel: u64| noise(cell, channel + 4 * part)));
        }
        Pixels { width: size, height: size, channels, data }
    };
    let far = 0.9 - PART;
    [None, Some((0.1, 0.1)), Some((far, 0.1)), Some((0.1, far)), Some((far, far))].map(picture)
}

fn noise(at: u64, kind: u64) -> u8 {
    let mut bits = (at << 3 | kind).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits >> 56) as u8
}

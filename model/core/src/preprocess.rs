//! From an image file to the pixels that a net takes, as its manifest describes. No tensor yet, so this runs on any thread.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use registry::{Fit, Input, Interpolation, Manifest, Order, Polarity};

use crate::Pixels;
use crate::background::{self, Frame};
use crate::cutout::Cutout;
use crate::decode::{Demand, ImageError, ImageLimits, Picture, decode};
use crate::placement::Placement;
use crate::turn::Turn;
use crate::view::View;

/// How much larger than the net's side a picture is kept where the thing in it may be small: an eighth of the picture still has the
/// net's pixels.
const ROOM_TO_TRIM: u32 = 8;
/// Bytes a pixel that finding and cutting out the thing takes beside the grey picture: one copy turned upright, one cut out.
const TRIM_SCRATCH: u64 = 2;

/// Why an image can't be prepared as a manifest asks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// Neither grey nor colour.
    #[error(
        "this build can't prepare images of {channels} channels: 1 (grey) and 3 (red, green, blue) are known"
    )]
    Channels {
        /// What the manifest asks for.
        channels: u32,
    },
    /// Colour is trimmed by no rule here.
    #[error("fit trim-and-pad needs images of 1 channel, and these have {channels}")]
    TrimsGreyOnly {
        /// What the manifest asks for.
        channels: u32,
    },
}

/// Turns image files into [`Pixels`] for one model version.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    input: Input,
}

impl Preprocessor {
    /// The preprocessing that `manifest` describes.
    ///
    /// # Errors
    /// If this build has no such preprocessing.
    pub fn new(manifest: &Manifest) -> Result<Self, PreprocessError> {
        let input = manifest.input.clone();
        if input.channels != 1 && input.channels != 3 {
            return Err(PreprocessError::Channels { channels: input.channels });
        }
        if input.fit == Fit::TrimAndPad && input.channels != 1 {
            return Err(PreprocessError::TrimsGreyOnly { channels: input.channels });
        }
        Ok(Self { input })
    }

    /// Decodes an image file (PNG, JPEG, WebP, GIF or BMP; the first frame) and makes it the net's input.
    ///
    /// # Errors
    /// If the bytes are no image, a broken one, or one beyond the limits.
    pub fn decode(&self, file: &[u8], limits: &ImageLimits) -> Result<Pixels, ImageError> {
        Ok(self.placed(file, limits)?.0)
    }

    /// As [`decode`](Self::decode), and where in the picture what the net sees lies.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn placed(&self, file: &[u8], limits: &ImageLimits) -> Result<(Pixels, Placement), ImageError> {
        self.prepare(decode(file, limits, self.demand())?)
    }

    /// As [`decode`](Self::decode), and several views of the image, each as the net's input. Where things are trimmed and padded
    /// there is nothing else to look at, and of a view only its light is taken.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn views(
        &self,
        file: &[u8],
        limits: &ImageLimits,
        views: &[View],
    ) -> Result<Vec<Pixels>, ImageError> {
        if self.input.fit == Fit::TrimAndPad {
            let pixels = self.decode(file, limits)?;
            return Ok(views.iter().map(|view| view.lit(pixels.clone())).collect());
        }
        let smallest = views.iter().map(|view| view.share).fold(1.0, f64::min).max(0.05);
        let mut demand = self.demand();
        demand.shorter_side = (f64::from(demand.shorter_side) / smallest).ceil() as u32;
        let mut picture = decode(file, limits, demand)?;
        picture.lay_on_white();
        if self.input.channels == 1 {
            picture.make_grey();
        }
        let (turn, extent, size) = (Turn::from(picture.orientation), picture.extent, self.input.size);
        let pixels = picture.into_pixels();
        let whole = match self.input.fit {
            Fit::CentreCrop => {
                Area::centre(turn.sides(extent.0, extent.1), size, self.crop()).in_file(turn, extent)
            }
            _ => Area::whole(extent),
        };
        let look = |view: &View| {
            let area = if view.is_whole() { whole } else { Area::of(view, extent, turn, self.input.fit) };
            let small = turn.shown(self.resized(&pixels, area, size, size)?);
            Ok(self.coloured(view.lit(view.turned(self.oriented_light(small)))))
        };
        views.iter().map(look).collect()
    }

    /// What decoding has to leave, in pixels and in memory.
    fn demand(&self) -> Demand {
        let Input { size, channels, .. } = self.input;
        let (shorter_side, bytes_a_pixel) = match self.input.fit {
            Fit::CentreCrop => ((f64::from(size) / self.crop()).ceil() as u32, 0),
            Fit::Stretch => (size, 0),
            Fit::TrimAndPad => (ROOM_TO_TRIM * size, TRIM_SCRATCH),
        };
        // Resampling goes across first, into as many rows as there are.
        Demand { shorter_side, bytes_a_row: u64::from(size) * u64::from(channels), bytes_a_pixel }
    }

    fn crop(&self) -> f64 {
        f64::from(self.input.crop.unwrap_or(1.0))
    }

    fn prepare(&self, mut picture: Picture) -> Result<(Pixels, Placement), ImageError> {
        let things = self.input.fit == Fit::TrimAndPad && self.input.polarity == Polarity::LightOnDark;
        if things && let Some(cutout) = Cutout::of(&picture) {
            let turn = Turn::from(picture.orientation);
            drop(picture);
            return self.cut_out(cutout.shown(turn));
        }
        picture.lay_on_white();
        if self.input.channels == 1 {
            picture.make_grey();
        }
        let (turn, extent) = (Turn::from(picture.orientation), picture.extent);
        let pixels = picture.into_pixels();
        let size = self.input.size;
        let exact = pixels.width == size && pixels.height == size;
        // A large picture is turned when it has become small.
        let (square, placement) = match self.input.fit {
            Fit::TrimAndPad => self.trim_and_pad(turn.shown(pixels))?,
            Fit::Stretch if exact => (self.oriented_light(turn.shown(pixels)), Placement::WHOLE),
            Fit::Stretch => {
                let small = self.resized(&pixels, Area::whole(extent), size, size)?;
                (self.oriented_light(turn.shown(small)), Placement::WHOLE)
            }
            Fit::CentreCrop => {
                let shown = Area::centre(turn.sides(extent.0, extent.1), size, self.crop());
                let small = self.resized(&pixels, shown.in_file(turn, extent), size, size)?;
                let placement = shown.placement(turn.sides(extent.0, extent.1));
                (self.oriented_light(turn.shown(small)), placement)
            }
        };
        Ok((self.coloured(square), placement))
    }

    /// A picture with the channels that the net wants, in its order: a grey one as red, green and blue.
    fn coloured(&self, mut pixels: Pixels) -> Pixels {
        match (self.input.channels, pixels.channels, self.input.order) {
            (3, 1, _) => {
                let data = pixels.data.iter().flat_map(|&value| [value; 3]).collect();
                Pixels { channels: 3, data, ..pixels }
            }
            (3, 3, Order::Bgr) => {
                pixels.data.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
                pixels
            }
            _ => pixels,
        }
    }

    fn oriented_light(&self, mut pixels: Pixels) -> Pixels {
        if self.input.polarity == Polarity::LightOnDark && background::is_light(&pixels) {
            pixels.data.iter_mut().for_each(|value| *value = !*value);
        }
        pixels
    }

    /// A thing on a transparent background, which becomes black.
    fn cut_out(&self, cutout: Cutout) -> Result<(Pixels, Placement), ImageError> {
        let size = self.input.size;
        let Cutout { light, alpha } = cutout;
        if (light.width, light.height) == (size, size) {
            return Ok((Cutout { light, alpha }.light_on_black(), Placement::WHOLE));
        }
        let Some(frame) = background::opaque(&alpha) else {
            return Ok((Pixels::black(size, 1), Placement::WHOLE));
        };
        // Small first: the rim of an enlarged thing is as wide as it is enlarged.
        let ((light, placement), (alpha, _)) = (self.framed(&light, frame)?, self.framed(&alpha, frame)?);
        Ok((Cutout { light, alpha }.light_on_black(), placement))
    }

    /// A thing without its background, which becomes black. A picture of the net's size is not resized, and stays as it is where it is
    /// as the net knows it. All black where there is nothing.
    fn trim_and_pad(&self, pixels: Pixels) -> Result<(Pixels, Placement), ImageError> {
        let size = self.input.size;
        let exact = (pixels.width, pixels.height) == (size, size);
        let light_on_dark = self.input.polarity == Polarity::LightOnDark;
        if exact && (!light_on_dark || background::is_light_on_black(&pixels)) {
            let nothing = background::light_on_black(&pixels).is_none();
            return Ok((if nothing { Pixels::black(size, 1) } else { pixels }, Placement::WHOLE));
        }
        let Some((light, frame)) = background::light_on_black(&pixels) else {
            return Ok((Pixels::black(size, 1), Placement::WHOLE));
        };
        match (exact, light_on_dark) {
            (true, _) => Ok((light, Placement::WHOLE)),
            (false, true) => self.framed(&light, frame),
            (false, false) => self.framed(&pixels, frame),
        }
    }

    /// That part of a grey picture, its longer side as long as the net's, in the middle of black.
    fn framed(&self, pixels: &Pixels, frame: Frame) -> Result<(Pixels, Placement), ImageError> {
        let size = self.input.size;
        let mut square = Pixels::black(size, pixels.channels);
        let longer = f64::from(frame.width.max(frame.height));
        let side =
            |length: u32| ((f64::from(length) * f64::from(size) / longer).round() as u32).clamp(1, size);
        let (width, height) = (side(frame.width), side(frame.height));
        let small = self.resized(pixels, Area::from(frame), width, height)?;
        // The odd row or column goes to the left and the top, as in the data set.
        let (left, top) = ((size - width).div_ceil(2), (size - height).div_ceil(2));
        let row = (width * small.channels) as usize;
        for (y, line) in small.data.chunks_exact(row).enumerate() {
            let start = (((top as usize + y) * size as usize) + left as usize) * small.channels as usize;
            square.data[start..start + row].copy_from_slice(line);
        }
        // The net's pixels are as large there as the thing's part of the square makes them, beyond the picture too.
        let (across, down) =
            (f64::from(frame.width) / f64::from(width), f64::from(frame.height) / f64::from(height));
        let seen = Area {
            left: f64::from(frame.left) - f64::from(left) * across,
            top: f64::from(frame.top) - f64::from(top) * down,
            width: f64::from(size) * across,
            height: f64::from(size) * down,
        };
        Ok((square, seen.placement((pixels.width.into(), pixels.height.into()))))
    }

    fn resized(&self, pixels: &Pixels, area: Area, width: u32, height: u32) -> Result<Pixels, ImageError> {
        let filter = match self.input.interpolation {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Lanczos => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(area.left, area.top, area.width, area.height)
            .use_alpha(false);
        let mut data = vec![0; width as usize * height as usize * pixels.channels as usize];
        // By the kind of pixel: to leave that to the crate would compile its code for all of its kinds, for minutes.
        if pixels.channels == 1 {
            resample::<U8>(pixels, (width, height), &mut data, &options)?;
        } else {
            resample::<U8x3>(pixels, (width, height), &mut data, &options)?;
        }
        Ok(Pixels { width, height, channels: pixels.channels, data })
    }
}

/// Writes the part of the picture that `options` name to `data`, at that width and height.
fn resample<P: PixelTrait>(
    pixels: &Pixels,
    (width, height): (u32, u32),
    data: &mut [u8],
    options: &ResizeOptions,
) -> Result<(), ImageError> {
    let broken = |reason: String| ImageError::Broken { reason };
    let from = TypedImageRef::<P>::from_buffer(pixels.width, pixels.height, &pixels.data)
        .map_err(|error| broken(error.to_string()))?;
    let mut to =
        TypedImage::<P>::from_buffer(width, height, data).map_err(|error| broken(error.to_string()))?;
    Resizer::new().resize_typed(&from, &mut to, options).map_err(|error| broken(error.to_string()))
}

/// A part of an image, in pixels and fractions of them.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl From<Frame> for Area {
    fn from(Frame { left, top, width, height }: Frame) -> Self {
        Self { left: left.into(), top: top.into(), width: width.into(), height: height.into() }
    }
}

impl Area {
    fn whole((width, height): (f64, f64)) -> Self {
        Self { left: 0.0, top: 0.0, width, height }
    }

    /// The part of the picture as shown that a view looks at: a square where the fit keeps the picture's proportions.
    fn of(view: &View, whole: (f64, f64), turn: Turn, fit: Fit) -> Self {
        let (across, down) = turn.sides(whole.0, whole.1);
        let (width, height) = match fit {
            Fit::Stretch => (across * view.share, down * view.share),
            _ => (across.min(down) * view.share, across.min(down) * view.share),
        };
        let start = ((across - width) * view.left, (down - height) * view.top);
        Self { left: start.0, top: start.1, width, height }.in_file(turn, whole)
    }

    /// The square of the picture as shown, whose sides are given, that is left when the shorter side is made `size / share` pixels
    /// long and the middle `size` x `size` kept. Rounded where torchvision's `Resize` and `CenterCrop` round, so that one step gives
    /// what those two give.
    fn centre((across, down): (f64, f64), size: u32, share: f64) -> Self {
        let (size, shorter) = (f64::from(size), across.min(down));
        let resized = (size / share).round();
        let part = |side: f64| {
            let new = (resized * side / shorter).floor();
            let scale = side / new;
            (((new - size) / 2.0).round_ties_even() * scale, size * scale)
        };
        let ((left, width), (top, height)) = (part(across), part(down));
        Self { left, top, width, height }
    }

    /// Where a part of the picture as shown lies in the file, whose size is `whole`.
    fn in_file(self, turn: Turn, whole: (f64, f64)) -> Self {
        let ((left, top), (width, height)) =
            turn.part_in_file((self.left, self.top), (self.width, self.height), whole);
        // A rounding may lead beyond the border.
        Self { left, top, width: width.min(whole.0 - left), height: height.min(whole.1 - top) }
    }

    /// This part of a picture of those sides, in shares of them.
    fn placement(self, (across, down): (f64, f64)) -> Placement {
        Placement {
            left: self.left / across,
            top: self.top / down,
            width: self.width / across,
            height: self.height / down,
        }
    }
}

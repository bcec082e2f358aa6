//! The pictures: the worst mistakes, and what was called none of the classes or should have been.

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use maud::{Markup, html};
use model_core::{ImageLimits, Preprocessor};
use registry::{Fit, Input, Interpolation, Layout, Manifest, Order, Polarity};

use super::{count, none_of_these, percent};
use crate::evaluate::{Evaluated, Images, Judgement, Truth};

/// Pictures of a section.
const MOST: usize = 24;
/// Their side in pixels, twice what is shown so that fine screens have something to show.
const SIDE: u32 = 192;
const QUALITY: u8 = 78;

/// The sections with pictures, such as there are.
pub(super) fn sections(manifest: &Manifest, images: &Images<'_>, evaluated: &Evaluated) -> Markup {
    let album = Album { manifest, images, thumbnails: thumbnails(manifest) };
    let is_own = |judgement: &&Judgement| judgement.truth != Truth::Other;
    let named = |judgement: &&Judgement| judgement.answer.is_some();
    let of = |keep: &dyn Fn(&&Judgement) -> bool| {
        surest(evaluated.judgements.iter().filter(|o| keep(o)).collect())
    };
    let wrong = of(&|judgement| is_own(judgement) && named(judgement) && !judgement.is_right());
    let lost = of(&|judgement| is_own(judgement) && !named(judgement));
    let missed = of(&|judgement| !is_own(judgement) && named(judgement));
    let none = none_of_these(manifest);
    html! {
        (album.section("mistakes", "The worst mistakes", "named wrong, the surest first", &wrong))
        @if evaluated.evaluation.rejected.is_some() {
            (album.section("rejected", &format!("Called {none}, and should have been named"), "of the classes, the surest first", &lost))
        }
        @if evaluated.evaluation.others.is_some() {
            (album.section("accepted", &format!("Named, and should have been called {none}"), "of none of the classes, the surest first", &missed))
        }
    }
}

/// The most probable answers first.
fn surest(mut judgements: Vec<&Judgement>) -> Vec<&Judgement> {
    judgements.sort_by(|a, b| b.probability().total_cmp(&a.probability()).then(a.image.cmp(&b.image)));
    judgements
}

struct Album<'a> {
    manifest: &'a Manifest,
    images: &'a Images<'a>,
    /// None where this build cannot make any.
    thumbnails: Option<Preprocessor>,
}

impl Album<'_> {
    fn section(&self, id: &str, title: &str, what: &str, judgements: &[&Judgement]) -> Markup {
        html! {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                @if judgements.is_empty() {
                    p { "There are none." }
                } @else {
                    p {
                        (count(judgements.len())) " " (if judgements.len() == 1 { "image" } else { "images" }) " " (what)
                        @if judgements.len() > MOST { "; " (MOST) " of them" } "."
                    }
                    ul.album { @for judgement in judgements.iter().take(MOST) { (self.picture(judgement)) } }
                }
            }
        }
    }

    fn picture(&self, judgement: &Judgement) -> Markup {
        let Some(image) = self.images.list().get(judgement.image) else { return html! {} };
        let label = |place: usize| self.manifest.classes.labels[place].label.as_str();
        let shows = match judgement.truth {
            Truth::Class(place) => label(place),
            Truth::Other => "none of the classes",
        };
        let answer = judgement.answer.map_or(none_of_these(self.manifest), label);
        let sure = percent(f64::from(judgement.probability()));
        // Its file and its folder are enough to find it.
        let path = Path::new(&image.name);
        let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
        let file = parts.into_iter().rev().collect::<Vec<_>>().join("/");
        html! {
            li {
                @match self.data(judgement.image) {
                    Some((data, small)) => img class=[small.then_some("pixels")] src=(data) alt=(format!("{shows}, taken for {answer}: {file}"));,
                    None => div.gone { "no picture" }
                }
                p { span.shows { (shows) } " " span.answer { (answer) " " (sure) } }
                p.file { (file) }
            }
        }
    }

    /// A picture as data, and whether it is shown pixel by pixel.
    fn data(&self, place: usize) -> Option<(String, bool)> {
        let image = self.images.list().get(place)?;
        let file = self.images.file(image).ok()?;
        if self.images.is_dataset() && image.truth != Truth::Other {
            let kind = image::guess_format(&file).ok()?;
            let kind = if kind == ImageFormat::Jpeg { "jpeg" } else { "png" };
            return Some((format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(&file)), true));
        }
        let pixels = self.thumbnails.as_ref()?.decode(&file, &ImageLimits::default()).ok()?;
        let mut jpeg = Cursor::new(Vec::new());
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(&pixels.data, pixels.width, pixels.height, ExtendedColorType::Rgb8)
            .ok()?;
        Some((format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg.into_inner())), false))
    }
}

/// Makes thumbnails: the middle square, in colour, turned upright and laid on white as for any net.
fn thumbnails(manifest: &Manifest) -> Option<Preprocessor> {
    let input = Input {
        size: SIDE,
        channels: 3,
        order: Order::Rgb,
        layout: Layout::Nchw,
        fit: Fit::CentreCrop,
        crop: Some(1.0),
        interpolation: Interpolation::Bilinear,
        polarity: Polarity::AsIs,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
    };
    Preprocessor::new(&Manifest { input, ..manifest.clone() }).ok()
}

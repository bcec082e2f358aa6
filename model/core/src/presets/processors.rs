//! The image processors of Hugging Face's transformers that are for one class an image, and what each does where a file says
//! nothing: read in the sources of transformers 4.57.6 (both its slow and its fast ones) and 5.23.0.

use super::{Setting, short};

/// How a processor reads `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// As it is.
    Plain,
    /// Below 384 the shorter side becomes `size / crop_pct` and the middle is kept; from there on the image is stretched.
    ConvNext,
    /// The shorter side becomes `size / crop_pct`.
    PoolFormer,
    /// The shorter side becomes `size` times 256 / 224.
    Levit,
    /// As it is; values may be shifted by one, and are divided by `image_std` twice where `include_top` is set.
    EfficientNet,
    /// As it is, with blue first, and nothing subtracted.
    MobileVit,
}

/// What `size` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Width and height.
    Both(u32),
    /// The shorter side.
    Shorter(u32),
}

/// An image processor. What is `None` was another thing in another release, so that a file has to say it.
#[derive(Debug)]
pub(super) struct Processor {
    /// Its name without `ImageProcessor`.
    pub(super) name: &'static str,
    /// Each `model_type` whose nets have this processor where the file names none.
    pub(super) models: &'static [&'static str],
    pub(super) rule: Rule,
    pub(super) size: Option<Side>,
    /// Whether it crops where the file does not say, and to what.
    pub(super) crops: Option<bool>,
    pub(super) crop: u32,
    /// Pillow's number of the filter.
    pub(super) resample: Option<u64>,
    pub(super) mean: [f64; 3],
    pub(super) std: [f64; 3],
}

pub(super) const LANCZOS: u64 = 1;
pub(super) const BILINEAR: u64 = 2;
pub(super) const BICUBIC: u64 = 3;

type Colours = ([f64; 3], [f64; 3]);
const HALF: Colours = ([0.5; 3], [0.5; 3]);
const IMAGENET: Colours = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CLIP: Colours = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);

impl Processor {
    const fn new(name: &'static str, models: &'static [&'static str], size: Side, colours: Colours) -> Self {
        Self {
            name,
            models,
            rule: Rule::Plain,
            size: Some(size),
            crops: Some(false),
            crop: 224,
            resample: None,
            mean: colours.0,
            std: colours.1,
        }
    }

    const fn crops(self) -> Self {
        Self { crops: Some(true), ..self }
    }

    const fn resample(self, filter: u64) -> Self {
        Self { resample: Some(filter), ..self }
    }

    const fn rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// What a size without the names of sides is of.
    pub(super) fn side(&self, pixels: u32) -> Side {
        match self.size {
            Some(Side::Shorter(_)) => Side::Shorter(pixels),
            Some(Side::Both(_)) | None => Side::Both(pixels),
        }
    }
}

const VIT: &[&str] = &[
    "vit",
    "vit_msn",
    "swin",
    "swinv2",
    "dinat",
    "nat",
    "ijepa",
    "swiftformer",
    "vit_mae",
    "mgp-str",
    "clipseg",
];
const BIT: &[&str] = &["bit", "dinov2", "dinov2_with_registers", "focalnet", "hiera"];
const CONVNEXT: &[&str] = &["convnext", "convnextv2", "cvt", "regnet", "resnet", "van"];

const PROCESSORS: &[Processor] = &[
    Processor::new("ViT", VIT, Side::Both(224), HALF).resample(BILINEAR),
    Processor::new("DeiT", &["deit"], Side::Both(256), HALF).crops().resample(BICUBIC),
    Processor {
        size: None,
        crops: None,
        ..Processor::new("Beit", &["beit", "data2vec-vision"], Side::Both(224), HALF).resample(BICUBIC)
    },
    Processor::new("Bit", BIT, Side::Shorter(224), CLIP).crops().resample(BICUBIC),
    Processor::new("ViTHybrid", &["vit_hybrid"], Side::Shorter(224), CLIP).crops().resample(BICUBIC),
    Processor::new("CLIP", &["clip", "metaclip_2"], Side::Shorter(224), CLIP).crops().resample(BICUBIC),
    Processor::new("ConvNext", CONVNEXT, Side::Shorter(384), HALF).rule(Rule::ConvNext),
    Processor::new("DINOv3ViT", &["dinov3_vit"], Side::Both(224), IMAGENET).resample(BILINEAR),
    Processor::new("EfficientFormer", &["efficientformer"], Side::Both(224), IMAGENET)
        .crops()
        .resample(BICUBIC),
    Processor {
        crop: 289,
        ..Processor::new("EfficientNet", &["efficientnet"], Side::Both(346), HALF).rule(Rule::EfficientNet)
    },
    Processor::new("Levit", &["levit"], Side::Shorter(224), IMAGENET)
        .crops()
        .resample(BICUBIC)
        .rule(Rule::Levit),
    Processor::new("MobileNetV1", &["mobilenet_v1"], Side::Shorter(256), HALF).crops().resample(BILINEAR),
    Processor::new("MobileNetV2", &["mobilenet_v2"], Side::Shorter(256), HALF).crops().resample(BILINEAR),
    Processor {
        crop: 256,
        ..Processor::new("MobileViT", &["mobilevit", "mobilevitv2"], Side::Shorter(224), HALF)
            .crops()
            .rule(Rule::MobileVit)
    },
    Processor::new("PoolFormer", &["poolformer"], Side::Shorter(224), IMAGENET)
        .crops()
        .resample(BICUBIC)
        .rule(Rule::PoolFormer),
    Processor::new("Pvt", &["pvt", "pvt_v2"], Side::Both(224), IMAGENET),
    Processor::new("Segformer", &["segformer"], Side::Both(512), IMAGENET).resample(BILINEAR),
    Processor::new("Siglip", &["siglip"], Side::Both(224), HALF).resample(BICUBIC),
];

/// What the classes' names end in: of those there are now, and of earlier releases.
const ENDS: [&str; 4] = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"];

/// The processor of that class, or the one that nets of that type have.
pub(super) fn find(class: Option<&str>, model_type: Option<&str>) -> Setting<&'static Processor> {
    let known = || PROCESSORS.iter().map(|processor| processor.name).collect::<Vec<_>>().join(", ");
    let (found, asked) = match (class, model_type) {
        (Some(class), _) => {
            let name = ENDS.iter().find_map(|end| class.strip_suffix(end)).unwrap_or(class);
            let found = PROCESSORS.iter().find(|processor| processor.name == name);
            (found, format!("the image processor {:?}", short(class)))
        }
        (None, Some(model)) => {
            let found = PROCESSORS.iter().find(|processor| processor.models.contains(&model));
            (found, format!("no image_processor_type, and that of the model_type {:?}", short(model)))
        }
        (None, None) => {
            (None, "no image_processor_type, and no config.json beside it says a model_type".to_owned())
        }
    };
    found.ok_or_else(|| {
        format!(
            "it names {asked}, and known here are those of {}: say --input, --mean, --std and what else the net was trained with \
             yourself, and name config.json alone for the labels",
            known()
        )
    })
}

//! A model's plain data and the rules for it, without a net: an image file becomes [`Pixels`], an [`Engine`] makes outputs of
//! them, and those become [`Scores`] and [`Prediction`]s. Nothing here sees libtorch, so what depends on this crate alone
//! compiles without it.
//!
//! ```text
//! file --Preprocessor::decode--> Pixels --Engine::logits--> outputs --Scorer::scores--> Scores --top_k--> Prediction
//!       any thread                       one owner thread
//! ```
//!
//! - [`mod@decode`]: an image file's bytes to an image, within limits.
//! - [`preprocess`]: that image to the pixels that a version's manifest asks for; `background` is its rule for things on a plain
//!   background, `cutout` for things on a transparent one.
//! - [`placement`]: where in a picture the net's pixels lie; [`mod@shown`]: a picture as people see it; [`mod@thumbnail`]: a small one.
//! - [`view`]: other looks at a picture, which training takes.
//! - [`engine`]: what a net is to everybody else.
//! - [`presets`]: how other programs say all that, in the manifest's words.
//! - [`normalise`]: what the engines do alike: pixels to a net's numbers, its numbers to outputs.
//! - [`scores`]: its answer; [`scorer`] makes it of the outputs.
//! - [`sample`]: whether a version calls its samples what its manifest says.
//! - [`LargePiecesMapped`]: the allocator of the programs, so that a decoded photograph leaves nothing behind.

mod background;
mod cutout;
pub mod decode;
pub mod engine;
mod large;
pub mod normalise;
mod pixels;
pub mod placement;
pub mod preprocess;
pub mod presets;
pub mod sample;
pub mod scorer;
pub mod scores;
pub mod shown;
pub mod thumbnail;
mod turn;
pub mod view;

pub use decode::{ImageError, ImageLimits};
pub use engine::{Engine, EngineError, pass_blank};
pub use large::LargePiecesMapped;
pub use pixels::Pixels;
pub use placement::Placement;
pub use preprocess::{PreprocessError, Preprocessor};
pub use sample::{SampleError, sample_name, try_sample};
pub use scorer::Scorer;
pub use scores::{Prediction, Scores};
pub use shown::{Shown, shown};
pub use thumbnail::thumbnail;
pub use view::View;

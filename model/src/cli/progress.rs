//! A bar on stderr where that is a terminal, and nothing where it is not.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `length` steps; drawn on a terminal only.
pub(super) fn bar(length: usize, wanted: bool) -> ProgressBar {
    // indicatif draws nothing where stderr is no terminal.
    let target = if wanted { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    let template = "{msg} [{bar:30}] {pos}/{len}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

//! A bar on stderr where that is a terminal, and nothing where it is not.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `length` steps; drawn on a terminal only.
pub(super) fn bar(length: usize, wanted: bool) -> ProgressBar {
    drawn(length as u64, wanted, "{msg} [{bar:30}] {pos}/{len}, {eta} left")
}

/// A bar of bytes, whose length is set with each file; drawn on a terminal only.
pub(super) fn bytes(wanted: bool) -> ProgressBar {
    drawn(0, wanted, "{msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
}

fn drawn(length: u64, wanted: bool, template: &str) -> ProgressBar {
    // indicatif draws nothing where stderr is no terminal.
    let target = if wanted { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

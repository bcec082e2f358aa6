//! The figures for people, as lines.

use model::evaluate::{ClassFigures, Evaluation, Pair, Reliability, Share};
use registry::Manifest;

use crate::cli::output::percent;

/// Of more classes than this only those of the lowest F1 are told one by one ...
const CLASSES: usize = 30;
/// ... so many of them.
const WORST: usize = 15;
/// A longer label is cut.
const LABEL: usize = 32;

/// All of it, without a line's end behind the last.
pub(super) fn text(manifest: &Manifest, data: &str, evaluation: &Evaluation) -> String {
    let mut lines = classes(manifest, evaluation);
    let Evaluation { images, correct, calibration, .. } = evaluation;
    lines.push(String::new());
    lines.push(format!("{} version {} on {images} images of {data}", manifest.name, manifest.version));
    let mut row = |name: &str, value: String, more: String| {
        lines.push(format!("  {name:<18}{value:>9}   {more}").trim_end().to_owned());
    };
    let [low, high] = evaluation.accuracy_interval;
    row(
        "accuracy",
        percent(evaluation.accuracy),
        format!("{correct} of {images}; 95 % interval {} to {}", percent(low), percent(high)),
    );
    row("top-5", percent(evaluation.top5), String::new());
    if let Some(rejected) = &evaluation.rejected {
        let label = manifest.classes.reject.as_ref().map_or("none of these", |reject| &reject.label);
        let others = evaluation
            .selective_accuracy
            .map(|share| format!(", of the others {} are named right", percent(share)));
        row(
            "rejected",
            percent(rejected.share),
            format!("{} called {label:?}{}", of(rejected), others.unwrap_or_default()),
        );
    }
    if let Some(others) = &evaluation.others {
        let [low, high] = others.interval;
        row(
            "others rejected",
            percent(others.share),
            format!("{}, rightly; 95 % interval {} to {}", of(others), percent(low), percent(high)),
        );
    }
    if let Some(loss) = evaluation.loss {
        row("loss", format!("{loss:.4}"), "negative log-likelihood, nats an image".into());
    }
    let curve = |reliability: &Reliability| {
        let loss = reliability.loss.map(|loss| format!(", loss {loss:.4}")).unwrap_or_default();
        (percent(reliability.error), loss)
    };
    if let Some(before) = &calibration.before {
        let (error, loss) = curve(before);
        let how = if calibration.temperature.is_some() {
            "at temperature 1"
        } else {
            "no temperature in the manifest"
        };
        row("calibration error", error, format!("{how}{loss}"));
    }
    if let (Some(after), Some(temperature)) = (&calibration.after, calibration.temperature) {
        let (error, loss) = curve(after);
        row("", error, format!("at the manifest's temperature, {temperature:.4}{loss}"));
    }
    if let Some(fitted) = &calibration.fitted {
        let (error, loss) = curve(&fitted.reliability);
        row("", error, format!("at temperature {:.4}, fitted on these images{loss}", fitted.temperature));
    }
    let average = &evaluation.macro_average;
    row(
        "macro F1",
        percent(average.f1),
        format!("recall {}, precision {}", percent(average.recall), percent(average.precision)),
    );
    if !evaluation.failed.is_empty() {
        row("not answered", evaluation.failed.len().to_string(), "images that count nowhere above".into());
    }
    lines.join("\n")
}

/// A table with a line for each class.
fn classes(manifest: &Manifest, evaluation: &Evaluation) -> Vec<String> {
    let pairs = evaluation.confusion.pairs();
    let all: Vec<(usize, &ClassFigures)> = evaluation.classes.iter().enumerate().collect();
    let mut told = all.clone();
    if all.len() > CLASSES {
        told.retain(|(_, class)| class.images > 0);
    }
    let there = told.len();
    if there > CLASSES {
        told.sort_by(|(_, a), (_, b)| a.f1.unwrap_or(0.0).total_cmp(&b.f1.unwrap_or(0.0)));
        told.truncate(WORST);
    }
    let label = |class: &ClassFigures| -> String { short(&class.label) };
    let width =
        told.iter().map(|(_, class)| label(class).chars().count()).max().unwrap_or(0).max("class".len());
    let mut lines =
        vec![format!("{:<width$}  images   recall  precision       F1  most often taken for", "class")];
    let share = |share: Option<f64>| share.map_or("-".into(), percent);
    for &(place, class) in &told {
        let taken = pairs.iter().find(|pair| pair.truth == place);
        let taken = taken.map(|pair| format!("{} ({})", answer(manifest, pair), pair.images));
        let row = format!(
            "{:<width$}  {:>6}  {:>7}  {:>9}  {:>7}  {}",
            label(class),
            class.images,
            share(class.recall),
            share(class.precision),
            share(class.f1),
            taken.unwrap_or_default()
        );
        lines.push(row.trim_end().to_owned());
    }
    if told.len() < there {
        let told = told.len();
        lines.push(format!("the {told} classes of the lowest F1, of {there}: --json and --report have all"));
    }
    if there < all.len() {
        lines.push(format!("{} of the {} classes have no image", all.len() - there, all.len()));
    }
    lines
}

/// What a pair's images are taken for.
fn answer(manifest: &Manifest, pair: &Pair) -> String {
    let classes = &manifest.classes;
    match pair.answer {
        Some(place) => short(&classes.labels[place].label),
        None => classes.reject.as_ref().map_or_else(|| "none of these".into(), |reject| short(&reject.label)),
    }
}

/// Text without what would disturb a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A label for a table, not too long for it.
fn short(label: &str) -> String {
    let plain = plain(label);
    if plain.chars().count() <= LABEL {
        plain
    } else {
        plain.chars().take(LABEL - 1).chain(['…']).collect()
    }
}

fn of(share: &Share) -> String {
    format!("{} of {}", share.images, share.of)
}

//! An evaluation as one page for people: everything is in the file, pictures as data, charts as SVG, no script, nothing from the network.
//! It shows in dark and in light, on a phone too.

mod charts;
mod pictures;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use registry::{EngineKind, Manifest, ModelVersion};

use crate::evaluate::{Evaluated, Evaluation, Images, Share};

const STYLE: &str = include_str!("style.css");
/// Nothing but what stands in the file may be shown, whatever stands in it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// What was evaluated.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The version.
    pub version: &'a ModelVersion,
    /// What computed it.
    pub engine: EngineKind,
    /// What the images are, for people.
    pub data: &'a str,
}

/// The page. Pictures are read again; one that cannot be read any more is left out.
#[must_use]
pub fn page(about: &About<'_>, images: &Images<'_>, evaluated: &Evaluated) -> String {
    let (manifest, evaluation) = (&about.version.manifest, &evaluated.evaluation);
    let title = format!("{} version {}: {}", manifest.name, manifest.version, percent(evaluation.accuracy));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content="mlaas: model evaluate --report";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (summary(about, evaluation))
                    section aria-labelledby="confusion" {
                        h2 id="confusion" { "Who is taken for whom" }
                        (tables::confusion(manifest, &evaluation.confusion))
                    }
                    section aria-labelledby="reliability" {
                        h2 id="reliability" { "How far the answers can be believed" }
                        (charts::reliability(&evaluation.calibration))
                    }
                    (pictures::sections(manifest, images, evaluated))
                    section aria-labelledby="classes" {
                        h2 id="classes" { "Class by class" }
                        (tables::classes(manifest, evaluation))
                    }
                    (failed(evaluation))
                }
            }
        }
    };
    page.into_string()
}

fn summary(about: &About<'_>, evaluation: &Evaluation) -> Markup {
    let (version, manifest) = (about.version, &about.version.manifest);
    let [low, high] = evaluation.accuracy_interval;
    html! {
        header {
            p.over { (manifest.name) " version " (manifest.version) }
            h1 {
                (percent(evaluation.accuracy)) " "
                span.after { "of " (count(evaluation.images)) " images named right" }
            }
            p {
                "95 % interval " (percent(low)) " to " (percent(high)) " (Wilson): "
                "so far chance alone may have moved it. "
                (count(evaluation.correct)) " of " (count(evaluation.images)) "; " (about.data) "."
            }
        }
        dl.figures {
            (figure("Top-5", percent(evaluation.top5), "the class is among the five likeliest"))
            (figure("Macro F1", percent(evaluation.macro_average.f1), "the mean over the classes, each counted the same"))
            @if let Some(loss) = evaluation.loss {
                (figure("Loss", format!("{loss:.4}"), "negative log-likelihood, nats an image"))
            }
            @if let Some(served) = evaluation.calibration.after.as_ref().or(evaluation.calibration.before.as_ref()) {
                (figure("Calibration error", percent(served.error), "how far sureness is from truth in the mean, as it is served"))
            }
            @if let Some(rejected) = &evaluation.rejected {
                (figure(&format!("Called {}", none_of_these(manifest)), percent(rejected.share), &format!("of the images of the classes: {}", of(rejected))))
            }
            @if let Some(others) = &evaluation.others {
                (figure("Others rejected", percent(others.share), &format!("of the images of none of the classes: {}, 95 % interval {} to {}", of(others), percent(others.interval[0]), percent(others.interval[1]))))
            }
            @if !evaluation.failed.is_empty() {
                (figure("Not answered", count(evaluation.failed.len()), "images that count nowhere here"))
            }
        }
        details {
            summary { "The version" }
            dl.plain {
                dt { "Digest" } dd { code { (version.digest) } }
                dt { "Computed by" } dd { (about.engine) }
                dt { "Temperature" } dd {
                    @match evaluation.calibration.temperature {
                        Some(temperature) => { (format!("{temperature:.4}")) }
                        None => "none in the manifest"
                    }
                }
                dt { "Licence" } dd { (manifest.license) }
                dt { "Origin" } dd { (manifest.origin) }
            }
        }
    }
}

fn figure(name: &str, value: impl AsRef<str>, what: &str) -> Markup {
    html! {
        div {
            dt { (name) }
            dd { b { (value.as_ref()) } span { (what) } }
        }
    }
}

/// The images that could not be answered.
fn failed(evaluation: &Evaluation) -> Markup {
    const SHOWN: usize = 200;
    let failed = &evaluation.failed;
    html! {
        @if !failed.is_empty() {
            section aria-labelledby="failed" {
                h2 id="failed" { "Images that could not be answered" }
                ul.files {
                    @for failed in failed.iter().take(SHOWN) {
                        li { code { (failed.file) } ": " (failed.reason) }
                    }
                }
                @if failed.len() > SHOWN { p { "And " (count(failed.len() - SHOWN)) " more." } }
            }
        }
    }
}

/// The version's answer to what is none of the classes.
fn none_of_these(manifest: &Manifest) -> &str {
    manifest.classes.reject.as_ref().map_or("none of these", |reject| &reject.label)
}

/// A share of 0 to 1 as people write it.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A number with its thousands apart.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn of(share: &Share) -> String {
    format!("{} of {}", count(share.images), count(share.of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}

//! The reliability curves, as SVG and as numbers.

use maud::{Markup, html};

use super::{count, percent};
use crate::evaluate::Calibrated;
use crate::evaluate::{BINS, Bin, Reliability};

/// The square of the curve, in SVG units, and what stands around it.
const SIDE: f64 = 240.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 8.0;
/// The counts below it.
const COUNTS: f64 = 60.0;
const GAP: f64 = 34.0;

/// A chart for each temperature.
pub(super) fn reliability(calibrated: &Calibrated) -> Markup {
    let mut charts: Vec<(String, &Reliability)> = Vec::new();
    if let Some(before) = &calibrated.before {
        let title = if calibrated.temperature.is_some() {
            "Before: temperature 1"
        } else {
            "As it is served, without a temperature"
        };
        charts.push((title.into(), before));
    }
    if let (Some(after), Some(temperature)) = (&calibrated.after, calibrated.temperature) {
        charts.push((format!("After, as it is served: temperature {temperature:.3}"), after));
    }
    if let Some(fitted) = &calibrated.fitted {
        charts.push((
            format!("With temperature {:.3}, fitted on these images", fitted.temperature),
            &fitted.reliability,
        ));
    }
    html! {
        p {
            "Images by the probability of their likeliest class. Where answers are as often right as they say, the bars end on the line; "
            "the calibration error is the mean distance from it, over " (BINS) " bins of equal width "
            "(Guo et al., 2017, “On Calibration of Modern Neural Networks”). "
            span.key.right {} " share that is right; " span.key.gap {} " its distance from what the answers say."
        }
        @if charts.is_empty() { p { "The version knows nothing of any of these images." } }
        div.charts {
            @for (title, reliability) in &charts {
                figure {
                    figcaption {
                        b { (title) } br;
                        "calibration error " (percent(reliability.error))
                        @if let Some(loss) = reliability.loss { ", loss " (format!("{loss:.4}")) }
                    }
                    (chart(title, reliability))
                    details { summary { "In numbers" } (numbers(reliability)) }
                }
            }
        }
    }
}

fn chart(title: &str, reliability: &Reliability) -> Markup {
    let (width, height) = (LEFT + SIDE + 22.0, TOP + SIDE + GAP + COUNTS + 40.0);
    let most = reliability.bins.iter().map(|bin| bin.images).max().unwrap_or(0).max(1) as f64;
    let x = |share: f64| LEFT + share * SIDE;
    let y = |share: f64| TOP + (1.0 - share) * SIDE;
    let floor = TOP + SIDE + GAP + COUNTS;
    let bar = SIDE / BINS as f64 - 2.0;
    let described = described(title, reliability);
    html! {
        svg role="img" aria-label=(described) viewBox=(format!("0 0 {width} {height}")) {
            @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                line.grid x1=(x(0.0)) x2=(x(1.0)) y1=(y(tick)) y2=(y(tick)) {}
                text.end x=(LEFT - 6.0) y=(y(tick) + 4.0) { (tick * 100.0) " %" }
                text.middle x=(x(tick)) y=(floor + 16.0) { (tick * 100.0) " %" }
            }
            @for bin in &reliability.bins {
                @if let (Some(accuracy), Some(confidence)) = (bin.accuracy, bin.confidence) {
                    rect.right x=(format!("{:.2}", x(bin.from) + 1.0)) y=(format!("{:.2}", y(accuracy))) width=(format!("{bar:.2}")) height=(format!("{:.2}", accuracy * SIDE)) {}
                    // From what it says to what it does.
                    rect.gap x=(format!("{:.2}", x(bin.from) + 1.0)) y=(format!("{:.2}", y(accuracy.max(confidence)))) width=(format!("{bar:.2}")) height=(format!("{:.2}", (accuracy - confidence).abs() * SIDE)) {}
                    @let tall = (bin.images as f64 / most * COUNTS).max(1.0);
                    rect.count x=(format!("{:.2}", x(bin.from) + 1.0)) y=(format!("{:.2}", floor - tall)) width=(format!("{bar:.2}")) height=(format!("{tall:.2}")) {}
                }
            }
            line.ideal x1=(x(0.0)) y1=(y(0.0)) x2=(x(1.0)) y2=(y(1.0)) {}
            line.axis x1=(x(0.0)) x2=(x(1.0)) y1=(floor) y2=(floor) {}
            text.start x=(x(0.0)) y=(TOP + SIDE + GAP - 8.0) { "images in each bin, " (count(most as usize)) " at most" }
            text.middle x=(x(0.5)) y=(floor + 34.0) { "probability" }
            text.start x=(x(0.02)) y=(y(0.94)) { "share right" }
        }
    }
}

/// The chart in a sentence.
fn described(title: &str, reliability: &Reliability) -> String {
    let worst = |a: &&Bin, b: &&Bin| off(a).total_cmp(&off(b));
    let worst = reliability.bins.iter().filter(|bin| bin.images > 0).max_by(worst);
    let worst = worst.and_then(|bin| Some((bin.confidence?, bin.accuracy?, bin.images)));
    let worst = worst.map(|(confidence, accuracy, images)| {
        format!(
            " Most images to be wrong about: {} of mean probability {}, of which {} are right.",
            count(images),
            percent(confidence),
            percent(accuracy)
        )
    });
    format!(
        "Reliability curve. {title}. Calibration error {} over {} images.{}",
        percent(reliability.error),
        count(reliability.images),
        worst.unwrap_or_default()
    )
}

/// A bin's part in the calibration error.
fn off(bin: &Bin) -> f64 {
    match (bin.accuracy, bin.confidence) {
        (Some(accuracy), Some(confidence)) => (accuracy - confidence).abs() * bin.images as f64,
        _ => 0.0,
    }
}

fn numbers(reliability: &Reliability) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Probability" } th.n scope="col" { "Images" } th.n scope="col" { "Mean" } th.n scope="col" { "Right" } } }
            tbody {
                @for bin in reliability.bins.iter().filter(|bin| bin.images > 0) {
                    tr {
                        th scope="row" { (format!("{:.0} to {:.0} %", bin.from * 100.0, bin.to * 100.0)) }
                        td.n { (count(bin.images)) }
                        td.n { (bin.confidence.map(percent).unwrap_or_default()) }
                        td.n { (bin.accuracy.map(percent).unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

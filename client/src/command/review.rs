//! `client review list`, `export` and `label`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use client::review::{self, ExportError, Item};
use client::{Label, Verdict};

use super::args::{ReviewCommand, ReviewExportArgs, ReviewLabelArgs, ReviewListArgs};
use super::config::Config;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};

/// So much of a digest tells an image from others.
const SHORT: usize = 12;

pub(crate) async fn run(command: ReviewCommand, quiet: bool, config: Config) -> Result<Exit, Failure> {
    match command {
        ReviewCommand::List(args) => list(args, quiet, &config).await,
        ReviewCommand::Export(args) => export(args, quiet, &config).await,
        ReviewCommand::Label(args) => label(args, quiet, &config).await,
    }
}

async fn list(args: ReviewListArgs, quiet: bool, config: &Config) -> Result<Exit, Failure> {
    let connection = config.connection();
    let since = args.since.map(ago);
    let labels = review::labels(&connection).await?;
    let mut items = review::items(&connection, since).await?;
    items.retain(|item| {
        let of_model = args.model.as_ref().is_none_or(|model| *model == item.review.model.name);
        of_model && !(args.unlabelled && labels.contains_key(&item.review.label_key()))
    });
    let output = Output::new(args.json, None, 1, quiet);
    if args.json {
        for item in &items {
            output.object(&as_json(item, labels.get(&item.review.label_key())))?;
        }
    } else if !items.is_empty() {
        output.line(&table(&items, &labels))?;
    } else if !quiet {
        writeln!(
            std::io::stderr(),
            "no image is on topic {}: workers write some where review.enabled is true",
            printable(&connection.topics.review)
        )?;
    }
    Ok(Exit::Success)
}

fn ago(time: Duration) -> Timestamp {
    Timestamp::now().saturating_sub(time).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH)
}

/// What was said of it as it stands on the topic, beside it where it lies and what people said.
fn as_json(item: &Item, label: Option<&Label>) -> Value {
    json!({
        "id": item.place.to_string(),
        "written": item.written,
        "bytes": item.bytes,
        "review": item.review,
        "label": label,
    })
}

fn table(items: &[Item], labels: &BTreeMap<String, Label>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["ID", "WHEN", "MODEL", "VERSION", "WHY", "PREDICTED", "LABEL", "BY", "IMAGE"]);
    for item in items {
        let review = &item.review;
        let said = labels.get(&review.label_key());
        let predicted = review
            .predictions
            .first()
            .map(|first| format!("{} {:.1} %", printable(&first.label), first.probability * 100.0));
        let why = serde_json::to_value(review.why).ok();
        let digits = review.image.trim_start_matches("sha256:");
        table.add_row([
            item.place.to_string(),
            item.written.map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default(),
            printable(&review.model.name),
            review.model.version.to_string(),
            why.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            predicted.unwrap_or_default(),
            said.map(words).unwrap_or_default(),
            said.map(|said| printable(&said.by)).unwrap_or_default(),
            digits.get(..SHORT).unwrap_or(digits).to_owned(),
        ]);
    }
    table.trim_fmt()
}

fn words(label: &Label) -> String {
    match (&label.label, label.verdict) {
        (Some(text), _) => printable(text),
        (None, _) => "(skipped)".to_owned(),
    }
}

async fn export(args: ReviewExportArgs, quiet: bool, config: &Config) -> Result<Exit, Failure> {
    let connection = config.connection();
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
    };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} images, {eta} left") {
        bar.set_style(style);
    }
    let shown = bar.clone();
    let progress = move |done: usize, all: usize| {
        shown.set_length(all as u64);
        shown.set_position(done as u64);
    };
    let exported = review::export(&connection, &args.dir, args.model.as_deref(), progress).await;
    bar.finish_and_clear();
    let done = exported.map_err(|error| match error {
        ExportError::Client(error) => Failure::Client(error),
        error @ (ExportError::Models(_) | ExportError::Manifest { .. }) => Failure::Usage(error.to_string()),
        error => Failure::Io(std::io::Error::other(error.to_string())),
    })?;
    let output = Output::new(args.json, None, 1, quiet);
    for why in &done.refused {
        writeln!(std::io::stderr(), "client: {}", printable(why))?;
    }
    let dir = printable(&args.dir.display().to_string());
    if args.json {
        output.object(&json!({
            "dir": dir, "added": done.added, "moved": done.moved, "removed": done.removed, "kept": done.kept,
            "gone": done.gone, "refused": done.refused,
        }))?;
    } else {
        output.line(&format!(
            "{dir}: {} added, {} moved, {} removed, {} as before",
            done.added, done.moved, done.removed, done.kept
        ))?;
        if done.gone > 0 && !quiet {
            let (gone, topic) = (done.gone, printable(&connection.topics.review));
            writeln!(
                std::io::stderr(),
                "{gone} labelled images are not on topic {topic} any more, and not here"
            )?;
        }
    }
    Ok(if done.refused.is_empty() { Exit::Success } else { Exit::Failure })
}

async fn label(args: ReviewLabelArgs, quiet: bool, config: &Config) -> Result<Exit, Failure> {
    let connection = config.connection();
    let prefix = args.digest.strip_prefix("sha256:").unwrap_or(&args.digest).to_lowercase();
    if prefix.len() < 8 || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digest = printable(&args.digest);
        return Err(Failure::Usage(format!(
            "'{digest}' is not the digest of an image, or its first 8 digits or more: see client review list"
        )));
    }
    let items = review::items(&connection, None).await?;
    let found: BTreeMap<_, _> = items
        .iter()
        .filter(|item| item.review.image["sha256:".len()..].starts_with(&prefix))
        .filter(|item| args.model.as_ref().is_none_or(|model| *model == item.review.model.name))
        .map(|item| (item.review.label_key(), item))
        .collect();
    let item = match found.len() {
        1 => found.values().next().copied(),
        0 => None,
        _ => {
            let keys: Vec<_> = found.keys().map(|key| printable(key)).collect();
            return Err(Failure::Usage(format!(
                "there are several: {}; give more of the digest, or --model",
                keys.join(", ")
            )));
        }
    };
    let Some(item) = item else {
        let topic = printable(&connection.topics.review);
        return Err(Failure::Usage(format!("no image of that digest is on topic {topic}")));
    };
    let (image, model) = (item.review.image.clone(), item.review.model.name.clone());
    let output = Output::new(args.json, None, 1, quiet);
    if args.take_back {
        review::take_back(&connection, &model, &image).await?;
        if args.json {
            output.object(&json!({"key": wire::label::key(&model, &image), "label": null}))?;
        } else if !quiet {
            output.line(&format!("{}  taken back", printable(&model)))?;
        }
        return Ok(Exit::Success);
    }
    if let Some(text) = &args.label {
        review::folder_name(text).map_err(Failure::Usage)?;
    }
    let predicted = item.review.predictions.first().map(|first| first.label.clone());
    let verdict = match &args.label {
        None => Verdict::Skipped,
        label if *label == predicted => Verdict::Confirmed,
        Some(_) => Verdict::Corrected,
    };
    let (by, version) = (args.by.unwrap_or_else(cli::whoami), Some(item.review.model.version));
    let label =
        Label { image, model, verdict, label: args.label, predicted, version, by, at: Timestamp::now() };
    review::say(&connection, &label).await?;
    if args.json {
        output.object(&label)?;
    } else if !quiet {
        output.line(&format!("{}  {}", printable(&label.model), words(&label)))?;
    }
    Ok(Exit::Success)
}

//! `client models`.

use std::collections::BTreeSet;
use std::io::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::HumanBytes;
use wire::Announcement;

use super::args::ModelsArgs;
use super::config::Config;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};

pub(crate) async fn run(args: ModelsArgs, quiet: bool, config: Config) -> Result<Exit, Failure> {
    let served = client::served_models(&config.connection()).await?;
    let output = Output::new(args.json, None, 1, quiet);
    if args.json {
        for announcement in &served {
            output.object(announcement)?;
        }
    } else if served.is_empty() {
        if quiet {
            return Ok(Exit::Success);
        }
        writeln!(std::io::stderr(), "no worker announces a model")?;
    } else {
        output.line(&table(&served))?;
        if !quiet {
            skipped(&served).iter().try_for_each(|line| writeln!(std::io::stderr(), "{line}"))?;
        }
    }
    Ok(Exit::Success)
}

/// What workers found and do not serve, a line each.
fn skipped(served: &[Announcement]) -> BTreeSet<String> {
    let lines = served.iter().flat_map(|a| {
        a.skipped.iter().map(|s| format!("worker {}: {}", printable(&a.worker), printable(&s.reason)))
    });
    lines.collect()
}

pub(super) fn table(served: &[Announcement]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "MODEL",
        "VERSION",
        "LABELS",
        "ARCHITECTURE",
        "DIGEST",
        "DEFAULT",
        "STATE",
        "MEMORY",
        "TRAFFIC",
        "WORKER",
        "TOPIC",
    ]);
    for a in served {
        let digest = a.digest.get(..19).unwrap_or(&a.digest);
        let default = if a.default { "yes" } else { "" };
        table.add_row([
            printable(&a.model),
            a.version.to_string(),
            a.labels.to_string(),
            printable(&a.architecture),
            printable(digest),
            default.to_owned(),
            if a.loading { "loading" } else { "ready" }.to_owned(),
            a.memory_bytes.map_or_else(String::new, |bytes| HumanBytes(bytes).to_string()),
            traffic(a),
            printable(&a.worker),
            printable(&a.requests_topic),
        ]);
    }
    table.trim_fmt()
}

/// What part it has in the requests that name no version, where not all are its.
fn traffic(a: &Announcement) -> String {
    let answers = a.traffic_percent.map(|percent| format!("{percent} %"));
    let shadow = a.shadow_percent.map(|percent| format!("shadow of {percent} %"));
    answers.or(shadow).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::SkippedModel;

    #[test]
    fn what_a_worker_skips_is_said_once_though_it_stands_in_each_announcement_of_its() {
        let skipped_model = SkippedModel {
            model: "bird".into(),
            version: Some(1),
            reason: "bird is not served: it is cut\u{7} short".into(),
        };
        let announcement = |model: &str| Announcement {
            worker: "w1".into(),
            requests_topic: "predict.requests".into(),
            model: model.into(),
            version: 1,
            digest: "sha256:0".into(),
            architecture: "fashion-cnn".into(),
            labels: 10,
            default: false,
            loading: false,
            memory_bytes: Some(3 << 20),
            traffic_percent: Some(10),
            shadow_percent: None,
            announced_at: jiff::Timestamp::UNIX_EPOCH,
            ttl_s: 30,
            skipped: vec![skipped_model.clone()],
        };
        let shadow = Announcement { traffic_percent: None, shadow_percent: Some(5), ..announcement("glove") };
        let rows =
            table(&[announcement("shoe"), Announcement { loading: true, ..announcement("hat") }, shadow]);
        let says = |at: usize, what: &[&str]| {
            let words: Vec<_> = rows.lines().nth(at).unwrap_or_default().split_whitespace().collect();
            words.windows(what.len()).any(|words| words == what)
        };
        assert!(
            says(1, &["ready", "3.00", "MiB", "10", "%"]) && says(2, &["loading", "3.00", "MiB"]),
            "{rows}"
        );
        assert!(says(3, &["MiB", "shadow", "of", "5", "%", "w1"]), "{rows}");
        let lines = skipped(&[announcement("shoe"), announcement("hat")]);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].starts_with("worker w1: bird is not served: it is cut") && !lines[0].contains('\u{7}')
        );
    }
}

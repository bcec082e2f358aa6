//! `client models`.

use std::io::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use wire::Announcement;

use super::args::{Global, ModelsArgs};
use super::exit::{Exit, Failure};
use super::file::File;
use super::output::Output;

pub(crate) async fn run(args: ModelsArgs, global: &Global, file: File) -> Result<Exit, Failure> {
    let mut config = super::connection(global, &file);
    if let Some(topic) = args.topic {
        config.topics.models = topic;
    }
    let served = client::served_models(&config).await?;
    let output = Output::new(args.json, None, 1);
    if args.json {
        for announcement in &served {
            output.object(announcement)?;
        }
    } else if served.is_empty() {
        writeln!(std::io::stderr(), "no worker announces a model")?;
    } else {
        output.line(&table(&served))?;
    }
    Ok(Exit::Success)
}

fn table(served: &[Announcement]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["MODEL", "VERSION", "LABELS", "ARCHITECTURE", "DIGEST", "DEFAULT", "WORKER", "TOPIC"]);
    for a in served {
        let digest = a.digest.get(..19).unwrap_or(&a.digest);
        let default = if a.default { "yes" } else { "" };
        table.add_row([
            a.model.as_str(),
            &a.version.to_string(),
            &a.labels.to_string(),
            &a.architecture,
            digest,
            default,
            &a.worker,
            &a.requests_topic,
        ]);
    }
    table.trim_fmt()
}

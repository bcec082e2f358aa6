//! `client models`.

use std::io::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
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
            printable(&a.model),
            a.version.to_string(),
            a.labels.to_string(),
            printable(&a.architecture),
            printable(digest),
            default.to_owned(),
            printable(&a.worker),
            printable(&a.requests_topic),
        ]);
    }
    table.trim_fmt()
}

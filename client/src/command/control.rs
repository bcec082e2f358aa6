//! `client load`, `unload` and `refresh`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use wire::{Action, Announcement, Control};

use super::args::{ControlArgs, VersionArgs};
use super::config::Config;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};

/// Between two looks at what workers announce.
const LOOK: Duration = Duration::from_millis(300);

/// Has workers look which versions are in service.
pub(crate) async fn refresh(_: ControlArgs, config: Config) -> Result<Exit, Failure> {
    ask(&config, Action::Refresh, None).await?;
    Ok(Exit::Success)
}

/// Has workers load a version, and waits until all that serve the model have, or say why not.
pub(crate) async fn load(args: VersionArgs, quiet: bool, config: Config) -> Result<Exit, Failure> {
    let wanted = |all: &[Announcement]| {
        let has = |worker: &str| {
            all.iter().any(|row| row.worker == worker && args.is(row) && !row.loading)
                || !reasons(all, &args, worker).is_empty()
        };
        let missing: Vec<_> = workers(all, &args.model).into_iter().filter(|worker| !has(worker)).collect();
        missing
    };
    let (all, missing) = ask_and_wait(&args, Action::Load, &config, wanted).await?;
    show(&args, quiet, &all)?;
    let refused: Vec<_> = workers(&all, &args.model)
        .iter()
        .flat_map(|worker| reasons(&all, &args, worker).into_iter().map(move |why| (worker.clone(), why)))
        .collect();
    for (worker, why) in &refused {
        writeln!(std::io::stderr(), "client: worker {}: {}", printable(worker), printable(why))?;
    }
    told(missing, &args, &config, "has not loaded", "its log says why")?;
    Ok(if refused.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Has workers let a version go, and waits until none serves it.
pub(crate) async fn unload(args: VersionArgs, quiet: bool, config: Config) -> Result<Exit, Failure> {
    let wanted = |all: &[Announcement]| {
        let rows = all.iter().filter(|row| args.is(row));
        rows.map(|row| row.worker.clone()).collect::<Vec<_>>()
    };
    let (all, left) = ask_and_wait(&args, Action::Unload, &config, wanted).await?;
    show(&args, quiet, &all)?;
    told(left, &args, &config, "still serves", "it is in service there, or requests name it")?;
    Ok(Exit::Success)
}

async fn ask(config: &Config, action: Action, version: Option<(&str, u32)>) -> Result<(), Failure> {
    let (model, version) = version.unzip();
    let (model, by) = (model.map(str::to_owned), cli::whoami());
    let control = Control { action, model, version, at: Timestamp::now(), by };
    Ok(client::control(&config.connection(), &control).await?)
}

/// Asks, and looks until `missing` finds no worker any more, or the time is over: what is announced then, and who is missing.
async fn ask_and_wait(
    args: &VersionArgs,
    action: Action,
    config: &Config,
    missing: impl Fn(&[Announcement]) -> Vec<String>,
) -> Result<(Vec<Announcement>, Vec<String>), Failure> {
    let connection = config.connection();
    let end = Instant::now() + connection.timeout.min(Duration::from_secs(24 * 3600));
    let served = client::served_models(&connection).await?;
    if workers(&served, &args.model).is_empty() {
        let there_are: BTreeSet<_> = served.iter().map(|row| printable(&row.model)).collect();
        let there_are = there_are.into_iter().collect::<Vec<_>>().join(", ");
        let there_are = if there_are.is_empty() { "none".to_owned() } else { there_are };
        return Err(Failure::Usage(format!(
            "no worker serves model '{}', of which it could serve another version: there are {there_are}",
            printable(&args.model)
        )));
    }
    ask(config, action, Some((&args.model, args.number))).await?;
    loop {
        let all = client::served_models(&connection).await?;
        let left = missing(&all);
        if left.is_empty() || Instant::now() >= end {
            return Ok((all, left));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Those that serve the model in any version.
fn workers(all: &[Announcement], model: &str) -> BTreeSet<String> {
    all.iter().filter(|row| row.model == model).map(|row| row.worker.clone()).collect()
}

/// Why a worker does not serve that version.
fn reasons(all: &[Announcement], args: &VersionArgs, worker: &str) -> BTreeSet<String> {
    let skipped = all.iter().filter(|row| row.worker == worker).flat_map(|row| &row.skipped);
    let of_it = skipped.filter(|s| s.model == args.model && s.version == Some(args.number));
    of_it.map(|skipped| skipped.reason.clone()).collect()
}

fn show(args: &VersionArgs, quiet: bool, all: &[Announcement]) -> Result<(), Failure> {
    let rows: Vec<_> = all.iter().filter(|row| args.is(row)).cloned().collect();
    let output = Output::new(args.control.json, None, 1, quiet);
    if args.control.json {
        rows.iter().try_for_each(|row| output.object(row))?;
    } else if !rows.is_empty() {
        output.line(&super::models::table(&rows))?;
    }
    Ok(())
}

fn told(
    left: Vec<String>,
    args: &VersionArgs,
    config: &Config,
    what: &str,
    why: &str,
) -> Result<(), Failure> {
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<_> = left.iter().map(|worker| printable(worker)).collect();
    Err(Failure::Unheard(format!(
        "{} {what} {} {} after {}: {why}",
        left.join(", "),
        printable(&args.model),
        args.number,
        humantime::format_duration(config.connection().timeout)
    )))
}

impl VersionArgs {
    fn is(&self, row: &Announcement) -> bool {
        row.model == self.model && row.version == self.number
    }
}

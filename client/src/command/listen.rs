//! `client listen`.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use client::{Incoming, Listener, Outcome, Start};

use super::args::ListenArgs;
use super::config::Config;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};
use super::tally::{Fate, Tally};

pub(crate) async fn run(
    args: ListenArgs,
    quiet: bool,
    config: Config,
    tally: Arc<Tally>,
) -> Result<Exit, Failure> {
    // Whoever asks for a certain result need not be there before it is.
    let beginning = args.from_beginning || !args.request_id.is_empty();
    let start = if beginning { Start::Beginning } else { Start::End };
    let mut listener = Listener::open(&config.connection(), start).await?;
    if !quiet {
        let (topic, partitions) = (printable(&config.topics.results), listener.partitions());
        let address = &listener.broker().bootstrap_servers;
        // Whoever reads this may send now: the answer will be seen.
        writeln!(std::io::stderr(), "listening on {topic} ({partitions} partitions) at {address}")?;
    }
    let output = Output::new(args.json, config.top_k, 1, quiet);
    let mut wanted = Wanted::new(args.request_id, args.count);
    let listening = async {
        while !wanted.is_complete() {
            let Some(incoming) = listener.next().await else { break };
            let incoming = incoming?;
            if wanted.take(&incoming) {
                print(&output, &incoming, &tally)?;
            }
        }
        Ok::<_, Failure>(())
    };
    let ended = match args.timeout {
        Some(timeout) => tokio::time::timeout(timeout, listening).await,
        None => Ok(listening.await),
    };
    match ended {
        Ok(result) => result.map(|()| tally.exit()),
        // To listen for a while is no failure; to wait in vain is.
        Err(_) if wanted.is_endless() => Ok(tally.exit()),
        Err(_) => {
            if !quiet {
                writeln!(std::io::stderr(), "{} in time", printable(&wanted.missing()))?;
            }
            Ok(Exit::Timeout)
        }
    }
}

fn print(output: &Output, incoming: &Incoming, tally: &Tally) -> Result<(), Failure> {
    match &incoming.response {
        Ok(response) => {
            tally.begin();
            output.answer(None, response, None)?;
            tally.count(if matches!(response.outcome, Outcome::Error(_)) {
                Fate::Error
            } else {
                Fate::Answered
            });
        }
        Err(error) => {
            let (partition, offset) = (incoming.partition, incoming.offset);
            tracing::warn!(partition, offset, "not a result, passed over: {error}");
        }
    }
    Ok(())
}

/// Which results are shown, and when there are enough.
#[derive(Debug)]
struct Wanted {
    /// Those that are asked for; all where `None`.
    ids: Option<HashSet<String>>,
    /// Those of them that were not seen yet.
    unseen: HashSet<String>,
    /// How many more to show.
    left: Option<u64>,
}

impl Wanted {
    fn new(ids: Vec<String>, count: Option<u64>) -> Self {
        let ids: HashSet<String> = ids.into_iter().collect();
        Self { unseen: ids.clone(), ids: (!ids.is_empty()).then_some(ids), left: count }
    }

    /// Whether this one is shown.
    fn take(&mut self, incoming: &Incoming) -> bool {
        if incoming.response.is_err() {
            return self.ids.is_none();
        }
        if let Some(ids) = &self.ids {
            match &incoming.request_id {
                Some(id) if ids.contains(id) => self.unseen.remove(id),
                _ => return false,
            };
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        true
    }

    fn is_endless(&self) -> bool {
        self.ids.is_none() && self.left.is_none()
    }

    /// What did not come.
    fn missing(&self) -> String {
        match self.left {
            Some(left) => format!("{left} results did not come"),
            None => {
                let mut unseen: Vec<_> = self.unseen.iter().map(String::as_str).collect();
                unseen.sort_unstable();
                format!("no result came for {}", unseen.join(", "))
            }
        }
    }

    fn is_complete(&self) -> bool {
        let seen = self.ids.is_some() && self.unseen.is_empty();
        // With both, the count tells: a request may be answered twice, and whoever counts wants to see it.
        self.left.map_or(seen, |left| left == 0)
    }
}

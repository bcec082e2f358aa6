//! `client listen`.

use std::collections::HashSet;
use std::io::Write as _;
use std::time::Duration;

use client::listen::Incoming;
use client::{Listener, Start};
use wire::Outcome;

use super::args::{Global, ListenArgs};
use super::exit::{Exit, Failure, Tally};
use super::file::File;
use super::output::Output;

pub(crate) async fn run(args: ListenArgs, global: &Global, file: File) -> Result<Exit, Failure> {
    let mut config = super::connection(global, &file);
    if let Some(topic) = args.topic {
        config.topics.results = topic;
    }
    let start = if args.from_beginning { Start::Beginning } else { Start::End };
    let mut listener = Listener::open(&config, start).await?;
    let (topic, partitions) = (&config.topics.results, listener.partitions());
    let address = &listener.broker().bootstrap_servers;
    // Whoever reads this may send now: the answer will be seen.
    writeln!(std::io::stderr(), "listening on {topic} ({partitions} partitions) at {address}")?;

    let output = Output::new(args.json, file.top_k, 1);
    let mut wanted = Wanted::new(args.request_id, args.count);
    let mut tally = Tally::default();
    let listening = async {
        while !wanted.is_complete() {
            let incoming = listener.next().await?;
            if wanted.take(&incoming) {
                print(&output, &incoming, &mut tally)?;
            }
        }
        Ok::<_, Failure>(())
    };
    let ended = match args.timeout.map(Duration::from) {
        Some(timeout) => tokio::time::timeout(timeout, listening).await,
        None => Ok(listening.await),
    };
    match ended {
        Ok(result) => result.map(|()| tally.exit()),
        // To listen for a while is no failure; to wait in vain is.
        Err(_) if wanted.is_endless() => Ok(tally.exit()),
        Err(_) => Ok(Exit::Timeout),
    }
}

fn print(output: &Output, incoming: &Incoming, tally: &mut Tally) -> Result<(), Failure> {
    match &incoming.response {
        Ok(response) => {
            if matches!(response.outcome, Outcome::Error(_)) {
                tally.errors += 1;
            }
            output.answer(None, response, None)?;
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

    fn is_complete(&self) -> bool {
        let seen = self.ids.is_some() && self.unseen.is_empty();
        // With both, the count tells: a request may be answered twice, and whoever counts wants to see it.
        self.left.map_or(seen, |left| left == 0)
    }
}

//! `client send`.

use std::io;
use std::time::Duration;

use client::{Ask, Client, ClientError, Ticket};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use wire::{Outcome, Response};

use super::args::{Global, SendArgs};
use super::exit::{Exit, Failure, Tally};
use super::file::File;
use super::inputs::{self, Input};
use super::output::Output;

pub(crate) async fn run(args: SendArgs, global: &Global, file: File) -> Result<Exit, Failure> {
    let inputs = inputs::resolve(&args.images)?;
    let mut config = super::connection(global, &file);
    if let Some(topic) = args.topic {
        config.topics.requests = topic;
    }
    if let Some(topic) = args.results_topic {
        config.topics.results = topic;
    }
    config.timeout = args.timeout.map_or(config.timeout, Into::into);
    let ask = Ask {
        model: args.model.or(file.model),
        version: args.model_version,
        top_k: args.top_k.or(file.top_k),
        format: args.format.unwrap_or(file.format),
        key: args.key,
        ..Ask::default()
    };
    let client = Client::connect(config).await?;
    tracing::info!(
        broker = client.broker().bootstrap_servers,
        embedded = client.broker().embedded,
        "connected"
    );
    let run = Run {
        output: Output::new(args.json, ask.top_k, inputs.len()),
        wait: args.wait,
        tally: Tally::default(),
    };
    run.all(&client, &ask, inputs).await
}

struct Run {
    output: Output,
    wait: bool,
    tally: Tally,
}

/// How a request went on from the moment when it was sent.
enum Event {
    Answered {
        file: String,
        response: Response,
        latency: Duration,
    },
    Acknowledged {
        file: String,
        id: String,
        ticket: Option<Ticket>,
    },
    Failed {
        file: String,
        id: String,
        error: ClientError,
    },
    /// On the embedded broker without --wait: its place is free again.
    Settled,
}

type Open = JoinSet<Event>;

impl Run {
    /// Sends one after the other, as places become free, and prints meanwhile what has come.
    async fn all(mut self, client: &Client, ask: &Ask, inputs: Vec<Input>) -> Result<Exit, Failure> {
        let mut open = Open::new();
        let limit = client.broker().max_record_bytes();
        for input in inputs {
            let file = input.name();
            let image = match read(&input, limit).await {
                Ok(image) => image,
                Err(error) => {
                    self.tally.unsent += 1;
                    self.output.unreadable(&file, &error)?;
                    self.output.advance();
                    continue;
                }
            };
            let mut submit = std::pin::pin!(client.submit(image, ask));
            let submitted = loop {
                tokio::select! {
                    biased;
                    Some(event) = open.join_next() => self.handle(event, client, &mut open)?,
                    submitted = &mut submit => break submitted,
                }
            };
            match submitted {
                Ok(ticket) => {
                    open.spawn(follow(file, ticket, self.wait));
                }
                Err(error) => {
                    self.tally.count(&error);
                    self.output.failure(&file, None, &error)?;
                    self.output.advance();
                }
            }
        }
        while let Some(event) = open.join_next().await {
            self.handle(event, client, &mut open)?;
        }
        Ok(self.tally.exit())
    }

    fn handle(
        &mut self,
        event: Result<Event, tokio::task::JoinError>,
        client: &Client,
        open: &mut Open,
    ) -> Result<(), Failure> {
        let event = event.map_err(|e| Failure::Io(io::Error::other(e)))?;
        match event {
            Event::Answered { file, response, latency } => {
                if matches!(response.outcome, Outcome::Error(_)) {
                    self.tally.errors += 1;
                }
                self.output.answer(Some(&file), &response, Some(latency))?;
            }
            Event::Acknowledged { file, id, ticket } => {
                self.output.sent(&file, &id)?;
                if let Some(ticket) = ticket.filter(|_| client.broker().embedded) {
                    open.spawn(settle(file, ticket));
                    return Ok(());
                }
            }
            Event::Failed { file, id, error } => {
                self.tally.count(&error);
                self.output.failure(&file, Some(&id), &error)?;
            }
            Event::Settled => {}
        }
        self.output.advance();
        Ok(())
    }
}

async fn follow(file: String, mut ticket: Ticket, wait: bool) -> Event {
    let id = ticket.id().to_owned();
    if wait {
        let sent_at = ticket.sent_at();
        match ticket.answer().await {
            Ok(response) => Event::Answered { file, response, latency: sent_at.elapsed() },
            Err(error) => Event::Failed { file, id, error },
        }
    } else {
        match ticket.acknowledged().await {
            Ok(()) => Event::Acknowledged { file, id, ticket: Some(ticket) },
            Err(error) => Event::Failed { file, id, error },
        }
    }
}

/// Whatever the answer is: it was not asked for, only that the broker need not hold the request any longer.
async fn settle(file: String, ticket: Ticket) -> Event {
    let id = ticket.id().to_owned();
    match ticket.answer().await {
        Ok(_) => Event::Settled,
        Err(error) => Event::Failed { file, id, error },
    }
}

/// The whole file, unless it is larger than any request may be.
async fn read(input: &Input, limit: usize) -> io::Result<Vec<u8>> {
    let mut image = Vec::new();
    let most = limit as u64 + 1;
    match input {
        Input::File(path) => tokio::fs::File::open(path).await?.take(most).read_to_end(&mut image).await?,
        Input::Stdin => tokio::io::stdin().take(most).read_to_end(&mut image).await?,
    };
    Ok(image)
}

//! `client send`.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientError, Options, Outcome, Response, Ticket};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use super::args::SendArgs;
use super::config::Config;
use super::exit::{Exit, Failure};
use super::inputs::{self, Found, Input, List};
use super::output::Output;
use super::tally::{Fate, Tally};

/// After how long without any news it is said what is waited for.
const NEWS: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    args: SendArgs,
    quiet: bool,
    config: Config,
    tally: Arc<Tally>,
) -> Result<Exit, Failure> {
    let list = args.files_from.map(|path| List { path, null: args.null });
    if args.images.is_empty() && list.is_none() {
        return Err(Failure::Usage("send: give a FILE, FOLDER or GLOB, or --files-from FILE".to_owned()));
    }
    let inputs = inputs::resolve(&args.images, list.as_ref())?;
    tally.expect(inputs.len());
    let mut options = Options::default().format(config.format);
    options.model.clone_from(&config.model);
    options.version = args.model_version;
    options.top_k = config.top_k;
    options.key = args.key;
    options.deadline = config.deadline;
    // Without --wait nobody's time runs, unless the user says so.
    options.timeout = if args.wait { Some(config.timeout) } else { args.timeout };
    let client = Client::connect(config.connection()).await?;
    tracing::info!(
        broker = client.broker().bootstrap_servers,
        embedded = client.broker().embedded,
        "connected"
    );
    let run = Run {
        output: Output::new(args.json, options.top_k, inputs.len(), quiet),
        wait: args.wait,
        quiet,
        patience: config.timeout,
        tally,
    };
    run.all(&client, &options, inputs).await
}

struct Run {
    output: Output,
    wait: bool,
    quiet: bool,
    /// For how long the embedded broker keeps requests unanswered while nothing else is answered either.
    patience: Duration,
    tally: Arc<Tally>,
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
        ticket: Ticket,
    },
    Failed {
        file: String,
        id: String,
        error: ClientError,
    },
    /// On the embedded broker without --wait, after it was printed: its place is free again.
    Settled(Result<(), ClientError>),
}

type Open = JoinSet<Event>;

impl Run {
    /// Sends one after the other, as places become free, and prints meanwhile what has come.
    async fn all(self, client: &Client, options: &Options, inputs: Vec<Found>) -> Result<Exit, Failure> {
        let mut open = Open::new();
        for found in inputs {
            self.tally.begin();
            let (file, read) = match found {
                Ok(input) => (input.name(), read(&input, client).await),
                Err(unreadable) => (unreadable.name, Err(NotRead::Io(unreadable.error))),
            };
            let image = match read {
                Ok(image) => image,
                Err(NotRead::Io(error)) => {
                    self.output.unreadable(&file, &error)?;
                    self.done(Fate::Unsent);
                    continue;
                }
                Err(NotRead::TooLarge(error)) => {
                    self.output.failure(&file, None, &error)?;
                    self.done(Fate::Unsent);
                    continue;
                }
            };
            let mut submit = std::pin::pin!(async {
                if self.wait {
                    client.submit(image, options).await
                } else {
                    client.enqueue(image, options).await
                }
            });
            let submitted = loop {
                tokio::select! {
                    biased;
                    Some(event) = open.join_next() => self.handle(event, client, &mut open)?,
                    submitted = &mut submit => break submitted,
                    () = tokio::time::sleep(NEWS) => self.say_what_is_waited_for(&open)?,
                }
            };
            match submitted {
                Ok(ticket) => {
                    open.spawn(follow(file, ticket, self.wait));
                }
                Err(error) => {
                    self.output.failure(&file, None, &error)?;
                    self.done(Fate::from(&error));
                }
            }
        }
        while !open.is_empty() {
            tokio::select! {
                Some(event) = open.join_next() => self.handle(event, client, &mut open)?,
                () = tokio::time::sleep(NEWS) => self.say_what_is_waited_for(&open)?,
            }
        }
        Ok(self.tally.exit())
    }

    fn handle(
        &self,
        event: Result<Event, tokio::task::JoinError>,
        client: &Client,
        open: &mut Open,
    ) -> Result<(), Failure> {
        let event = event.map_err(|e| Failure::Io(io::Error::other(e)))?;
        match event {
            Event::Answered { file, response, latency } => {
                self.output.answer(Some(&file), &response, Some(latency))?;
                let error = matches!(response.outcome, Outcome::Error(_));
                self.done(if error { Fate::Error } else { Fate::Answered });
            }
            Event::Acknowledged { file, id, ticket } => {
                self.output.sent(&file, &id)?;
                if client.broker().embedded {
                    open.spawn(settle(ticket, self.patience));
                } else {
                    self.done(Fate::Taken);
                }
            }
            Event::Failed { file, id, error } => {
                self.output.failure(&file, Some(&id), &error)?;
                self.done(Fate::from(&error));
            }
            Event::Settled(Ok(())) => self.done(Fate::Taken),
            Event::Settled(Err(error)) => {
                tracing::warn!("{error}; the embedded broker may have forgotten it");
                self.done(Fate::Timeout);
            }
        }
        Ok(())
    }

    fn done(&self, fate: Fate) {
        self.tally.count(fate);
        self.output.advance();
    }

    fn say_what_is_waited_for(&self, open: &Open) -> Result<(), Failure> {
        if !self.quiet {
            let what = if self.wait { "answered" } else { "taken by the broker" };
            writeln!(io::stderr(), "waiting: {} requests are not yet {what}", open.len())?;
        }
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
            Ok(()) => Event::Acknowledged { file, id, ticket },
            Err(error) => Event::Failed { file, id, error },
        }
    }
}

/// Whatever the answer is: it was not asked for, only that the broker need not hold the request any longer.
async fn settle(ticket: Ticket, patience: Duration) -> Event {
    Event::Settled(ticket.answer_while_others_come(patience).await.map(drop))
}

enum NotRead {
    Io(io::Error),
    TooLarge(ClientError),
}

/// The whole file, unless it is larger than any request may be.
async fn read(input: &Input, client: &Client) -> Result<Vec<u8>, NotRead> {
    let limit = client.max_record_bytes();
    let most = limit as u64 + 1;
    let mut image = Vec::new();
    match input {
        Input::File(path) => {
            let file = tokio::fs::File::open(path).await.map_err(NotRead::Io)?;
            let bytes = file.metadata().await.map_err(NotRead::Io)?.len();
            if bytes > limit as u64 {
                let embedded = client.broker().embedded;
                return Err(NotRead::TooLarge(ClientError::TooLarge { bytes, limit, embedded }));
            }
            file.take(most).read_to_end(&mut image).await
        }
        Input::Stdin => tokio::io::stdin().take(most).read_to_end(&mut image).await,
    }
    .map_err(NotRead::Io)?;
    Ok(image)
}

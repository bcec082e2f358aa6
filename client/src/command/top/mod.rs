//! `client top`: what workers do, live, on a terminal; where there is none, a JSON object a second.
//!
//! - [`screen`]: what is shown, and what keys do.
//! - [`terminal`]: the terminal, taken and given back.

mod screen;
mod terminal;

use std::io::IsTerminal;
use std::time::Duration;

use client::live::monitor::Monitor;
use client::live::view::{Asked, View};
use client::{ClientConfig, ClientError};
use ratatui::backend::TestBackend;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use super::args::TopArgs;
use super::config::Config;
use super::exit::{Exit, Failure};
use super::output::Output;
use screen::{After, Screen};
pub(crate) use terminal::give_back;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// What was there before is read within that, or what of it was read by then is shown.
const FIRST: Duration = Duration::from_secs(3);
/// Between two looks whether it was read.
const LOOK: Duration = Duration::from_millis(50);
/// What `--once` fills where no terminal says how large it is.
const PAGE: (u16, u16) = (120, 40);

pub(crate) async fn run(args: TopArgs, color: bool, config: Config) -> Result<Exit, Failure> {
    let asked = Asked {
        window: args.window.unwrap_or_default(),
        model: args.model.clone(),
        version: None,
        worker: args.worker.clone(),
    };
    let mut source = Source::open(config.connection()).await?;
    let shown = std::io::stdout().is_terminal();
    if args.once || args.json || !shown {
        print(&args, &asked, &mut source, shown).await
    } else {
        show(&mut source, asked, color).await
    }
}

/// Where it is heard.
struct Source {
    monitor: Monitor,
    connection: ClientConfig,
}

impl Source {
    async fn open(connection: ClientConfig) -> Result<Self, Failure> {
        Ok(Self { monitor: Monitor::open(&connection).await?, connection })
    }

    fn view(&self, asked: &Asked) -> View {
        self.monitor.view(asked)
    }

    fn address(&self) -> &str {
        &self.monitor.broker().bootstrap_servers
    }

    /// Another worker may run the embedded broker by now.
    async fn renew(&mut self) {
        if !self.monitor.is_current()
            && let Ok(monitor) = Monitor::open(&self.connection).await
        {
            self.monitor = monitor;
        }
    }

    /// Until what was there before is read, or there is something wrong.
    async fn read(&self) -> Option<ClientError> {
        let end = Instant::now() + FIRST;
        while !self.monitor.has_read() && Instant::now() < end {
            if let Some(fault) = self.monitor.fault() {
                return Some(fault);
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }
}

/// Lines: objects, or with `--once` on a terminal the screen as text.
async fn print(args: &TopArgs, asked: &Asked, source: &mut Source, shown: bool) -> Result<Exit, Failure> {
    let output = Output::new(true, None, 1, true);
    let fault = source.read().await;
    if args.once {
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        let view = source.view(asked);
        if args.json || !shown {
            object(&output, view)?;
        } else {
            output.line(&text(&view, source.address())?)?;
        }
        return Ok(Exit::Success);
    }
    let mut ticks = ticks();
    let mut left = args.count;
    while left != Some(0) {
        ticks.tick().await;
        source.renew().await;
        object(&output, source.view(asked))?;
        left = left.map(|left| left - 1);
    }
    Ok(Exit::Success)
}

/// Without its points: each line is one.
fn object(output: &Output, view: View) -> Result<(), Failure> {
    Ok(output.object(&View { points: Vec::new(), ..view })?)
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The screen as text, as high as what is on it.
fn text(view: &View, address: &str) -> Result<String, Failure> {
    let (wide, high) = ratatui::crossterm::terminal::size().unwrap_or(PAGE);
    let backend = TestBackend::new(wide.max(80), high.max(PAGE.1));
    let Ok(mut terminal) = ratatui::Terminal::new(backend);
    let mut screen = Screen::new(Asked::default(), false);
    let Ok(_) = terminal.draw(|frame| screen.draw(frame, view, address, false));
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    let lines = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    let lines: Vec<_> = lines.map(|line| line.trim_end().to_owned()).collect();
    Ok(lines.join("\n").trim_end().to_owned())
}

/// The view, until somebody ends it.
async fn show(source: &mut Source, asked: Asked, color: bool) -> Result<Exit, Failure> {
    let (mut told, mut hung_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (mut terminal, mut events) = terminal::take()?;
    let mut screen = Screen::new(asked, color);
    let mut ticks = ticks();
    let mut view = source.view(screen.asked());
    loop {
        terminal.draw(|frame| screen.draw(frame, &view, source.address(), true))?;
        tokio::select! {
            _ = ticks.tick() => {
                source.renew().await;
                if !screen.is_paused() {
                    view = source.view(screen.asked());
                }
            }
            event = events.recv() => match event {
                Some(event) => match screen.event(&event?) {
                    After::Draw => {}
                    After::Ask => view = source.view(screen.asked()),
                    After::End => return Ok(Exit::Success),
                    After::Interrupt => return Err(Failure::Interrupted),
                },
                None => return Ok(Exit::Success),
            },
            _ = told.recv() => return Ok(Exit::Terminated),
            _ = hung_up.recv() => return Ok(Exit::Terminated),
        }
    }
}

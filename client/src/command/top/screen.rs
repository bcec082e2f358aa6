//! What `client top` shows, and what keys do to it. It draws what it is given, on whatever it is given to draw on.

mod tables;
#[cfg(test)]
mod tests;

use std::time::Duration;

use client::live::KEPT;
use client::live::view::{Asked, Point, View};
use indicatif::HumanCount;
use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, TableState};

use super::super::output::printable;
use tables::Sort;

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Drawn anew.
    Draw,
    /// Asked anew, and drawn.
    Ask,
    /// Ended.
    End,
    /// Ended, as by Ctrl-C.
    Interrupt,
}

/// Which table the arrows move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Workers,
    Models,
}

/// A chart: its name, what of a point it shows, how that is said, and its colour.
type Chart<'a> = (&'static str, &'a dyn Fn(&Point) -> Option<f64>, fn(f64) -> String, Color);

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Screen {
    asked: Asked,
    color: bool,
    paused: bool,
    sort: Sort,
    focus: Focus,
    workers: TableState,
    models: TableState,
}

impl Screen {
    /// About what is asked for, in colour or not.
    pub(super) fn new(asked: Asked, color: bool) -> Self {
        let (workers, models) = (TableState::default(), TableState::default());
        Self { asked, color, paused: false, sort: Sort::Name, focus: Focus::Workers, workers, models }
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// What a key does.
    pub(super) fn event(&mut self, event: &Event) -> After {
        let Event::Key(key) = event else { return After::Draw };
        if key.kind == KeyEventKind::Release {
            return After::Draw;
        }
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return After::Interrupt;
            }
            KeyCode::Char('q') | KeyCode::Esc => return After::End,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return if self.paused { After::Draw } else { After::Ask };
            }
            KeyCode::Char('w') => {
                let hour = self.asked.window == KEPT;
                self.asked.window = if hour { Duration::ZERO } else { KEPT };
                return After::Ask;
            }
            KeyCode::Left | KeyCode::Right | KeyCode::Tab => {
                self.focus = if self.focus == Focus::Workers { Focus::Models } else { Focus::Workers };
            }
            KeyCode::Down => self.table().select_next(),
            KeyCode::Up => self.table().select_previous(),
            KeyCode::PageDown => self.table().scroll_down_by(10),
            KeyCode::PageUp => self.table().scroll_up_by(10),
            KeyCode::Home => self.table().select_first(),
            _ => {}
        }
        After::Draw
    }

    fn table(&mut self) -> &mut TableState {
        match self.focus {
            Focus::Workers => &mut self.workers,
            Focus::Models => &mut self.models,
        }
    }

    fn style(&self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Draws all of it; `keys` says whether there are any to tell of.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, view: &View, address: &str, keys: bool) {
        let fault = u16::from(view.fault.is_some() || self.hint(view).is_some());
        let charts = if frame.area().height >= 20 { 5 } else { 0 };
        // Both tables as high as they need, where there is room, and half of what there is where not.
        let left = frame.area().height.saturating_sub(4 + fault + charts);
        let need = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
        let models =
            need(view.models.len()).min((left / 2).max(left.saturating_sub(need(view.workers.len()))));
        let [head, figures, trouble, charts, workers, models, errors, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(fault),
            Constraint::Length(charts),
            Constraint::Min(0),
            Constraint::Length(models),
            Constraint::Length(1),
            Constraint::Length(u16::from(keys)),
        ])
        .areas(frame.area());
        self.draw_head(frame, head, view, address);
        frame.render_widget(Paragraph::new(totals(view)), figures);
        if let Some(words) = view.fault.as_deref().or(self.hint(view)) {
            let style = self.style(Color::Red).add_modifier(Modifier::BOLD);
            frame.render_widget(Paragraph::new(Span::styled(printable(words), style)), trouble);
        }
        self.draw_charts(frame, charts, view);
        self.draw_workers(frame, workers, view);
        self.draw_models(frame, models, view);
        let errors_style = if view.total.errors.is_empty() { Style::new() } else { self.style(Color::Red) };
        frame.render_widget(Paragraph::new(Span::styled(errors_line(view), errors_style)), errors);
        if keys {
            let line = format!(
                "q quit  p {}  s sort ({})  w window  ↑↓ ←→ move",
                if self.paused { "go on" } else { "pause" },
                self.sort.name()
            );
            frame.render_widget(
                Paragraph::new(Span::styled(line, Style::new().add_modifier(Modifier::DIM))),
                foot,
            );
        }
    }

    /// What is to be known where nothing is wrong and nothing is there.
    fn hint(&self, view: &View) -> Option<&'static str> {
        view.workers.is_empty().then_some(
            "no worker has published anything: none runs, or they are older, or have metrics.snapshot_interval at 0s",
        )
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect, view: &View, address: &str) {
        let there = view.workers.iter().filter(|worker| worker.presence.is_there()).count();
        let mut words = vec![
            Span::styled("mlaas", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(
                "  {}  {there} worker{}",
                printable(address),
                if there == 1 { "" } else { "s" }
            )),
            Span::raw(format!("  last {}", window(view.window_s))),
        ];
        for (name, what) in [("model", &self.asked.model), ("worker", &self.asked.worker)] {
            words.extend(what.as_ref().map(|what| Span::raw(format!("  {name} {}", printable(what)))));
        }
        if self.paused {
            let style = self.style(Color::Yellow).add_modifier(Modifier::REVERSED);
            words.extend([Span::raw("  "), Span::styled(" paused ", style)]);
        }
        frame.render_widget(Paragraph::new(Line::from(words)), area);
    }

    fn draw_charts(&self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        if area.height == 0 {
            return;
        }
        let rate = |point: &Point| Some(point.per_second);
        let slowest = |point: &Point| point.p99_ms;
        let lag = |point: &Point| point.lag.map(|lag| lag as f64);
        let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
        let all: [Chart<'_>; 3] = [
            ("requests/s", &rate, three, Color::Cyan),
            ("p99", &slowest, millis, Color::Magenta),
            ("lag", &lag, three, Color::Yellow),
        ];
        for (area, (name, of, say, color)) in areas.into_iter().zip(all) {
            let wide = usize::from(area.width.saturating_sub(2)).max(1);
            let values = narrowed(&view.points, wide, of);
            let most = values.iter().flatten().copied().fold(0.0, f64::max);
            let title = if values.iter().any(Option::is_some) {
                format!("{name}, at most {}", say(most))
            } else {
                format!("{name}, none")
            };
            // In thousandths of the highest: bars are whole numbers.
            let bars = values.iter().map(|value| value.map(|value| (value / most.max(1e-9) * 1e3) as u64));
            let chart = Sparkline::default()
                .data(bars)
                .max(1000)
                .style(self.style(color))
                .absent_value_symbol(" ")
                .block(Block::bordered().title(title).border_style(Style::new().add_modifier(Modifier::DIM)));
            frame.render_widget(chart, area);
        }
    }
}

/// As many values as there are columns, the highest of those that share one; the newest on the right.
fn narrowed(points: &[Point], wide: usize, of: &dyn Fn(&Point) -> Option<f64>) -> Vec<Option<f64>> {
    let each = points.len().div_ceil(wide).max(1);
    // Full ones at the right, so that what is new moves by whole columns.
    let mut values: Vec<_> =
        points.rchunks(each).map(|some| some.iter().filter_map(of).reduce(f64::max)).collect();
    values.reverse();
    values
}

fn totals(view: &View) -> String {
    let now = &view.now;
    let all = now.answered.saturating_add(now.failed).max(1);
    let failed = now.per_second * now.failed as f64 / all as f64;
    format!(
        "{} requests/s  errors {}/s  p50 {}  p99 {}  batch {}  lag {}",
        three(now.per_second),
        three(failed),
        maybe(now.p50_ms, millis),
        maybe(now.p99_ms, millis),
        maybe(now.batch, three),
        maybe(view.lag, |lag| HumanCount(lag).to_string()),
    )
}

fn errors_line(view: &View) -> String {
    if view.total.errors.is_empty() {
        return format!("no errors in the last {}", window(view.window_s));
    }
    let mut kinds: Vec<_> = view.total.errors.iter().collect();
    kinds.sort_by_key(|(code, many)| (std::cmp::Reverse(**many), code.as_str()));
    let kinds: Vec<_> =
        kinds.iter().map(|(code, many)| format!("{} {}", printable(code), HumanCount(**many))).collect();
    format!("errors in the last {}: {}", window(view.window_s), kinds.join(", "))
}

fn window(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// It in words, or a dash.
fn maybe<T>(value: Option<T>, say: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), say)
}

/// Three digits, no zeros behind them.
fn three(value: f64) -> String {
    let text = match value {
        _ if value >= 1e5 => return format!("{:.0}k", value / 1e3),
        _ if value >= 100.0 => return format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// As `8.3 ms` or `1.2 s`.
fn millis(value: f64) -> String {
    if value < 999.5 { format!("{} ms", three(value)) } else { format!("{} s", three(value / 1e3)) }
}

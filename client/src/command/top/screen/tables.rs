//! The tables of workers and of model versions.

use std::cmp::Ordering;
use std::time::Duration;

use client::live::view::{Figures, ModelRow, Presence, View, WorkerRow};
use indicatif::{HumanBytes, HumanCount};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table};

use super::super::super::output::printable;
use super::{Focus, Screen, maybe, millis, three};

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    Slowest,
    Errors,
    Waiting,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Slowest,
            Self::Slowest => Self::Errors,
            Self::Errors => Self::Waiting,
            Self::Waiting => Self::Name,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "requests/s",
            Self::Slowest => "p99",
            Self::Errors => "errors",
            Self::Waiting => "lag and waiting",
        }
    }

    /// The most first; by name they come as they are.
    fn order<T>(self, rows: &mut [T], figures: impl Fn(&T) -> (&Figures, u64, u64)) {
        let key = |row: &T| {
            let (now, errors, waiting) = figures(row);
            match self {
                Self::Name => 0.0,
                Self::Rate => now.per_second,
                Self::Slowest => now.p99_ms.unwrap_or(-1.0),
                Self::Errors => errors as f64,
                Self::Waiting => waiting as f64,
            }
        };
        rows.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    }
}

/// Columns: a head, how wide, and whether it stands on the right. Those behind are left out first where there is no room.
type Column = (&'static str, u16, bool);

const WORKERS: &[Column] = &[
    ("WORKER", 16, false),
    ("STATE", 6, false),
    ("REQ/S", 6, true),
    ("P50", 8, true),
    ("P99", 8, true),
    ("BATCH", 5, true),
    ("LAG", 6, true),
    ("CPU", 6, true),
    ("MEMORY", 10, true),
    ("UP", 8, true),
    ("ERRORS", 6, true),
    ("UNDER WAY", 9, true),
    ("PARTS", 5, true),
];

const MODELS: &[Column] = &[
    ("MODEL", 20, false),
    ("VER", 4, true),
    ("REQ/S", 6, true),
    ("P50", 8, true),
    ("P99", 8, true),
    ("BATCH", 5, true),
    ("WAIT", 5, true),
    ("WORKERS", 7, true),
    ("ERRORS", 7, true),
    ("ANSWERED", 10, true),
];

impl Screen {
    pub(super) fn draw_workers(&mut self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let mut rows: Vec<_> = view.workers.iter().collect();
        self.sort.order(&mut rows, |row| (&row.now, row.now.failed, row.lag.unwrap_or(0)));
        let rows: Vec<_> = rows.into_iter().map(|row| (self.presence(row.presence), worker(row))).collect();
        let style = self.selected(Focus::Workers);
        let table = table(WORKERS, rows, area.width).row_highlight_style(style);
        frame.render_stateful_widget(table, area, &mut self.workers);
    }

    pub(super) fn draw_models(&mut self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let mut rows: Vec<_> = view.models.iter().collect();
        self.sort.order(&mut rows, |row| (&row.now, row.total.failed, row.waiting));
        let rows: Vec<_> = rows.into_iter().map(|row| (Style::new(), model(row))).collect();
        let style = self.selected(Focus::Models);
        let table = table(MODELS, rows, area.width).row_highlight_style(style);
        frame.render_stateful_widget(table, area, &mut self.models);
    }

    fn selected(&self, focus: Focus) -> Style {
        if self.focus == focus { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() }
    }

    fn presence(&self, presence: Presence) -> Style {
        match presence {
            Presence::Works => Style::new(),
            Presence::Paused => self.style(Color::Yellow),
            Presence::Ended => Style::new().add_modifier(Modifier::DIM),
            Presence::Gone => self.style(Color::Red),
        }
    }
}

fn table(columns: &[Column], rows: Vec<(Style, Vec<String>)>, wide: u16) -> Table<'static> {
    let mut room = wide;
    let fits = |(_, wide, _): &&Column| {
        let fits = room >= *wide;
        room = room.saturating_sub(wide + 1);
        fits
    };
    let columns: Vec<_> = columns.iter().take_while(fits).collect();
    let cell = |text: String, (_, _, right): &Column| {
        let text = Text::from(text);
        Cell::new(if *right { text.right_aligned() } else { text })
    };
    let heads = columns.iter().map(|column| cell(column.0.to_owned(), column));
    let header = Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.into_iter().map(|(style, texts)| {
        Row::new(texts.into_iter().zip(&columns).map(|(text, column)| cell(text, column))).style(style)
    });
    // The name takes what is left.
    let widths = columns.iter().enumerate().map(|(at, (_, wide, _))| match at {
        0 => Constraint::Min(*wide),
        _ => Constraint::Length(*wide),
    });
    Table::new(rows, widths).header(header).column_spacing(1)
}

/// What stands in the columns that both tables have.
fn figures(now: &Figures) -> [String; 4] {
    [three(now.per_second), maybe(now.p50_ms, millis), maybe(now.p99_ms, millis), maybe(now.batch, three)]
}

fn worker(row: &WorkerRow) -> Vec<String> {
    let [rate, p50, p99, batch] = figures(&row.now);
    let memory = Some(row.memory_bytes).filter(|bytes| *bytes > 0);
    // A second is as good as an hour where there are only eight columns for it.
    let up = Duration::from_secs(match row.uptime_s {
        0..120 => row.uptime_s,
        120..7200 => row.uptime_s / 60 * 60,
        _ => row.uptime_s / 3600 * 3600,
    });
    vec![
        printable(&row.worker),
        row.presence.name().to_owned(),
        rate,
        p50,
        p99,
        batch,
        maybe(row.lag, |lag| HumanCount(lag).to_string()),
        format!("{:.0} %", row.cores * 100.0),
        maybe(memory, |bytes| HumanBytes(bytes).to_string()),
        humantime::format_duration(up).to_string(),
        HumanCount(row.now.failed).to_string(),
        HumanCount(row.in_flight).to_string(),
        row.partitions.to_string(),
    ]
}

fn model(row: &ModelRow) -> Vec<String> {
    let [rate, p50, p99, batch] = figures(&row.now);
    let nameless = row.model.is_empty();
    vec![
        if nameless { "(none found)".to_owned() } else { printable(&row.model) },
        if nameless { String::new() } else { row.version.to_string() },
        rate,
        p50,
        p99,
        batch,
        HumanCount(row.waiting).to_string(),
        row.workers.to_string(),
        HumanCount(row.total.failed).to_string(),
        HumanCount(row.total.answered).to_string(),
    ]
}

use std::collections::BTreeMap;

use client::live::Live;
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use wire::{Counts, Histogram, ModelFigures, Snapshot, WorkerState};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn snapshot(worker: &str, second: i64, answered: u64) -> Snapshot {
    let mut latency = Histogram::default();
    (0..answered).for_each(|_| latency.add(Duration::from_millis(80)));
    let errors = BTreeMap::from([("INVALID_ARGUMENT".to_owned(), 2)]);
    let counts = Counts { answered, errors, images: answered, batches: 2, latency, ..Counts::default() };
    Snapshot {
        worker: worker.to_owned(),
        at: at(second),
        covers_ms: 1_000,
        interval_ms: 1_000,
        uptime_s: 3_700,
        models: vec![ModelFigures { model: "bird".to_owned(), version: 2, waiting: 7, counts }],
        errors: BTreeMap::new(),
        dead_letters: 0,
        state: WorkerState {
            partitions: 4,
            lag: Some(1_234),
            instances: 2,
            memory_bytes: 300 << 20,
            cpu_ms: 1_500,
            ..WorkerState::default()
        },
    }
}

fn view() -> View {
    let mut live = Live::default();
    // One that is gone.
    live.take(snapshot("gamma", 0, 1), at(0), at(0), true);
    for second in 0..60 {
        for (worker, answered) in [("alpha", 4), ("beta\u{1b}[31m", 20)] {
            live.take(snapshot(worker, second, answered), at(second), at(second), true);
        }
    }
    live.view(&Asked::default(), at(60))
}

fn drawn(screen: &mut Screen, view: &View, wide: u16, high: u16) -> (Vec<String>, Buffer) {
    let mut terminal = Terminal::new(TestBackend::new(wide, high)).unwrap();
    terminal.draw(|frame| screen.draw(frame, view, "localhost:9092", true)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content.chunks(usize::from(wide));
    (rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect(), buffer)
}

fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn screen() -> Screen {
    Screen::new(Asked::default(), true)
}

#[test]
fn all_that_matters_stands_on_a_small_terminal() {
    let (lines, _) = drawn(&mut screen(), &view(), 80, 24);
    let text = lines.join("\n");
    assert!(lines[0].starts_with("mlaas  localhost:9092  2 workers  last 5m"), "{text}");
    assert!(lines[1].starts_with("28 requests/s  errors 4/s  p50 7"), "{text}");
    assert!(lines[1].contains("lag 2,468"), "{text}");
    for part in ["requests/s, at most", "p99, at most", "lag, at most", "WORKER", "MODEL", "alpha", "gamma"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let alpha = lines.iter().find(|line| line.starts_with("alpha")).unwrap();
    for part in ["works", "6", "1,234", "150 %", "300.00 MiB"] {
        assert!(alpha.contains(part), "{part}: {alpha}");
    }
    assert!(lines.iter().any(|line| line.starts_with("gamma") && line.contains("gone")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("bird")), "{text}");
    assert!(lines[22].starts_with("errors in the last 5m: INVALID_ARGUMENT 242"), "{text}");
    assert!(lines[23].starts_with("q quit"), "{text}");
    assert!(!text.contains('\u{1b}'), "what a worker calls itself steers no terminal");
}

#[test]
fn any_size_can_be_drawn() {
    let (mut screen, view) = (screen(), view());
    for (wide, high) in [(1, 1), (3, 2), (10, 5), (20, 7), (79, 19), (80, 24), (300, 100), (65, 8)] {
        let (lines, _) = drawn(&mut screen, &view, wide, high);
        assert_eq!(lines.len(), usize::from(high));
    }
    let (lines, _) = drawn(&mut screen, &view, 300, 50);
    assert!(lines.iter().any(|line| line.contains("UNDER WAY") && line.contains("PARTS")), "{lines:?}");
}

#[test]
fn keys_sort_pause_move_and_end() {
    let (mut screen, view) = (screen(), view());
    let first = |screen: &mut Screen| {
        let (lines, _) = drawn(screen, &view, 80, 24);
        let head = lines.iter().position(|line| line.starts_with("WORKER")).unwrap();
        lines[head + 1].clone()
    };
    assert!(first(&mut screen).starts_with("alpha"));
    assert_eq!(screen.event(&key(KeyCode::Char('s'))), After::Draw);
    assert!(first(&mut screen).starts_with("beta"), "by requests a second");
    assert_eq!(screen.event(&key(KeyCode::Char('p'))), After::Draw);
    assert!(screen.is_paused() && drawn(&mut screen, &view, 80, 24).0[0].contains(" paused "));
    assert_eq!(screen.event(&key(KeyCode::Char('p'))), After::Ask);
    assert_eq!((screen.event(&key(KeyCode::Char('w'))), screen.asked().window), (After::Ask, KEPT));
    for code in [KeyCode::Down, KeyCode::Down, KeyCode::Up, KeyCode::PageDown, KeyCode::Home] {
        assert_eq!(screen.event(&key(code)), After::Draw);
    }
    assert_eq!((screen.workers.selected(), screen.models.selected()), (Some(0), None));
    screen.event(&key(KeyCode::Right));
    screen.event(&key(KeyCode::Down));
    assert_eq!(screen.models.selected(), Some(0));
    assert_eq!(screen.event(&Event::Resize(10, 10)), After::Draw);
    assert_eq!(screen.event(&key(KeyCode::Char('q'))), After::End);
    assert_eq!(screen.event(&key(KeyCode::Esc)), After::End);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.event(&Event::Key(interrupt)), After::Interrupt);
}

#[test]
fn there_is_colour_where_it_is_wanted_alone() {
    let colours = |color: bool| {
        let (_, buffer) = drawn(&mut Screen::new(Asked::default(), color), &view(), 80, 24);
        buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(colours(true) > 20);
    assert_eq!(colours(false), 0);
}

#[test]
fn what_is_wrong_and_that_nothing_is_there_is_said() {
    let nothing = Live::default().view(&Asked::default(), at(0));
    let (lines, _) = drawn(&mut screen(), &nothing, 80, 24);
    assert!(lines[2].starts_with("no worker has published anything"), "{lines:?}");
    let away = View { fault: Some("the broker does not answer".to_owned()), ..view() };
    let (lines, _) = drawn(&mut screen(), &away, 80, 24);
    assert!(lines[2].starts_with("the broker does not answer"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("alpha")), "what is known stays: {lines:?}");
}

#[test]
fn as_many_values_as_columns_with_the_highest_of_each() {
    let points: Vec<_> = (0..10).map(|n| Point { per_second: f64::from(n), ..Point::default() }).collect();
    let rate = |point: &Point| Some(point.per_second);
    assert_eq!(narrowed(&points, 20, &rate).len(), 10);
    assert_eq!(narrowed(&points, 3, &rate), [Some(1.0), Some(5.0), Some(9.0)]);
    assert_eq!(narrowed(&points, 3, &|_| None), [None, None, None]);
    assert!(narrowed(&[], 3, &rate).is_empty());
}

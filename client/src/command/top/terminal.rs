//! The terminal: taken for the view, and given back however that ends.

use std::io::{self, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use tokio::sync::mpsc;

/// Between two looks whether anybody still wants to hear of keys.
const LOOK: Duration = Duration::from_millis(200);

/// Where it is drawn.
pub(super) type Screen = Terminal<CrosstermBackend<Stdout>>;
/// Keys, and that the size has changed.
pub(super) type Events = mpsc::Receiver<io::Result<Event>>;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal, and begins to hear keys. Until [`give_back`] is called it is the view's; where a thread panics that is done first.
pub(super) fn take() -> io::Result<(Screen, Events)> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panicked| {
        give_back();
        before(panicked);
    }));
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, cursor::Hide)?;
    let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
    let (sender, events) = mpsc::channel(16);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || hear(&sender))?;
    Ok((terminal, events))
}

fn hear(sender: &mpsc::Sender<io::Result<Event>>) {
    while !sender.is_closed() {
        let event = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let failed = event.is_err();
        if sender.blocking_send(event).is_err() || failed {
            return;
        }
    }
}

/// Gives the terminal back, where it is taken. It may be called by anybody, and more than once.
pub(crate) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Where the terminal itself is gone there is nobody to tell.
        disable_raw_mode().ok();
        execute!(stdout(), LeaveAlternateScreen, cursor::Show).ok();
    }
}

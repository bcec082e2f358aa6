//! A way to a server that breaks: it lets bytes through until it is told to do something else with them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Each is closed as soon as it is opened, and those that are open, too.
    Away,
    /// Each ends when so many bytes have come back by it.
    Cut(u64),
    /// This byte of all that comes back by one is another.
    Flip(u64),
    /// At most so many bytes a second go each way.
    Slow(u64),
}

/// The way.
pub struct Way {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    to: u16,
    trouble: Mutex<Trouble>,
    /// Bytes that have gone to the server.
    sent: AtomicU64,
}

impl Way {
    /// To a server on this machine.
    ///
    /// # Panics
    /// Where there is no port for it.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}"));
        let own = listener.local_addr().map_or(0, |address| address.port());
        let shared =
            Arc::new(Shared { to: port, trouble: Mutex::new(Trouble::None), sent: AtomicU64::new(0) });
        let of_it = Arc::clone(&shared);
        // As long as the tests run.
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let shared = Arc::clone(&of_it);
                thread::spawn(move || shared.connect(&from));
            }
        });
        Self { port: own, shared }
    }

    /// Where it begins.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on that becomes of connections.
    pub fn is(&self, trouble: Trouble) {
        *self.shared.trouble() = trouble;
    }

    /// How many bytes have gone to the server.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, from: &TcpStream) {
        let now = *self.trouble();
        let Ok(to) = TcpStream::connect(("127.0.0.1", self.to)) else { return };
        if now == Trouble::Away {
            return;
        }
        thread::scope(|threads| {
            threads.spawn(|| self.pass(from, &to, true));
            self.pass(&to, from, false);
        });
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, outward: bool) {
        let mut bytes = vec![0; 16 << 10];
        let mut passed = 0u64;
        // Often enough to see that it is away.
        from.set_read_timeout(Some(Duration::from_millis(20))).ok();
        loop {
            let trouble = *self.trouble();
            if trouble == Trouble::Away {
                break;
            }
            let mut read = match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            match trouble {
                Trouble::Flip(at) if !outward && (passed..passed + read as u64).contains(&at) => {
                    bytes[usize::try_from(at - passed).unwrap_or_default()] ^= 1;
                }
                Trouble::Cut(after) if !outward => {
                    read = read.min(usize::try_from(after.saturating_sub(passed)).unwrap_or(usize::MAX));
                }
                Trouble::Slow(rate) => thread::sleep(Duration::from_secs_f64(read as f64 / rate as f64)),
                _ => {}
            }
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                break;
            }
            passed += read as u64;
            if outward {
                self.sent.fetch_add(read as u64, Ordering::Relaxed);
            }
        }
        // The other direction ends with this one.
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }
}

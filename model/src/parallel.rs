//! The same work on many things, on several threads.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// `work` on each item, on as many threads as there are tools, each with its own. `on` hears, on this thread, of each result with its
/// item's place, in the order in which they are done; its error ends the work. While it hears of one, no more results wait than there
/// are tools.
///
/// # Errors
/// That of `on`.
pub fn side_by_side<I: Sync, W: Send, R: Send, E>(
    items: &[I],
    tools: Vec<W>,
    work: impl Fn(&mut W, &I) -> R + Sync,
    mut on: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::sync_channel(tools.len());
    thread::scope(|scope| {
        let start = |mut tool: W| {
            let (next, work, done) = (&next, &work, done.clone());
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    // It is no longer listened where the work has ended.
                    if done.send((place, work(&mut tool, item))).is_err() {
                        break;
                    }
                }
            })
        };
        let threads: Vec<_> = tools.into_iter().map(start).collect();
        drop(done);
        let result = results.into_iter().try_for_each(|(place, result)| on(place, result));
        // The scope would wait for the work alone. A thread that an engine computed on still has the library's own things to take
        // down then, while whoever called takes down the library.
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_worked_on_once_and_an_error_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        let mut all = vec![0; items.len()];
        let double = |(): &mut (), item: &usize| 2 * item;
        let fill = |place: usize, result| {
            all[place] += result;
            Ok::<_, ()>(())
        };
        side_by_side(&items, vec![(); 4], double, fill).unwrap();
        assert!(all.iter().enumerate().all(|(place, result)| *result == 2 * place));
        let mut heard = 0;
        let stop = |_, _| {
            heard += 1;
            if heard == 10 { Err("enough") } else { Ok(()) }
        };
        assert_eq!(side_by_side(&items, vec![(); 4], double, stop), Err("enough"));
        assert_eq!(heard, 10);
    }
}

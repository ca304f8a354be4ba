//! Work shared by the threads of one process.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
use crate::error::Result;

/// Calls `work(worker, i)` for every `i < count`, each once, on as many threads as there are workers.
/// What a call computes must not depend on which worker it gets. Of several errors the one with the smallest
/// `i` is returned.
pub fn each<W: Send>(workers: &mut [W], count: usize, work: impl Fn(&mut W, usize) -> Result<()> + Sync) -> Result<()> {
    if let [worker] = workers {
        return (0..count).try_for_each(|i| work(worker, i));
    }
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let pull = |worker: &mut W| {
        loop {
            let i = next.fetch_add(1, Relaxed);
            if i >= count {
                return;
            }
            if let Err(error) = work(worker, i) {
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(at, _)| i < *at) {
                    *first = Some((i, error));
                }
                next.store(count, Relaxed);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| pull(worker));
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        for threads in [1, 2, 5] {
            let mut workers = vec![Vec::new(); threads];
            each(&mut workers, 100, |seen, i| {
                seen.push(i);
                Ok(())
            })
            .unwrap();
            let mut all = workers.concat();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..100));
        }
    }

    #[test]
    fn an_error_stops_the_work() {
        let mut workers = vec![(); 3];
        let error = each(&mut workers, 50, |_, i| if i == 7 { Err(Error::internal("seven")) } else { Ok(()) });
        assert_eq!(error.unwrap_err().problem, "seven");
    }
}

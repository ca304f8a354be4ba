//! Work shared by the threads of one process.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rayon::iter::IndexedParallelIterator;
use rayon::iter::IntoParallelRefMutIterator;
use rayon::iter::ParallelIterator;

use crate::error::Error;
use crate::error::Result;

/// Calls `work(worker, item)` for every item, each once, on as many threads of the present pool as there are workers.
/// Items are handed out one by one, so that they may borrow what they change; nothing is allocated.
/// What a call computes must not depend on which worker it gets. Of several errors the one of the earliest item is
/// returned.
pub fn each<W: Send, I: Iterator<Item: Send> + Send>(
    workers: &mut [W],
    mut items: I,
    work: impl Fn(&mut W, I::Item) -> Result<()> + Sync,
) -> Result<()> {
    if let [worker] = workers {
        return items.try_for_each(|item| work(worker, item));
    }
    let items = Mutex::new(items.enumerate());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let has_failed = AtomicBool::new(false);
    let pull = |worker: &mut W| {
        while !has_failed.load(Relaxed)
            && let Some((i, item)) = next()
        {
            if let Err(error) = work(worker, item) {
                has_failed.store(true, Relaxed);
                let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(at, _)| i < *at) {
                    *first = Some((i, error));
                }
            }
        }
    };
    workers.par_iter_mut().with_max_len(1).for_each(pull);
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
            each(&mut workers, 0..100, |seen, i| {
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
        let error = each(&mut workers, 0..50, |_, i| if i == 7 { Err(Error::internal("seven")) } else { Ok(()) });
        assert_eq!(error.unwrap_err().problem, "seven");
    }
}

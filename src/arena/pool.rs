//! Equal buffers for the threads of a parallel loop.

use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Buffers that threads take and give back. Who finds none waits: there may be fewer of them than threads.
pub struct Pool<'w, T> {
    free: Mutex<Vec<&'w mut [T]>>,
    given_back: Condvar,
}

impl<'w, T> Pool<'w, T> {
    /// Cuts `memory` into buffers of `each` values.
    pub fn new(memory: &'w mut [T], each: usize) -> Self {
        assert!(memory.len() >= each, "memory for one buffer at least");
        Self { free: Mutex::new(memory.chunks_exact_mut(each).collect()), given_back: Condvar::new() }
    }

    /// A buffer with what its last user left in it. Nobody may hold one and wait for work that takes another.
    pub fn take(&self) -> Taken<'_, 'w, T> {
        let mut free = self.free();
        loop {
            match free.pop() {
                Some(buffer) => return Taken { buffer: Some(buffer), pool: self },
                None => free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<&'w mut [T]>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of a [`Pool`], until it is dropped.
pub struct Taken<'p, 'w, T> {
    /// `None` only while it is dropped.
    buffer: Option<&'w mut [T]>,
    pool: &'p Pool<'w, T>,
}

impl<T> Deref for Taken<'_, '_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.buffer.as_deref().unwrap_or(&[])
    }
}

impl<T> DerefMut for Taken<'_, '_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.buffer.as_deref_mut().unwrap_or(&mut [])
    }
}

impl<T> Drop for Taken<'_, '_, T> {
    fn drop(&mut self) {
        self.pool.free().extend(self.buffer.take());
        self.pool.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_buffers_share_them() {
        let mut memory = vec![0_u64; 20];
        let pool = Pool::new(&mut memory, 10);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut buffer = pool.take();
                        assert_eq!(buffer.len(), 10);
                        // Nobody else writes meanwhile.
                        let before = buffer[0];
                        buffer.iter_mut().for_each(|v| *v += 1);
                        assert_eq!((buffer[0], buffer[9]), (before + 1, before + 1));
                    }
                });
            }
        });
        drop(pool);
        assert_eq!(memory[0] + memory[10], 8000);
    }
}

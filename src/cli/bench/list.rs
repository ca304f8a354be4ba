//! A list allocator of the kind that RELION has on a GPU, as a model: no memory, only the list of its blocks.
//!
//! First fit, in blocks strictly larger than the request; a block is split at its front, free neighbours become one.
//! What is given back is free only when a later event has passed and the next request comes.

/// Requests are rounded up to this, as device memory is.
pub const ALIGNMENT: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Used {
        id: usize,
    },
    /// Given back; free when the event has passed.
    Waits {
        event: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: u64,
    bytes: u64,
    state: State,
}

/// The pool as a list of blocks in the order of their addresses.
pub struct List {
    blocks: Vec<Block>,
}

impl List {
    pub fn new(pool_bytes: u64) -> Self {
        let bytes = pool_bytes / ALIGNMENT * ALIGNMENT;
        Self { blocks: vec![Block { start: 0, bytes, state: State::Free }] }
    }

    /// Where `bytes` lie from now on under the name `id`; `None` when no free block is larger.
    pub fn take(&mut self, id: usize, bytes: u64) -> Option<u64> {
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        let at = self.blocks.iter().position(|block| block.state == State::Free && block.bytes > bytes)?;
        let Block { start, bytes: found, .. } = self.blocks[at];
        self.blocks[at] = Block { start, bytes, state: State::Used { id } };
        self.blocks.insert(at + 1, Block { start: start + bytes, bytes: found - bytes, state: State::Free });
        Some(start)
    }

    /// Gives `id` back, to be free once `event` has passed; at once without one.
    pub fn give_back(&mut self, id: usize, event: Option<usize>) {
        let state = event.map_or(State::Free, |event| State::Waits { event });
        self.change(|block| if block.state == (State::Used { id }) { state } else { block.state });
    }

    /// Frees what waited for events that have passed; whether there was any.
    pub fn release(&mut self, has_passed: impl Fn(usize) -> bool) -> bool {
        let mut any = false;
        self.change(|block| match block.state {
            State::Waits { event } if has_passed(event) => {
                any = true;
                State::Free
            }
            state => state,
        });
        any
    }

    fn change(&mut self, mut state: impl FnMut(&Block) -> State) {
        self.blocks.iter_mut().for_each(|block| block.state = state(block));
        self.blocks.dedup_by(|next, before| {
            let both = next.state == State::Free && before.state == State::Free;
            if both {
                before.bytes += next.bytes;
            }
            both
        });
    }

    /// End of the last block that is not free.
    pub fn top(&self) -> u64 {
        let last = self.blocks.iter().rev().find(|block| block.state != State::Free);
        last.map_or(0, |block| block.start + block.bytes)
    }

    /// Bytes of all free blocks, and of the largest.
    pub fn free(&self) -> (u64, u64) {
        let free = || self.blocks.iter().filter(|block| block.state == State::Free).map(|block| block.bytes);
        (free().sum(), free().max().unwrap_or(0))
    }
}

/// The share of the free bytes that no single request can have.
pub fn fragmentation((total, largest): (u64, u64)) -> f64 {
    if total == 0 { 0.0 } else { 1.0 - largest as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;

    #[test]
    fn the_first_block_that_is_larger_is_split_at_its_front() {
        let mut list = List::new(10 * K);
        assert_eq!([list.take(0, 2 * K), list.take(1, 3 * K), list.take(2, K)], [Some(0), Some(2 * K), Some(5 * K)]);
        list.give_back(0, None);
        assert_eq!(list.take(3, K - 1), Some(0), "rounded up, at the front of the first hole");
        assert_eq!(list.take(4, K), Some(6 * K), "a hole of just that size is passed over");
        assert_eq!(list.take(5, 3 * K), None, "so it is at the end of the pool");
        assert_eq!((list.top(), list.free()), (7 * K, (4 * K, 3 * K)));
        assert!((fragmentation(list.free()) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn free_neighbours_become_one() {
        let mut list = List::new(4 * K);
        (0..3).for_each(|id| assert!(list.take(id, K).is_some()));
        list.give_back(0, None);
        list.give_back(2, None);
        assert_eq!(list.free(), (3 * K, 2 * K));
        list.give_back(1, None);
        assert_eq!(list.free(), (4 * K, 4 * K));
        assert_eq!((list.blocks.len(), list.top()), (1, 0));
    }

    #[test]
    fn what_waits_for_an_event_is_not_free() {
        let mut list = List::new(4 * K);
        assert!(list.take(0, 2 * K).is_some());
        list.give_back(0, Some(7));
        assert_eq!((list.free(), list.top()), ((2 * K, 2 * K), 2 * K));
        assert_eq!(list.take(1, 3 * K), None);
        assert!(!list.release(|event| event < 7));
        assert!(list.release(|event| event == 7));
        assert_eq!(list.take(1, 3 * K), Some(0));
    }

    /// Two particles on two streams; the later one ends first, and the one after it takes less.
    #[test]
    fn batches_that_end_out_of_order_leave_holes() {
        let mut list = List::new(6 * K);
        assert_eq!([list.take(0, 2 * K), list.take(1, 2 * K)], [Some(0), Some(2 * K)]);
        list.give_back(0, Some(0));
        assert!(list.release(|event| event == 0));
        assert_eq!(list.take(2, K), Some(0));
        // 3 K are free, in two pieces.
        assert_eq!((list.free(), list.take(3, 5 * K / 2)), ((3 * K, 2 * K), None));
    }
}

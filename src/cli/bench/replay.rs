//! The recorded requests of an iteration, asked again: of the stack they came from, and of a list allocator.

use crate::plan::progress::ArenaChange;
use crate::plan::progress::ArenaRequest;

use super::list::List;
use super::list::fragmentation;

/// How the list's user works. On a GPU, memory that is given back is still read by what was started before: its free
/// waits for an event behind that work. Several host threads feed the device, each with a stream of its own and with
/// a particle of its own; particles take differing times, so events pass in another order than memory was given back.
/// Here a batch (the outermost frame of kind batch or tile) is such a particle, streams take batches in turn, and what
/// a batch gave back becomes free after a random time of up to `streams` batches, in order within a stream. Volumes
/// (frames of kind run and iteration) are given back by a host that has waited for the device, so at once.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub streams: usize,
    /// Requests of batches are smaller by up to this share, a new one each time: memory taken by need, not by plan.
    pub spread: f64,
    pub seed: u64,
}

/// One step of the replay.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Take {
        id: usize,
        bytes: u64,
        offset: u64,
        in_batch: bool,
    },
    /// All that a frame took; of a batch when it has a number.
    GiveBack {
        ids: Vec<usize>,
        batch: Option<Batch>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    number: usize,
    /// Requests in it.
    requests: usize,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// End of what was in use, after each step.
    pub tops: Vec<u64>,
    pub peak: u64,
    /// The share of the free bytes that no single request could have, after each step.
    pub fragmentation: Vec<f64>,
    /// Smallest that the largest free block ever was, and most free bytes outside of it.
    pub least_free: u64,
    pub most_unusable: u64,
    /// Requests that had to wait for all events.
    pub waits: usize,
    /// Requests that found no room even then.
    pub failed: usize,
}

impl Outcome {
    pub fn worst_fragmentation(&self) -> f64 {
        self.fragmentation.iter().copied().fold(0.0, f64::max)
    }
}

fn is_of_batch(frame: &str) -> bool {
    matches!(frame, "batch" | "tile")
}

/// The requests as steps. A frame of kind batch whose buffers served several batches is repeated `repeats` times.
pub fn steps(requests: &[ArenaRequest], repeats: usize) -> Vec<Step> {
    let mut builder = Builder::default();
    let mut at = 0;
    while at < requests.len() {
        let end = at + frame_length(&requests[at..]);
        if is_of_batch(&requests[at].frame) && requests[at].change == ArenaChange::Opened {
            let count = if requests[at].frame == "batch" { repeats } else { 1 };
            (0..count).for_each(|_| builder.batch(&requests[at..end]));
            at = end;
        } else {
            builder.request(&requests[at], None);
            at += 1;
        }
    }
    builder.steps
}

/// Outermost frames of kind batch.
pub fn batch_frames(requests: &[ArenaRequest]) -> usize {
    requests.iter().filter(|request| request.frame == "batch" && request.change == ArenaChange::Opened).count()
}

/// Requests up to the closing of the frame that the first one opens.
fn frame_length(requests: &[ArenaRequest]) -> usize {
    let mut depth = 0;
    let closes = requests.iter().position(|request| {
        match request.change {
            ArenaChange::Opened => depth += 1,
            ArenaChange::Closed { .. } => depth -= 1,
            ArenaChange::Took { .. } => {}
        }
        depth <= 0
    });
    closes.map_or(requests.len(), |last| last + 1)
}

#[derive(Default)]
struct Builder {
    steps: Vec<Step>,
    /// Number and place of what is in use.
    live: Vec<(usize, u64)>,
    count: usize,
    batches: usize,
}

impl Builder {
    fn batch(&mut self, requests: &[ArenaRequest]) {
        let took = requests.iter().filter(|request| matches!(request.change, ArenaChange::Took { .. })).count();
        let batch = Batch { number: self.batches, requests: took };
        self.batches += 1;
        requests.iter().for_each(|request| self.request(request, Some(batch)));
    }

    fn request(&mut self, request: &ArenaRequest, batch: Option<Batch>) {
        match request.change {
            ArenaChange::Opened => {}
            ArenaChange::Took { offset, bytes, .. } => {
                // A request for nothing asks no allocator.
                if bytes > 0 {
                    self.live.push((self.count, offset));
                    let in_batch = batch.is_some();
                    self.steps.push(Step::Take { id: self.count, bytes, offset, in_batch });
                    self.count += 1;
                }
            }
            ArenaChange::Closed { base, end } => {
                let given = self.live.extract_if(.., |(_, offset)| (base..end).contains(offset));
                let ids: Vec<usize> = given.map(|(id, _)| id).collect();
                if !ids.is_empty() {
                    self.steps.push(Step::GiveBack { ids, batch });
                }
            }
        }
    }
}

/// The stack: everything lies where it lay. What is free is one stretch above the top.
pub fn stack(steps: &[Step], pool_bytes: u64) -> Outcome {
    let mut outcome = Outcome { least_free: pool_bytes, ..Outcome::default() };
    let mut live: Vec<(usize, u64)> = Vec::new();
    for step in steps {
        match step {
            Step::Take { id, bytes, offset, .. } => live.push((*id, offset + bytes)),
            Step::GiveBack { ids, .. } => live.retain(|(id, _)| !ids.contains(id)),
        }
        let top = live.iter().map(|(_, end)| *end).max().unwrap_or(0);
        outcome.tops.push(top);
        outcome.fragmentation.push(0.0);
        outcome.least_free = outcome.least_free.min(pool_bytes.saturating_sub(top));
    }
    outcome.peak = outcome.tops.iter().copied().max().unwrap_or(0);
    outcome
}

/// The list, in a pool of so many bytes.
pub fn list(steps: &[Step], pool_bytes: u64, model: &Model) -> Outcome {
    let mut list = List::new(pool_bytes);
    let mut outcome = Outcome { least_free: pool_bytes, ..Outcome::default() };
    let mut draws = Draws(model.seed);
    // An event's number is its place here; what it holds is the time when it passes, counted in requests.
    let mut events: Vec<f64> = Vec::new();
    let mut streams = vec![0.0_f64; model.streams.max(1)];
    let mut now = 0.0;
    for step in steps {
        match step {
            Step::Take { id, bytes, in_batch, .. } => {
                now += 1.0;
                list.release(|event| events[event] <= now);
                let by_need = if *in_batch { 1.0 - model.spread * draws.next() } else { 1.0 };
                let bytes = ((*bytes as f64 * by_need) as u64).max(1);
                if list.take(*id, bytes).is_none() {
                    // As the original does, it waits for the device and tries again.
                    outcome.waits += usize::from(list.release(|_| true));
                    outcome.failed += usize::from(list.take(*id, bytes).is_none());
                }
            }
            Step::GiveBack { ids, batch } => {
                let event = batch.map(|batch| {
                    let stream = batch.number % streams.len();
                    let passes = now + draws.next() * (streams.len() * batch.requests) as f64;
                    streams[stream] = passes.max(streams[stream]);
                    events.push(streams[stream]);
                    events.len() - 1
                });
                ids.iter().for_each(|id| list.give_back(*id, event));
            }
        }
        let free = list.free();
        outcome.tops.push(list.top());
        outcome.fragmentation.push(fragmentation(free));
        outcome.least_free = outcome.least_free.min(free.1);
        outcome.most_unusable = outcome.most_unusable.max(free.0 - free.1);
    }
    outcome.peak = outcome.tops.iter().copied().max().unwrap_or(0);
    outcome
}

/// Random numbers in [0, 1) from a counter (the finaliser of MurmurHash3 over multiples of the golden ratio).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            bits = (bits ^ bits >> 33).wrapping_mul(factor);
        }
        ((bits ^ bits >> 33) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;
    const ALONE: Model = Model { streams: 1, spread: 0.0, seed: 1 };

    fn request(frame: &str, change: ArenaChange) -> ArenaRequest {
        ArenaRequest { frame: frame.to_owned(), change }
    }

    fn opened(frame: &str) -> ArenaRequest {
        request(frame, ArenaChange::Opened)
    }

    fn took(frame: &str, offset: u64, bytes: u64) -> ArenaRequest {
        request(frame, ArenaChange::Took { name: "x".to_owned(), offset, bytes })
    }

    fn closed(frame: &str, base: u64) -> ArenaRequest {
        request(frame, ArenaChange::Closed { base, end: 1 << 40 })
    }

    /// Volumes of 8 K; a batch of 4 K with a tile of 2 K; temporaries of 5 K and of 3 K.
    fn iteration() -> Vec<ArenaRequest> {
        vec![
            opened("run"),
            opened("iteration"),
            took("iteration", 0, 8 * K),
            opened("batch"),
            took("batch", 8 * K, 3 * K),
            took("batch", 11 * K, K),
            opened("tile"),
            took("tile", 12 * K, 2 * K),
            closed("tile", 12 * K),
            closed("batch", 8 * K),
            opened("tile"),
            took("tile", 8 * K, 5 * K),
            closed("tile", 8 * K),
            opened("tile"),
            took("tile", 8 * K, 3 * K),
            closed("tile", 8 * K),
            closed("iteration", 0),
            closed("run", 0),
        ]
    }

    #[test]
    fn a_frame_of_several_batches_is_asked_for_so_often() {
        let requests = iteration();
        assert_eq!(batch_frames(&requests), 1);
        // Volumes and two temporaries, taken and given back; three takes and two closings a batch.
        assert_eq!(steps(&requests, 1).len(), 6 + 5);
        let steps = steps(&requests, 4);
        assert_eq!(steps.len(), 6 + 4 * 5);
        let batches = steps.iter().filter_map(|step| match step {
            Step::GiveBack { batch, .. } => batch.map(|batch| batch.number),
            Step::Take { .. } => None,
        });
        assert_eq!(batches.collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 5]);
    }

    #[test]
    fn the_stack_holds_what_is_in_use_and_never_fragments() {
        let outcome = stack(&steps(&iteration(), 3), 14 * K);
        assert_eq!((outcome.peak, outcome.least_free, outcome.failed), (14 * K, 0, 0));
        assert_eq!(outcome.worst_fragmentation(), 0.0);
        assert_eq!(outcome.tops[..6], [8 * K, 11 * K, 12 * K, 14 * K, 12 * K, 8 * K]);
        assert_eq!(outcome.tops.last(), Some(&0));
    }

    #[test]
    fn the_list_needs_more_than_what_is_in_use() {
        let steps = steps(&iteration(), 3);
        let tight = list(&steps, 14 * K, &ALONE);
        assert!(tight.failed > 0, "a block of just the size of a request does not serve it");
        let wide = list(&steps, 1 << 30, &ALONE);
        assert_eq!((wide.failed, wide.waits), (0, 0));
        assert!(wide.peak >= 14 * K);
        // Equal numbers, equal outcome.
        assert_eq!(list(&steps, 14 * K, &ALONE), tight);
    }

    /// By hand: 1 and 3 are given back around 2, which stays; 5 K are free, and no 4 K of them together.
    #[test]
    fn holes_around_what_stays_fail_a_request_that_a_stack_serves() {
        let take = |id, bytes, offset| Step::Take { id, bytes, offset, in_batch: false };
        let give = |ids: &[usize]| Step::GiveBack { ids: ids.to_vec(), batch: None };
        let steps =
            [take(1, 3 * K, 0), take(2, K, 3 * K), take(3, K, 4 * K), give(&[1]), give(&[3]), take(4, 4 * K, 4 * K)];
        let outcome = list(&steps, 6 * K, &ALONE);
        assert_eq!((outcome.failed, outcome.waits), (1, 0));
        assert!((outcome.worst_fragmentation() - 0.4).abs() < 1e-12, "3 K and 2 K: {outcome:?}");
        assert_eq!(outcome.most_unusable, 2 * K);
        // Last in, first out: what a stack has free is one stretch.
        assert_eq!(stack(&steps, 8 * K).worst_fragmentation(), 0.0);
    }

    #[test]
    fn late_events_are_waited_for_before_a_request_fails() {
        let take = |id, bytes| Step::Take { id, bytes, offset: 0, in_batch: true };
        let batch = Some(Batch { number: 0, requests: 1000 });
        let steps = [take(1, 3 * K), Step::GiveBack { ids: vec![1], batch }, take(2, 3 * K)];
        let outcome = list(&steps, 4 * K, &ALONE);
        assert_eq!((outcome.waits, outcome.failed), (1, 0));
    }

    #[test]
    fn random_numbers_fill_the_interval() {
        let mut draws = Draws(1);
        let values: Vec<f64> = (0..1000).map(|_| draws.next()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        assert!((values.iter().sum::<f64>() / 1000.0 - 0.5).abs() < 0.05);
    }
}

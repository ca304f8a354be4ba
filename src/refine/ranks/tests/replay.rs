//! An expectation step replayed event by event: the ledger hands out the blocks as it does in a run, the times of blocks
//! are measured ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;

use crate::refine::ranks::ledger::Ledger;
use crate::refine::ranks::message::Request;

/// Times of blocks as shares of their iteration's mean; the file says where from.
const BLOCK_TIMES: &str = include_str!("block_times.txt");
/// Blocks of a batch, and batches that a rank holds: one is computed, one read.
const BATCH: u32 = 4;
const SLOTS: usize = 2;
/// The leader's pause between looks, and those of a rank that waits for an answer.
const LOOK: f64 = 1e-3;
const SHORTEST_PAUSE: f64 = 50e-6;
const LONGEST_PAUSE: f64 = 2e-3;

/// What is replayed; times in seconds.
#[derive(Clone, Debug)]
pub struct Step {
    pub ranks: usize,
    /// Blocks of each half set.
    pub blocks: Vec<u32>,
    /// Mean time of a block.
    pub block: f64,
    /// References of a half set, made by every rank that works on it.
    pub references: f64,
    /// Images of a block, as fast as this rank gets them.
    pub reading: f64,
    /// The leader's work for a request, and a message's time on its way.
    pub service: f64,
    pub latency: f64,
    /// Ranks from this one on are slower by this factor, as many as a node has.
    pub slow: Option<(std::ops::Range<usize>, f64)>,
    /// A rank stands still for so long in the middle.
    pub pause: Option<(usize, f64)>,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Went {
    pub seconds: f64,
    /// Share of the ranks' time in which they computed blocks.
    pub computing: f64,
    /// Share of the time in which the leader's thread answered.
    pub leader: f64,
    /// Blocks that were computed.
    pub blocks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A request reaches the leader, and a rank sees its answer.
    Asked,
    Answered,
    Read,
    Computed,
}

#[derive(Debug, Default)]
struct Rank {
    /// Half sets still to come.
    halves: VecDeque<usize>,
    free: usize,
    reads: Vec<u32>,
    ready: VecDeque<Vec<u32>>,
    /// A request, or the reading of what was granted, is on its way.
    is_asking: bool,
    is_computing: bool,
    is_over: bool,
    paused: bool,
    busy: f64,
    end: f64,
}

struct Replay<'s> {
    step: &'s Step,
    ledger: Ledger,
    ranks: Vec<Rank>,
    times: Vec<f64>,
    /// In nanoseconds, so that they have an order.
    events: BinaryHeap<Reverse<(u64, usize, What)>>,
    /// Until when the leader answers, and how long it did.
    leader: f64,
    served: f64,
    computed: usize,
}

fn times() -> Vec<f64> {
    let numbers = BLOCK_TIMES.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    numbers.map(|word| word.parse().expect("a number")).collect()
}

pub fn replay(step: &Step) -> Went {
    let ledger = Ledger::default();
    ledger.open(step.blocks.iter().map(|count| vec![(0..*count).collect()]).collect(), step.ranks);
    let halves = step.blocks.len();
    let rank =
        |rank: usize| Rank { halves: (0..halves).map(|half| (half + rank) % halves).collect(), ..Rank::default() };
    let mut replay = Replay {
        step,
        ledger,
        ranks: (0..step.ranks).map(rank).collect(),
        times: times(),
        events: BinaryHeap::new(),
        leader: 0.0,
        served: 0.0,
        computed: 0,
    };
    (0..step.ranks).for_each(|rank| replay.begin_half(rank, 0.0));
    while let Some(Reverse((nanoseconds, rank, what))) = replay.events.pop() {
        replay.happen(nanoseconds as f64 * 1e-9, rank, what);
    }
    let seconds = replay.ranks.iter().map(|rank| rank.end).fold(0.0, f64::max);
    let busy: f64 = replay.ranks.iter().map(|rank| rank.busy).sum();
    Went {
        seconds,
        computing: busy / (seconds * step.ranks as f64),
        // Signs of life, one a second from everybody, are answered too.
        leader: replay.served / seconds + step.service * step.ranks as f64,
        blocks: replay.computed,
    }
}

impl Replay<'_> {
    fn at(&mut self, time: f64, rank: usize, what: What) {
        self.events.push(Reverse(((time * 1e9).round() as u64, rank, what)));
    }

    fn speed(&self, rank: usize) -> f64 {
        self.step.slow.as_ref().filter(|(ranks, _)| ranks.contains(&rank)).map_or(1.0, |(_, factor)| *factor)
    }

    fn begin_half(&mut self, rank: usize, now: f64) {
        let Some(half) = self.ranks[rank].halves.front().copied() else {
            self.ranks[rank].end = now;
            return;
        };
        // Whether anything is left: two ranks make maps and prepare the step in any case.
        let is_any = self.ledger.answer(&Request { half: half as u32, blocks: None, stop: None }).is_any;
        if !is_any && rank >= self.step.blocks.len() {
            self.ranks[rank].halves.pop_front();
            return self.begin_half(rank, now);
        }
        let begin = now + self.step.references * self.speed(rank);
        let state = &mut self.ranks[rank];
        (state.free, state.is_over) = (SLOTS, false);
        self.ask(rank, begin);
    }

    /// The reading thread asks as soon as it has room.
    fn ask(&mut self, rank: usize, now: f64) {
        self.ranks[rank].free -= 1;
        self.ranks[rank].is_asking = true;
        let way = if rank == 0 { 0.0 } else { self.step.latency };
        self.at(now + way, rank, What::Asked);
    }

    /// When an answer is seen that was waited for since `sent`.
    fn seen(sent: f64, came: f64) -> f64 {
        let (mut look, mut pause) = (sent, SHORTEST_PAUSE);
        while look < came {
            look += pause;
            pause = (2.0 * pause).min(LONGEST_PAUSE);
        }
        look
    }

    fn happen(&mut self, now: f64, rank: usize, what: What) {
        match what {
            What::Asked => {
                let half = self.ranks[rank].halves[0];
                let request = Request { half: half as u32, blocks: Some((0, BATCH)), stop: None };
                self.ranks[rank].reads = self.ledger.answer(&request).blocks;
                if rank == 0 {
                    // Its own work asks without a message.
                    return self.at(now, rank, What::Answered);
                }
                if now > self.leader {
                    // It sleeps, and looks from time to time.
                    self.leader += ((now - self.leader) / LOOK).ceil() * LOOK;
                }
                self.leader += self.step.service;
                self.served += self.step.service;
                let came = self.leader + self.step.latency;
                self.at(Self::seen(now - self.step.latency, came), rank, What::Answered);
            }
            What::Answered => match self.ranks[rank].reads.len() {
                0 => {
                    (self.ranks[rank].is_over, self.ranks[rank].is_asking) = (true, false);
                    self.go_on(rank, now);
                }
                count => self.at(now + count as f64 * self.step.reading, rank, What::Read),
            },
            What::Read => {
                let state = &mut self.ranks[rank];
                let blocks = std::mem::take(&mut state.reads);
                state.ready.push_back(blocks);
                state.is_asking = false;
                if state.free > 0 {
                    self.ask(rank, now);
                }
                self.go_on(rank, now);
            }
            What::Computed => {
                let state = &mut self.ranks[rank];
                state.is_computing = false;
                state.free += 1;
                let asks = !state.is_asking && !state.is_over;
                self.go_on(rank, now);
                if asks {
                    self.ask(rank, now);
                }
            }
        }
    }

    /// The next batch, or the next half set.
    fn go_on(&mut self, rank: usize, now: f64) {
        if self.ranks[rank].is_computing {
            return;
        }
        let Some(blocks) = self.ranks[rank].ready.pop_front() else {
            if self.ranks[rank].is_over {
                self.ranks[rank].halves.pop_front();
                self.begin_half(rank, now);
            }
            return;
        };
        let half = self.ranks[rank].halves[0];
        let time = |block: &u32| self.times[(*block as usize * 7 + half) % self.times.len()];
        let mut seconds = blocks.iter().map(time).sum::<f64>() * self.step.block * self.speed(rank);
        self.computed += blocks.len();
        self.ranks[rank].busy += seconds;
        if let Some((_, pause)) = self.step.pause.filter(|(paused, _)| *paused == rank && !self.ranks[rank].paused) {
            let of_a_rank = self.step.blocks.iter().sum::<u32>() as f64 / self.step.ranks as f64 * self.step.block;
            if now > 0.5 * of_a_rank {
                self.ranks[rank].paused = true;
                seconds += pause;
            }
        }
        self.ranks[rank].is_computing = true;
        self.at(now + seconds, rank, What::Computed);
    }
}

/// A refinement of 300,000 particles on GPUs that take 2 ms for each.
pub fn refinement(ranks: usize, block_particles: u32) -> Step {
    Step {
        ranks,
        blocks: vec![150_000_u32.div_ceil(block_particles); 2],
        block: 2e-3 * f64::from(block_particles),
        references: 0.1,
        reading: 0.0,
        service: 20e-6,
        latency: 2e-6,
        slow: None,
        pause: None,
    }
}

#[test]
fn every_block_is_computed_once() {
    for ranks in [1, 2, 3, 64, 512] {
        let step = refinement(ranks, 64);
        let went = replay(&step);
        assert_eq!(went.blocks, step.blocks.iter().sum::<u32>() as usize, "{ranks} ranks");
        assert!(went.computing <= 1.0 && went.leader < 1.0, "{went:?}");
    }
}

/// One rank does nothing but its blocks: what the model knows in advance.
#[test]
fn one_rank_takes_the_sum_of_its_blocks() {
    let step = Step { references: 0.0, ..refinement(1, 64) };
    let went = replay(&step);
    assert!(went.computing > 0.999, "{went:?}");
}

#[test]
fn sixty_four_gpus_are_busy_and_a_slow_node_costs_no_more_than_its_share() {
    let fast = replay(&refinement(64, 64));
    assert!(fast.computing > 0.9, "{fast:?}");
    // Eight of 64 at two thirds of the speed: 61.3 are left.
    let slow = replay(&Step { slow: Some((8..16, 1.5)), ..refinement(64, 64) });
    let fair = fast.seconds * 64.0 / (56.0 + 8.0 / 1.5);
    assert!(slow.seconds < 1.06 * fair, "{} s, {fair} s at best", slow.seconds);
    // Whoever stands still holds up what it has, no more.
    let paused = replay(&Step { pause: Some((9, 10.0)), ..refinement(64, 64) });
    assert!(paused.seconds < fast.seconds + 10.0, "{paused:?}");
    assert!(paused.seconds > 10.0 + 0.4 * fast.seconds, "{paused:?}");
}

//! Batch phase 3: (coarse sample, particle) pairs in the order of their poses, in chunks that fit the weights.

use crate::error::Result;
use crate::weights::Blocks;
use crate::weights::Cell;

use super::batch::Record;
use super::batch::Setting;
use super::shape::Pair;

/// The bits `start..start + count` of a map, `count` at most 64.
#[inline]
fn bits(map: &[u64], start: usize, count: usize) -> u64 {
    let (word, shift) = (start / 64, start % 64);
    let mut value = map[word] >> shift;
    if shift + count > 64 {
        value |= map[word + 1] << (64 - shift);
    }
    if count < 64 { value & ((1 << count) - 1) } else { value }
}

/// Calls `visit(t)` for every set bit of `map[start..start + count]`.
#[inline]
fn for_each_bit(map: &[u64], start: usize, count: usize, mut visit: impl FnMut(usize)) {
    for part in (0..count).step_by(64) {
        let mut value = bits(map, start + part, 64.min(count - part));
        while value != 0 {
            visit(part + value.trailing_zeros() as usize);
            value &= value - 1;
        }
    }
}

/// Where the pairs come from, and how far they have been taken.
pub struct Source {
    /// Non-empty chunks taken so far.
    taken: usize,
    /// Next pose (global search) or next pair of the sorted list (local search).
    next: usize,
    /// Pairs of the sorted list.
    listed: usize,
    local: bool,
    /// Particles of the batch that take part.
    span: std::ops::Range<usize>,
}

impl Source {
    /// Starts over. Local searches: `pairs` was filled by [`sort_local`] with `listed` pairs.
    pub fn new(local: bool, listed: usize, span: std::ops::Range<usize>) -> Self {
        Self { taken: 0, next: 0, listed, local, span }
    }

    /// Whether one chunk held everything (or there was nothing).
    pub fn took_all_at_once(&self) -> bool {
        self.taken <= 1
    }

    /// The next pairs, at most as many as there are blocks, poses never split. Empty at the end.
    pub fn take(
        &mut self,
        setting: &Setting<'_>,
        records: &[Record],
        significant: &[u64],
        pairs: &mut [Pair],
    ) -> std::ops::Range<usize> {
        let range = self.next_range(setting, records, significant, pairs);
        self.taken += usize::from(!range.is_empty());
        range
    }

    fn next_range(
        &mut self,
        setting: &Setting<'_>,
        records: &[Record],
        significant: &[u64],
        pairs: &mut [Pair],
    ) -> std::ops::Range<usize> {
        let capacity = setting.shape.blocks;
        if self.local {
            let start = self.next;
            let mut end = start;
            while end < self.listed {
                let pose = pairs[end][0];
                let run = end + pairs[end..self.listed].partition_point(|p| p[0] == pose);
                if run - start > capacity {
                    break;
                }
                end = run;
            }
            self.next = end;
            return start..end;
        }
        let shape = &setting.shape;
        let words = shape.words();
        let mut filled = 0;
        while self.next < shape.poses {
            let start = filled;
            for p in self.span.clone().filter(|p| records[*p].is_used()) {
                let map = &significant[p * words..][..words];
                for_each_bit(map, self.next * shape.translations, shape.translations, |t| {
                    if filled < capacity {
                        pairs[filled] = [self.next as u32, p as u32, t as u32, self.next as u32];
                    }
                    filled += 1;
                });
            }
            if filled > capacity {
                return 0..start;
            }
            self.next += 1;
        }
        0..filled
    }
}

/// Calls `mark` for the translations that have a set bit, in every one of `poses` poses.
pub fn translations_of(map: &[u64], poses: usize, translations: usize, mut mark: impl FnMut(usize)) {
    for pose in 0..poses {
        for_each_bit(map, pose * translations, translations, &mut mark);
    }
}

/// The whole blocks of particles from `start` on whose pairs fit the weights together; a block that does not fit
/// alone stands alone.
pub fn span(setting: &Setting<'_>, records: &[Record], significant: &[u64], start: usize) -> std::ops::Range<usize> {
    let words = setting.shape.words();
    let count = |p: usize| -> usize {
        if !records[p].is_used() {
            return 0;
        }
        significant[p * words..][..words].iter().map(|w| w.count_ones() as usize).sum()
    };
    let (mut end, mut held) = (start, 0);
    while end < records.len() {
        let next = (end + setting.block_particles).min(records.len());
        held += (end..next).map(count).sum::<usize>();
        if end > start && held > setting.shape.blocks {
            break;
        }
        end = next;
    }
    start..end
}

/// All pairs of a batch of local searches, sorted by pose, then particle, then translation. Returns their number.
pub fn sort_local(
    setting: &Setting<'_>,
    records: &[Record],
    span: std::ops::Range<usize>,
    significant: &[u64],
    poses: &[u32],
    pairs: &mut [Pair],
) -> usize {
    let shape = &setting.shape;
    let words = shape.words();
    let mut filled = 0;
    for p in span.filter(|p| records[*p].is_used()) {
        let record = &records[p];
        let map = &significant[p * words..][..words];
        for listed in 0..record.listed {
            for_each_bit(map, listed * shape.translations, shape.translations, |t| {
                pairs[filled] = [poses[p * shape.poses + listed], p as u32, t as u32, listed as u32];
                filled += 1;
            });
        }
    }
    // A particle lists a pose once: keys are unique, so an unstable sort has one result.
    pairs[..filled].sort_unstable();
    filled
}

/// Runs of equal poses: first pairs, and the end. Returns the number of runs.
pub fn runs(pairs: &[Pair], out: &mut [u32]) -> usize {
    let mut count = 0;
    for i in 0..pairs.len() {
        if i == 0 || pairs[i][0] != pairs[i - 1][0] {
            out[count] = i as u32;
            count += 1;
        }
    }
    out[count] = pairs.len() as u32;
    count
}

/// Gives every pair its block.
pub fn assign<C: Cell>(
    setting: &Setting<'_>,
    pairs: &[Pair],
    blocks: &mut Blocks<'_, C>,
    block_of: &mut [u32],
) -> Result<()> {
    let translations = setting.shape.translations as u32;
    let samples = pairs.iter().map(|[_, p, t, listed]| (*p as usize, listed * translations + t));
    blocks.assign(samples, block_of)
}

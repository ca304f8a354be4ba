//! The second half of a batch: lists of significant pairs, the fine pass in as many sweeps as the memory of the weights
//! asks for, and the sums.

use std::ops::Range;

use rayon::prelude::*;

use crate::device::Stream;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::batch::scalar;
use crate::expectation::products::pairs;
use crate::expectation::products::pairs::Source;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::weights;
use crate::weights::BLOCK;

use super::arguments::Apply;
use super::arguments::Best;
use super::arguments::Compact;
use super::arguments::Fine;
use super::arguments::Residual;
use super::arguments::State;
use super::arguments::Weighted;
use super::arguments::WeightedSums;
use super::batches::Batches;
use super::batches::REFINED;
use super::batches::SEARCHED;
use super::clock::Phase;
use super::link::grid;
use super::memory::HostBuffers;
use super::planes;
use super::select::Searches;
use super::select::passes;

/// Pairs of a tile of the fine pass.
const TILE: usize = 32;
const THREADS: u32 = 128;

/// The pairs that have blocks of values at the moment.
#[derive(Clone, Copy, Default)]
struct Chunk {
    pairs: usize,
    tiles: usize,
    parts: usize,
}

impl<T: Scalar> Batches<'_, T> {
    /// Waits for the search of a slot's batch, and starts its fine pass and its sums; nothing if the step shall stop.
    /// Returns whether there is something to take.
    pub fn go_on(&mut self, slot: usize) -> Result<bool> {
        if self.setting.is_stopped() {
            return Ok(false);
        }
        self.take_search(slot)?;
        self.refine(slot)?;
        Ok(true)
    }

    /// Takes over what the search of a slot's batch found: states and maps.
    fn take_search(&mut self, slot: usize) -> Result<()> {
        let count = self.slots[slot].members.len();
        let place = self.device_slots[slot];
        // The device goes on with the next batch meanwhile.
        let (link, stream) = (self.link, Stream::Download);
        link.driver.wait_for(stream, SEARCHED[slot])?;
        link.fetch(place.states, &mut self.host.states[..count])?;
        let words = count * self.sizes.shape.words();
        link.fetch(place.map, &mut self.host.map[..words])?;
        link.driver.finish(stream)?;
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        for (record, words) in self.slots[slot].records.iter_mut().zip(&self.host.states[..count]) {
            let state = State::of(words);
            if !record.is_used() {
                continue;
            }
            record.coarse_kept = if correlates { 1 } else { state.count as usize };
            if state.least_energy().is_none() {
                record.set_aside = Some("no pose has a prior probability".to_owned());
            }
        }
        Ok(())
    }

    /// The fine pass and the sums of a slot's batch.
    fn refine(&mut self, slot: usize) -> Result<()> {
        let count = self.slots[slot].members.len();
        let (link, work) = (self.link, self.work);
        link.zero(work.class_mass)?;
        link.zero(work.offset2)?;
        link.zero(work.cross)?;
        link.zero(work.own)?;
        link.zero(work.is_too_large)?;
        let mut start = 0;
        while start < count {
            let records = &self.slots[slot].records[..count];
            let span = pairs::span(&self.setting, records, self.host.map, start);
            start = span.end;
            self.sweep(slot, span)?;
        }
        link.driver.mark(Stream::Compute, REFINED)
    }

    /// The sweeps over the pairs of some particles: the smallest energy, the passes of the selection, the sums. With
    /// one chunk of pairs every product is made once; with several, energies are made anew for each sweep.
    fn sweep(&mut self, slot: usize, span: Range<usize>) -> Result<()> {
        let (link, shape) = (self.link, self.sizes.shape);
        let count = self.slots[slot].members.len();
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        let listed = if shape.local {
            let records = &self.slots[slot].records[..count];
            let (map, poses) = (&*self.host.map, &*self.host.poses[slot]);
            pairs::sort_local(&self.setting, records, span.clone(), map, poses, self.host.pairs)
        } else {
            0
        };
        let searches = Searches {
            particles: span.clone(),
            values: link.at(self.work.values),
            ranges: link.at(self.work.fine_ranges),
            states: link.at(self.device_slots[slot].states),
            bins: link.at(self.work.bins),
            samples: (shape.blocks / shape.particles).max(1) * BLOCK,
        };
        self.clock.time(&link, Phase::Fine, || searches.start(&link))?;
        let mut present = None;
        let mut is_single = false;
        // The smallest energy, and the first sample that has it.
        let mut source = Source::new(shape.local, listed, span.clone());
        while let Some(chunk) = self.next_chunk(slot, &mut source)? {
            self.clock.time(&link, Phase::Fine, || searches.least(&link))?;
            present = Some(chunk);
        }
        is_single |= source.took_all_at_once();
        let Some(first) = present else { return Ok(()) };
        // Calls `visit` for every chunk, whose energies are there.
        let for_each = |batches: &mut Self, visit: &dyn Fn(&Self, Chunk) -> Result<()>| -> Result<()> {
            if is_single {
                return visit(batches, first);
            }
            let mut source = Source::new(shape.local, listed, span.clone());
            while let Some(chunk) = batches.next_chunk(slot, &mut source)? {
                visit(batches, chunk)?;
            }
            Ok(())
        };
        for_each(self, &|batches, _| {
            let subscripts = batches.link.at(batches.work.subscripts);
            let best = Best { samples: searches.samples(), subscripts, states: searches.states() };
            batches.clock.time(&link, Phase::Fine, || link.launch("best", searches.grid(), &best))
        })?;
        if !correlates {
            for pass in 0..passes::<T>() {
                for_each(self, &|batches, _| batches.clock.time(&link, Phase::Fine, || searches.show(&link, pass)))?;
                let fraction = self.setting.task.options.adaptive_fraction;
                self.clock.time(&link, Phase::Fine, || searches.descend(&link, pass, fraction, None))?;
            }
        }
        for_each(self, &|batches, chunk| batches.clock.time(&link, Phase::Sums, || batches.add_up(slot, chunk)))
    }

    /// Lists the next pairs, sends them to the device, and makes their energies there; none are left at the end.
    fn next_chunk(&mut self, slot: usize, source: &mut Source) -> Result<Option<Chunk>> {
        let count = self.slots[slot].members.len();
        let records = &self.slots[slot].records[..count];
        let range = source.take(&self.setting, records, self.host.map, self.host.pairs);
        if range.is_empty() {
            return Ok(None);
        }
        let chunk = list(&self.setting, &self.log_directions, &mut self.host, slot, count, range)?;
        let (link, work, shape, host) = (&self.link, &self.work, &self.sizes.shape, &self.host);
        let place = &self.device_slots[slot];
        link.upload(work.pairs, &host.device_pairs[..chunk.pairs])?;
        link.upload(work.log_pairs, &host.log_pairs[..chunk.pairs])?;
        link.upload(work.tiles, &host.tiles[..chunk.tiles])?;
        link.upload(work.parts, &host.parts[..chunk.parts])?;
        link.upload(work.subscripts, &host.subscripts[..chunk.pairs])?;
        let ranges: Vec<[u64; 2]> =
            host.starts[..=count].windows(2).map(|w| [w[0], w[1]].map(|b| u64::from(b) * BLOCK as u64)).collect();
        link.upload(work.fine_ranges, &ranges)?;
        if shape.local {
            let runs = host.tiles[..chunk.tiles].last().map_or(0, |tile| tile[2] as usize + shape.turns);
            link.upload(work.child_planes, &host.planes[..runs])?;
        }
        let arguments = Fine {
            slices: self.slices(self.child_planes()),
            compared: self.compared(place, self.images(place.masked)),
            pairs: link.at(work.pairs),
            log_poses: link.at(work.log_pairs),
            tiles: link.at(work.tiles),
            turns: shape.turns as u32,
            steps: shape.steps as u32,
            values: link.at(work.values),
        };
        self.clock.time(link, Phase::Fine, || link.launch("fine", grid([chunk.tiles, 1, 1], 64), &arguments))?;
        Ok(Some(chunk))
    }

    fn child_planes(&self) -> super::arguments::Pointer<super::arguments::Plane<T>> {
        self.link.at(if self.sizes.shape.local { self.work.child_planes } else { self.tables.children })
    }

    /// Probabilities of a chunk, and its sums.
    fn add_up(&self, slot: usize, chunk: Chunk) -> Result<()> {
        let (link, work, shape, place) = (&self.link, &self.work, &self.sizes.shape, &self.device_slots[slot]);
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        let apply = Apply {
            pairs: link.at(work.pairs),
            count: chunk.pairs as u32,
            states: link.at(place.states),
            values: link.at(work.values),
            subscripts: link.at(work.subscripts),
            best_only: u32::from(correlates),
            directions: shape.directions as u32,
            classes: shape.classes as u32,
            squared: link.at(place.squared),
            squared_stride: (shape.translations * shape.steps) as u32,
            steps: shape.steps as u32,
            direction_mass: link.at(self.tables.direction_mass),
            class_mass: link.at(work.class_mass),
            offset2: link.at(work.offset2),
            is_active: link.at(work.is_active),
        };
        let warps = |count: usize| grid([(32 * count).div_ceil(THREADS as usize), 1, 1], THREADS);
        link.launch("apply", warps(chunk.pairs), &apply)?;
        let compact = Compact {
            parts: link.at(work.parts),
            count: chunk.parts as u32,
            is_active: link.at(work.is_active),
            list: link.at(work.list),
            counts: link.at(work.counts),
        };
        link.launch("compact", warps(chunk.parts), &compact)?;
        let weighted = Weighted {
            parts: link.at(work.parts),
            list: link.at(work.list),
            counts: link.at(work.counts),
            pairs: link.at(work.pairs),
            values: link.at(work.values),
            turns: shape.turns as u32,
            steps: shape.steps as u32,
        };
        let sums = WeightedSums {
            weighted,
            unmasked: self.images(place.unmasked),
            weights: link.at(place.weight),
            weight_stride: self.sizes.row() as u32,
            table: self.row_table(),
            planes: self.child_planes(),
            pixels: link.at(self.tables.pixels),
            volumes: link.at(self.volumes.sums),
            voxels: self.voxels as u64,
            data_scale: self.scale[0],
            weight_scale: self.scale[1],
            is_too_large: link.at(work.is_too_large),
        };
        let pixel_blocks = shape.pixels.div_ceil(THREADS as usize);
        link.launch("sums", grid([chunk.parts, pixel_blocks, 1], THREADS), &sums)?;
        if correlates {
            return Ok(());
        }
        let residual = Residual {
            slices: self.slices(self.child_planes()),
            weighted,
            masked: self.images(place.masked),
            powers: link.at(place.power),
            power_stride: self.sizes.row() as u32,
            places: link.at(self.tables.places),
            shells: link.at(self.tables.shells),
            places_count: self.sizes.places as u32,
            classes: shape.classes as u32,
            shells_count: shape.shells as u32,
            cross: link.at(work.cross),
            own: link.at(work.own),
        };
        let place_blocks = self.sizes.places.div_ceil(THREADS as usize);
        link.launch("residual", grid([chunk.parts, place_blocks, 1], THREADS), &residual)
    }

    /// Waits for the sums of a slot's batch and takes over what the host wants to know about its particles. No other
    /// search in the slot, and no other sums, may have been started.
    pub fn take_results(&mut self, slot: usize) -> Result<()> {
        let (link, work, shape) = (&self.link, &self.work, &self.sizes.shape);
        let count = self.slots[slot].members.len();
        let host = &mut self.host;
        link.driver.wait_for(Stream::Download, REFINED)?;
        link.fetch(self.device_slots[slot].states, &mut host.states[..count])?;
        link.fetch(work.class_mass, host.class_mass)?;
        link.fetch(work.offset2, host.offset2)?;
        link.fetch(work.cross, host.cross)?;
        link.fetch(work.own, host.own)?;
        let mut alarm = [0];
        link.fetch(work.is_too_large, &mut alarm)?;
        link.driver.finish(Stream::Download)?;
        if alarm[0] != 0 {
            return Err(Error::new(
                ExitCode::BadData,
                "",
                "the images of a block add up to more in one pose than the noise model allows for",
                "Run `relion-rs check --images`, and normalise or remove what it lists.",
            ));
        }
        let state = &mut self.slots[slot];
        let per_particle = shape.classes * shape.shells;
        for (p, record) in state.records[..count].iter_mut().enumerate().filter(|(_, r)| r.is_used()) {
            let found = super::found::Found {
                state: State::of(&host.states[p]),
                class_mass: &host.class_mass[p * shape.classes..][..shape.classes],
                offset2: host.offset2[p],
                cross: &host.cross[p * per_particle..][..per_particle],
                own: &host.own[p * per_particle..][..per_particle],
            };
            let poses = if shape.local { Some(&host.poses[slot][p * shape.poses..][..shape.poses]) } else { None };
            found.tell(&self.setting, self.resolved, poses, record);
        }
        Ok(())
    }
}

/// Turns the pairs of `range` into what the device wants to know of them.
fn list<T: Scalar>(
    setting: &Setting<'_>,
    log_directions: &[T],
    host: &mut HostBuffers<'_, T>,
    slot: usize,
    particles: usize,
    range: Range<usize>,
) -> Result<Chunk> {
    let (shape, task) = (&setting.shape, setting.task);
    let found = &host.pairs[range];
    let translations = shape.translations as u32;
    let samples = found.iter().map(|[_, p, t, listed]| (*p as usize, listed * translations + t));
    weights::assign(&mut host.starts[..=particles], host.subscripts, samples, host.block_of)?;
    let (poses, log_poses) = (&host.log_poses[slot], shape.poses);
    let places = host.block_of.par_iter();
    let outs = host.device_pairs.par_iter_mut().zip(&mut *host.log_pairs);
    found.par_iter().zip(places).zip(outs).with_min_len(1024).for_each(
        |(([pose, p, t, listed], block), (pair, log))| {
            let (class, orientation) = setting.split(*pose);
            let direction = class * shape.directions + task.orientations.direction_of(orientation);
            *pair = [*block, *p, *t, direction as u32];
            *log =
                if shape.local { poses[*p as usize * log_poses + *listed as usize] } else { log_directions[direction] };
        },
    );
    let mut chunk = Chunk { pairs: found.len(), ..Chunk::default() };
    let mut first = 0;
    let mut runs = 0;
    for run in found.chunk_by(|a, b| a[0] == b[0]) {
        let (class, orientation) = setting.split(run[0][0]);
        let plane = (if shape.local { runs } else { orientation }) * shape.turns;
        let part = |first: usize, count: usize| [first as u32, count as u32, plane as u32, class as u32];
        for (number, tile) in run.chunks(TILE).enumerate() {
            host.tiles[chunk.tiles] = part(first + number * TILE, tile.len());
            chunk.tiles += 1;
        }
        let block = |pair: &[u32; 4]| pair[1] as usize / setting.block_particles;
        for of_block in run.chunk_by(|a, b| block(a) == block(b)) {
            host.parts[chunk.parts] = part(first, of_block.len());
            chunk.parts += 1;
            first += of_block.len();
        }
        runs += 1;
    }
    if shape.local {
        let firsts: Vec<u32> = found.chunk_by(|a, b| a[0] == b[0]).map(|run| run[0][0]).collect();
        planes::of_children(setting, firsts.into_par_iter(), &mut host.planes[..runs * shape.turns]);
    }
    Ok(chunk)
}

/// Log prior of each class and direction.
pub fn log_directions<T: Scalar>(setting: &Setting<'_>) -> Vec<T> {
    let classes = setting.task.model.classes.iter();
    classes.flat_map(|class| class.directions.iter().map(|prior| scalar(prior.ln()))).collect()
}

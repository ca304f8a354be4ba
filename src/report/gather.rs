//! Reads what a run folder holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::model::Volume;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::ArenaPoint;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::Record;
use crate::plan::progress::Started;

/// A curve over shells 0, 1, 2 ...
pub type Curve = Vec<f64>;

/// One model file of an iteration, or of the final state.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub resolution_angstrom: f64,
    pub current_size: f64,
    pub average_max_probability: f64,
    pub class_shares: Vec<f64>,
    /// Of class 1; only zeros without half sets.
    pub fsc: Curve,
    /// Data-versus-prior ratio, one curve a class.
    pub ssnr: Vec<Curve>,
}

/// A direction from which particles look, with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub direction: [f64; 3],
    pub weight: f64,
}

/// Everything that is drawn.
#[derive(Debug, Default)]
pub struct Run {
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    pub iterations: BTreeMap<u32, Facts>,
    pub last: Option<Facts>,
    pub finished: BTreeMap<u32, IterationFinished>,
    pub started: Option<Started>,
    /// Wall and CPU seconds, summed over the processes that worked on the run.
    pub seconds: Option<[f64; 2]>,
    /// The engine said that there is nothing left to do.
    pub is_finished: bool,
    pub warnings: Vec<String>,
    /// Top of the arena: seconds of work since the beginning of the run, and bytes.
    pub arena: Vec<[f64; 2]>,
    /// Where the last iteration begins in it.
    pub last_iteration_of_arena: usize,
    pub views: Vec<View>,
    /// How wide a view counts, in degrees.
    pub view_spread_degrees: f64,
    /// File name and map.
    pub maps: Vec<(String, Volume)>,
}

impl Run {
    /// The final facts, or those of the last iteration.
    pub fn best(&self) -> Option<&Facts> {
        self.last.as_ref().or_else(|| self.iterations.values().next_back())
    }
}

/// Reads a run folder.
///
/// # Errors
/// There is no model file of any iteration, or a file cannot be read.
pub fn gather(folder: &Path) -> Result<Run> {
    let mut run = Run::default();
    let run_dir = RunDir::new(folder);
    progress_of(&run_dir, &mut run)?;
    for iteration in iterations_in(folder)? {
        let stem = format!("it{iteration:03}_");
        if let Some(model) = read_first(&run_dir, &[format!("{stem}half1_model.star"), format!("{stem}model.star")])? {
            let facts = facts_of(&model, &mut run)?;
            run.iterations.insert(iteration, facts);
        }
    }
    if let Some(model) = read_first(&run_dir, &["model.star".to_owned()])? {
        run.last = Some(facts_of(&model, &mut run)?);
    }
    let Some((&last, facts)) = run.iterations.iter().next_back() else {
        return Err(Error::bad_data(
            folder.display().to_string(),
            "there is no finished iteration (no run_itNNN_model.star) to report on",
            "Wait for the first iteration, or name the folder of a run.",
        ));
    };
    let classes = run.last.as_ref().unwrap_or(facts).class_shares.len();
    let stems = [String::new(), format!("it{last:03}_")];
    views_of(&run_dir, &stems, &mut run)?;
    maps_of(&run_dir, &stems, classes, &mut run)?;
    Ok(run)
}

fn iterations_in(folder: &Path) -> Result<Vec<u32>> {
    let failed = |e| Error {
        fix: "Name the folder of a run: the --out of `relion-rs run`.".into(),
        ..Error::reading(folder, &e)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let iteration: Option<u32> = name.to_str().and_then(|name| {
            let rest = name.strip_prefix(RunDir::OUTPUT_PREFIX)?.strip_prefix("_it")?.strip_suffix("model.star")?;
            rest.split('_').next()?.parse().ok()
        });
        found.extend(iteration);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn read_first(run_dir: &RunDir, names: &[String]) -> Result<Option<StarFile>> {
    let path = names.iter().map(|name| run_dir.output(name)).find(|path| path.exists());
    path.map(|path| StarFile::read(&path)).transpose()
}

fn numbers(block: &Block, label: &str) -> Result<Vec<f64>> {
    block.require(label)?.f64s()
}

fn number(block: &Block, label: &str) -> Result<f64> {
    numbers(block, label)?
        .first()
        .copied()
        .ok_or_else(|| Error::bad_data(block.place(), format!("{label} is empty"), ""))
}

fn facts_of(model: &StarFile, run: &mut Run) -> Result<Facts> {
    let general = model.require("model_general")?;
    run.box_pixels = number(general, "rlnOriginalImageSize")? as usize;
    run.pixel_size_angstrom = number(general, "rlnPixelSize")?;
    let class_shares = numbers(model.require("model_classes")?, "rlnClassDistribution")?;
    let tables: Vec<&Block> =
        (1..=class_shares.len()).map(|k| model.require(&format!("model_class_{k}"))).collect::<Result<_>>()?;
    Ok(Facts {
        resolution_angstrom: number(general, "rlnCurrentResolution")?,
        current_size: number(general, "rlnCurrentImageSize")?,
        average_max_probability: number(general, "rlnAveragePmax")?,
        fsc: tables.first().map_or(Ok(Vec::new()), |table| numbers(table, "rlnGoldStandardFsc"))?,
        ssnr: tables.iter().map(|table| numbers(table, "rlnSsnrMap")).collect::<Result<_>>()?,
        class_shares,
    })
}

fn progress_of(run_dir: &RunDir, run: &mut Run) -> Result<()> {
    let path = run_dir.progress();
    if !path.exists() {
        return Ok(());
    }
    let records = progress::read(&path)?;
    trace_of(&records, run);
    for record in records {
        match record.event {
            Event::Started(started) => run.started = Some(started),
            // An iteration that was repeated after an interruption counts once, as it was done last.
            Event::IterationFinished(finished) => drop(run.finished.insert(finished.iteration, *finished)),
            Event::Warning { text } => run.warnings.push(text),
            Event::Finished { checkpointed, wall_seconds, cpu_seconds, .. } => {
                run.is_finished = !checkpointed;
                let [wall, cpu] = run.seconds.unwrap_or_default();
                run.seconds = Some([wall + wall_seconds, cpu + cpu_seconds]);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Puts the traces of all iterations on one clock, which stands still between a stop and going on.
fn trace_of(records: &[Record], run: &mut Run) {
    let (mut worked, mut since, mut searched) = (0.0, None, None);
    for record in records {
        let now = worked + since.map_or(0.0, |since| record.unix_seconds - since);
        match &record.event {
            Event::Started(_) => (worked, since) = (run.arena.last().map_or(0.0, |p| p[0]), Some(record.unix_seconds)),
            // The arena is in use until then; its trace is written at the end of the iteration.
            Event::Phase { name, .. } if name == "expectation" => searched = Some(now),
            Event::ArenaTrace { points, device: false, .. } => {
                let end = searched.take().unwrap_or(now);
                let last = points.last().map_or(0.0, |point| point.seconds);
                run.last_iteration_of_arena = run.arena.len();
                let at = |point: &ArenaPoint| [(end - last + point.seconds).max(0.0), point.top_bytes as f64];
                run.arena.extend(points.iter().map(at));
            }
            _ => {}
        }
    }
}

/// Unit vector of the viewing direction with these Euler angles (rot about z, tilt from z).
fn direction(rot_degrees: f64, tilt_degrees: f64) -> [f64; 3] {
    let (rot, tilt) = (rot_degrees.to_radians(), tilt_degrees.to_radians());
    [tilt.sin() * rot.cos(), tilt.sin() * rot.sin(), tilt.cos()]
}

/// The distribution over the directions of the grid where files hold both, else the best angles of the particles.
fn views_of(run_dir: &RunDir, stems: &[String], run: &mut Run) -> Result<()> {
    for stem in stems {
        let models: Vec<StarFile> = ["model.star", "half1_model.star", "half2_model.star"]
            .iter()
            .filter_map(|end| read_first(run_dir, &[format!("{stem}{end}")]).transpose())
            .collect::<Result<_>>()?;
        let sampling = read_first(run_dir, &[format!("{stem}sampling.star")])?;
        let Some(grid) = sampling.as_ref().and_then(|sampling| sampling.block("sampling_directions")) else { continue };
        let (rots, tilts) = (numbers(grid, "rlnAngleRot")?, numbers(grid, "rlnAngleTilt")?);
        let mut weights = vec![0.0; rots.len()];
        for table in models.iter().flat_map(|model| &model.blocks) {
            if table.name.starts_with("model_pdf_orient_class_") && table.rows() == weights.len() {
                let shares = numbers(table, "rlnOrientationDistribution")?;
                weights.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
            }
        }
        if weights.iter().sum::<f64>() > 0.0 {
            let views = rots.iter().zip(&tilts).zip(&weights);
            run.views = views.map(|((&r, &t), &weight)| View { direction: direction(r, t), weight }).collect();
            let order = number(sampling_general(&sampling)?, "rlnHealpixOrder")?;
            // Neighbours in the grid are about 58.6 degrees / 2^order apart.
            run.view_spread_degrees = 58.6 / 2f64.powf(order);
            return Ok(());
        }
    }
    for stem in stems {
        if let Some(data) = read_first(run_dir, &[format!("{stem}data.star")])? {
            let particles = data.require("particles")?;
            let angles = numbers(particles, "rlnAngleRot")?.into_iter().zip(numbers(particles, "rlnAngleTilt")?);
            run.views = angles.map(|(rot, tilt)| View { direction: direction(rot, tilt), weight: 1.0 }).collect();
            run.view_spread_degrees = 10.0;
            return Ok(());
        }
    }
    Ok(())
}

fn sampling_general(sampling: &Option<StarFile>) -> Result<&Block> {
    let sampling = sampling.as_ref().ok_or_else(|| Error::internal("the sampling file was read before"))?;
    sampling.require("sampling_general")
}

fn maps_of(run_dir: &RunDir, stems: &[String], classes: usize, run: &mut Run) -> Result<()> {
    for stem in stems {
        for class in 1..=classes {
            let names = ["", "half1_"].map(|half| format!("{stem}{half}class{class:03}.mrc"));
            let Some(name) = names.into_iter().find(|name| run_dir.output(name).exists()) else { continue };
            let path = run_dir.output(&name);
            run.maps.push((format!("{}_{name}", RunDir::OUTPUT_PREFIX), read_map(&path)?));
        }
        if !run.maps.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn read_map(path: &Path) -> Result<Volume> {
    let map = mrc::read_map(path)?;
    if map.ny != map.nx || map.nz != map.nx {
        let problem = format!("{} x {} x {} voxels are no cube", map.nx, map.ny, map.nz);
        return Err(Error::bad_data(path.display().to_string(), problem, "Put the map of this run back."));
    }
    Ok(Volume { box_pixels: map.nx, pixel_size_angstrom: map.pixel_size_angstrom, data: map.data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_follow_each_other_and_a_pause_takes_no_time() {
        let line = |unix: f64, rest: &str| format!("{{\"unix_seconds\":{unix},\"event\":{rest}}}");
        let started = "\"started\",\"program_version\":\"\",\"kind\":\"class3d\",\"host\":\"\",\"process\":1,\"threads\":1,\
            \"instruction_set\":\"\",\"precision\":\"\",\"particles\":1,\"classes\":1,\"box_pixels\":8,\
            \"pixel_size_angstrom\":1.0,\"resumed_from\":null,\"last_iteration\":9";
        let phase = "\"phase\",\"iteration\":1,\"name\":\"expectation\",\"seconds\":3";
        let trace = "\"arena_trace\",\"points\":[{\"seconds\":7,\"frame\":\"run\",\"top_bytes\":1},\
            {\"seconds\":9,\"frame\":\"batch\",\"top_bytes\":5}]";
        let text = [(100.0, started), (104.0, phase), (106.0, trace), (900.0, started), (903.0, phase), (903.5, trace)]
            .map(|(unix, rest)| serde_json::from_str::<Record>(&line(unix, rest)).unwrap());
        let mut run = Run::default();
        trace_of(&text, &mut run);
        assert_eq!(run.arena, [[2.0, 1.0], [4.0, 5.0], [5.0, 1.0], [7.0, 5.0]]);
        assert_eq!(run.last_iteration_of_arena, 2);
    }

    #[test]
    fn an_empty_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = gather(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no finished iteration"), "{error}");
    }
}

//! Run folder -> one HTML page and PNGs.
//!
//! The page is one file: its pictures are inline, nothing is fetched, no script runs. It is drawn from what is in the
//! folder: `progress.jsonl` where there is one, model and sampling files, maps. What is missing is left out, so that
//! the folder of a job of RELION can be drawn too.
//!
//! Flow: `gather` reads, `figures` (with `chart`, `coverage`, `slices`, `trace`) makes one [`scene`] a figure, `vector` and
//! `raster` draw a scene as SVG and PNG, `page` puts them together.

mod chart;
mod coverage;
mod figures;
mod gather;
mod page;
mod raster;
mod scene;
mod slices;
mod trace;
mod vector;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::outputs::atomic;
use crate::plan::RunDir;

pub use chart::Axis;
pub use chart::Chart;
pub use chart::Scale;
pub use chart::Series;
pub use raster::png;
pub use scene::INK;
pub use scene::SERIES;

/// Writes `report.html` and one PNG a figure under `report/` of a run folder; returns the page's path.
///
/// # Errors
/// The folder holds no finished iteration, a file in it cannot be read, or the page cannot be written.
pub fn write(run_folder: &Path) -> Result<PathBuf> {
    let run = gather::gather(run_folder)?;
    let figures = figures::figures(&run);
    let pictures = run_folder.join("report");
    fs::create_dir_all(&pictures).map_err(|e| Error::writing(&pictures, &e))?;
    for figure in &figures {
        let png = raster::png(&figure.scene);
        atomic(&pictures.join(format!("{}.png", figure.name)), |file| file.write_all(&png))?;
    }
    let path = RunDir::new(run_folder).report();
    let html = page::html(&run, &figures);
    atomic(&path, |file| file.write_all(html.as_bytes()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run folder of files that RELION wrote, and progress as the engine writes it.
    fn run_folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for file in files {
            let name = Path::new(file).file_name().unwrap();
            fs::copy(golden.join(file), folder.path().join(name)).unwrap();
        }
        let line = r#"{"unix_seconds":1.0,"event":"iteration_finished","iteration":5,"coarse_size":20,
            "weights":{"blocks_bytes":1000,"dense_bytes":30000,"csr_bytes":1500},"arena_peak_bytes":900,
            "arena_reserved_bytes":1000,"phase_seconds":{"expectation":1.0,"coarse":1.5,"fine":2.5},"device":{"planned_bytes":4194304,
            "reserved_bytes":4194304,"peak_bytes":3145728,"resident_images":300,"busy":{"coarse":0.3,"fine":0.5}}}"#;
        let warning = r#"{"unix_seconds":1.0,"event":"warning","text":"particle <b>17</b> was set aside"}"#;
        let trace = r#"{"unix_seconds":1.0,"event":"arena_trace","points":[{"seconds":0.0,"frame":"run","top_bytes":100},
            {"seconds":2.0,"frame":"batch","top_bytes":900}]}"#;
        let lines = [line, warning, trace].map(|line| line.replace('\n', " ")).join("\n");
        fs::write(folder.path().join("progress.jsonl"), lines).unwrap();
        folder
    }

    fn pictures(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.join("report"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_half_set_run_gives_one_page_and_its_pictures() {
        let folder = run_folder(&[
            "g07_auto/run/run_it005_half1_model.star",
            "g07_auto/run/run_it005_half2_model.star",
            "g07_auto/run/run_model.star",
            "g07_auto/run/run_sampling.star",
        ]);
        let page = write(folder.path()).unwrap();
        assert_eq!(page, folder.path().join("report.html"));
        let html = fs::read_to_string(page).unwrap();
        assert!(html.contains("19.00 Å") && html.contains("Finished after 5 iterations"));
        assert!(html.contains("&lt;b&gt;17&lt;/b&gt;"));
        for told in [
            "<dd>3.0 MiB</dd>",
            "<dd>4.0 MiB, 4.0 MiB</dd>",
            "<dd>300</dd>",
            "<dd>80 % of the expectation step: coarse 30 %, fine 50 %</dd>",
        ] {
            assert!(html.contains(told), "{told}");
        }
        for outside in ["http", "<script", "src=", "<link", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        let wanted =
            ["fsc", "memory", "pmax", "resolution", "size", "time", "weights"].map(|name| format!("{name}.png"));
        assert_eq!(pictures(folder.path()), wanted);
        assert_eq!(html.matches("<figure>").count(), wanted.len());
        // Again, over the old one.
        write(folder.path()).unwrap();
    }

    #[test]
    fn a_class3d_run_shows_classes_directions_and_slices() {
        let folder = run_folder(&["g06_class3d/run/run_it003_model.star", "g06_class3d/run/run_it003_sampling.star"]);
        let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inputs/ref32.mrc");
        fs::copy(map, folder.path().join("run_it003_class002.mrc")).unwrap();
        fs::remove_file(folder.path().join("progress.jsonl")).unwrap();
        let html = fs::read_to_string(write(folder.path()).unwrap()).unwrap();
        assert!(html.contains("44.80 Å") && html.contains("State after iteration 3."));
        let wanted = ["classes", "directions", "pmax", "resolution", "signal", "size", "slices"];
        assert_eq!(pictures(folder.path()), wanted.map(|name| format!("{name}.png")));
        assert!(html.contains("run_it003_class002.mrc") && html.contains("data:image/png;base64,"));
    }
}

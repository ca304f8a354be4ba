//! Bad images behind those that the noise is estimated from, and what is said in later iterations.

use relion_rs::error::ExitCode;

use super::bench::Bench;
use super::faults;

#[test]
fn a_wild_image_is_refused_wherever_it_is() {
    let bench = Bench::new();
    bench.simulate(1600);
    bench.section("many/particles.mrcs", 1499, |_, v| 1000.0 * v);
    let flags = "--particles many/particles.star --classes 1 --offset-range-pixels 1 --threads 2";
    let run = bench.job("run", "class3d", flags);
    // The same words as for one of the first thousand.
    let wrong =
        faults(&run, ExitCode::BadData, &["particles.mrcs, image 1500", "times as wide", "Normalise the images"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!bench.is_finished());
}

#[test]
fn an_image_that_is_set_aside_is_named_once() {
    let bench = Bench::new();
    bench.section("particles.mrcs", 4, |i, v| if i == 77 { f32::NAN } else { v });
    let run = bench.job("run", "refine3d", "--iterations 3");
    let wrong = faults(&run, ExitCode::Done, &[]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let progress = bench.progress();
    let lines = |words: &[&str]| progress.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    assert_eq!(lines(&["image 5", "set aside in iteration 1"]), 1, "{progress}");
    assert_eq!(lines(&["image 5", "set aside"]), 1, "{progress}");
    assert_eq!(lines(&["set aside in iteration 2 as before: 1"]), 1, "{progress}");
    assert_eq!(lines(&["set aside in iteration 3 as before: 1"]), 1, "{progress}");
}

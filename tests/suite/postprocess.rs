//! Post-processing and masks against RELION's numbers, and what is refused.

use std::fs;
use std::path::Path;

use relion_rs::error::ExitCode;
use relion_rs::formats::mrc::Map;
use relion_rs::formats::mrc::read_map;
use relion_rs::formats::star::StarFile;
use relion_rs::imaging::mtf::Mtf;
use relion_rs::postprocess::BFactor;
use relion_rs::postprocess::EMPTY_SHELL;
use relion_rs::postprocess::FscOptions;
use relion_rs::postprocess::Inputs;
use relion_rs::postprocess::LowPass;
use relion_rs::postprocess::Options;
use relion_rs::postprocess::SharpenOptions;
use relion_rs::postprocess::corrected_fsc;
use relion_rs::postprocess::mask::MaskOptions;
use relion_rs::postprocess::mask::create;
use relion_rs::postprocess::postprocess;
use relion_rs::postprocess::run;
use relion_rs::postprocess::sharpen;

use super::support::golden;

/// RELION prints six decimals, five of negative numbers.
const PRINTED: f64 = 1e-5;
/// The correction from printed columns: negative values of n have five decimals.
const CORRECTED: f64 = 5e-6;
/// Logarithms are printed with five decimals.
const LOGARITHM: f64 = 1e-5;
/// Relative distance of maps made with a printed FSC column and B-factor.
const MAP_DISTANCE: f64 = 2e-6;
/// Masks are stored in single precision.
const MASK: f64 = 3e-8;
/// Relative, of printed numbers with six or more digits.
const PRINTED_DIGITS: f64 = 1e-6;

fn half(number: usize) -> Map {
    read_map(&golden(&format!("g07_auto/run/run_half{number}_class001_unfil.mrc"))).unwrap()
}

fn mask() -> Map {
    read_map(&golden("g10_mask/mask_e3w4.mrc")).unwrap()
}

fn column(star: &StarFile, block: &str, label: &str) -> Vec<f64> {
    star.require(block).unwrap().require(label).unwrap().f64s().unwrap()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
}

fn assert_near(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    let off = worst(a, b);
    println!("{what}: {off:.2e}");
    assert!(off <= tolerance, "{what}: {off}");
}

fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let size: f64 = b.iter().map(|b| f64::from(*b).powi(2)).sum();
    (difference / size).sqrt()
}

/// As the golden run: B-factor fitted from 25 A on.
fn options(seed: u64) -> Options {
    let b_factor = BFactor::Fit { from_angstrom: 25.0, to_angstrom: None };
    Options {
        fsc: FscOptions { seed, ..FscOptions::default() },
        sharpen: SharpenOptions { b_factor, ..SharpenOptions::default() },
    }
}

#[test]
fn curves_agree_with_relion() {
    let star = StarFile::read(&golden("g08_postprocess/auto.star")).unwrap();
    let result = postprocess(&half(1), &half(2), Some(&mask()), &options(1)).unwrap();
    let masked = result.curves.masked.as_ref().unwrap();
    let fsc = |label: &str| column(&star, "fsc", &format!("rln{label}"));
    assert_near(&result.curves.unmasked, &fsc("FourierShellCorrelationUnmaskedMaps"), PRINTED, "unmasked");
    assert_near(&masked.masked, &fsc("FourierShellCorrelationMaskedMaps"), PRINTED, "masked");
    assert_near(&masked.part, &fsc("FourierShellCorrelationParticleMaskFraction"), PRINTED, "part");
    assert_eq!(masked.randomised_from, 7);
    assert!(!masked.is_ignored);
    let fraction = column(&star, "general", "rlnParticleBoxFractionSolventMask")[0];
    assert!((masked.box_fraction / fraction - 1.0).abs() < PRINTED_DIGITS);

    let randomised = fsc("CorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps");
    let corrected = corrected_fsc(&masked.masked, &randomised, masked.randomised_from);
    assert_near(&corrected, &fsc("FourierShellCorrelationCorrected"), CORRECTED, "corrected");
    let original = column(&star, "guinier", "rlnLogAmplitudesOriginal");
    assert_near(&result.guinier.original, &original, LOGARITHM, "Guinier, original");
}

#[test]
fn the_randomised_curve_is_one_of_relions_draws() {
    const SEEDS: u64 = 12;
    // Of a normal distribution whose width is estimated from twelve draws, beyond this is one in 3000.
    const WIDTHS: f64 = 5.0;
    // Where nothing is random.
    const FLOOR: f64 = 1e-4;
    let star = StarFile::read(&golden("g08_postprocess/auto.star")).unwrap();
    let theirs = column(&star, "fsc", "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps");
    let (half1, half2, mask) = (half(1), half(2), mask());
    let draws: Vec<Vec<f64>> = (0..SEEDS)
        .map(|seed| {
            let result = postprocess(&half1, &half2, Some(&mask), &options(seed)).unwrap();
            result.curves.masked.unwrap().randomised
        })
        .collect();
    assert_ne!(draws[0], draws[1]);
    for (shell, theirs) in theirs.iter().enumerate() {
        let values: Vec<f64> = draws.iter().map(|draw| draw[shell]).collect();
        let mean = values.iter().sum::<f64>() / SEEDS as f64;
        let width = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64).sqrt();
        assert!((theirs - mean).abs() <= WIDTHS * width + FLOOR, "shell {shell}: {theirs}, ours {mean} +- {width}");
    }
}

#[test]
fn the_map_is_that_of_relion() {
    let star = StarFile::read(&golden("g08_postprocess/auto.star")).unwrap();
    let curve = column(&star, "fsc", "rlnFourierShellCorrelationCorrected");
    let sharpened = sharpen(&half(1), &half(2), &curve, &options(1).sharpen).unwrap();
    for (label, ours) in [
        ("ResolutionSquared", &sharpened.guinier.resolution_squared),
        ("LogAmplitudesOriginal", &sharpened.guinier.original),
        ("LogAmplitudesWeighted", sharpened.guinier.weighted.as_ref().unwrap()),
        ("LogAmplitudesSharpened", sharpened.guinier.sharpened.as_ref().unwrap()),
    ] {
        assert_near(ours, &column(&star, "guinier", &format!("rln{label}")), LOGARITHM, label);
    }
    let fit = sharpened.fit.unwrap();
    for (label, ours) in [
        ("rlnBfactorUsedForSharpening", sharpened.b_factor),
        ("rlnFittedSlopeGuinierPlot", fit.slope),
        ("rlnFittedInterceptGuinierPlot", fit.intercept),
        ("rlnCorrelationFitGuinierPlot", fit.correlation),
    ] {
        let theirs = column(&star, "general", label)[0];
        println!("{label}: {ours} {theirs}");
        assert!((ours / theirs - 1.0).abs() < 2.0 * PRINTED_DIGITS, "{label}: {ours} {theirs}");
    }
    let printed = column(&star, "general", "rlnBfactorUsedForSharpening")[0];
    let given = SharpenOptions { b_factor: BFactor::Given(printed), ..SharpenOptions::default() };
    let sharpened = sharpen(&half(1), &half(2), &curve, &given).unwrap();
    let map = read_map(&golden("g08_postprocess/auto.mrc")).unwrap();
    let distance = relative_distance(&sharpened.map.data, &map.data);
    println!("map: {distance:.2e}");
    assert!(distance < MAP_DISTANCE, "{distance}");
}

#[test]
fn the_mtf_is_divided_out_as_relion_does() {
    // Column rlnLogAmplitudesMTFCorrected of RELION 3.1.3 for these half maps and this detector.
    let theirs = [
        -5.48733, -5.78330, -6.72765, -7.24256, -7.80347, -8.17661, -8.38157, -8.72277, -8.77341, -8.66025, -8.71447,
        -8.94881, -8.93864, -8.75227, -8.85825, -8.74793, -8.52229, -8.68851, -8.61218, -8.45459, -8.33313, -8.03986,
        -8.14265, -8.01035, -8.72319,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("detector.star");
    let rows = "0.0 1.0\n0.1 0.9\n0.2 0.75\n0.3 0.6\n0.4 0.45\n0.5 0.3\n";
    fs::write(&path, format!("data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n{rows}")).unwrap();
    let with = |parity| {
        let mtf = Some(Mtf::read(&path, 4.75, parity).unwrap());
        let options = SharpenOptions { b_factor: BFactor::None, mtf, ..SharpenOptions::default() };
        sharpen(&half(1), &half(2), &[1.0; 25], &options).unwrap().guinier.mtf_corrected.unwrap()
    };
    assert_near(&with(true), &theirs, LOGARITHM, "MTF corrected");
    // Without its slip in the table the first and the last rows differ: at 0.45 / pixel 0.375, not 0.3.
    let ours = with(false);
    assert!((0.1..0.4).contains(&worst(&ours, &theirs)));
    assert_near(&ours[10..15], &theirs[10..15], 0.01, "MTF corrected, inner rows");

    fs::write(&path, "data_\n\nloop_\n_rlnSpectralIndex #1\n0\n").unwrap();
    assert!(Mtf::read(&path, 1.0, false).unwrap_err().to_string().contains("no table with column rlnMtfValue"));
}

#[test]
fn without_a_mask_the_table_is_that_of_relion() {
    let star = StarFile::read(&golden("g08_postprocess/nomask.star")).unwrap();
    let sharpening = SharpenOptions {
        b_factor: BFactor::Given(-100.0),
        fsc_weighting: false,
        low_pass: LowPass::At(20.0),
        mtf: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let inputs = Inputs {
        half1: golden("g07_auto/run/run_half1_class001_unfil.mrc"),
        pixel_size_angstrom: Some(4.75),
        ..Inputs::default()
    };
    let root = folder.path().join("new/nomask");
    run(&inputs, &Options { sharpen: sharpening, ..Options::default() }, &root).unwrap();
    let ours = StarFile::read(&folder.path().join("new/nomask.star")).unwrap();
    for block in ["fsc", "guinier"] {
        let (ours, theirs) = (ours.require(block).unwrap(), star.require(block).unwrap());
        assert!(ours.labels().eq(theirs.labels()), "{block}");
        for label in theirs.labels() {
            let (a, b) = (ours.require(label).unwrap().f64s().unwrap(), theirs.require(label).unwrap().f64s().unwrap());
            assert_near(&a, &b, PRINTED, label);
        }
    }
    let general = ours.require("general").unwrap();
    assert!(general.labels().eq(star.require("general").unwrap().labels()));
    assert_eq!(general.require("rlnFinalResolution").unwrap().str(0), "19.000000");
    assert_eq!(general.require("rlnBfactorUsedForSharpening").unwrap().str(0), "-100.00000");
}

#[test]
fn files_are_complete_the_same_each_time_and_name_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Inputs {
        half1: golden("g07_auto/run/run_half1_class001_unfil.mrc"),
        mask: Some(golden("g10_mask/mask_e3w4.mrc")),
        ..Inputs::default()
    };
    let ends = [".mrc", "_masked.mrc", ".star", "_fsc.xml", "_fsc.dat"];
    let files = |name: &str, threads: usize| -> Vec<Vec<u8>> {
        let root = folder.path().join(name).join("post");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&inputs, &options(1), &root)).unwrap();
        ends.iter().map(|end| fs::read(folder.path().join(name).join(format!("post{end}"))).unwrap()).collect()
    };
    let first = files("a", 1);
    assert!(first == files("b", 3));
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), ends.len());

    let star = String::from_utf8(first[2].clone()).unwrap();
    assert!(!star.contains(" /") && !star.contains(folder.path().to_str().unwrap()), "{star}");
    let star = StarFile::parse("post.star", first[2].clone()).unwrap();
    let reference = StarFile::read(&golden("g08_postprocess/auto.star")).unwrap();
    for block in ["general", "fsc", "guinier"] {
        assert!(star.require(block).unwrap().labels().eq(reference.require(block).unwrap().labels()), "{block}");
    }
    assert_eq!(
        star.require("general").unwrap().require("rlnPostprocessedMapMasked").unwrap().str(0),
        "post_masked.mrc"
    );
    let xml = String::from_utf8(first[3].clone()).unwrap();
    assert_eq!(xml.matches("<coordinate>").count(), 25);
    assert!(xml.starts_with("<fsc title=") && xml.ends_with("</fsc>\n") && xml.contains("<x>0.004386</x>"));
    let dat = String::from_utf8(first[4].clone()).unwrap();
    assert!(dat.starts_with("0.001001 1.000000\n0.004386 0.99"), "{dat}");
    let map = read_map(&folder.path().join("a/post.mrc")).unwrap();
    let masked = read_map(&folder.path().join("a/post_masked.mrc")).unwrap();
    let product: Vec<f32> = map.data.iter().zip(&mask().data).map(|(v, m)| v * m).collect();
    assert!(masked.data == product && masked.pixel_size_angstrom == 4.75);
}

#[test]
fn inputs_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for number in [1, 2] {
        let name = format!("run_half{number}_class001_unfil.mrc");
        fs::copy(golden(&format!("g07_auto/run/{name}")), place(&name)).unwrap();
    }
    let inputs = Inputs { half1: place("run_half1_class001_unfil.mrc"), ..Inputs::default() };
    let before = fs::read(&inputs.half1).unwrap();
    let error = run(&inputs, &options(0), &place("run_half1_class001_unfil")).unwrap_err();
    assert!(error.code == ExitCode::Usage && error.problem.contains("would overwrite the input"), "{error}");
    assert!(fs::read(&inputs.half1).unwrap() == before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn masks_are_those_of_relion() {
    let none = MaskOptions { threshold: 0.05, extend_pixels: 0.0, soft_edge_pixels: 0.0, low_pass_angstrom: None };
    for (input, name, extend_pixels, soft_edge_pixels, low_pass_angstrom) in [
        ("ref48", "mask_e3w4", 3.0, 4.0, None),
        ("ref32", "m32_e3", 3.0, 0.0, None),
        ("ref32", "m32_em2", -2.0, 0.0, None),
        ("ref32", "m32_e2w4", 2.0, 4.0, None),
        ("ref32", "m32_lp", 1.0, 3.0, Some(26.0)),
    ] {
        let map = read_map(&golden(&format!("inputs/{input}.mrc"))).unwrap();
        let options = MaskOptions { extend_pixels, soft_edge_pixels, low_pass_angstrom, ..none };
        let ours = create(&map, &options).unwrap();
        let theirs = read_map(&golden(&format!("g10_mask/{name}.mrc"))).unwrap();
        let double = |map: &Map| -> Vec<f64> { map.data.iter().map(|v| f64::from(*v)).collect() };
        assert_near(&double(&ours), &double(&theirs), MASK, name);
    }
}

#[test]
fn a_wrong_mask_is_ignored_unless_forced() {
    let (half1, half2) = (half(1), half(2));
    let n = half1.nx;
    // A ball in a corner of the box, where there is only noise.
    let inside = |i: usize| [i % n, i / n % n, i / n / n].iter().map(|c| c.abs_diff(7).pow(2)).sum::<usize>() < 36;
    let data = (0..n * n * n).map(|i| if inside(i) { 1.0 } else { 0.0 }).collect();
    let corner = Map { data, ..half1.clone() };
    let given = SharpenOptions { b_factor: BFactor::Given(-50.0), ..SharpenOptions::default() };
    let with = |force_mask| {
        let fsc = FscOptions { force_mask, ..FscOptions::default() };
        postprocess(&half1, &half2, Some(&corner), &Options { fsc, sharpen: given.clone() }).unwrap().curves
    };
    let (free, forced) = (with(false), with(true));
    assert!(free.masked.as_ref().unwrap().is_ignored && !forced.masked.as_ref().unwrap().is_ignored);
    assert_eq!(free.deciding, free.unmasked);
    assert_eq!(forced.deciding, forced.masked.as_ref().unwrap().corrected);
    assert_eq!(free.resolution_shell, 12);
}

#[test]
fn shells_without_correlation_are_empty_and_do_not_take_part_in_the_fit() {
    let mut curve = vec![0.9; 25];
    curve[15] = 0.00001;
    let sharpened = sharpen(&half(1), &half(2), &curve, &options(0).sharpen).unwrap();
    let weighted = sharpened.guinier.weighted.unwrap();
    assert!(weighted[14] > EMPTY_SHELL);
    assert!(weighted[15..].iter().all(|v| *v == EMPTY_SHELL));
    assert!(sharpened.fit.unwrap().slope.abs() < 1000.0);
}

#[test]
fn bad_input_is_refused_with_a_sentence() {
    let (half1, half2, mask) = (half(1), half(2), mask());
    let usual = options(0);
    let refused = |a: &Map, b: &Map, mask: Option<&Map>, options: &Options| {
        let error = postprocess(a, b, mask, options).unwrap_err();
        assert!(!error.fix.is_empty(), "{error}");
        format!("{error}")
    };
    assert!(refused(&half1, &half1, None, &usual).contains("half map 2: identical to half map 1"));
    let small = read_map(&golden("inputs/ref32.mrc")).unwrap();
    assert!(refused(&half1, &small, None, &usual).contains("box of 32 voxels, but half map 1 has 48"));
    assert!(refused(&half1, &half2, Some(&small), &usual).contains("mask: a box of 32"));
    let mut broken = half2.clone();
    broken.data[48 * 48 + 3] = f32::NAN;
    assert!(refused(&half1, &broken, None, &usual).contains("voxel (3, 0, 1) is NaN"));
    let flat = Map { nx: 48, ny: 48, nz: 2, pixel_size_angstrom: 1.0, data: vec![0.0; 48 * 48 * 2] };
    assert!(refused(&flat, &half2, None, &usual).contains("not a cube"));
    let odd = Map { nx: 5, ny: 5, nz: 5, pixel_size_angstrom: 1.0, data: vec![0.0; 125] };
    assert!(refused(&odd, &half2, None, &usual).contains("box of 5 voxels"));
    let unknown = Map { pixel_size_angstrom: 0.0, ..half1.clone() };
    assert!(refused(&unknown, &half2, None, &usual).contains("no pixel size"));
    let mut wild = mask.clone();
    wild.data[7] = 2.5;
    assert!(refused(&half1, &half2, Some(&wild), &usual).contains("holds a value of 2.5"));
    let empty = Map { data: vec![0.0; mask.data.len()], ..mask.clone() };
    assert!(refused(&half1, &half2, Some(&empty), &usual).contains("leaves nothing"));
    let never = Options { fsc: FscOptions { randomise_below_fsc: -1.5, ..FscOptions::default() }, ..usual.clone() };
    assert!(refused(&half1, &half2, Some(&mask), &never).contains("never falls below"));
    for d in [0.0, -3.0, 9.0, 1e9, f64::NAN] {
        let from = FscOptions { randomise_from_angstrom: Some(d), ..FscOptions::default() };
        let odd = Options { fsc: from, ..usual.clone() };
        assert!(refused(&half1, &half2, Some(&mask), &odd).contains("random phases from"), "{d}");
    }
    let sharpening =
        |b_factor| Options { sharpen: SharpenOptions { b_factor, ..SharpenOptions::default() }, ..Options::default() };
    let fit = BFactor::Fit { from_angstrom: 10.0, to_angstrom: None };
    assert!(refused(&half1, &half2, None, &sharpening(fit)).contains("shells to fit a B-factor to, from 10 A on"));
    assert!(refused(&half1, &half2, None, &sharpening(BFactor::Given(f64::NAN))).contains("B-factor of NaN"));
    assert!(refused(&half1, &half2, None, &sharpening(BFactor::Given(-1e6))).contains("gives a map with a voxel"));

    let inputs = Inputs { half1: Path::new("absent_half1.mrc").into(), ..Inputs::default() };
    assert_eq!(run(&inputs, &usual, Path::new("nowhere")).unwrap_err().code, ExitCode::NoInput);
    let high = MaskOptions { threshold: 100.0, ..MaskOptions::default() };
    assert!(create(&half1, &high).unwrap_err().to_string().contains("no voxel reaches the threshold of 100"));
    let shrunk = MaskOptions { threshold: 0.01, extend_pixels: -30.0, ..MaskOptions::default() };
    assert!(create(&half1, &shrunk).unwrap_err().to_string().contains("leaves nothing"));
    let negative = MaskOptions { soft_edge_pixels: -1.0, ..MaskOptions::default() };
    assert_eq!(create(&half1, &negative).unwrap_err().code, ExitCode::Usage);
}

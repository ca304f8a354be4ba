//! The twin of CUDA itself: barriers, lanes, functions, and what it says about kernels that are wrong.

use std::process::Command;

use super::super::Driver;
use super::super::Grid;
use super::super::OnCpu;
use super::super::Precision;
use super::super::Source;
use super::super::Stream;
use super::super::download;
use super::super::launch;
use super::super::upload;

const TWIN: &[Source] =
    &[Source { name: "twin.cu", text: include_str!("../../../kernels/tests/twin.cu"), is_header: false }];
/// Names a mode of `twin_error` for the process that a test starts.
const MODE_VARIABLE: &str = "RELION_RS_KERNEL_TEST_MODE";

#[derive(Clone, Copy)]
#[repr(C)]
struct TwinArguments {
    values: u64,
    results: u64,
    count: u32,
    mode: u32,
}

/// What one launch over `values` makes of zeros.
fn results(order: u64, kernel: &'static str, grid: Grid, mode: u32, values: &[u32], count: usize) -> Vec<u64> {
    let mut device = OnCpu::open_with(Precision::Double, TWIN).unwrap().shuffled(order);
    let mut found = vec![0u64; count];
    let base = device.reserve(8 * count + 4 * values.len()).unwrap();
    let at_values = base + 8 * count as u64;
    device.zero(Stream::Compute, base, 8 * count).unwrap();
    upload(&device, Stream::Compute, at_values, values).unwrap();
    let arguments = TwinArguments { values: at_values, results: base, count: values.len() as u32, mode };
    launch(&device, Stream::Compute, kernel, grid, &arguments).unwrap();
    download(&device, Stream::Compute, base, &mut found).unwrap();
    found
}

#[test]
fn barriers_and_atomics() {
    let values: Vec<u32> = (0..100_000).map(|n| n * 7919 % 65_537).collect();
    for threads in [32, 64, 224] {
        let mut grid = Grid::over(values.len(), threads);
        grid.shared_bytes = 8 * 8;
        let blocks = grid.blocks[0] as usize;
        let mut wanted: Vec<u64> =
            values.chunks(threads as usize).map(|block| block.iter().map(|v| u64::from(*v)).sum()).collect();
        wanted.push(u64::from(*values.iter().max().unwrap()));
        for order in 0..4 {
            assert_eq!(
                results(order, "twin_sum", grid, 0, &values, blocks + 1),
                wanted,
                "{threads} threads, order {order}"
            );
        }
    }
}

#[test]
fn lanes_give_and_get() {
    const THREADS: u32 = 96;
    for order in 0..6 {
        let found = results(order, "twin_warp", Grid::over(THREADS as usize, THREADS), 0, &[], 8 * THREADS as usize);
        for n in 0..u64::from(THREADS) {
            let (lane, first) = (n % 32, n / 32 * 32);
            let row = &found[8 * n as usize..][..8];
            let within_eight = lane / 8 * 8 + (lane + 3) % 8;
            let back = if lane % 16 >= 2 { n - 2 } else { n };
            let ahead = if lane + 5 < 32 { n + 5 } else { n };
            let thirds = (0..32).filter(|l| l % 3 == 0).map(|l| 1u64 << l).sum();
            // Each turn goes to the other lane and back.
            let last = if lane < 16 { (n ^ 1) + 3 } else { (n ^ 1) + 1 };
            let odd = if lane < 20 { 0xaaaaa } else { 0 };
            assert_eq!(
                row,
                [first + within_eight, back, ahead, (first + (lane ^ 9)) << 40, thirds, 2, last, odd],
                "thread {n}, order {order}"
            );
        }
    }
}

#[test]
fn a_missing_barrier_shows_in_some_order() {
    let values: Vec<u32> = (1..=256).collect();
    let wanted: Vec<u64> = (0..256).map(|n| (n + 128) % 256 + 1).collect();
    let of = |order, mode| results(order, "twin_neighbour", Grid::over(256, 256), mode, &values, 256);
    for order in 0..8 {
        assert_eq!(of(order, 1), wanted, "order {order}");
    }
    assert!((0..8).any(|order| of(order, 0) != wanted), "no order shows the missing barrier");
}

#[test]
fn functions_are_those_of_cuda() {
    let found = results(0, "twin_functions", Grid::over(1, 1), 0, &[10], 18);
    let (f, s) = (2.5f64, (std::f64::consts::PI * 2.5 / 8.0).sin_cos());
    let signed = |n: i64| n as u64;
    let wanted = [
        2 + 200 + 20_000,
        28 + 60 * 100 + 320_000,
        0x5000_0000,
        (((10u128 << 60) as u64 as u128 * 64) >> 64) as u64 + ((u64::from(10u32 << 30) * 8) >> 32),
        u64::from(2.5f32.to_bits()) + f.to_bits(),
        signed(2 - 300 + 80_000 - 2_000_000),
        i32::MAX as u64,
        i64::MIN as u64,
        0,
        2000 + 4000 + 3000 + 10_000,
        (1e9 * (s.0 + 10.0 * s.1)).round() as u64,
        signed((1e6 * (s.0 - s.1)) as i64),
        1_000_000_000,
        1000,
        632_456 + 632 + 632,
        (3.5 + 5.0 + 3.5 + 5.0 + 8.75 + 8.75) as u64,
        10 * 10u64.pow(10) + 7 * 10u64.pow(8) + 15 * 10u64.pow(6) + 12 * 10_000 + 100,
        10 + 2 + 4,
    ];
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) <= 1;
    for (n, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let is_rounded = [10, 11].contains(&n);
        assert!(*found == wanted || is_rounded && near(*found, wanted), "result {n}: {found}, not {wanted}");
    }
}

/// Started by the next test as a process of its own: it ends by `abort`.
#[test]
#[ignore = "started by errors_of_kernels_are_told"]
fn error_of_a_kernel() {
    let Some(mode) = std::env::var(MODE_VARIABLE).ok().and_then(|text| text.parse().ok()) else { return };
    let mut grid = Grid::over(64, 64);
    grid.shared_bytes = 64;
    // The one beyond the last of shared memory.
    results(0, "twin_error", grid, mode, &[0; 16], 1);
}

#[test]
fn errors_of_kernels_are_told() {
    let told = |mode: u32| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "device::on_cpu::twin::error_of_a_kernel", "--include-ignored", "--nocapture"])
            .env(MODE_VARIABLE, mode.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "mode {mode} went well: {text}");
        text
    };
    let text = told(0);
    assert!(text.contains("kernel twin_error, block (0, 0, 0): threads wait at different barriers: lines "), "{text}");
    let text = told(1);
    assert!(text.contains("not all threads reach a barrier: of 64 threads 0 have ended, 32 wait at"), "{text}");
    assert!(text.contains("__syncthreads, 32 wait for their warp"), "{text}");
    if std::env::var("RELION_RS_KERNEL_FLAGS").is_ok_and(|flags| flags.contains("address")) {
        let text = told(2);
        assert!(text.contains("AddressSanitizer: use-after-poison"), "{text}");
    }
}

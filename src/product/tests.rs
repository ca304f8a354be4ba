use super::*;

/// A reproducible spread of values in (-1, 1), different for every seed.
fn values<T: Scalar>(seed: u64, count: usize) -> Vec<T> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            T::from_f64((x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
        })
        .collect()
}

fn sets() -> Vec<Isa> {
    ["avx512", "avx2", "portable"].iter().filter_map(|name| Isa::from_name(name).ok()).collect()
}

fn rows<T>(flat: &[T], length: usize) -> Vec<&[T]> {
    flat.chunks_exact(length).collect()
}

/// Every element of `dot` against the same product done alone, and against f64.
fn dot_is_position_independent<T: Scalar + PartialEq>(tolerance: f64) {
    for length in [T::LANES, 5 * T::LANES, CUT + 3 * T::LANES] {
        let a = values::<T>(1, 11 * length);
        let b = values::<T>(2, 13 * length);
        let columns = rows(&b, length);
        for isa in sets() {
            let mut all = vec![T::default(); 11 * 13];
            dot(isa, &a, 11, length, &columns, &mut all);
            for j in 0..13 {
                for i in 0..11 {
                    let mut alone = [T::default()];
                    dot(isa, &a[i * length..][..length], 1, length, &columns[j..=j], &mut alone);
                    assert!(all[j * 11 + i] == alone[0], "{isa:?} {i} {j}");
                    let truth: f64 = (0..length).map(|k| a[i * length + k].to_f64() * columns[j][k].to_f64()).sum();
                    let error = (alone[0].to_f64() - truth).abs();
                    assert!(error <= tolerance * length as f64, "{isa:?}: error {error} at length {length}");
                }
            }
        }
    }
}

fn wide_dot_is_position_independent<T: Scalar + PartialEq>(tolerance: f64) {
    for length in [3, CHAIN + 5, CUT + 2 * CHAIN + 9] {
        let stride = length + 4;
        let a = values::<T>(1, 30 * stride);
        let b = values::<T>(2, 17 * length);
        let columns = rows(&b, length);
        let mut wide = vec![T::from_f64(9.0); WIDE * length];
        side_by_side(&a, stride, length, &mut wide);
        let results = sets().into_iter().map(|isa| {
            let mut all = vec![T::default(); WIDE * 17];
            wide_dot(isa, &wide, length, &columns, &mut all);
            for j in 0..17 {
                let mut alone = vec![T::default(); WIDE];
                wide_dot(isa, &wide, length, &columns[j..=j], &mut alone);
                assert!(all[j * WIDE..][..WIDE] == alone[..], "{isa:?} column {j}");
                for i in 0..WIDE {
                    let value = |k: usize| if i < 30 { a[i * stride + k].to_f64() } else { 0.0 };
                    let truth: f64 = (0..length).map(|k| value(k) * columns[j][k].to_f64()).sum();
                    let error = (alone[i].to_f64() - truth).abs();
                    assert!(error <= tolerance * length as f64, "{isa:?}: error {error} at length {length}");
                }
            }
            all
        });
        let results: Vec<Vec<T>> = results.collect();
        assert!(results.iter().all(|r| *r == results[0]), "instruction sets differ");
    }
}

fn combine_is_position_independent<T: Scalar + PartialEq>(tolerance: f64) {
    let length = 7 * T::LANES;
    let terms = values::<T>(3, 9 * length);
    let coefficients = values::<T>(4, 9 * 10);
    let terms = rows(&terms, length);
    for isa in sets() {
        let mut all = vec![T::default(); 10 * length];
        let c = Coefficients { values: &coefficients, stride_row: 1, stride_term: 10 };
        combine(isa, c, &terms, 10, length, &mut all);
        for r in 0..10 {
            let mut alone = vec![T::default(); length];
            let c = Coefficients { values: &coefficients[r..], stride_row: 1, stride_term: 10 };
            combine(isa, c, &terms, 1, length, &mut alone);
            assert!(all[r * length..][..length] == alone[..], "{isa:?} row {r}");
            for k in 0..length {
                let truth: f64 = (0..9).map(|j| coefficients[j * 10 + r].to_f64() * terms[j][k].to_f64()).sum();
                assert!((alone[k].to_f64() - truth).abs() <= 9.0 * tolerance, "{isa:?} row {r} value {k}");
            }
        }
    }
}

// Rounding of sums of values below 1: a few units in the last place a term at most.
const F32: f64 = 1e-7;
const F64: f64 = 1e-15;

#[test]
fn dot_f32() {
    dot_is_position_independent::<f32>(F32);
}

#[test]
fn dot_f64() {
    dot_is_position_independent::<f64>(F64);
}

#[test]
fn wide_dot_f32() {
    wide_dot_is_position_independent::<f32>(F32);
}

#[test]
fn wide_dot_f64() {
    wide_dot_is_position_independent::<f64>(F64);
}

#[test]
fn combine_f32() {
    combine_is_position_independent::<f32>(F32);
}

#[test]
fn combine_f64() {
    combine_is_position_independent::<f64>(F64);
}

#[test]
fn instruction_sets_agree_to_the_bit() {
    let length = CUT + 5 * 16;
    let (a, b) = (values::<f32>(5, 6 * length), values::<f32>(6, 7 * length));
    let columns = rows(&b, length);
    let results: Vec<Vec<f32>> = sets()
        .into_iter()
        .map(|isa| {
            let mut out = vec![0.0; 42];
            dot(isa, &a, 6, length, &columns, &mut out);
            out
        })
        .collect();
    assert!(results.iter().all(|r| *r == results[0]));
}

#[test]
fn an_unknown_set_is_refused_by_name() {
    assert!(Isa::from_name("sse9").unwrap_err().problem.contains("sse9"));
}

/// CPU seconds of this thread: the machine may be busy with other things.
pub(super) fn cpu_seconds() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).expect("getrusage works");
    let (user, system) = (usage.user_time(), usage.system_time());
    (user.tv_sec() + system.tv_sec()) as f64 + (user.tv_usec() + system.tv_usec()) as f64 * 1e-6
}

/// Not a claim, a look: `cargo test --release --lib product::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "prints speeds; run by hand"]
fn speed() {
    for npix in [80, 160, 353, 1608, 5000] {
        let length = padded::<f32>(2 * npix);
        // On cache lines, as arena memory is.
        let whole = values::<f32>(1, 32 * length + 16);
        let a = &whole[whole.as_ptr().align_offset(64)..][..32 * length];
        let whole = values::<f32>(2, 64 * length + 16);
        let b = &whole[whole.as_ptr().align_offset(64)..][..64 * length];
        let columns = rows(b, length);
        let mut out = vec![0.0; 32 * 64];
        let repeats = 2_000_000_000 / (32 * 64 * length);
        for isa in sets().into_iter().filter(|i| *i != Isa::Portable) {
            let start = cpu_seconds();
            for _ in 0..repeats {
                dot(isa, a, 32, length, &columns, &mut out);
            }
            let flops = (repeats * 2 * 32 * 64 * length) as f64;
            let dot_rate = flops / (cpu_seconds() - start) / 1e9;
            let start = cpu_seconds();
            for _ in 0..repeats {
                wide_dot(isa, a, length, &columns, &mut out);
            }
            let wide_rate = flops / (cpu_seconds() - start) / 1e9;
            let mut spread = vec![0.0; 32 * length];
            let w = values::<f32>(7, 32 * 64);
            let start = cpu_seconds();
            for _ in 0..repeats {
                let c = Coefficients { values: &w, stride_row: 1, stride_term: 32 };
                combine(isa, c, &columns, 32, length, &mut spread);
            }
            let combine_rate = flops / (cpu_seconds() - start) / 1e9;
            println!(
                "{isa:?} length {length}: dot {dot_rate:.1}, wide {wide_rate:.1}, combine {combine_rate:.1} GFLOP/s"
            );
        }
    }
}

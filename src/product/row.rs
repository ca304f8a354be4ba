//! Element-wise work on rows of interleaved complex values, and sums over stretches of a row.

use super::Isa;
use super::Scalar;

/// Chains of a sum.
const CHAINS: usize = 16;

#[inline(always)]
fn sums_body<T: Scalar>(a: &[T], ranges: &[std::ops::Range<usize>], width: usize, out: &mut [f64]) {
    for (range, out) in ranges.iter().zip(out) {
        let mut chains = [T::default(); CHAINS];
        let whole = a[width * range.start..width * range.end].chunks_exact(CHAINS);
        let rest = whole.remainder();
        for a in whole {
            for i in 0..CHAINS {
                chains[i] += a[i];
            }
        }
        for (chain, a) in chains.iter_mut().zip(rest) {
            *chain += *a;
        }
        *out = chains.iter().map(|c| c.to_f64()).sum();
    }
}

#[inline(always)]
fn products_body<T: Scalar>(a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), o) in a.iter().zip(b).zip(out) {
        *o = *a * *b;
    }
}

#[inline(always)]
fn add_products_body<T: Scalar>(a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), o) in a.iter().zip(b).zip(out) {
        *o += *a * *b;
    }
}

#[inline(always)]
fn multiply_body<T: Scalar>(a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), o) in a.chunks_exact(2).zip(b.chunks_exact(2)).zip(out.chunks_exact_mut(2)) {
        let (re, im) = (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]);
        o[0] = re;
        o[1] = im;
    }
}

#[inline(always)]
fn multiply_conjugate_body<T: Scalar>(a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), o) in a.chunks_exact(2).zip(b.chunks_exact(2)).zip(out.chunks_exact_mut(2)) {
        let (re, im) = (a[0] * b[0] + a[1] * b[1], a[1] * b[0] - a[0] * b[1]);
        o[0] = re;
        o[1] = im;
    }
}

#[inline(always)]
fn multiply_add_body<T: Scalar>(a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), o) in a.chunks_exact(2).zip(b.chunks_exact(2)).zip(out.chunks_exact_mut(2)) {
        let (re, im) = (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]);
        o[0] += re;
        o[1] += im;
    }
}

#[inline(always)]
fn squares_body<T: Scalar>(a: &[T], out: &mut [T]) {
    for (a, o) in a.chunks_exact(2).zip(out) {
        *o = a[0] * a[0] + a[1] * a[1];
    }
}

#[inline(always)]
fn add_body<T: Scalar>(sum: &mut [T], part: &[T]) {
    for (s, p) in sum.iter_mut().zip(part) {
        *s += *p;
    }
}

#[inline(always)]
fn weigh_body<T: Scalar>(least: T, largest_exponent: T, values: &mut [T]) {
    let floor = -largest_exponent;
    for value in values {
        let exponent = least - *value;
        // NaN compares false: no weight.
        let kept = exponent > floor;
        let weight = (if kept { exponent } else { floor }).exp();
        *value = if kept { weight } else { T::default() };
    }
}

#[inline(always)]
fn energies_body<T: Scalar>(powers: &[T], products: &[T], priors: &[T], offset: T, out: &mut [T], least: &mut T) {
    let half = T::from_f64(0.5);
    for (((out, power), product), prior) in out.iter_mut().zip(powers).zip(products).zip(priors) {
        *out = half * *power - *product - *prior - offset;
    }
    let mut chains = [*least; CHAINS];
    for part in out.chunks(CHAINS) {
        for (chain, value) in chains.iter_mut().zip(part) {
            *chain = if *value < *chain { *value } else { *chain };
        }
    }
    for chain in chains {
        *least = if chain < *least { chain } else { *least };
    }
}

/// The same body for every instruction set. Products and sums stay separate operations, so all give the same bits.
macro_rules! versions {
    ($(#[$doc:meta])* $name:ident, $body:ident, ($($arg:ident : $type:ty),*)) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub fn $name<T: Scalar>(isa: Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
            fn avx512<T: Scalar>($($arg: $type),*) {
                $body::<T>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<T: Scalar>($($arg: $type),*) {
                $body::<T>($($arg),*)
            }
            match isa {
                // SAFETY: `Isa` values exist only for sets this processor has.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body::<T>($($arg),*),
            }
        }
    };
}

versions!(
    /// `out[r]` = sum of `a` over `width * ranges[r]`: 16 chains, added in order.
    range_sums, sums_body, (a: &[T], ranges: &[std::ops::Range<usize>], width: usize, out: &mut [f64]));
versions!(
    /// out = a * b, value by value.
    products, products_body, (a: &[T], b: &[T], out: &mut [T]));
versions!(
    /// out += a * b, value by value.
    add_products, add_products_body, (a: &[T], b: &[T], out: &mut [T]));
versions!(
    /// out = a * b, complex.
    multiply, multiply_body, (a: &[T], b: &[T], out: &mut [T]));
versions!(
    /// out = a * conj(b), complex.
    multiply_conjugate, multiply_conjugate_body, (a: &[T], b: &[T], out: &mut [T]));
versions!(
    /// out += a * b, complex.
    multiply_add, multiply_add_body, (a: &[T], b: &[T], out: &mut [T]));
versions!(
    /// out = |a|^2 of complex values.
    squares, squares_body, (a: &[T], out: &mut [T]));
versions!(
    /// Energies become weights, exp(least - energy); zero from exp(-largest_exponent) down. `least` is at most the
    /// smallest energy, `largest_exponent` below 40.
    weigh, weigh_body, (least: T, largest_exponent: T, values: &mut [T]));
versions!(
    /// out = power / 2 - product - prior - offset, and the smallest of them into `least` where it is smaller.
    energies, energies_body,
    (powers: &[T], products: &[T], priors: &[T], offset: T, out: &mut [T], least: &mut T));
versions!(
    /// sum += part.
    add, add_body, (sum: &mut [T], part: &[T]));

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> impl Iterator<Item = Isa> {
        ["avx512", "avx2", "portable"].into_iter().filter_map(|name| Isa::from_name(name).ok())
    }

    #[test]
    fn complex_arithmetic() {
        let (a, b) = ([1.0_f64, 2.0, 3.0, -1.0], [0.5, -1.0, 2.0, 4.0]);
        for isa in sets() {
            let mut out = [0.0; 4];
            multiply(isa, &a, &b, &mut out);
            assert_eq!(out, [2.5, 0.0, 10.0, 10.0]);
            multiply_add(isa, &a, &b, &mut out);
            assert_eq!(out, [5.0, 0.0, 20.0, 20.0]);
            multiply_conjugate(isa, &a, &b, &mut out);
            assert_eq!(out, [-1.5, 2.0, 2.0, -14.0]);
            let mut power = [0.0; 2];
            squares(isa, &a, &mut power);
            assert_eq!(power, [5.0, 10.0]);
        }
    }

    #[test]
    fn sums_over_ranges_have_the_same_bits_everywhere() {
        let a: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..200).map(|i| (i as f32 * 0.11).cos()).collect();
        let ranges = [0..3, 3..40, 40..40, 40..100];
        let results: Vec<Vec<f64>> = sets()
            .map(|isa| {
                let mut product = vec![0.0; 200];
                products(isa, &a, &b, &mut product);
                add_products(isa, &a, &b, &mut product);
                let mut out = vec![9.0; 4];
                range_sums(isa, &product, &ranges, 2, &mut out);
                out
            })
            .collect();
        for (range, sum) in ranges.iter().zip(&results[0]) {
            let truth: f64 = (2 * range.start..2 * range.end).map(|i| 2.0 * f64::from(a[i]) * f64::from(b[i])).sum();
            assert!((sum - truth).abs() < 1e-5, "{range:?}: {sum} {truth}");
        }
        assert!(results.iter().all(|r| *r == results[0]));
    }
}

//! Rounds of one case: medians, means over iterations, ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure::Seconds;
use super::measure::WHOLE;

/// A case on both sides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub case: String,
    pub kind: String,
    pub precision: String,
    /// The same on both sides.
    pub ranks: u32,
    pub cpu: Option<Side>,
    pub cuda: Option<Side>,
    /// How many times as fast the GPU is: by iterations that both sides did, and by phases of them.
    pub ratio: Option<f64>,
    pub phase_ratios: BTreeMap<String, f64>,
}

/// One side, as medians over its rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    pub rounds: usize,
    /// Mean over the iterations.
    pub seconds_per_iteration: f64,
    pub phase_seconds: BTreeMap<String, f64>,
    /// Fastest and slowest round, as means over the iterations.
    pub range: [f64; 2],
    /// Of whole iterations.
    pub iterations: BTreeMap<u32, f64>,
    #[serde(skip)]
    pub(super) medians: Seconds,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

impl Side {
    /// From the rounds; those iterations count that all of them did.
    pub fn new(rounds: &[Seconds]) -> Option<Self> {
        let first = rounds.first()?;
        let in_all = |iteration: &&u32| rounds.iter().all(|round| round.contains_key(iteration));
        let medians: Seconds = first
            .keys()
            .filter(in_all)
            .map(|iteration| {
                let phases = first[iteration].keys().map(|phase| {
                    let of = |round: &Seconds| round[iteration].get(phase).copied().unwrap_or(0.0);
                    (phase.clone(), median(rounds.iter().map(of).collect()))
                });
                (*iteration, phases.collect())
            })
            .collect();
        let whole = |seconds: &Seconds| mean(seconds.values().map(|phases| phases[WHOLE]));
        let of_rounds: Vec<f64> = rounds.iter().map(whole).collect();
        let mut phases: Vec<&String> = medians.values().flat_map(|phases| phases.keys()).collect();
        phases.sort();
        phases.dedup();
        let of_phase = |phase: &String| mean(medians.values().map(|phases| phases.get(phase).copied().unwrap_or(0.0)));
        Some(Self {
            rounds: rounds.len(),
            seconds_per_iteration: whole(&medians),
            phase_seconds: phases
                .into_iter()
                .filter(|phase| *phase != WHOLE)
                .map(|phase| (phase.clone(), of_phase(phase)))
                .collect(),
            range: [
                of_rounds.iter().copied().fold(f64::INFINITY, f64::min),
                of_rounds.iter().copied().fold(0.0, f64::max),
            ],
            iterations: medians.iter().map(|(iteration, phases)| (*iteration, phases[WHOLE])).collect(),
            medians,
        })
    }

    /// Seconds of a phase in the iterations that the other side did too.
    fn common(&self, other: &Self, phase: &str) -> f64 {
        let both = self.medians.iter().filter(|(iteration, _)| other.medians.contains_key(iteration));
        both.map(|(_, phases)| phases.get(phase).copied().unwrap_or(0.0)).sum()
    }
}

impl Row {
    pub fn with_ratios(mut self) -> Self {
        if let (Some(cpu), Some(cuda)) = (&self.cpu, &self.cuda) {
            let ratio = |phase: &str| Some(cpu.common(cuda, phase) / cuda.common(cpu, phase)).filter(|r| r.is_finite());
            self.ratio = ratio(WHOLE);
            let phases = cpu.phase_seconds.keys().filter(|phase| cuda.phase_seconds.contains_key(*phase));
            self.phase_ratios = phases.filter_map(|phase| Some((phase.clone(), ratio(phase)?))).collect();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(iterations: &[(u32, f64, f64)]) -> Seconds {
        let phases = |whole, sums| BTreeMap::from([(WHOLE.to_owned(), whole), ("sums".to_owned(), sums)]);
        iterations.iter().map(|(iteration, whole, sums)| (*iteration, phases(*whole, *sums))).collect()
    }

    #[test]
    fn medians_are_taken_by_iteration() {
        let rounds = [
            round(&[(1, 2.0, 1.0), (2, 4.0, 1.0)]),
            round(&[(1, 9.0, 8.0), (2, 4.0, 1.0)]),
            round(&[(1, 3.0, 2.0), (2, 5.0, 3.0)]),
        ];
        let side = Side::new(&rounds).unwrap();
        assert_eq!(side.iterations, BTreeMap::from([(1, 3.0), (2, 4.0)]));
        assert_eq!((side.seconds_per_iteration, side.phase_seconds["sums"]), (3.5, 1.5));
        assert_eq!((side.range, side.rounds), ([3.0, 6.5], 3));
        assert!(Side::new(&[]).is_none());
    }

    #[test]
    fn a_ratio_is_of_the_iterations_of_both_sides() {
        let cpu = Side::new(&[round(&[(1, 10.0, 6.0), (2, 20.0, 6.0), (3, 1000.0, 1.0)])]);
        let cuda = Side::new(&[round(&[(1, 1.0, 1.0), (2, 2.0, 2.0)])]);
        let row = Row { cpu, cuda, ..Row::default() }.with_ratios();
        assert_eq!(row.ratio, Some(10.0));
        assert_eq!(row.phase_ratios, BTreeMap::from([("sums".to_owned(), 4.0)]));
        let alone = Row { ratio: None, cuda: None, ..row }.with_ratios();
        assert_eq!(alone.ratio, None);
    }
}

//! Orientation grids and translations, against lists that RELION wrote and against their definitions.

use std::collections::BTreeMap;

use relion_rs::model::PriorMode;
use relion_rs::model::SamplingState;
use relion_rs::rotation::Euler;
use relion_rs::rotation::Matrix3;
use relion_rs::rotation::PointGroup;
use relion_rs::rotation::direction_of_angles;
use relion_rs::rotation::healpix;
use relion_rs::sampling::LocalPrior;
use relion_rs::sampling::Orientations;
use relion_rs::sampling::Translations;
use relion_rs::sampling::reduced_directions;

use crate::support::golden;

/// Half a unit of the sixth decimal, the fifth for negative numbers of three digits.
const PRINTED_DEGREES: f64 = 6e-6;

fn group(name: &str) -> PointGroup {
    PointGroup::parse(name).expect("a valid group name")
}

fn state(order: u32, oversampling: u32, perturbation: f64) -> SamplingState {
    let psi_step_degrees = healpix::angular_step_degrees(order);
    SamplingState {
        healpix_order: order,
        psi_step_degrees,
        offset_range_angstrom: 5.0,
        offset_step_angstrom: 2.0,
        oversampling,
        perturbation,
        perturbation_factor: 0.5,
        prior: PriorMode::Global,
        original_healpix_order: order,
        original_psi_step_degrees: psi_step_degrees,
        original_offset_range_angstrom: 5.0,
        original_offset_step_angstrom: 2.0,
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn angle_degrees(a: [f64; 3], b: [f64; 3]) -> f64 {
    dot(a, b).clamp(-1.0, 1.0).acos().to_degrees()
}

/// Tables of (rot, tilt) by name, e.g. `D7_order2`.
fn golden_directions() -> BTreeMap<String, Vec<[f64; 2]>> {
    let text = std::fs::read_to_string(golden("g03_directions/directions.star")).expect("golden directions");
    let mut tables = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(found) = line.trim().strip_prefix("data_") {
            name = found.to_owned();
            tables.insert(name.clone(), Vec::new());
        } else if let [Some(rot), Some(tilt)] = line.split_whitespace().map(|w| w.parse().ok()).collect::<Vec<_>>()[..]
        {
            tables.get_mut(&name).expect("a table has begun").push([rot, tilt]);
        }
    }
    tables
}

#[test]
fn directions_are_those_of_relion_in_its_order() {
    let tables = golden_directions();
    let text = std::fs::read_to_string(golden("g03_directions/counts.json")).expect("golden counts");
    let counts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut faults = Vec::new();
    let mut checked = 0;
    for entry in counts.as_array().expect("a list of groups") {
        let name = entry["symmetry"].as_str().expect("a name");
        for order in 1..=3u32 {
            let count = entry["count_5_0_1"][order as usize - 1].as_u64().expect("a count");
            let known = tables.get(&format!("{name}_order{order}")).cloned().unwrap_or_default();
            assert_eq!(known.len() as u64, count, "{name} order {order}: the golden files disagree");
            checked += 1;
            match reduced_directions(&group(name), order, None, true) {
                Err(error) => {
                    assert!(
                        error.problem.contains(name) && error.problem.contains(&format!("order {order}")),
                        "{error}"
                    );
                    assert!(error.fix.contains("higher"), "{error}");
                    if count > 0 {
                        faults.push(format!("{name} order {order}: none of {count}"));
                    }
                }
                Ok(found) => {
                    let same = |d: &relion_rs::sampling::Direction, k: &[f64; 2]| {
                        (d.rot_degrees - k[0]).abs() < PRINTED_DEGREES
                            && (d.tilt_degrees - k[1]).abs() < PRINTED_DEGREES
                    };
                    let agrees = found.len() == known.len() && found.iter().zip(&known).all(|(d, k)| same(d, k));
                    if !agrees {
                        let first = found.iter().zip(&known).position(|(d, k)| !same(d, k));
                        faults.push(format!("{name} order {order}: {} of {count}, first at {first:?}", found.len()));
                    }
                    // Without parity the groups of rotations alone have the same list below 4000 directions.
                    if group(name).is_pure_rotation() {
                        assert_eq!(reduced_directions(&group(name), order, None, false).expect("as above"), found);
                    }
                }
            }
        }
    }
    assert_eq!(checked, 3 * 32);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn reduced_directions_cover_the_sphere_once() {
    let names = [
        "C1", "C2", "C3", "C7", "D1", "D2", "D3", "D7", "T", "O", "I1", "I2", "I3", "I4", "Ci", "Cs", "C2v", "C3h",
        "S6", "D2v", "D3h", "Td", "Th", "Oh", "I1h", "I2h", "I3h", "I4h",
    ];
    for name in names {
        let (group, order) = (group(name), 4);
        let radius = healpix::maximum_pixel_radius(order).to_degrees();
        let found = reduced_directions(&group, order, None, false).expect("directions");
        let kept: Vec<[f64; 3]> = found.iter().map(|d| direction_of_angles(d.rot_degrees, d.tilt_degrees)).collect();
        // Once: mates of kept directions stay half a pixel radius apart.
        let mates: Vec<[f64; 3]> = kept
            .iter()
            .flat_map(|v| group.operators().iter().skip(1).map(|operator| operator.mate_direction(*v)))
            .collect();
        let smallest = (0.5 * radius).to_radians().cos();
        let moved = mates.iter().enumerate().filter(|(i, m)| {
            // A mate that is the direction itself (inversion) is no duplicate.
            let own = kept[i / (group.order() - 1).max(1)];
            kept.iter().any(|v| dot(*v, **m) > smallest && dot(own, *v) < 1.0 - 1e-12)
        });
        assert_eq!(moved.count(), 0, "{name}: duplicates along the seams");
        // Covered: every direction has a kept mate within two pixel radii (a dropped one and its neighbour).
        let all: Vec<[f64; 3]> = kept.iter().copied().chain(mates).collect();
        let mut worst = 0f64;
        for pixel in (0..healpix::pixel_count(order) as u32).step_by(3) {
            let (rot, tilt) = healpix::angles_of_pixel(order, pixel);
            let v = direction_of_angles(rot, tilt);
            let cosine = all.iter().map(|m| dot(v, *m)).fold(-1.0, f64::max);
            worst = worst.max(cosine.min(1.0).acos().to_degrees());
        }
        assert!(worst < 2.0 * radius, "{name}: a direction is {worst} degrees from the nearest, pixel radius {radius}");
        // And the count is that of the area, within the seams.
        let probe = direction_of_angles(12.3, 45.6);
        let mut images: Vec<[f64; 3]> = Vec::new();
        for operator in group.operators() {
            let image = operator.mate_direction(probe);
            // The inversion turns the image by 180 degrees and leaves the direction.
            if images.iter().all(|known| angle_degrees(*known, image) > 1e-3) {
                images.push(image);
            }
        }
        let distinct = images.len();
        let ideal = healpix::pixel_count(order) as f64 / distinct as f64;
        let share = kept.len() as f64 / ideal;
        println!("{name:4} {:5} directions, {share:.3} of the ideal, worst gap {worst:.2} degrees", kept.len());
        assert!((0.9..1.1).contains(&share), "{name}: {share} of the directions that the area holds");
    }
}

#[test]
fn seams_are_cleared_above_4000_directions_unless_parity_is_asked() {
    let group = group("D2");
    let ours = reduced_directions(&group, 6, None, false).expect("directions").len();
    let relion = reduced_directions(&group, 6, None, true).expect("directions").len();
    assert_eq!(ours, healpix::pixel_count(6) / 4);
    assert!(relion > ours, "{relion} {ours}");
}

#[test]
fn tilt_limit_keeps_the_side_or_the_top() {
    let all = reduced_directions(&group("C1"), 2, None, false).expect("all");
    let from_pole = |d: &relion_rs::sampling::Direction| d.tilt_degrees.min(180.0 - d.tilt_degrees);
    for limit in [60.0, -40.0, -91.0] {
        let kept = reduced_directions(&group("C1"), 2, Some(limit), false).expect("some");
        let wanted = all.iter().filter(|d| {
            f64::abs(limit) >= 90.0 || if limit > 0.0 { from_pole(d) >= limit } else { from_pole(d) <= -limit }
        });
        assert!(wanted.eq(kept.iter()), "{limit}");
    }
    let error = reduced_directions(&group("C1"), 0, Some(-1.0), false).expect_err("no direction so near a pole");
    assert!(error.problem.contains("tilt"), "{error}");
}

#[test]
fn children_are_centred_on_their_parent() {
    for (order, oversampling) in [(1, 1), (2, 1), (2, 2), (3, 0)] {
        let grid = Orientations::new(&state(order, oversampling, 0.0), &group("C1"), None, false).expect("grid");
        let count = grid.child_count();
        assert_eq!(count, 8usize.pow(oversampling));
        assert_eq!(grid.count(), grid.direction_count() * grid.psi_count());
        let mut children = Vec::new();
        for orientation in (0..grid.count()).step_by(7) {
            let parent = grid.matrix(orientation);
            let d = grid.directions()[grid.direction_of(orientation)];
            let psi = grid.psis_degrees()[grid.psi_of(orientation)];
            let plain = Euler::new(d.rot_degrees, d.tilt_degrees, psi).matrix();
            // Rounding of a few products.
            assert!(parent.angle_degrees(plain) < 1e-9);
            children.clear();
            grid.child_matrices(orientation, &mut children);
            assert_eq!(children.len(), count);
            let mut sum = [0.0; 3];
            for (child, matrix) in children.iter().enumerate() {
                assert_eq!(*matrix, grid.child_matrix(orientation, child));
                assert!(Euler::of_matrix(matrix).matrix().angle_degrees(*matrix) < 1e-6);
                sum = std::array::from_fn(|i| sum[i] + matrix.0[2][i]);
                let part = child >> oversampling;
                assert_eq!(matrix.0[2], children[part << oversampling].0[2], "psi is innermost");
            }
            let length = dot(sum, sum).sqrt();
            // Pixels at the corners of the caps are askew by a tenth of their size.
            let off = angle_degrees(sum.map(|x| x / length), parent.0[2]);
            assert!(off < 0.15 * healpix::angular_step_degrees(order), "order {order}: {off}");
        }
    }
    // Order 2, pixel 37: the finer pixels 148 to 151 with psi -+ a quarter of the step.
    let grid = Orientations::new(&state(2, 1, 0.0), &group("C1"), None, false).expect("grid");
    let orientation = 37 * grid.psi_count() + 5;
    for child in 0..8 {
        let (rot, tilt) = healpix::angles_of_pixel(3, 148 + child as u32 / 2);
        let psi = 5.0 * 15.0 + if child % 2 == 0 { -3.75 } else { 3.75 };
        let wanted = Euler::new(rot, tilt, psi);
        let found = grid.child_euler(orientation, child);
        assert!(wanted.matrix().angle_degrees(found.matrix()) < 1e-9, "{wanted:?} {found:?}");
        assert!((found.rot - rot).abs() < 1e-9 && (found.tilt - tilt).abs() < 1e-9 && (found.psi - psi).abs() < 1e-9);
    }
}

#[test]
fn children_of_a_large_grid_need_no_table() {
    // 12288 directions with 256 finer ones each are beyond the table; 3072 with 256 are not.
    let large = Orientations::new(&state(5, 4, 0.2), &group("C1"), None, false).expect("grid");
    let mut children = Vec::new();
    large.child_matrices(123, &mut children);
    assert_eq!(children.len(), 4096);
    for (child, matrix) in children.iter().enumerate() {
        assert_eq!(*matrix, large.child_matrix(123, child));
        assert!(matrix.angle_degrees(large.matrix(123)) < 2.0 * healpix::angular_step_degrees(5));
    }
}

#[test]
fn perturbation_turns_every_pose_alike() {
    for perturbation in [0.25, -0.4] {
        let plain = Orientations::new(&state(1, 1, 0.0), &group("C2"), None, false).expect("grid");
        let turned = Orientations::new(&state(1, 1, perturbation), &group("C2"), None, false).expect("grid");
        let d = 30.0 * perturbation;
        let factor: Matrix3 = Euler::new(d, d, d).matrix();
        for orientation in 0..plain.count() {
            let wanted = plain.matrix(orientation) * factor;
            assert!(wanted.angle_degrees(turned.matrix(orientation)) < 1e-9);
            let wanted = plain.child_matrix(orientation, 5) * factor;
            assert!(wanted.angle_degrees(turned.child_matrix(orientation, 5)) < 1e-9);
        }
    }
}

/// The printed perturbation has five decimals, times 30 degrees, on three angles; poses have six.
const PERTURBED_DEGREES: f64 = 5e-4;

#[test]
fn poses_that_relion_found_on_a_perturbed_grid_are_on_ours() {
    let grid = Orientations::new(&state(1, 1, -0.11471), &group("C1"), None, false).expect("grid");
    let mut fine = Vec::new();
    (0..grid.count()).for_each(|orientation| grid.child_matrices(orientation, &mut fine));
    let text = std::fs::read_to_string(golden("g05_em/perturb/run_it001_data.star")).expect("golden poses");
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|l| l.contains("@")).map(|l| l.split_whitespace().collect()).collect();
    let labels: Vec<&str> = text
        .split("data_particles")
        .nth(1)
        .expect("a particle table")
        .lines()
        .filter_map(|l| l.strip_prefix("_rln")?.split_whitespace().next())
        .collect();
    let column = |label: &str| labels.iter().position(|l| *l == label).expect(label);
    let columns = [column("AngleRot"), column("AngleTilt"), column("AnglePsi")];
    assert_eq!(rows.len(), 24);
    let mut worst = 0f64;
    for row in rows {
        let [rot, tilt, psi] = columns.map(|c| row[c].parse().expect("an angle"));
        let pose = Euler::new(rot, tilt, psi).matrix();
        let nearest = fine.iter().map(|m| m.angle_degrees(pose)).fold(f64::INFINITY, f64::min);
        assert!(nearest < PERTURBED_DEGREES, "{rot} {tilt} {psi}: {nearest}");
        worst = worst.max(nearest);
    }
    println!("worst {worst:.1e} degrees");
}

#[test]
fn translations_fill_a_disc_and_children_their_parent() {
    let grid = Translations::new(&state(1, 1, 0.0)).expect("grid");
    // Range 5, step 2: 21 of the 49 grid points with |t| <= 5, in order x outer, y inner.
    assert_eq!(grid.count(), 21);
    assert_eq!(grid.coarse(0), [-4.0, -2.0]);
    assert_eq!(grid.coarse(1), [-4.0, 0.0]);
    let centre = (0..grid.count()).find(|i| grid.coarse(*i) == [0.0, 0.0]).expect("the centre");
    let children: Vec<[f64; 2]> = (0..grid.child_count()).map(|c| grid.child(centre, c)).collect();
    assert_eq!(children, [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]);
    let turned = Translations::new(&state(1, 2, -0.25)).expect("grid");
    assert_eq!(turned.unperturbed(centre), [0.0, 0.0]);
    assert_eq!(turned.coarse(centre), [-0.5, -0.5]);
    assert_eq!(turned.child_count(), 16);
    assert_eq!(turned.child(centre, 7), [-0.5 - 0.25, -0.5 + 0.75]);
    let mut single = state(1, 0, 0.0);
    single.offset_range_angstrom = 0.0;
    assert_eq!(Translations::new(&single).expect("grid").count(), 1);
    single.offset_step_angstrom = 0.0;
    assert!(Translations::new(&single).is_err());
}

#[test]
fn impossible_grids_are_refused() {
    let c1 = group("C1");
    assert!(Orientations::new(&state(12, 1, 0.0), &c1, None, false).is_err());
    let mut wrong = state(1, 1, 0.0);
    for step in [0.0, -1.0, f64::NAN, 400.0] {
        wrong.psi_step_degrees = step;
        assert!(Orientations::new(&wrong, &c1, None, false).is_err(), "{step}");
    }
    wrong.psi_step_degrees = 7.0;
    let grid = Orientations::new(&wrong, &c1, None, false).expect("52 angles");
    assert_eq!(grid.psi_count(), 52);
    assert!((grid.psi_step_degrees() - 360.0 / 52.0).abs() < 1e-12);
}

/// How a local prior judges a sample: squared distance in standard deviations, from the definition.
type Judge = fn(&PointGroup, &Matrix3, Euler, [f64; 3]) -> f64;

fn whole_rotation(group: &PointGroup, sample: &Matrix3, centre: Euler, sigma: [f64; 3]) -> f64 {
    let angles = group.mates(centre.matrix()).map(|mate| sample.angle_degrees(mate));
    (angles.fold(f64::INFINITY, f64::min) / sigma[0]).powi(2)
}

fn direction_and_turn(group: &PointGroup, sample: &Matrix3, centre: Euler, sigma: [f64; 3]) -> f64 {
    let judge = |mate: Matrix3| {
        let between_views = angle_degrees(sample.0[2], mate.0[2]);
        let ratio = (0.5 * sample.angle_degrees(mate)).to_radians().cos() / (0.5 * between_views).to_radians().cos();
        let turn = 2.0 * ratio.clamp(-1.0, 1.0).acos().to_degrees();
        let of_turn = if sigma[2] > 0.0 { (turn / sigma[2]).powi(2) } else { 0.0 };
        (between_views / sigma[0].max(sigma[1])).powi(2) + of_turn
    };
    group.mates(centre.matrix()).map(judge).fold(f64::INFINITY, f64::min)
}

fn tilt_and_psi(group: &PointGroup, sample: &Matrix3, centre: Euler, sigma: [f64; 3]) -> f64 {
    let judge = |mate: Matrix3| {
        let angles = Euler::of_matrix(&mate);
        let turn = (angles.psi - centre.psi + 540.0).rem_euclid(360.0) - 180.0;
        let part = |off: f64, sigma: f64| if sigma > 0.0 { (off / sigma).powi(2) } else { 0.0 };
        part(angles.tilt - centre.tilt, sigma[1]) + part(turn, sigma[2])
    };
    group.mates(*sample).map(judge).fold(f64::INFINITY, f64::min)
}

/// Samples this near to the cutoff, in squared standard deviations, may fall on either side by rounding
/// (angles of 1 degree from their cosine are good to 1e-8).
const BORDER: f64 = 1e-6;

/// Error of a weight: that of the squared distance, over many samples.
const WEIGHT: f64 = 1e-6;

#[test]
fn local_lists_are_those_of_the_definition() {
    let cases: [(Judge, [f64; 3]); 6] = [
        (whole_rotation, [4.0; 3]),
        (whole_rotation, [25.0; 3]),
        (direction_and_turn, [4.0, 6.0, 3.0]),
        (direction_and_turn, [5.0, 5.0, 0.0]),
        (tilt_and_psi, [0.0, 4.0, 5.0]),
        (tilt_and_psi, [-1.0, 0.0, 7.0]),
    ];
    let centres = [
        Euler::new(12.0, 63.0, -140.0),
        Euler::new(-77.0, 0.4, 33.0),
        Euler::new(170.0, 178.9, 12.0),
        Euler::new(91.0, 90.0, 179.5),
    ];
    let mut out = Vec::new();
    for (name, order) in [("C1", 2), ("C2", 3), ("C7", 3), ("D2", 2), ("O", 3), ("I2", 3), ("Cs", 2), ("Th", 2)] {
        let group = group(name);
        let grid = Orientations::new(&state(order, 1, 0.3), &group, None, false).expect("grid");
        let samples: Vec<Matrix3> = (0..grid.count()).map(|i| grid.matrix(i)).collect();
        for (judge, sigma) in cases {
            let prior = LocalPrior::new(&grid, &group, sigma, false).expect("prior");
            for centre in centres {
                prior.near(centre, &mut out);
                assert!(out.windows(2).all(|w| w[0].0 < w[1].0), "each once, in order");
                let sum: f64 = out.iter().map(|s| s.1).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{sum}");
                let all: Vec<f64> = samples.iter().map(|sample| judge(&group, sample, centre, sigma)).collect();
                let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                let within: f64 = all.iter().filter(|d| **d <= 9.0).map(|d| (-0.5 * d).exp()).sum();
                let place = format!("{name} {sigma:?} {centre:?}");
                for (i, distance) in all.iter().enumerate() {
                    let found = out.binary_search_by_key(&(i as u32), |s| s.0).ok().map(|at| out[at].1);
                    match found {
                        _ if (distance - 9.0).abs() < BORDER => {}
                        None => assert!(least > 9.0 || *distance > 9.0, "{place}: {i} at {distance} is missing"),
                        Some(weight) if least > 9.0 => {
                            assert!(weight == 1.0 && distance - least < BORDER, "{place}: nearest {distance} {least}");
                        }
                        Some(weight) => {
                            assert!(*distance < 9.0, "{place}: {i} at {distance} is too far");
                            let wanted = (-0.5 * distance).exp() / within;
                            // A sample on the border may count on one side only: at most e^-4.5 of the sum each.
                            assert!((weight - wanted).abs() < WEIGHT, "{place}: {i} {weight} {wanted}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_narrow_prior_still_has_the_nearest_sample() {
    let (c1, sigma) = (group("C1"), [1e-4; 3]);
    let grid = Orientations::new(&state(3, 0, -0.2), &c1, None, false).expect("grid");
    let mut out = Vec::new();
    for parity in [false, true] {
        let prior = LocalPrior::new(&grid, &c1, sigma, parity).expect("prior");
        prior.near(Euler::new(20.0, 40.0, 60.0), &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].1, 1.0);
        let off = grid.euler(out[0].0 as usize).matrix().angle_degrees(Euler::new(20.0, 40.0, 60.0).matrix());
        // RELION's rule does not know of the perturbation.
        assert!(off < 7.5 * if parity { 2.0 } else { 1.0 }, "{off}");
    }
}

#[test]
fn lists_do_not_depend_on_how_a_pose_is_written() {
    // Near the pole rot and psi are one turn about the view; a mate of a pose is the pose.
    let group = group("C2");
    let grid = Orientations::new(&state(3, 0, 0.0), &group, None, false).expect("grid");
    let (pole, same) = (Euler::new(30.0, 0.0, 40.0), Euler::new(0.0, 0.0, 70.0));
    let (pose, mate) = (Euler::new(80.0, 50.0, 10.0), Euler::new(-100.0, 50.0, 10.0));
    let list = |parity: bool, centre: Euler| {
        let prior = LocalPrior::new(&grid, &group, [5.0; 3], parity).expect("prior");
        let mut out = Vec::new();
        prior.near(centre, &mut out);
        out
    };
    for (a, b) in [(pole, same), (pose, mate)] {
        let (a, b) = (list(false, a), list(false, b));
        assert_eq!(a.len(), b.len());
        assert!(a.len() > 20);
        assert!(a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < WEIGHT));
    }
    // RELION's rule sees two different poses at the pole: that is its accident, and that parity has it.
    let (a, b) = (list(true, pole), list(true, same));
    assert!(!a.is_empty() && a.iter().all(|a| b.iter().all(|b| a.0 != b.0)));
}

#[test]
fn relions_rule_takes_direction_and_psi_apart() {
    let group = group("D2");
    let grid = Orientations::new(&state(3, 0, 0.0), &group, None, true).expect("grid");
    let (centre, sigma) = (Euler::new(100.0, 50.0, 33.0), [3.0, 5.0, 4.0]);
    let prior = LocalPrior::new(&grid, &group, sigma, true).expect("prior");
    let mut out = Vec::new();
    prior.near(centre, &mut out);
    let weight = |i: usize| {
        let d = grid.directions()[grid.direction_of(i)];
        let view = direction_of_angles(d.rot_degrees, d.tilt_degrees);
        let wanted = direction_of_angles(centre.rot, centre.tilt);
        let off = group.operators().iter().map(|o| angle_degrees(o.mate_direction(view), wanted)).fold(360.0, f64::min);
        let turn = (grid.psis_degrees()[grid.psi_of(i)] - centre.psi + 540.0).rem_euclid(360.0) - 180.0;
        if off < 15.0 && turn.abs() < 12.0 { (-off * off / 50.0 - turn * turn / 32.0).exp() } else { 0.0 }
    };
    let all: Vec<f64> = (0..grid.count()).map(weight).collect();
    let sum: f64 = all.iter().sum();
    assert_eq!(out.len(), all.iter().filter(|w| **w > 0.0).count());
    assert!(out.len() > 20 && out.iter().all(|(i, w)| (w - all[*i as usize] / sum).abs() < WEIGHT));
}

#[test]
fn meaningless_priors_are_refused() {
    let c1 = group("C1");
    let grid = Orientations::new(&state(1, 0, 0.0), &c1, None, false).expect("grid");
    for sigma in [[0.0; 3], [5.0, 0.0, 0.0], [5.0, -1.0, 5.0], [f64::NAN; 3]] {
        assert!(LocalPrior::new(&grid, &c1, sigma, false).is_err(), "{sigma:?}");
        assert!(LocalPrior::new(&grid, &c1, sigma, true).is_err(), "{sigma:?}");
    }
}

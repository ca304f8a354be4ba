//! Which directions lie near a given one, without looking at all of them.

use crate::rotation::healpix;

/// Levels of the deepest tree.
const MAXIMUM_LEVELS: usize = healpix::MAXIMUM_ORDER as usize;

/// Directions of one coarser HEALPix pixel.
#[derive(Clone, Copy, Debug)]
struct Node {
    centre: [f64; 3],
    /// Nodes of the next level, or directions on the last level.
    first: u32,
    end: u32,
}

#[derive(Clone, Debug)]
struct Level {
    nodes: Vec<Node>,
    /// Largest angle between a node's centre and one of its directions, in radians.
    radius: f64,
}

/// The directions of a grid in NESTED order, as a tree of caps: level k has a node for each pixel of order k
/// with a direction in it.
#[derive(Clone, Debug)]
pub(super) struct DirectionTree {
    vectors: Vec<[f64; 3]>,
    levels: Vec<Level>,
}

/// A cap around no direction yet: one angular radius for many centres.
pub(super) struct Cap {
    smallest_cosine: f64,
    /// The same, widened by the radius of the nodes, per level.
    widened: [f64; MAXIMUM_LEVELS],
}

impl DirectionTree {
    /// `vectors` are the (possibly turned) directions of `pixels`, which ascend, of this order.
    pub(super) fn new(order: u32, pixels: &[u32], vectors: Vec<[f64; 3]>) -> Self {
        let mut levels: Vec<Level> = Vec::new();
        // From the parents of the pixels up to the faces; `keys` are the pixels of the level below.
        let mut keys = pixels.to_vec();
        let mut spans: Vec<(u32, u32)> = (0..pixels.len() as u32).map(|i| (i, i + 1)).collect();
        for _ in 0..order.max(1) {
            let (mut nodes, mut next_keys, mut next_spans) = (Vec::<Node>::new(), Vec::new(), Vec::<(u32, u32)>::new());
            for (i, (key, span)) in keys.iter().map(|key| key >> 2).zip(&spans).enumerate() {
                if next_keys.last() == Some(&key) {
                    let last = nodes.len() - 1;
                    nodes[last].end = i as u32 + 1;
                    next_spans[last].1 = span.1;
                } else {
                    next_keys.push(key);
                    nodes.push(Node { centre: [0.0; 3], first: i as u32, end: i as u32 + 1 });
                    next_spans.push(*span);
                }
            }
            let mut smallest_cosine = 1.0f64;
            for (node, span) in nodes.iter_mut().zip(&next_spans) {
                let inside = &vectors[span.0 as usize..span.1 as usize];
                node.centre = mean_direction(inside);
                smallest_cosine = inside.iter().map(|v| dot(*v, node.centre)).fold(smallest_cosine, f64::min);
            }
            // Slack for the rounding of the cosines, largest at small angles.
            let radius = smallest_cosine.max(-1.0).acos() + 1e-7;
            levels.insert(0, Level { nodes, radius });
            (keys, spans) = (next_keys, next_spans);
        }
        Self { vectors, levels }
    }

    pub(super) fn cap(&self, radius_radians: f64) -> Cap {
        let cosine = |angle: f64| if angle >= std::f64::consts::PI { -2.0 } else { angle.cos() };
        let mut widened = [-2.0; MAXIMUM_LEVELS];
        for (level, w) in self.levels.iter().zip(&mut widened) {
            *w = cosine(radius_radians + level.radius);
        }
        Cap { smallest_cosine: cosine(radius_radians), widened }
    }

    /// Calls `found` with the index and the cosine of every direction in the cap around `centre`, in order.
    pub(super) fn visit(&self, cap: &Cap, centre: [f64; 3], found: &mut impl FnMut(usize, f64)) {
        self.descend(cap, centre, 0, &self.levels[0].nodes, found);
    }

    fn descend(&self, cap: &Cap, centre: [f64; 3], level: usize, nodes: &[Node], found: &mut impl FnMut(usize, f64)) {
        for node in nodes.iter().filter(|node| dot(node.centre, centre) >= cap.widened[level]) {
            let inside = node.first as usize..node.end as usize;
            if let Some(next) = self.levels.get(level + 1) {
                self.descend(cap, centre, level + 1, &next.nodes[inside], found);
                continue;
            }
            for direction in inside {
                let cosine = dot(self.vectors[direction], centre);
                if cosine >= cap.smallest_cosine {
                    found(direction, cosine.clamp(-1.0, 1.0));
                }
            }
        }
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Direction of the mean; the first vector when they cancel.
fn mean_direction(vectors: &[[f64; 3]]) -> [f64; 3] {
    let sum = vectors.iter().fold([0.0; 3], |s: [f64; 3], v| [s[0] + v[0], s[1] + v[1], s[2] + v[2]]);
    let length = dot(sum, sum).sqrt();
    if length > 1e-6 { sum.map(|x| x / length) } else { vectors[0] }
}

//! A picture as a list of shapes, independent of how it is drawn. Lengths are in points, y grows downwards.

/// Red, green, blue.
pub type Colour = [u8; 3];

pub const INK: Colour = [0x1f, 0x29, 0x33];
pub const MUTED: Colour = [0x6b, 0x77, 0x85];
pub const GRID: Colour = [0xe3, 0xe7, 0xec];
pub const PAPER: Colour = [0xff, 0xff, 0xff];

/// Colours of series, in order; told apart with the usual colour blindnesses.
pub const SERIES: [Colour; 6] = [
    [0x1f, 0x6f, 0xc4],
    [0xe0, 0x7a, 0x1f],
    [0x1a, 0x96, 0x6b],
    [0xa0, 0x4f, 0xa8],
    [0xb8, 0x3a, 0x3a],
    [0x7a, 0x6a, 0x4f],
];

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// An RGB image, rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Line {
        points: Vec<[f64; 2]>,
        colour: Colour,
        width: f64,
    },
    Box {
        at: [f64; 2],
        size: [f64; 2],
        colour: Colour,
    },
    Dot {
        at: [f64; 2],
        radius: f64,
        colour: Colour,
    },
    /// `at` is on the base line.
    Text {
        at: [f64; 2],
        anchor: Anchor,
        colour: Colour,
        bold: bool,
        text: String,
    },
    /// Smooth when it stands for a field, with visible pixels when it stands for voxels.
    Image {
        at: [f64; 2],
        size: [f64; 2],
        pixels: Pixels,
    },
}

/// Height of all text.
pub const TEXT_SIZE: f64 = 12.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, shapes: Vec::new() }
    }

    pub fn line(&mut self, points: Vec<[f64; 2]>, colour: Colour, width: f64) {
        self.shapes.push(Shape::Line { points, colour, width });
    }

    pub fn rectangle(&mut self, at: [f64; 2], size: [f64; 2], colour: Colour) {
        self.shapes.push(Shape::Box { at, size, colour });
    }

    pub fn dot(&mut self, at: [f64; 2], radius: f64, colour: Colour) {
        self.shapes.push(Shape::Dot { at, radius, colour });
    }

    pub fn text(&mut self, at: [f64; 2], anchor: Anchor, colour: Colour, text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, anchor, colour, bold: false, text: text.into() });
    }

    pub fn heading(&mut self, at: [f64; 2], text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, anchor: Anchor::Start, colour: INK, bold: true, text: text.into() });
    }

    pub fn image(&mut self, at: [f64; 2], size: [f64; 2], pixels: Pixels) {
        self.shapes.push(Shape::Image { at, size, pixels });
    }
}

/// Between two colours, `t` in [0, 1].
pub fn blend(from: Colour, to: Colour, t: f64) -> Colour {
    std::array::from_fn(|i| (f64::from(from[i]) + (f64::from(to[i]) - f64::from(from[i])) * t).round() as u8)
}

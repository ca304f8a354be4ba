//! Scenes as pixels: smooth lines by distance, text from a bitmap font.

use noto_sans_mono_bitmap::FontWeight;
use noto_sans_mono_bitmap::RasterHeight;
use noto_sans_mono_bitmap::get_raster;
use noto_sans_mono_bitmap::get_raster_width;

use super::scene::Anchor;
use super::scene::Colour;
use super::scene::PAPER;
use super::scene::Pixels;
use super::scene::Scene;
use super::scene::Shape;

/// Pixels a point: sharp on dense screens and in print. The font's height is twice that of the text.
const SCALE: f64 = 2.0;
const FONT: RasterHeight = RasterHeight::Size24;
/// Share of the font's height above the base line.
const ASCENT: f64 = 0.78;

struct Sheet {
    pixels: Pixels,
}

/// The scene as the bytes of a PNG file.
pub fn png(scene: &Scene) -> Vec<u8> {
    let (width, height) = ((scene.width * SCALE).round() as usize, (scene.height * SCALE).round() as usize);
    let rgb = PAPER.iter().copied().cycle().take(3 * width * height).collect();
    let mut sheet = Sheet { pixels: Pixels { width, height, rgb } };
    for shape in &scene.shapes {
        match shape {
            Shape::Line { points, colour, width } => {
                points.windows(2).for_each(|ends| sheet.segment(ends[0], ends[1], *width, *colour));
            }
            Shape::Box { at, size, colour } => sheet.rectangle(*at, *size, *colour),
            Shape::Dot { at, radius, colour } => sheet.segment(*at, *at, 2.0 * radius, *colour),
            Shape::Text { at, anchor, colour, bold, text } => sheet.text(*at, *anchor, *colour, *bold, text),
            Shape::Image { at, size, pixels } => sheet.image(*at, *size, pixels),
        }
    }
    encode_png(&sheet.pixels)
}

pub fn encode_png(pixels: &Pixels) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width as u32, pixels.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&pixels.rgb))
        .expect("writing a whole image to memory does not fail");
    bytes
}

impl Sheet {
    /// Lays `colour` over a pixel, `cover` in [0, 1]. Outside the sheet nothing happens.
    fn cover(&mut self, x: i64, y: i64, colour: Colour, cover: f64) {
        let inside = x >= 0 && y >= 0 && x < self.pixels.width as i64 && y < self.pixels.height as i64;
        if !inside || cover <= 0.0 {
            return;
        }
        let at = 3 * (y as usize * self.pixels.width + x as usize);
        for (old, new) in self.pixels.rgb[at..at + 3].iter_mut().zip(colour) {
            *old = (f64::from(*old) + (f64::from(new) - f64::from(*old)) * cover.min(1.0)).round() as u8;
        }
    }

    /// A line with round ends: a pixel is covered by how far its centre is from the line.
    fn segment(&mut self, from: [f64; 2], to: [f64; 2], width: f64, colour: Colour) {
        let (from, to) = (from.map(|v| v * SCALE), to.map(|v| v * SCALE));
        let reach = width * SCALE / 2.0 + 0.5;
        let along = [to[0] - from[0], to[1] - from[1]];
        let length2 = along[0] * along[0] + along[1] * along[1];
        let range = |a: f64, b: f64, end: usize| {
            ((a.min(b) - reach).floor().max(0.0) as i64, (a.max(b) + reach).ceil().min(end as f64) as i64)
        };
        let (left, right) = range(from[0], to[0], self.pixels.width);
        let (top, bottom) = range(from[1], to[1], self.pixels.height);
        for y in top..bottom {
            for x in left..right {
                let p = [x as f64 + 0.5 - from[0], y as f64 + 0.5 - from[1]];
                let t =
                    if length2 > 0.0 { ((p[0] * along[0] + p[1] * along[1]) / length2).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (p[0] - t * along[0]).hypot(p[1] - t * along[1]);
                self.cover(x, y, colour, reach - distance);
            }
        }
    }

    fn rectangle(&mut self, at: [f64; 2], size: [f64; 2], colour: Colour) {
        let (start, end) = (at.map(|v| v * SCALE), [0, 1].map(|i| (at[i] + size[i]) * SCALE));
        let overlap = |pixel: i64, i: usize| (end[i].min(pixel as f64 + 1.0) - start[i].max(pixel as f64)).max(0.0);
        for y in start[1].floor() as i64..end[1].ceil() as i64 {
            for x in start[0].floor() as i64..end[0].ceil() as i64 {
                self.cover(x, y, colour, overlap(x, 0) * overlap(y, 1));
            }
        }
    }

    fn text(&mut self, at: [f64; 2], anchor: Anchor, colour: Colour, bold: bool, text: &str) {
        let weight = if bold { FontWeight::Bold } else { FontWeight::Regular };
        let advance = get_raster_width(weight, FONT) as f64;
        let width = advance * text.chars().count() as f64;
        let left = at[0] * SCALE
            - match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => width / 2.0,
                Anchor::End => width,
            };
        let top = (at[1] * SCALE - ASCENT * FONT.val() as f64).round() as i64;
        for (i, letter) in text.chars().enumerate() {
            let Some(glyph) = get_raster(letter, weight, FONT).or_else(|| get_raster('?', weight, FONT)) else {
                continue;
            };
            let start = (left + advance * i as f64).round() as i64;
            for (y, row) in glyph.rows().enumerate() {
                for (x, &shade) in row.iter().enumerate() {
                    self.cover(start + x as i64, top + y as i64, colour, f64::from(shade) / 255.0);
                }
            }
        }
    }

    fn image(&mut self, at: [f64; 2], size: [f64; 2], image: &Pixels) {
        let (left, top) = ((at[0] * SCALE).round() as i64, (at[1] * SCALE).round() as i64);
        let (width, height) = ((size[0] * SCALE).round() as usize, (size[1] * SCALE).round() as usize);
        for y in 0..height {
            for x in 0..width {
                let from = 3 * (y * image.height / height * image.width + x * image.width / width);
                let colour = [image.rgb[from], image.rgb[from + 1], image.rgb[from + 2]];
                self.cover(left + x as i64, top + y as i64, colour, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::INK;
    use super::*;

    fn decode(bytes: &[u8]) -> Pixels {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        Pixels { width: info.width as usize, height: info.height as usize, rgb }
    }

    #[test]
    fn shapes_cover_the_pixels_they_should() {
        let mut scene = Scene::new(20.0, 10.0);
        scene.rectangle([1.0, 1.0], [2.0, 2.0], INK);
        scene.line(vec![[0.0, 8.0], [20.0, 8.0]], INK, 1.0);
        scene.image([10.0, 1.0], [2.0, 2.0], Pixels { width: 1, height: 1, rgb: vec![1, 2, 3] });
        // Far outside: nothing may happen.
        scene.text([-500.0, 900.0], Anchor::Middle, INK, "Å ☃");
        scene.dot([1e6, 1e6], 3.0, INK);
        let drawn = decode(&png(&scene));
        assert_eq!((drawn.width, drawn.height), (40, 20));
        let at = |x: usize, y: usize| &drawn.rgb[3 * (y * 40 + x)..][..3];
        assert_eq!((at(2, 2), at(5, 5), at(6, 6), at(1, 2)), (&INK[..], &INK[..], &PAPER[..], &PAPER[..]));
        assert_eq!((at(20, 15), at(20, 16), at(20, 13), at(20, 18)), (&INK[..], &INK[..], &PAPER[..], &PAPER[..]));
        assert_eq!((at(20, 2), at(23, 5)), (&[1, 2, 3][..], &[1, 2, 3][..]));
    }

    #[test]
    fn text_is_drawn() {
        let mut scene = Scene::new(60.0, 20.0);
        scene.text([30.0, 14.0], Anchor::Middle, INK, "12.5 Å");
        let dark = decode(&png(&scene)).rgb.iter().filter(|&&v| v < 100).count();
        assert!(dark > 100, "{dark}");
    }
}

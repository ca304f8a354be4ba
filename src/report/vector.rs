//! Scenes as SVG text, and the encodings that inline pictures need.

use std::fmt::Write as _;

use super::raster::encode_png;
use super::scene::Anchor;
use super::scene::Colour;
use super::scene::Scene;
use super::scene::Shape;
use super::scene::TEXT_SIZE;

fn hex(colour: Colour) -> String {
    format!("#{:02x}{:02x}{:02x}", colour[0], colour[1], colour[2])
}

/// `<svg>` element that scales to its column's width.
pub fn svg(scene: &Scene, title: &str) -> String {
    let mut out =
        format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", scene.width, scene.height, escape(title));
    scene.shapes.iter().for_each(|shape| push(&mut out, shape));
    out.push_str("</svg>");
    out
}

fn push(out: &mut String, shape: &Shape) {
    let written = match shape {
        Shape::Line { points, colour, width } => {
            let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            write!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>",
                points.join(" "),
                hex(*colour)
            )
        }
        Shape::Box { at, size, colour } => write!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            at[0],
            at[1],
            size[0],
            size[1],
            hex(*colour)
        ),
        Shape::Dot { at, radius, colour } => {
            write!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{}\"/>", at[0], at[1], hex(*colour))
        }
        Shape::Text { at, anchor, colour, bold, text } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{TEXT_SIZE}\" text-anchor=\"{anchor}\" fill=\"{}\"{}>{}</text>",
                at[0],
                at[1],
                hex(*colour),
                if *bold { " font-weight=\"600\"" } else { "" },
                escape(text)
            )
        }
        Shape::Image { at, size, pixels } => write!(
            out,
            "<image x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" href=\"data:image/png;base64,{}\"/>",
            at[0],
            at[1],
            size[0],
            size[1],
            base64(&encode_png(pixels))
        ),
    };
    written.expect("writing to a String does not fail");
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard_examples() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in examples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let mut scene = Scene::new(10.0, 10.0);
        scene.heading([0.0, 0.0], "<script>\"&");
        assert!(svg(&scene, "a<b").contains("&lt;script&gt;&quot;&amp;") && !svg(&scene, "a<b").contains("a<b"));
    }
}

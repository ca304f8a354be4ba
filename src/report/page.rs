//! The page: a line of facts, the figures, the warnings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::format_bytes;

use super::figures::Figure;
use super::gather::Run;
use super::vector::escape;
use super::vector::svg;

const STYLE: &str = "
body { margin: 0; background: #f6f7f9; color: #1f2933; font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; }
p.lead { margin: 0 0 20px; color: #52606d; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 0 0 24px; }
dl div { background: #fff; border: 1px solid #e3e7ec; border-radius: 8px; padding: 10px 14px; }
dt { font-size: 12px; color: #6b7785; }
dd { margin: 0; font-size: 18px; font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr)); gap: 16px; }
figure { margin: 0; background: #fff; border: 1px solid #e3e7ec; border-radius: 8px; padding: 12px; }
figure svg { width: 100%; height: auto; display: block; font-family: inherit; }
figcaption { font-size: 13px; color: #52606d; padding: 6px 12px 2px; }
ul.warnings { background: #fff7e6; border: 1px solid #f0d9a8; border-radius: 8px; padding: 12px 12px 12px 32px; margin: 0 0 24px; }
footer { margin-top: 24px; font-size: 12px; color: #6b7785; }
";

pub fn html(run: &Run, figures: &[Figure]) -> String {
    let title = match &run.started {
        Some(started) => format!("Report of a {} run", started.kind),
        None => "Report of a refinement".to_owned(),
    };
    let mut page = String::new();
    push(&mut page, format_args!("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"));
    push(&mut page, format_args!("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"));
    push(
        &mut page,
        format_args!("<title>{0}</title><style>{STYLE}</style></head>\n<body><main><h1>{0}</h1>\n", escape(&title)),
    );
    push(&mut page, format_args!("<p class=\"lead\">{}</p>\n<dl>", escape(&lead(run))));
    for (name, value) in facts(run) {
        push(&mut page, format_args!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(&value)));
    }
    page.push_str("</dl>\n");
    if !run.warnings.is_empty() {
        page.push_str("<ul class=\"warnings\">");
        run.warnings.iter().for_each(|text| push(&mut page, format_args!("<li>{}</li>", escape(text))));
        page.push_str("</ul>\n");
    }
    page.push_str("<div class=\"figures\">\n");
    for figure in figures {
        push(
            &mut page,
            format_args!(
                "<figure>{}<figcaption>{}</figcaption></figure>\n",
                svg(&figure.scene, figure.title),
                escape(&figure.caption)
            ),
        );
    }
    push(
        &mut page,
        format_args!(
            "</div>\n<footer>Made by relion-rs {}. Each figure is also a PNG file in report/.</footer>\n</main></body></html>\n",
            env!("CARGO_PKG_VERSION")
        ),
    );
    page
}

fn push(page: &mut String, text: std::fmt::Arguments) {
    page.write_fmt(text).expect("writing to a String does not fail");
}

fn lead(run: &Run) -> String {
    let last = run.iterations.keys().next_back().copied().unwrap_or(0);
    if run.last.is_some() {
        format!("Finished after {last} iterations, the last one with all particles together.")
    } else if run.is_finished {
        format!("Finished after {last} iterations.")
    } else {
        format!("State after iteration {last}.")
    }
}

fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(best) = run.best() {
        facts.push(("Resolution", format!("{:.2} Å", best.resolution_angstrom)));
        facts.push(("Mean best probability", format!("{:.3}", best.average_max_probability)));
        facts.push(("Classes", best.class_shares.len().to_string()));
    }
    facts.push(("Box", format!("{} px", run.box_pixels)));
    facts.push(("Pixel size", format!("{:.3} Å", run.pixel_size_angstrom)));
    if let Some(started) = &run.started {
        facts.push(("Particles", started.particles.to_string()));
        facts.push(("Precision", started.precision.clone()));
        facts.push(("Threads", started.threads.to_string()));
        if !started.backend.is_empty() {
            facts.push(("Backend", format!("{}: {}", started.backend, started.backend_why)));
        }
        if let Some(device) = &started.device {
            facts.push(("GPU", format!("{} ({})", device.name, device.uuid)));
        }
    }
    if let Some([wall, cpu]) = run.seconds {
        facts.push(("Wall time", duration(wall)));
        facts.push(("CPU time", duration(cpu)));
    }
    let peak = run.finished.values().map(|f| f.arena_peak_bytes).max().unwrap_or(0);
    if peak > 0 {
        facts.push(("Working memory", format!("{:.0} MiB", peak as f64 / (1024.0 * 1024.0))));
    }
    facts.extend(device_facts(run));
    facts
}

/// Memory of the GPU, and how much of the time of its phases it computed.
fn device_facts(run: &Run) -> Vec<(&'static str, String)> {
    let figures = || run.finished.values().filter_map(|f| Some((f, f.device.as_ref()?)));
    let Some((_, most)) = figures().max_by_key(|(_, device)| device.peak_bytes) else { return Vec::new() };
    let mut facts = vec![
        ("GPU memory used", format_bytes(most.peak_bytes)),
        ("GPU memory planned, reserved", [most.planned_bytes, most.reserved_bytes].map(format_bytes).join(", ")),
    ];
    if most.resident_images > 0 {
        facts.push(("GPU images kept", most.resident_images.to_string()));
    }
    // Weighted by the time of the expectation steps, of which the parts are told apart.
    let (mut busy, mut all): (BTreeMap<&str, f64>, f64) = (BTreeMap::new(), 0.0);
    for (finished, device) in figures() {
        let of_step = |name: &str| name == "expectation" || device.busy.contains_key(name);
        let seconds: f64 = finished.phase_seconds.iter().filter(|(name, _)| of_step(name)).map(|(_, s)| s).sum();
        device.busy.iter().for_each(|(phase, share)| *busy.entry(phase).or_default() += share * seconds);
        all += seconds;
    }
    if all > 0.0 && !busy.is_empty() {
        let told: Vec<String> = busy.iter().map(|(phase, sum)| format!("{phase} {:.0} %", 100.0 * sum / all)).collect();
        let sum: f64 = busy.values().sum();
        let told = told.join(", ");
        facts.push(("GPU busy", format!("{:.0} % of the expectation step: {told}", 100.0 * sum / all)));
    }
    facts
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=99 => format!("{seconds:.1} s"),
        100..=5999 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([12.34, 100.0, 7265.0].map(duration), ["12.3 s", "1 min 40 s", "2 h 01 min"]);
    }
}

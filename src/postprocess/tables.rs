//! The result as text: RELION's `postprocess.star`, EMDB's FSC XML, and a table of two columns.

use std::fmt::Write;

use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::units::angstrom_of_shell;

use super::Postprocessed;

/// File names as they stand in `postprocess.star`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    pub half1: String,
    pub half2: String,
    pub mask: Option<String>,
    pub map: String,
    pub masked: Option<String>,
}

/// Resolution of a shell in 1/Angstrom; RELION's 999 A in shell 0.
fn per_angstrom(result: &Postprocessed, shell: usize) -> f64 {
    1.0 / angstrom_of_shell(shell, result.box_pixels, result.pixel_size_angstrom)
}

/// `data_general`, `data_fsc` and `data_guinier`, with RELION's labels.
pub fn star_file(result: &Postprocessed, names: &Names) -> StarFile {
    StarFile::new(vec![general(result, names), fsc(result), guinier(result)])
}

fn general(result: &Postprocessed, names: &Names) -> Block {
    let mut block = Block::list("general");
    block.comments = vec![format!("# relion-rs postprocess {}", env!("CARGO_PKG_VERSION"))];
    block.push_f64("rlnFinalResolution", result.resolution_angstrom);
    block.push_f64("rlnBfactorUsedForSharpening", result.b_factor);
    block.push_str("rlnUnfilteredMapHalf1", &names.half1);
    block.push_str("rlnUnfilteredMapHalf2", &names.half2);
    block.push_str("rlnPostprocessedMap", &names.map);
    if let Some(of_weight) = &result.curves.of_weight {
        block.push_f64("rlnMolecularWeight", of_weight.kilodalton);
        block.push_f64("rlnParticleBoxFractionMolecularWeight", of_weight.box_fraction);
    }
    if let Some(masked) = &result.curves.masked {
        block.push_f64("rlnParticleBoxFractionSolventMask", masked.box_fraction);
        block.push_str("rlnMaskName", names.mask.as_deref().unwrap_or_default());
        let from = angstrom_of_shell(masked.randomised_from, result.box_pixels, result.pixel_size_angstrom);
        block.push_f64("rlnRandomiseFrom", from);
        block.push_str("rlnPostprocessedMapMasked", names.masked.as_deref().unwrap_or_default());
    }
    if let Some(fit) = &result.fit {
        block.push_f64("rlnFittedSlopeGuinierPlot", fit.slope);
        block.push_f64("rlnFittedInterceptGuinierPlot", fit.intercept);
        block.push_f64("rlnCorrelationFitGuinierPlot", fit.correlation);
    }
    block
}

fn fsc(result: &Postprocessed) -> Block {
    let curves = &result.curves;
    let shells = 0..curves.unmasked.len();
    let mut block = Block::table("fsc");
    block.set_i64("rlnSpectralIndex", &shells.clone().map(|s| s as i64).collect::<Vec<_>>());
    let resolutions: Vec<f64> = shells.clone().map(|s| per_angstrom(result, s)).collect();
    block.set_f64("rlnResolution", &resolutions);
    let angstrom: Vec<f64> = resolutions.iter().map(|r| 1.0 / r).collect();
    block.set_f64("rlnAngstromResolution", &angstrom);
    if let Some(masked) = &curves.masked {
        block.set_f64("rlnFourierShellCorrelationCorrected", &curves.deciding);
        block.set_f64("rlnFourierShellCorrelationParticleMaskFraction", &masked.part);
    }
    if let Some(of_weight) = &curves.of_weight {
        block.set_f64("rlnFourierShellCorrelationParticleMolWeight", &of_weight.part);
    }
    block.set_f64("rlnFourierShellCorrelationUnmaskedMaps", &curves.unmasked);
    if let Some(masked) = &curves.masked {
        block.set_f64("rlnFourierShellCorrelationMaskedMaps", &masked.masked);
        block.set_f64("rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps", &masked.randomised);
    }
    block
}

fn guinier(result: &Postprocessed) -> Block {
    let columns = &result.guinier;
    let mut block = Block::table("guinier");
    block.set_f64("rlnResolutionSquared", &columns.resolution_squared);
    block.set_f64("rlnLogAmplitudesOriginal", &columns.original);
    if let Some(values) = &columns.mtf_corrected {
        block.set_f64("rlnLogAmplitudesMTFCorrected", values);
    }
    if let Some(values) = &columns.weighted {
        block.set_f64("rlnLogAmplitudesWeighted", values);
    }
    if let Some(values) = &columns.sharpened {
        block.set_f64("rlnLogAmplitudesSharpened", values);
    }
    if let Some(fit) = &result.fit {
        block.set_f64("rlnLogAmplitudesIntercept", &vec![fit.intercept; columns.original.len()]);
    }
    block
}

/// The deciding curve as the Electron Microscopy Data Bank takes it.
pub fn fsc_xml(result: &Postprocessed) -> String {
    let title = match &result.curves.masked {
        Some(masked) if !masked.is_ignored => "Masked FSC, corrected with randomised phases",
        _ => "Unmasked FSC",
    };
    let mut text = format!("<fsc title=\"{title}\" xaxis=\"Resolution (A-1)\" yaxis=\"Correlation Coefficient\">\n");
    for (shell, value) in result.curves.deciding.iter().enumerate() {
        let x = per_angstrom(result, shell);
        write!(text, "  <coordinate>\n    <x>{x:.6}</x>\n    <y>{value:.6}</y>\n  </coordinate>\n")
            .expect("writing to a String does not fail");
    }
    text.push_str("</fsc>\n");
    text
}

/// The deciding curve as two columns: resolution in 1/Angstrom, FSC.
pub fn fsc_dat(result: &Postprocessed) -> String {
    let row = |(shell, value): (usize, &f64)| format!("{:.6} {value:.6}\n", per_angstrom(result, shell));
    result.curves.deciding.iter().enumerate().map(row).collect()
}

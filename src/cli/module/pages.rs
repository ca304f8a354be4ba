//! The pages that an installed version brings along.

/// All of them lie in one folder.
const PAGES: [(&str, &str); 13] = [
    ("quickstart.md", include_str!("../../../docs/quickstart.md")),
    ("cluster.md", include_str!("../../../docs/cluster.md")),
    ("submit.md", include_str!("../../../docs/submit.md")),
    ("gpu.md", include_str!("../../../docs/gpu.md")),
    ("preemption.md", include_str!("../../../docs/preemption.md")),
    ("drill.md", include_str!("../../../docs/drill.md")),
    (BATCH_SCRIPTS, include_str!("../../../slurm/README.md")),
    ("cli.md", include_str!("../../../docs/cli.md")),
    ("run-folder.md", include_str!("../../../docs/run-folder.md")),
    ("exit-codes.md", include_str!("../../../docs/exit-codes.md")),
    ("checkpoint.md", include_str!("../../../docs/checkpoint.md")),
    ("LICENSE-MIT", include_str!("../../../LICENSE-MIT")),
    ("LICENSE-APACHE", include_str!("../../../LICENSE-APACHE")),
];
const BATCH_SCRIPTS: &str = "batch-scripts.md";

/// Names and texts; links lead from one to another.
pub fn all() -> impl Iterator<Item = (&'static str, String)> {
    PAGES.into_iter().map(|(name, page)| (name, beside_each_other(page)))
}

/// In the sources two folders hold them.
fn beside_each_other(page: &str) -> String {
    page.replace("](../slurm/README.md", &format!("]({BATCH_SCRIPTS}")).replace("](../docs/", "](")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_installed_pages_lead_to_installed_pages() {
        let mut count = 0;
        for (name, page) in all() {
            for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                let is_there = file.is_empty() || file.contains("://") || PAGES.iter().any(|(other, _)| *other == file);
                assert!(is_there, "{name} links {target}, which is not installed");
                count += 1;
            }
        }
        assert!(count > 10, "{count} links");
    }
}

//! What a person or a program is told about a submission.

use serde_json::json;

use crate::error::Result;
use crate::plan::format_bytes;
use crate::slurm::script::Request;
use crate::slurm::time;

use super::super::screen::Screen;
use super::super::screen::counted;
use super::Run;
use super::batch::Batch;
use super::batch::Told;
use super::send::Script;

/// The scripts of a dry run.
pub fn scripts(batch: &Batch, screen: &Screen) -> Result<()> {
    // The scripts of a scan's runs are alike: one is enough to see.
    let scripts = batch.stage.iter().chain([&batch.main]).chain(&batch.then).chain(batch.of_tasks.first());
    let scripts: Vec<&Script> = scripts.collect();
    if screen.is_json() {
        let shown: Vec<serde_json::Value> = scripts
            .iter()
            .map(|script| json!({ "script": script.path, "text": script.text, "arguments": script.arguments }))
            .collect();
        return screen
            .print_json(&json!({ "dry_run": true, "scripts": shown, "resources": resources_of(&batch.request) }));
    }
    if scripts.len() == 1 {
        return screen.print(&batch.main.text);
    }
    let parts: Vec<String> =
        scripts.iter().map(|script| format!("# ===== {} =====\n{}", script.path.display(), script.text)).collect();
    screen.print(&parts.join("\n"))
}

fn resources_of(request: &Request) -> serde_json::Value {
    json!({
        "partition": request.partition,
        "nodes": request.nodes,
        "ranks": request.ranks,
        "cpus_per_rank": request.cpus_per_rank,
        "gpus": request.gpus(),
        "mem_mib_per_node": request.mem_mib,
        "seconds": request.seconds,
    })
}

/// `2 ranks on 1 node, a GPU each, 8 cores a rank, 12 GiB a node, 12:00:00`
fn summary(request: &Request) -> String {
    let mut text =
        format!("{} on {}", counted(request.ranks as usize, "rank"), counted(request.nodes as usize, "node"));
    if request.gpus_per_node > 0 {
        text += if request.has_leader { ", a GPU each but for the leader" } else { ", a GPU each" };
    }
    text += &format!(", {} a rank", counted(request.cpus_per_rank as usize, "core"));
    if let Some(mib) = request.mem_mib {
        text += &format!(", {} a node", format_bytes(mib << 20));
    }
    if let Some(seconds) = request.seconds {
        text += &format!(", {}", time::text(seconds));
    }
    text + &request.partition.as_ref().map(|name| format!(", partition {name}")).unwrap_or_default()
}

/// The jobs that were submitted, and what to type next.
pub fn jobs(told: &Told, batch: &Batch, runs: &[Run], screen: &Screen) -> Result<()> {
    if screen.is_json() {
        return screen.print_json(&json!({
            "job_id": told.main[0],
            "job_ids": told.main,
            "stage_job_id": told.stage,
            "then_job_ids": told.then,
            "script": batch.main.path,
            "run_dirs": runs.iter().map(|run| run.dir.root()).collect::<Vec<_>>(),
            "resources": resources_of(&batch.request),
        }));
    }
    let mut lines = Vec::new();
    if let Some(id) = &told.stage {
        lines.push(format!("submitted job {id}: copies the stacks first"));
    }
    lines.push(format!("submitted job {}: {}", told.main[0], summary(&batch.request)));
    if !batch.main.arguments.is_empty() {
        lines.push(format!("an array of {} ({})", counted(runs.len(), "run"), batch.main.arguments.join(" ")));
    }
    if told.main.len() > 1 {
        lines.push(format!("goes on in: {}", told.main[1..].join(", ")));
    }
    for (id, script) in told.then.iter().zip(&batch.then) {
        let name = script.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("submitted job {id}: {name}, when the run has ended well"));
    }
    lines.push(format!("next: relion-rs status {}", runs[0].plan.out.display()));
    screen.print(&lines.join("\n"))
}

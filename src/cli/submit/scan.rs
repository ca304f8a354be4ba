//! `--scan symmetry=C1,D2`: a run for each value, and for each combination of several keys.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Command;
use clap::FromArgMatches;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::JobFile;
use crate::plan::nearest;

/// More would be a mistake; Slurm's own limit (MaxArraySize) is 1001 by default.
const MOST_RUNS: usize = 1000;

/// One run of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// End of the run folder's name: `-symmetry-C1`; empty without a scan.
    pub end: String,
    /// The keys that the scan sets.
    pub keys: JobFile,
}

/// All combinations, the last key's values changing fastest. Without a scan, the one run.
///
/// # Errors
/// `Usage` for what is no `key=A,B`, an unknown key, a value of the wrong kind, or two runs with one folder.
pub fn variants(scans: &[String]) -> Result<Vec<Variant>> {
    let mut all: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new())];
    let mut keys = BTreeSet::new();
    for scan in scans {
        let (key, values) = parsed(scan)?;
        if !keys.insert(key.clone()) {
            return Err(fault(scan, format!("{key} is scanned twice"), "Give all its values to one --scan."));
        }
        let flag = format!("--{}", key.replace('_', "-"));
        let mut more = Vec::new();
        for (end, words) in &all {
            for value in &values {
                let words = words.iter().cloned().chain([format!("{flag}={value}")]).collect();
                more.push((format!("{end}-{key}-{}", plain(value)), words));
            }
        }
        all = more;
    }
    if all.len() > MOST_RUNS {
        let problem = format!("{} runs", all.len());
        return Err(fault(&scans.join(" "), problem, &format!("Scan at most {MOST_RUNS} combinations at a time.")));
    }
    let mut ends = BTreeSet::new();
    let variant = |(end, words): &(String, Vec<String>)| {
        if !ends.insert(end.clone()) {
            let problem = format!("two runs would have the folder ...{end}");
            return Err(fault(&scans.join(" "), problem, "Give each value once."));
        }
        Ok(Variant { end: end.clone(), keys: keys_of(words)? })
    };
    all.iter().map(variant).collect()
}

/// The run folder of a variant.
pub fn folder(out: &Path, variant: &Variant) -> PathBuf {
    with_end(out, &variant.end)
}

/// A folder beside another one: `refine` and `-scan` give `refine-scan`.
pub fn with_end(out: &Path, end: &str) -> PathBuf {
    if end.is_empty() {
        return out.to_path_buf();
    }
    // `refine/` is called `refine`.
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(end);
    out.with_file_name(name)
}

/// The value of `--array` of sbatch: all tasks, unless some were named.
///
/// # Errors
/// `Usage` for tasks that the scan does not have.
pub fn tasks(asked: Option<&str>, count: usize) -> Result<String> {
    let all = format!("0-{}", count - 1);
    let Some(asked) = asked.map(str::trim) else { return Ok(all) };
    let (tasks, limit) = asked.split_once('%').map_or((asked, None), |(tasks, limit)| (tasks, Some(limit)));
    let number = |text: &str| text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_range = |part: &str| {
        let (range, step) = part.split_once(':').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let in_scan = number(from).zip(number(to)).is_some_and(|(from, to)| from <= to && to < count);
        in_scan && step.is_none_or(|step| number(step).is_some_and(|step| step > 0))
    };
    let is_good = (tasks.is_empty() || tasks.split(',').all(is_range))
        && limit.is_none_or(|limit| number(limit).is_some_and(|limit| limit > 0))
        && !asked.is_empty();
    if !is_good {
        return Err(Error::new(
            ExitCode::Usage,
            format!("--array {asked}"),
            format!("names no tasks of this scan, which has {count}: {all}"),
            format!("Write {all} for all, 0,{} for two of them, %4 for four at a time.", count - 1),
        ));
    }
    let limit = limit.map(|limit| format!("%{limit}")).unwrap_or_default();
    Ok(format!("{}{limit}", if tasks.is_empty() { &all } else { tasks }))
}

fn parsed(scan: &str) -> Result<(String, Vec<String>)> {
    let form = "Write --scan KEY=A,B,...: --scan symmetry=C1,D2.";
    let (key, values) = scan.split_once('=').ok_or_else(|| fault(scan, "has no `=`".to_owned(), form))?;
    let key = key.trim().trim_start_matches("--").replace('-', "_");
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(fault(scan, "an empty value".to_owned(), form));
    }
    let known = JobFile::keys();
    if ["out", "kind"].contains(&key.as_str()) {
        let fix = "Scan another key: each run has a folder of its own, and all are of one kind.";
        return Err(fault(scan, format!("{key} cannot be scanned"), fix));
    }
    if !known.contains(&key) {
        let known = known.iter().map(String::as_str).filter(|key| !JobFile::is_hidden(key));
        let fix = nearest(&key, known)
            .map_or_else(|| "`relion-rs new` shows every key.".to_owned(), |other| format!("Did you mean `{other}`?"));
        return Err(fault(scan, format!("unknown key `{key}`"), &fix));
    }
    Ok((key, values))
}

fn keys_of(words: &[String]) -> Result<JobFile> {
    let flags = JobFile::augment_args(Command::new("--scan").no_binary_name(true).disable_help_flag(true));
    let flags = flags.mut_args(|argument| argument.allow_negative_numbers(true));
    let read = flags.try_get_matches_from(words).and_then(|matches| JobFile::from_arg_matches(&matches));
    read.map_err(|cause| {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        fault(&words.join(" "), line, "Give values as the flag of the key takes them.")
    })
}

/// A value as a part of a folder's name.
fn plain(value: &str) -> String {
    let keep = |letter: char| if letter.is_ascii_alphanumeric() || "._+-".contains(letter) { letter } else { '_' };
    value.chars().map(keep).collect()
}

fn fault(scan: &str, problem: String, fix: &str) -> Error {
    Error::new(ExitCode::Usage, format!("--scan {scan}"), problem, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scans: &[&str]) -> Result<Vec<Variant>> {
        variants(&scans.iter().map(|scan| (*scan).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn several_keys_multiply() {
        let all = read(&["symmetry=C1,D2", "ini-high=30,60"]).unwrap();
        let ends: Vec<&str> = all.iter().map(|variant| variant.end.as_str()).collect();
        let wanted = ["C1-ini_high-30", "C1-ini_high-60", "D2-ini_high-30", "D2-ini_high-60"];
        assert_eq!(ends, wanted.map(|end| format!("-symmetry-{end}")));
        assert_eq!((all[2].keys.symmetry.as_deref(), all[2].keys.ini_high), (Some("D2"), Some(30.0)));
        assert_eq!(read(&[]).unwrap(), [Variant { end: String::new(), keys: JobFile::default() }]);
        let all = read(&["reference=maps/a.mrc,maps/b.mrc"]).unwrap();
        assert_eq!(folder(Path::new("x/refine/"), &all[1]), Path::new("x/refine-reference-maps_b.mrc"));
    }

    #[test]
    fn what_is_no_scan_is_told() {
        for (scans, said) in [
            (&["symmetry"][..], "has no `=`"),
            (&["symmetry=C1,"], "an empty value"),
            (&["symetry=C1"], "Did you mean `symmetry`?"),
            (&["out=a,b"], "cannot be scanned"),
            (&["ini_high=big"], "invalid value 'big'"),
            (&["seed=1,1"], "Give each value once"),
            (&["seed=1", "seed=2"], "scanned twice"),
        ] {
            let error = read(scans).unwrap_err();
            assert!(error.code == ExitCode::Usage && error.to_string().contains(said), "{said}: {error}");
        }
        let many = format!("seed={}", (0..1001).map(|seed| seed.to_string()).collect::<Vec<_>>().join(","));
        assert!(read(&[&many]).unwrap_err().problem.contains("1001 runs"));
    }
}

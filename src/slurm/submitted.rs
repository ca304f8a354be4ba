//! The file `jobid` of a run: what was submitted, one line a submission.

/// A job of the file: `123`, `124 afterany:123` for a job that goes on when another has ended, or `123 124 125` for a
/// chain in which each goes on after the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    pub id: String,
    /// The job that it goes on after.
    pub after: Option<String>,
}

impl Submission {
    pub fn new(id: &str, after: Option<&str>) -> Self {
        Self { id: id.to_owned(), after: after.map(str::to_owned) }
    }

    /// The line in the file.
    pub fn line(&self) -> String {
        match &self.after {
            Some(after) => format!("{} afterany:{after}\n", self.id),
            None => format!("{}\n", self.id),
        }
    }
}

/// All submissions, the last one last. Lines that do not begin with a job's number are none; of a number that stands
/// there twice (a job writes its own where it does not find it) the first counts.
pub fn submissions(text: &str) -> Vec<Submission> {
    let mut all: Vec<Submission> = Vec::new();
    for new in text.lines().flat_map(line) {
        if all.iter().all(|earlier| earlier.id != new.id) {
            all.push(new);
        }
    }
    all
}

fn line(line: &str) -> Vec<Submission> {
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || c == ';').collect();
    let ids = words.iter().take_while(|word| is_id(word)).count();
    let (ids, rest) = words.split_at(ids);
    let mut after = rest.iter().filter_map(|word| word.split_once("after")?.1.split_once(':')).map(|(_, id)| id);
    let mut earlier = after.rfind(|id| is_id(id));
    let mut jobs = Vec::new();
    for id in ids {
        jobs.push(Submission::new(id, earlier));
        earlier = Some(id);
    }
    jobs
}

/// `123`, of an array `123_4`, of a heterogeneous job `123+1`.
fn is_id(word: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split(['_', '+']).count() <= 2 && word.split(['_', '+']).all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let text =
            "12\n13 afterany:12\n\nnonsense\n14;cluster\n12\n15_2 2026-11-26 --dependency=afterany:14\n16 17 18\n";
        let wanted = [("12", None), ("13", Some("12")), ("14", None), ("15_2", Some("14"))];
        let wanted = wanted.into_iter().chain([("16", None), ("17", Some("16")), ("18", Some("17"))]);
        let wanted: Vec<Submission> = wanted.map(|(id, after)| Submission::new(id, after)).collect();
        assert_eq!(submissions(text), wanted);
        let written: String = wanted.iter().map(Submission::line).collect();
        assert_eq!(submissions(&written), wanted);
    }
}

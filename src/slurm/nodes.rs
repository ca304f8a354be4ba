//! Lists of nodes as Slurm writes them.

/// A list longer than this is not spelled out.
const MOST_NODES: usize = 65536;

/// The nodes of `n1,gpu[01-03,7]-ib`, one by one; none of them when the list is no list.
pub fn expand(list: &str) -> Vec<String> {
    let mut nodes = Vec::new();
    for entry in split(list) {
        if !expand_entry(entry, &mut nodes) || nodes.len() > MOST_NODES {
            return Vec::new();
        }
    }
    nodes
}

/// At commas outside of brackets.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let at_comma = |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    list.trim().split(at_comma).filter(|entry| !entry.is_empty()).collect()
}

fn expand_entry(entry: &str, nodes: &mut Vec<String>) -> bool {
    let Some((before, rest)) = entry.split_once('[') else {
        nodes.push(entry.to_owned());
        return true;
    };
    let Some((ranges, after)) = rest.split_once(']') else { return false };
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(from), Ok(to)) = (first.parse::<usize>(), last.parse::<usize>()) else { return false };
        if to.saturating_sub(from) > MOST_NODES {
            return false;
        }
        for number in from..=to {
            // What stands behind may have brackets of its own.
            if !expand_entry(&format!("{before}{number:0width$}{after}", width = first.len()), nodes) {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_spelled_out() {
        assert_eq!(expand("n1"), ["n1"]);
        assert_eq!(expand("n[1-2],login"), ["n1", "n2", "login"]);
        assert_eq!(expand("gpu[08-10,7]-ib"), ["gpu08-ib", "gpu09-ib", "gpu10-ib", "gpu7-ib"]);
        assert_eq!(expand("r[1-2]n[1-2]"), ["r1n1", "r1n2", "r2n1", "r2n2"]);
        for list in ["", "n[1-", "n[a-b]", "n[1-99999999]"] {
            assert_eq!(expand(list), [""; 0], "{list}");
        }
    }
}

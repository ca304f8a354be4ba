//! Values as words of a shell and of Slurm's own lines.

use crate::error::Error;
use crate::error::Result;

/// What neither a shell nor Slurm reads as anything else.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_-./:=,+@".contains(letter)
}

/// Refuses what would become a second line of the script.
///
/// # Errors
/// `Usage` for a line break or another control character.
pub(super) fn one_line<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Error::usage(
        format!("{what} is {text:?}: a line break or control character cannot stand in a batch script"),
        "Give it as one line of plain text; rename the folder if it is part of a path.",
    ))
}

/// One word of a shell.
///
/// # Errors
/// Those of [`one_line`].
pub fn shell(what: &str, text: &str) -> Result<String> {
    let text = one_line(what, text)?;
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// One argument on a line `#SBATCH`.
///
/// # Errors
/// `Usage` for what Slurm has no way to write there: quotation marks, backslashes, line breaks.
pub fn header(argument: &str) -> Result<String> {
    let text = one_line("an argument of sbatch", argument)?;
    if text.contains(['"', '\\']) {
        return Err(Error::usage(
            format!("an argument of sbatch is {text:?}: a line #SBATCH cannot hold quotation marks or backslashes"),
            "Choose another value, or another name for the folder.",
        ));
    }
    let is_safe = |letter: char| is_plain(letter) || "%&|*()[]".contains(letter);
    Ok(if !text.is_empty() && text.chars().all(is_safe) { text.to_owned() } else { format!("\"{text}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        for (text, quoted) in
            [("/a/b-1", "/a/b-1"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$HOME;x", "'$HOME;x'"), ("", "''")]
        {
            assert_eq!(shell("x", text).unwrap(), quoted);
        }
        assert!(shell("x", "a\nb").unwrap_err().problem.contains("line break"));
    }

    #[test]
    fn lines_of_slurm_hold_one_argument() {
        assert_eq!(header("--constraint=a100&ib").unwrap(), "--constraint=a100&ib");
        assert_eq!(header("--output=/a b/%j").unwrap(), "\"--output=/a b/%j\"");
        for text in ["--comment=\"x\"", "a\\b", "--x\n#SBATCH --y"] {
            assert!(header(text).is_err(), "{text}");
        }
    }
}

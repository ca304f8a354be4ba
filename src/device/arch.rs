//! For which GPUs kernels are compiled.

/// What a cubin is compiled for: `sm_90a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arch {
    name: String,
}

/// Those that are compiled ahead, each with its capability. A cubin runs on its own capability and on later ones of the
/// same first number; with an `a` it runs on its own only, and may use what no other has.
const AHEAD: [((u32, u32), &str); 8] = [
    ((7, 0), "sm_70"),
    ((7, 5), "sm_75"),
    ((8, 0), "sm_80"),
    ((8, 6), "sm_86"),
    ((8, 9), "sm_89"),
    ((9, 0), "sm_90a"),
    ((10, 0), "sm_100"),
    ((12, 0), "sm_120"),
];

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl std::str::FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::parse(text).ok_or_else(|| "not a name such as sm_80 or sm_90a".to_string())
    }
}

impl Arch {
    /// Those that are compiled ahead.
    pub fn ahead() -> Vec<Self> {
        AHEAD.iter().map(|(_, name)| Self { name: name.to_string() }).collect()
    }

    /// The best for a device: of those ahead the last that runs on it, else the device's own.
    pub fn of(capability: (u32, u32)) -> Self {
        let runs = |of: (u32, u32)| of.0 == capability.0 && of.1 <= capability.1;
        let ahead = AHEAD.iter().rfind(|(of, name)| if name.ends_with('a') { *of == capability } else { runs(*of) });
        let exact = || format!("sm_{}{}", capability.0, capability.1);
        Self { name: ahead.map_or_else(exact, |(_, name)| name.to_string()) }
    }

    /// `sm_90a`, if the text is such a name.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("sm_")?.trim_end_matches(['a', 'f']);
        let is_number = (2..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self { name: text.to_string() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// 90 for `sm_90a`.
    pub fn number(&self) -> i32 {
        let digits = self.name.trim_start_matches("sm_").trim_end_matches(['a', 'f']);
        // Only such names are made.
        digits.parse().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Arch;

    #[test]
    fn every_device_has_one() {
        let of = |major, minor| Arch::of((major, minor)).name().to_string();
        for (device, wanted) in [
            ((7, 0), "sm_70"),
            ((7, 2), "sm_70"),
            ((7, 5), "sm_75"),
            ((8, 0), "sm_80"),
            ((8, 6), "sm_86"),
            ((8, 7), "sm_86"),
            ((8, 9), "sm_89"),
            ((9, 0), "sm_90a"),
            ((10, 0), "sm_100"),
            ((10, 3), "sm_100"),
            ((12, 1), "sm_120"),
            // None of the first number is compiled ahead.
            ((11, 0), "sm_110"),
            ((6, 1), "sm_61"),
        ] {
            assert_eq!(of(device.0, device.1), wanted);
        }
    }

    #[test]
    fn names() {
        assert_eq!(Arch::parse("sm_90a").unwrap().number(), 90);
        assert_eq!(Arch::parse("sm_120").unwrap().number(), 120);
        for wrong in ["90", "sm_", "sm_9", "compute_90", "sm_90x", "sm_1234"] {
            assert!(Arch::parse(wrong).is_none(), "{wrong}");
        }
        assert!(Arch::ahead().iter().all(|arch| Arch::parse(arch.name()).as_ref() == Some(arch)));
    }
}

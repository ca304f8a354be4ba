//! How this process was started: alone, or as one of several by an MPI launcher.

use std::env;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// Who started this process, as its environment tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// An MPI launcher's number of ranks; `None` when none is seen.
    ranks: Option<usize>,
    /// Tasks of the Slurm step that this process is one of.
    tasks: usize,
}

impl Launch {
    pub fn of_process() -> Self {
        Self::of(&|name| env::var(name).ok())
    }

    /// OpenMPI's and Hydra's launchers and srun's PMI plugins all set one of these.
    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name)?.parse::<usize>().ok();
        let tasks = number("SLURM_STEP_NUM_TASKS").filter(|_| variable("SLURM_PROCID").is_some()).unwrap_or(1);
        let by_pmix = variable("PMIX_RANK").map(|_| number("OMPI_COMM_WORLD_SIZE").unwrap_or(tasks));
        let ranks = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or(by_pmix);
        Self { ranks, tasks }
    }

    /// Whether MPI is to be started.
    ///
    /// # Errors
    /// `Usage`: Slurm started several tasks that know nothing of each other.
    pub fn has_others(&self) -> Result<bool> {
        match (self.ranks, self.tasks) {
            (Some(ranks), _) => Ok(ranks > 1),
            (None, tasks) if tasks > 1 => Err(Error::new(
                ExitCode::Usage,
                "srun",
                format!("started {tasks} tasks without MPI: each believes to be alone"),
                "Add `--mpi=pmix` to srun (`srun --mpi=list` shows what this Slurm has; \
                 MPICH wants pmi2), or set `mpi` in the site file's [cluster].",
            )),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Launch {
        Launch::of(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_told_apart() {
        assert!(!launch(&[]).has_others().unwrap());
        assert!(launch(&[("OMPI_COMM_WORLD_SIZE", "3")]).has_others().unwrap());
        assert!(launch(&[("PMI_SIZE", "2"), ("PMI_RANK", "0")]).has_others().unwrap());
        let step = [("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_PROCID", "1")];
        assert!(launch(&[step[0], step[1], ("PMIX_RANK", "1")]).has_others().unwrap());
        assert!(!launch(&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1"), step[1]]).has_others().unwrap());
        // The batch script itself, by hand.
        assert!(!launch(&[("SLURM_NTASKS", "3"), step[1]]).has_others().unwrap());
        let lonely = launch(&step).has_others().unwrap_err();
        assert_eq!(lonely.code, ExitCode::Usage);
        assert!(lonely.fix.contains("--mpi=pmix"), "{lonely}");
    }
}

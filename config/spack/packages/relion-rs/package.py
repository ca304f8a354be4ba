# Copyright of the relion-rs authors; MIT or Apache-2.0, as you like.
"""Spack recipe: `spack repo add config/spack && spack install relion-rs +mpi`."""

from spack.package import *

try:
    from spack_repo.builtin.build_systems.cargo import CargoPackage
except ImportError:
    # Before Spack 1.0 it is part of spack.package.
    pass


class RelionRs(CargoPackage):
    """Refinement of cryo-EM single-particle maps by RELION's method, with the
    same bits every time; a launcher for login nodes and an engine for jobs."""

    homepage = "https://github.com/relion-rs/relion-rs"
    git = "https://github.com/relion-rs/relion-rs.git"

    license("MIT OR Apache-2.0")

    version("main", branch="main")
    version("0.1.0", tag="v0.1.0")

    variant("mpi", default=False, description="Ranks by MPI, in the engine only")
    variant("static-hdf5", default=False, description="An engine with its own HDF5")
    variant("cuda", default=False, description="GPUs; the libraries of CUDA are found at run time")

    depends_on("c", type="build")
    depends_on("rust@1.95:", type="build")
    depends_on("pkgconfig", type="build")
    # Only the engine links it.
    depends_on("hdf5@1.10:")
    depends_on("hdf5+mpi", when="+mpi")
    depends_on("hdf5~mpi", when="~mpi")
    depends_on("mpi", when="+mpi")
    # bindgen reads the headers of MPI.
    depends_on("llvm+clang", type="build", when="+mpi")
    # NVRTC, for GPUs that this version has no compiled kernels for.
    depends_on("cuda@12.2:", type="run", when="+cuda")

    @property
    def build_args(self):
        features = [name for name in ("mpi", "cuda", "static-hdf5") if self.spec.satisfies("+" + name)]
        arguments = ["--locked"]
        if features:
            arguments += ["--features", ",".join(features)]
        return arguments

    @property
    def check_args(self):
        return ["--locked"]

    def setup_build_environment(self, env):
        env.set("HDF5_DIR", self.spec["hdf5"].prefix)
        if self.spec.satisfies("+mpi"):
            env.set("MPICC", self.spec["mpi"].mpicc)
            env.set("LIBCLANG_PATH", self.spec["llvm"].prefix.lib)

    def setup_run_environment(self, env):
        if self.spec.satisfies("+cuda"):
            env.prepend_path("LD_LIBRARY_PATH", self.spec["cuda"].prefix.lib64)

    @run_after("install")
    def install_pages(self):
        launcher = Executable(self.prefix.bin.join("relion-rs"))
        launcher("man", self.prefix.share.man.man1)
        for shell, folder, name in (
            ("bash", self.prefix.share.join("bash-completion").completions, "relion-rs"),
            ("zsh", self.prefix.share.zsh.join("site-functions"), "_relion-rs"),
            ("fish", self.prefix.share.fish.join("vendor_completions.d"), "relion-rs.fish"),
        ):
            mkdirp(folder)
            with open(join_path(folder, name), "w") as script:
                script.write(launcher("completions", shell, output=str))
        # The launcher looks for the settings of the site there, beside its bin.
        site = self.prefix.etc.join("relion-rs")
        mkdirp(site)
        install("config/sites/generic.toml", join_path(site, "site.toml"))
        sites = self.prefix.share.join("relion-rs").sites
        mkdirp(sites)
        install("config/sites/*.toml", sites)
        install("slurm/relion-qsub.sh", self.prefix.share.join("relion-rs"))

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def check_programs(self):
        Executable(self.prefix.bin.join("relion-rs"))("doctor", "--scratch-mib", "0")
        Executable(self.prefix.bin.join("relion-rs-rank"))("--probe")

    def test_versions(self):
        """both programs start and are of this version"""
        for name in ("relion-rs", "relion-rs-rank"):
            program = which(self.prefix.bin.join(name))
            assert str(self.spec.version) in program("--version", output=str) or self.spec.satisfies("@main")

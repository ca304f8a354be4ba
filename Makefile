# The commands of this repository. `make` alone lists them.

CARGO ?= cargo
DEMO  ?= demo
# What a Debian or Ubuntu machine with Rust lacks: a linker, HDF5, readelf for one test, and g++ for the kernels' twin.
PACKAGES = gcc g++ libc6-dev make pkg-config libhdf5-dev binutils
# And for several ranks: MPI, and libclang to build the binding of it.
MPI = libopenmpi-dev openmpi-bin clang libclang-dev
# And to fetch NVIDIA's compiler of kernels.
NVRTC_SETUP = python3-venv
# And for a Slurm of our own, on this machine.
SLURM = slurm-wlm munge

.PHONY: help setup build build-mpi demo test test-mpi test-mpich test-cluster test-long test-modules nvrtc kernels check bless man bench bench-ranks bench-relion gpu-kit interop install

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## install the system packages that are missing (Debian, Ubuntu)
	@.ci/setup $(PACKAGES)

build: setup ## build both programs, optimised
	$(CARGO) build --release --locked

build-mpi: build ## build both programs, the engine for several ranks
	@.ci/setup $(MPI)
	$(CARGO) build --release --locked --features mpi --bin relion-rs-rank --target-dir target/mpi
	cp target/mpi/release/relion-rs-rank target/release/relion-rs-rank

demo: build ## simulate particles, refine, postprocess, report, and compare with the truth
	tests/demo.sh target/release/relion-rs $(DEMO)

test: setup $(if $(filter no,$(NVRTC)),,nvrtc) ## the test suite; NVRTC=no: without compiling kernels for GPUs
	$(CARGO) test --locked -- $(if $(filter no,$(NVRTC)),--skip kernels::compile)

nvrtc: ## fetch NVIDIA's compiler of kernels into target/nvrtc; needs no GPU
	@.ci/setup $(NVRTC_SETUP)
	kernels/nvrtc.sh

kernels: build nvrtc ## compile the kernels for all kinds of GPUs into target/kernels; needs no GPU
	rm -rf target/kernels
	RELION_RS_NVRTC=target/nvrtc/12/libnvrtc.so.12 target/release/relion-rs-rank kernels build --to target/kernels

test-cluster: setup ## refinements under a real Slurm, started on this machine; needs root (installs Debian's slurm-wlm)
	@.ci/setup $(SLURM) $(MPI)
	$(CARGO) test --locked --features mpi --target-dir target/mpi --test cluster --no-run
	timeout --kill-after=30 900 $(CARGO) test --locked --features mpi --target-dir target/mpi --test cluster -- \
		--ignored --test-threads=1 short::

test-mpi: setup ## several ranks on this machine
	@.ci/setup $(MPI)
	$(CARGO) test --locked --features mpi --target-dir target/mpi --lib --test suite -- ranks::

test-mpich: setup ## the same with MPICH instead of OpenMPI
	@.ci/setup clang libclang-dev mpich libmpich-dev
	MPICC=mpicc.mpich RELION_RS_MPIRUN=mpiexec.mpich \
		$(CARGO) test --locked --features mpi --target-dir target/mpich --test suite -- ranks::

test-long: setup nvrtc ## the test suite with the long tests
	CARGO=$(CARGO) tests/long.sh

test-modules: setup ## install into a folder and use it by Lmod and by environment-modules
	$(CARGO) build --locked
	tests/modules.sh target/debug/relion-rs

check: setup ## format, lints, documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --features cuda --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

bless: setup nvrtc ## write the generated pages and golden texts anew
	BLESS=1 $(CARGO) test --locked --test suite -- cli:: docs submit_scripts:: recipes kernels::compile

man: build ## write the man pages to target/man
	target/release/relion-rs man target/man

bench: build ## time a class3d job on this machine
	@.ci/setup bc
	tests/bench.sh target/release/relion-rs

bench-ranks: build-mpi ## one and two ranks side by side: the expectation step, and what the leader costs
	tests/bench_ranks.py target/release/relion-rs --check

bench-relion: build ## the same job by relion-rs and by RELION, side by side (installs Debian's relion)
	@.ci/setup relion bc
	tests/bench.sh target/release/relion-rs --relion

gpu-kit: setup nvrtc ## build target/gpu-kit: all that needs a GPU, tests and benchmarks, to be run on a machine with nothing else
	CARGO=$(CARGO) tests/gpu_kit.sh target/gpu-kit

interop: build ## files to and from RELION (installs Debian's) and Python's starfile and mrcfile, live
	@.ci/setup relion openmpi-bin python3-venv
	tests/interop.sh target/release/relion-rs

install: build ## install both programs to PREFIX/bin (default /usr/local), and what `make kernels` made
	install -D -t $(or $(PREFIX),/usr/local)/bin target/release/relion-rs target/release/relion-rs-rank
	if [ -d target/kernels ]; then \
		install -D -m 644 -t $(or $(PREFIX),/usr/local)/lib/relion-rs/kernels target/kernels/*.cubin; fi

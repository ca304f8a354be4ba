#!/bin/sh
# The test suite with the long tests. Tests that want something which is not there are left out, and it is said why:
# RELION_RS_DATA names a folder with files of other programs; a small file system is mounted when root runs this.
set -eu
cargo=${CARGO:-cargo}
skip=
leave_out() {
    echo "left out: $2 ($1)"
    for name in $2; do skip="$skip --skip $name"; done
}
[ -n "${RELION_RS_DATA:-}" ] || leave_out "RELION_RS_DATA is not set" "conformance:: files_of_other_programs benchmark_a"
if [ -z "${TEST_SMALL_DISK:-}" ]; then
    disk=$(mktemp -d)
    if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=12m tmpfs "$disk" 2>/dev/null; then
        export TEST_SMALL_DISK="$disk"
        trap 'umount "$disk"; rmdir "$disk"' EXIT
    else
        rmdir "$disk"
        leave_out "TEST_SMALL_DISK is not set, and only root can mount one" "a_full_disk_leaves_the_previous_file a_run_endures_a_full_disk"
    fi
fi
leave_out "an engine without CUDA; make gpu-kit has them for a GPU" "on_gpu:: no_step_takes_memory_of_the_gpu"
# shellcheck disable=SC2086
$cargo test --locked -- --include-ignored --skip short:: --skip full:: --skip ranks:: $skip

# Several ranks, by an engine of its own.
of_mpi="--locked --features mpi --target-dir target/mpi"
if .ci/setup libopenmpi-dev openmpi-bin clang libclang-dev; then
    # What a test starts as single ranks is none by itself.
    # shellcheck disable=SC2086
    $cargo test $of_mpi --lib --test suite -- --include-ignored ranks:: --skip wire::rank --skip wire::summing
    # A Slurm of our own, with a database for two tests. One test at a time: the nodes share few cores.
    if [ "$(id -u)" = 0 ] && .ci/setup slurm-wlm munge slurmdbd mariadb-server; then
        # shellcheck disable=SC2086
        $cargo test $of_mpi --test cluster -- --ignored --test-threads=1
    else
        echo "left out: short:: full:: of tests/cluster (only root can start a Slurm, of Debian's packages)"
    fi
    # The other MPI; Debian has both beside each other.
    if .ci/setup mpich libmpich-dev; then
        MPICC=mpicc.mpich RELION_RS_MPIRUN=mpiexec.mpich \
            "$cargo" test --locked --features mpi --target-dir target/mpich --test suite -- ranks::
    else
        echo "left out: ranks:: with MPICH (mpich libmpich-dev)"
    fi
else
    echo "left out: ranks:: short:: full:: (they need MPI: libopenmpi-dev openmpi-bin clang libclang-dev)"
fi
# The kernels on the CPU, under sanitizers.
CARGO=$cargo tests/sanitizers.sh
# Installed versions under real module systems.
code=0
tests/modules.sh target/debug/relion-rs || code=$?
[ "$code" -eq 69 ] && echo "left out: tests/modules.sh (see above)" || exit "$code"

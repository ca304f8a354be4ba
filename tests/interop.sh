#!/bin/bash
# Files to and from RELION and Python, live: one line a check, exit 1 if any failed.
# Needs RELION's programs on the PATH (apt-get install relion openmpi-bin). Python with starfile and mrcfile is taken
# from $PYTHON if set, else a virtual environment is made beside the programs. Usage: interop.sh RELION-RS [FOLDER]
set -uo pipefail
program=$(realpath "$1")
folder=${2:-$(mktemp -d)}
here=$(dirname "$(realpath "$0")")
map=$here/data/beta_galactosidase.mrc
for needed in relion_refine relion_refine_mpi relion_postprocess relion_pipeliner mpirun; do
    command -v $needed >/dev/null || { echo "$needed is not on the PATH: apt-get install relion openmpi-bin" >&2; exit 69; }
done
if [ -z "${PYTHON:-}" ]; then
    venv=$(dirname "$program")/interop-venv
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || exit 69
    "$venv/bin/python" -c 'import starfile, mrcfile' 2>/dev/null ||
        "$venv/bin/pip" install --quiet numpy starfile mrcfile || exit 69
    PYTHON=$venv/bin/python
fi
export OMP_NUM_THREADS=1
mkdir -p "$folder" && cd "$folder" && mkdir -p theirs || exit 73
failed=0

# check NAME COMMAND...: runs the command; its output goes to a log, its last line to the screen.
check() {
    local name=$1 log=$1.log
    shift
    if "$@" >"$log" 2>&1; then
        printf 'ok      %-24s %s\n' "$name" "$(tail -1 "$log" | tr '\r' '\n' | tail -1 | cut -c1-110)"
    else
        printf 'FAILED  %-24s exit %s: %s\n' "$name" $? "$*"
        tail -c 2000 "$log" | tr '\r' '\n' | tail -15 | sed 's/^/        | /'
        failed=1
    fi
}
wrote() { [ -s "$1" ] && echo "wrote $1"; }
compare() { "$PYTHON" "$here/interop.py" "$@"; }
job=(--reference particles/truth.mrc --symmetry D2 --diameter 200 --ini-high 40 --healpix-order 1 --seed 1)

check simulate "$program" simulate --map "$map" --out particles --image-prefix particles --count 300 --snr 0.05 --seed 1
check refine3d "$program" run refine3d --particles particles/particles.star --out refine --local-search-order 3 --keep-every 3 "${job[@]}"
check class3d "$program" run class3d --particles particles/particles.star --out class --classes 2 --iterations 2 "${job[@]}"
check mask "$program" mask refine/run_class001.mrc --out mask.mrc

# Half maps: both postprocess programs.
half=refine/run_half1_class001_unfil.mrc
check ours-masked "$program" postprocess --half1 $half --mask mask.mrc --b-factor -100 --out masked
check relion-masked relion_postprocess --i $half --mask mask.mrc --angpix 3.54 --adhoc_bfac -100 --o theirs/masked
check fsc-masked compare postprocess masked theirs/masked randomised
check ours-unmasked "$program" postprocess --half1 $half --b-factor -100 --out unmasked
# Without a mask RELION 3.1.3 stops at a plot, after its files are written.
without_mask() { relion_postprocess --i $half --angpix 3.54 --adhoc_bfac -100 --o theirs/unmasked; wrote theirs/unmasked.star; }
check relion-unmasked without_mask
check fsc-unmasked compare postprocess unmasked theirs/unmasked exact

# RELION goes on from our files for one iteration, and so do we.
classes() { relion_refine --continue class/run_it002_optimiser.star --o theirs/class --iter 3 --j 1 && wrote theirs/class_it003_optimiser.star; }
halves() {
    mpirun -n 3 --allow-run-as-root --oversubscribe relion_refine_mpi --continue refine/run_it003_optimiser.star \
        --o theirs/auto --auto_iter_max 4 --j 1 && wrote theirs/auto_it004_optimiser.star
}
check relion-continues-class classes
# The same from checkpoints, without the run's own files.
exported_classes() { relion_refine --continue exported/class/run_it002_optimiser.star --o theirs/exported --iter 3 --j 1 && wrote theirs/exported_it003_optimiser.star; }
exported_halves() {
    mpirun -n 3 --allow-run-as-root --oversubscribe relion_refine_mpi --continue exported/refine/run_it003_optimiser.star \
        --o theirs/exported_auto --auto_iter_max 4 --j 1 && wrote theirs/exported_auto_it004_optimiser.star
}
check export-class "$program" checkpoint export class --iteration 2 --out exported/class
check export-refine "$program" checkpoint export refine --iteration 3 --out exported/refine
check relion-continues-export exported_classes
check relion-continues-halves exported_halves
check export-agrees compare maps theirs/class_it003_class00{1,2}.mrc theirs/exported_it003_class00{1,2}.mrc
check verify-refine "$program" checkpoint verify refine
check class3d-continues "$program" run class3d --particles particles/particles.star --out class --classes 2 --iterations 3 "${job[@]}"
check classes-agree compare maps class/run_it003_class00{1,2}.mrc theirs/class_it003_class00{1,2}.mrc
check relion-continues-auto halves
check halves-agree compare maps refine/run_it004_half{1,2}_class001.mrc theirs/auto_it004_half{1,2}_class001.mrc

# We start from what RELION wrote.
check from-relion-class "$program" run class3d --particles theirs/class_it003_data.star --out from_class --classes 1 --iterations 1 "${job[@]}"
check from-relion-auto "$program" run refine3d --particles theirs/auto_it004_data.star --out from_auto --iterations 1 "${job[@]}"
check halves-kept compare same theirs/auto_it004_data.star from_auto/run_it001_data.star rlnRandomSubset
check from-relion-poses "$program" run class3d --particles theirs/auto_it004_data.star --out from_poses --classes 2 --iterations 2 --skip-align "${job[@]}"

# Jobs of RELION taken over half-way, beside RELION's own continuation of them.
small=$here/golden/inputs
check simulate-32 "$program" simulate --map "$small/ref32.mrc" --out small32 --image-prefix small32 --count 200 --snr 0.1 --micrographs 3 --seed 1
check simulate-48 "$program" simulate --map "$small/ref48.mrc" --out small48 --image-prefix small48 --count 200 --snr 0.1 --micrographs 3 --seed 1
mkdir -p theirs/Class3D/job001 theirs/Refine3D/job002
usual=(--ctf --ctf_corrected_ref --zero_mask --flatten_solvent --norm --scale --particle_diameter 200 --oversampling 1
    --healpix_order 1 --random_seed 1 --dont_check_norm --pool 3 --j 1)
on_two() { mpirun -n 3 --allow-run-as-root --oversubscribe relion_refine_mpi "$@"; }
their_classes() {
    relion_refine --i small32/particles.star --ref small32/truth.mrc --o theirs/Class3D/job001/run --K 2 --iter 4 \
        --tau2_fudge 4 --ini_high 60 --offset_range 3 --offset_step 1 "${usual[@]}" && wrote theirs/Class3D/job001/run_it004_optimiser.star
}
their_halves() {
    on_two --i small48/particles.star --ref small48/truth.mrc --o theirs/Refine3D/job002/run --auto_refine --split_random_halves \
        --auto_iter_max 4 --ini_high 40 --offset_range 4 --offset_step 2 --low_resol_join_halves 40 \
        --auto_local_healpix_order 3 "${usual[@]}" &&
        wrote theirs/Refine3D/job002/run_it004_optimiser.star
}
they_continue() {
    local continue=$1 root=$2 program=$3
    shift 3
    $program --continue "$continue" --o "$root" "$@" --j 1 --pool 3 && wrote "$(dirname "$root")"
}
class=theirs/Class3D/job001/run_it004_optimiser.star
auto=theirs/Refine3D/job002/run_it004_optimiser.star
check relion-class their_classes
check import-class "$program" import $class --out imported_class --iterations 8
check imported-class-goes-on "$program" resume imported_class
check relion-class-goes-on they_continue $class theirs/Class3D/ct relion_refine --iter 8
check class-resolutions compare resolutions imported_class/run_it008_model.star theirs/Class3D/ct_it008_model.star
check relion-auto their_halves
check import-auto "$program" import $auto --out imported_auto --iterations 999
check imported-auto-goes-on "$program" resume imported_auto
check relion-auto-goes-on they_continue $auto theirs/Refine3D/ct on_two --auto_iter_max 999
check auto-resolutions compare resolutions imported_auto/run_model.star theirs/Refine3D/ct_model.star

# RELION's pipeliner starts relion-rs as an External job, and takes over what it offers.
external_job() {
    mkdir -p theirs/project && cd theirs/project && cp -r ../../small32 . || return 1
    printf '\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n' >default_pipeline.star
    {
        printf '\n# version 30001\n\ndata_job\n\n_rlnJobType 99\n_rlnJobIsContinue 0\n\n# version 30001\n\n'
        printf 'data_joboptions_values\n\nloop_\n_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n'
        printf 'do_queue No\nfn_exe "%s external"\n' "$program"
        printf 'in_part small32/particles.star\nin_3dref small32/truth.mrc\n'
        printf '%s ""\n' in_coords in_mask in_mic in_mov other_args
        printf 'min_dedicated 1\nnr_threads 1\nqsub qsub\nqsubscript ""\nqueuename openmpi\n'
        printf 'param1_label particle_diameter\nparam1_value 180\nparam2_label K\nparam2_value 2\n'
        printf 'param3_label iterations\nparam3_value 2\nparam4_label healpix_order\nparam4_value 1\n'
    } >job.star
    relion_pipeliner --addJobFromStar job.star && relion_pipeliner --RunJobs External/job001/ --sec_wait_after 1 &&
        [ -e External/job001/RELION_JOB_EXIT_SUCCESS ] && grep -E 'External/job001/run_it002_class002.mrc +6' default_pipeline.star
}
in_a_project() { (external_job); }
check relion-external in_a_project

# Everything we wrote.
check python-reads-all compare read .
[ $failed = 0 ] && echo "all passed; files in $folder" || echo "some failed; files in $folder" >&2
exit $failed

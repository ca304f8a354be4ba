"""The comparisons of interop.sh. Prints one line, and exits with a sentence where something differs."""

import pathlib
import sys

import mrcfile
import numpy
import starfile

# Files print six decimals.
PRINTED = 2e-6
# Maps are single precision; both programs sum their transforms in other orders.
SAME_MAP = 1e-5
# The phases are random: a shell of some 1e3 voxels inside the mask correlates by chance with this much at most.
RANDOM_PHASES = 0.2
# Two refinements of the same job: RELION and its own continuation differ by one shell.
SAME_RESOLUTION = 1.01
# One iteration from the same state. The perturbation of the grid is drawn anew, poses of single particles differ.
SAME_ITERATION = 0.98


def require(is_true, sentence):
    # A comparison with NaN is false.
    if not is_true:
        sys.exit(sentence)


def postprocess(ours, theirs, mode):
    """The tables and maps of two postprocess runs; MODE randomised: curves behind random phases are compared loosely."""
    (a, b) = (starfile.read(f"{root}.star") for root in (ours, theirs))
    worst = {}
    for column in b["fsc"].columns:
        off = numpy.abs(a["fsc"][column] - b["fsc"][column]).max()
        loose = mode == "randomised" and column in (
            "rlnFourierShellCorrelationCorrected",
            "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
        )
        require(off <= (RANDOM_PHASES if loose else PRINTED), f"{column} differs by {off}")
        worst[loose] = max(worst.get(loose, 0), off)
    shells = [len(b["fsc"]) - 1, b["fsc"]["rlnAngstromResolution"].iloc[-1]]
    shell = [shells[0] * shells[1] / star["general"]["rlnFinalResolution"] for star in (a, b)]
    allowed = 1.01 if mode == "randomised" else 1e-6
    require(abs(shell[0] - shell[1]) <= allowed, f"resolutions are those of shells {shell}")
    text = f"resolution {a['general']['rlnFinalResolution']:.2f} and {b['general']['rlnFinalResolution']:.2f} A"
    text += f", curves {worst[False]:.0e}"
    if mode == "randomised":
        text += f", with random phases {worst[True]:.2f}"
    else:
        (x, y) = (mrcfile.read(f"{root}.mrc").astype(float) for root in (ours, theirs))
        off = numpy.linalg.norm(x - y) / numpy.linalg.norm(y)
        require(off <= SAME_MAP, f"the maps differ by {off}")
        text += f", maps {off:.0e}"
    print(text)


def maps(*names):
    """Correlation of maps: the first half of the names with the second half."""
    half = len(names) // 2
    found = []
    for ours, theirs in zip(names[:half], names[half:]):
        (x, y) = (mrcfile.read(name).astype(float).ravel() for name in (ours, theirs))
        found.append(numpy.corrcoef(x, y)[0, 1])
        require(found[-1] >= SAME_ITERATION, f"{ours} and {theirs} correlate with {found[-1]}")
    print("correlation " + ", ".join(f"{value:.4f}" for value in found))


def resolutions(ours, theirs):
    """Resolutions of two models, in shells."""
    found = []
    for name in (ours, theirs):
        model = starfile.read(name)
        general = model["model_general"]
        edge = general["rlnOriginalImageSize"] * general["rlnPixelSize"]
        found.append((general["rlnCurrentResolution"], edge / general["rlnCurrentResolution"]))
    off = abs(found[0][1] - found[1][1])
    require(off <= SAME_RESOLUTION, f"resolutions are those of shells {[round(shell, 2) for _, shell in found]}")
    print(f"resolution {found[0][0]:.2f} A, RELION's {found[1][0]:.2f} A: {off:.0f} shells apart")


def same(first, second, column):
    """A column of the particles of two files, by image name."""
    tables = [starfile.read(name)["particles"].set_index("rlnImageName")[column].sort_index() for name in (first, second)]
    require(len(tables[0]) > 0 and tables[0].equals(tables[1]), f"{column} differs between {first} and {second}")
    print(f"{len(tables[0])} particles")


def read(folder):
    """Every STAR and MRC file below a folder that this program wrote."""
    stars = maps = 0
    root = pathlib.Path(folder)
    for path in sorted(root.rglob("*")):
        if "theirs" in path.parts:
            continue
        if path.suffix == ".star":
            tables = starfile.read(path, always_dict=True)
            require(all(len(table) > 0 for table in tables.values()), f"{path} holds an empty table")
            stars += 1
        elif path.suffix in (".mrc", ".mrcs"):
            require(mrcfile.validate(path), f"{path} is not valid")
            with mrcfile.mmap(path, mode="r") as file:
                require(numpy.isfinite(file.data).all() and file.voxel_size.x > 0, f"{path} has bad values")
            maps += 1
    require(stars > 50 and maps > 50, f"only {stars} STAR and {maps} MRC files were found")
    print(f"{stars} STAR and {maps} MRC files")


if __name__ == "__main__":
    {"postprocess": postprocess, "maps": maps, "resolutions": resolutions, "same": same, "read": read}[sys.argv[1]](*sys.argv[2:])

#!/bin/bash
# `module install` as a new user meets it: a login shell with Lmod, and one with environment-modules, which is unpacked
# beside it because the two packages exclude each other. One line a check, exit 1 if any failed, 69 if something that it
# needs cannot be had. Usage: modules.sh RELION-RS [FOLDER]
set -uo pipefail
if [ "$(dpkg-query -W -f '${db:Status-Status}' environment-modules 2>/dev/null)" = installed ]; then
    echo "left out: environment-modules is installed here, and Lmod would replace it" >&2
    exit 69
fi
"$(dirname "$0")/../.ci/setup" lmod tcl man-db || exit 69
program=$(realpath "$1")
folder=${2:-$(mktemp -d)}
mkdir -p "$folder/home" || exit 73
version=$("$program" --version | cut -d' ' -f2)
failed=0

# check NAME COMMAND...: runs the command; what it said is shown when it fails.
check() {
    local name=$1 log
    shift
    if log=$("$@" 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s: %s\n%s\n' "$name" "$*" "$(tail -15 <<<"$log" | sed 's/^/        | /')"
        failed=1
    fi
}

# environment-modules, from Debian's archive, into the build folder.
em=$(dirname "$program")/../environment-modules
if [ ! -e "$em/ready" ]; then
    mkdir -p "$em" || exit 73
    (cd "$em" && apt-get download -q environment-modules && dpkg -x environment-modules_*.deb . && touch ready) >"$folder/apt.log" 2>&1 ||
        { echo "environment-modules cannot be downloaded: $(tail -1 "$folder/apt.log")" >&2; exit 69; }
fi
em=$(realpath "$em")
command=$(find "$em/usr/lib" -name modulecmd.tcl | grep -m1 -- -linux- || find "$em/usr/lib" -name modulecmd.tcl | head -1)
sed "s#'[^']*modulecmd.tcl'#'$command'#g" "$em/usr/share/modules/init/bash" >"$folder/init"

# Two versions, the older one a stand-in that tells its name.
older=0.0.9
check install "$program" module install "$folder/apps" --lua --profile cpu-only
cp -r "$folder/apps/relion-rs/$version" "$folder/apps/relion-rs/$older"
printf '#!/bin/sh\necho relion-rs %s\n' $older >"$folder/apps/relion-rs/$older/bin/relion-rs"
for kind in modulefiles modulefiles-lua; do
    end=$([ $kind = modulefiles ] || echo .lua)
    sed "s/$version/$older/g" "$folder/apps/$kind/relion-rs/$version$end" >"$folder/apps/$kind/relion-rs/$older$end"
done

cat >"$folder/user" <<USER
# What the user types. The first thing that goes wrong ends it.
set -e
is() { [ "\$1" = "\$2" ] || { echo "\$1 instead of \$2"; exit 1; }; }
has() { case "\$1" in *"\$2"*) ;; *) echo "no \$2 in: \$1"; exit 1 ;; esac; }
before=\$PATH
module use "\$1"
has "\$(module avail relion-rs 2>&1)" "relion-rs/$version"
has "\$(module avail relion-rs 2>&1)" "relion-rs/$older"
module load relion-rs
is "\$(relion-rs --version)" "relion-rs $version"
relion-rs doctor --scratch-mib 16
has "\$(relion-rs config show)" "apps/relion-rs/$version"
is "\$(man -w relion-rs)" "$folder/apps/relion-rs/$version/share/man/man1/relion-rs.1"
man relion-rs-doctor | grep -q on-node
man -w man >/dev/null
has "\$(module help relion-rs 2>&1)" "relion-rs doctor"
has "\$(module whatis relion-rs 2>&1)" "cryo-EM"
has "\$(module list 2>&1)" "relion-rs/$version"
. "\${XDG_DATA_DIRS%%:*}/bash-completion/completions/relion-rs"
has "\$(complete -p relion-rs)" _relion
module switch relion-rs relion-rs/$older
is "\$(relion-rs --version)" "relion-rs $older"
is "\$(grep -o apps/relion-rs <<<"\$PATH" | wc -l)" 1
module switch relion-rs relion-rs/$version
is "\$(relion-rs --version)" "relion-rs $version"
module unload relion-rs
is "\$PATH" "\$before"
man -w man >/dev/null
if command -v relion-rs >/dev/null; then echo "still on the PATH"; exit 1; fi
USER
clean=(env -i HOME="$folder/home" TERM=dumb LANG=C.UTF-8 MANPAGER=cat PATH=/usr/local/bin:/usr/bin:/bin)
# Lmod is there in every login shell: its package has a file in /etc/profile.d.
printf 'set +u\n. /etc/profile.d/lmod.sh\n' >"$folder/home/.bash_profile"
in_lmod() { "${clean[@]}" bash --login -c '. "$0" "$1"' "$folder/user" "$1"; }
in_environment_modules() { "${clean[@]}" bash --noprofile --norc -c '. "$1"; . "$0" "$2"' "$folder/user" "$folder/init" "$1"; }

check lmod in_lmod "$folder/apps/modulefiles"
check lmod-lua in_lmod "$folder/apps/modulefiles-lua"
check environment-modules in_environment_modules "$folder/apps/modulefiles"

check install-again "$program" module install "$folder/apps"
check lmod-again in_lmod "$folder/apps/modulefiles"
check uninstall "$program" module install "$folder/apps" --uninstall
gone() { ! find "$folder/apps" -path "*$version*" | grep .; }
check nothing-is-left gone
left() { [ "$(cat "$folder/apps/modulefiles/relion-rs/.version" | grep -c $older)" = 1 ]; }
check older-is-the-default left
[ $failed = 0 ] && [ -z "${2:-}" ] && rm -r "$folder"
[ $failed = 0 ] || echo "some failed; files in $folder" >&2
exit $failed

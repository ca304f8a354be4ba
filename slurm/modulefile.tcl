#%Module1.0
## relion-rs @version@, written by `relion-rs module install`. Lmod and environment-modules read it.

set version @version@
set root    @root@

proc ModulesHelp {} {
    global version root
    puts stderr "relion-rs $version: cryo-EM single-particle refinement by RELION's method."
    puts stderr ""
    puts stderr "  relion-rs doctor        what this machine and its cluster offer"
    puts stderr "  relion-rs new           write a commented job.toml"
    puts stderr "  relion-rs help          every command; man relion-rs"
    puts stderr ""
    puts stderr "Settings of this site: $root/etc/relion-rs/site.toml"
    puts stderr "Documentation:         $root/share/doc/relion-rs"
}

module-whatis "relion-rs $version: cryo-EM single-particle refinement by RELION's method"
conflict relion-rs

prepend-path PATH $root/bin
# Where nobody has named pages before, the empty part keeps those of the system.
if {![info exists env(MANPATH)]} {
    append-path MANPATH ""
}
prepend-path MANPATH $root/share/man
# Completions of bash and fish. The usual places come first where nobody has named them.
if {![info exists env(XDG_DATA_DIRS)]} {
    prepend-path XDG_DATA_DIRS /usr/local/share:/usr/share
}
prepend-path XDG_DATA_DIRS $root/share

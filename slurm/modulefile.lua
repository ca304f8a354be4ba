-- relion-rs @version@, written by `relion-rs module install --lua`. Lmod reads it.

local version = @version@
local root    = @root@

help("relion-rs " .. version .. [[: cryo-EM single-particle refinement by RELION's method.

  relion-rs doctor        what this machine and its cluster offer
  relion-rs new           write a commented job.toml
  relion-rs help          every command; man relion-rs

Settings of this site: ]] .. root .. [[/etc/relion-rs/site.toml
Documentation:         ]] .. root .. [[/share/doc/relion-rs]])

whatis("Name: relion-rs")
whatis("Version: " .. version)
whatis("Description: cryo-EM single-particle refinement by RELION's method")
conflict("relion-rs")

prepend_path("PATH", pathJoin(root, "bin"))
-- Where nobody has named pages before, the empty part keeps those of the system.
if not os.getenv("MANPATH") then
    append_path("MANPATH", "")
end
prepend_path("MANPATH", pathJoin(root, "share/man"))
-- Completions of bash and fish. The usual places come first where nobody has named them.
if not os.getenv("XDG_DATA_DIRS") then
    prepend_path("XDG_DATA_DIRS", "/usr/local/share:/usr/share")
end
prepend_path("XDG_DATA_DIRS", pathJoin(root, "share"))

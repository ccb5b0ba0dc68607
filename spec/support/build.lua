-- Paths of what is under test: the binary, the module's folder, and the same of the build with fault points.
local here = os.getenv "PWD"

local function of(folder)
  folder = folder:match "^/" and folder or here .. "/" .. folder
  return { folder = folder, binary = folder .. "/smartmigration-lua", cpath = folder .. "/?.so" }
end

local build = of(os.getenv "SMARTMIGRATION_BUILD" or "build/release")
build.dev = of(os.getenv "SMARTMIGRATION_DEV_BUILD" or "build/dev")
build.root = here

return build

std = "lua54"
max_line_length = 130
files["spec"] = { std = "lua54+busted" }
exclude_files = { "build", ".cache", "lua/library" }
files["**/smartmigration.config.lua"] = { read_globals = { "env" } }

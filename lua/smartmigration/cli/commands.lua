-- The commands: what each is for, and the module that runs it. Users: arguments, help, the command line.
local commands = {
  { name = "run", summary = "migrate the data to the target version",
    text = [[
Reads the ledger; when the data is at the target, that is all. Otherwise takes the lock, runs the steps that lead
to the target, one after the other, and records each. A step that failed or was interrupted runs again next time.]],
    examples = {
      "smartmigration-lua run",
      "smartmigration-lua run --dry-run",
      "smartmigration-lua run --target 1.2.0 --lock-wait 5m --json",
    } },
  { name = "plan", summary = "show what run would do",
    text = [[
Shows the steps that a run would take and the version after it. Writes nothing and takes no lock.]],
    examples = { "smartmigration-lua plan", "smartmigration-lua plan --exit-code; [ $? = 10 ] && echo 'steps are pending'" } },
  { name = "status", summary = "show version, lock and steps",
    text = [[
Shows the version of the data, who holds the lock, and each step: applied, running, failed, interrupted,
pending, or skipped, which will never run: it leads no further than a fresh install or a baseline began.
Needs read rights only, so it serves as start-up probe and in init containers: they wait until somebody has migrated.]],
    examples = {
      "smartmigration-lua status",
      "smartmigration-lua status --check",
      "smartmigration-lua status --wait 10m",
    } },
  { name = "validate", summary = "check files, chain and ledger",
    text = [[
Loads every file, checks the chain, and compares chain and checksums with what the ledger recorded. A step whose file
changed after it was applied, or that the ledger contradicts, gives exit code 6.]],
    examples = { "smartmigration-lua validate", "smartmigration-lua validate --offline" } },
  { name = "version", summary = "show the version", text = "Shows the version of this program.",
    examples = { "smartmigration-lua version", "smartmigration-lua version --verbose --json" } },
  { name = "help", summary = "explain a command", text = "Explains this program, or the command that is named.",
    argument = "COMMAND", examples = { "smartmigration-lua help run" } },
}

local by_name = {}
for _, command in ipairs(commands) do
  by_name[command.name] = command
end
commands.by_name = by_name

return commands

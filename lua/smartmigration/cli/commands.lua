-- The commands: what each is for. Users: arguments, help, the command line, completion, the man page.
--
-- Fields: name; summary; text; examples; argument (what help calls it), required, most (how many, 1 unless told); module
-- (what runs it below smartmigration.cli, its name unless told); alone (it takes none of the general options but --json).
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
Loads every file, checks the chain, and compares chain and checksums with what the ledger recorded. Each step that has
changed since it was applied, that is missing, or that was inserted below the version of the data is named with the
command that puts things right, and gives exit code 6. With --base, for pull requests, the folder is compared with
what it was at a git ref: its steps must be as they were, and new ones stand behind them. Old steps may be pruned.]],
    examples = {
      "smartmigration-lua validate", "smartmigration-lua validate --offline",
      "smartmigration-lua validate --base origin/main",
    } },
  { name = "history", summary = "show what ran, when, and with what error",
    text = [[
Shows every run and every change an operator made: when, how long, by whom and on which host, each step with the
documents it touched, and the error it ended with. Only reads. --prune-older-than removes what began longer ago.]],
    examples = { "smartmigration-lua history", "smartmigration-lua history --prune-older-than 90d" } },
  { name = "baseline", summary = "record which version the data has", argument = "VERSION", required = true,
    text = [[
Records that the data is at VERSION, a version at which a step begins or ends, without running anything. Over a version
that is recorded already it needs --force; records of steps above VERSION are removed, so that the next run begins there.]],
    examples = { "smartmigration-lua baseline 1.2.0", "smartmigration-lua baseline 1.1.0 --force" } },
  { name = "repair", summary = "correct the record of a step, or run it once more",
    text = [[
Takes exactly one of its options. --mark-applied records the next planned step as applied, --mark-pending takes back the
last one that was applied; neither runs anything. --accept-drift records that the chain is right about a step that
`validate` names: that it was changed, removed or inserted on purpose. --rerun runs an applied step once more; its record
and the version stay as they are until it succeeds.]],
    examples = {
      "smartmigration-lua repair --mark-applied lowercase-emails",
      "smartmigration-lua repair --rerun lowercase-emails",
    } },
  { name = "import-ledger", module = "import_ledger", summary = "begin a ledger with what another tool has applied",
    text = [[
Reads the changelog collection of migrate-mongo, and records the steps that its files stand for as applied, when they were.
A file stands for the steps of the migration file that has its name without the extension, or for the step with that id,
or for the one that --map gives it; what stands for none is refused. They must be the chain's first steps. The changelog
stays as it is. A ledger that says a version already is refused.]],
    examples = {
      "smartmigration-lua import-ledger --from migrate-mongo --dry-run",
      "smartmigration-lua import-ledger --from migrate-mongo --map 20200101000000-a.js=lowercase-emails",
    } },
  { name = "unlock", summary = "free the lock of a run that is gone",
    text = [[
Frees a stale lock: its time has run out, or its process is gone from this host. A live one is freed only with --force
and the whole holder string that `status` shows: its commands on the server are ended, until the time to live that it
was granted has run out. Whoever held the lock is refused from then on.]],
    examples = {
      "smartmigration-lua unlock",
      "smartmigration-lua unlock --force \"$(smartmigration-lua status --json | jq -r .lock.holder)\"",
    } },
  { name = "checkpoint", summary = "look into and clear the checkpoints of steps", argument = "list|show|clear [STEP]",
    required = true, most = 2,
    text = [[
`list` shows the keys of the checkpoints that steps have left, `show` their values too, `clear` removes them, so that the
step begins anew with its next run. STEP is a step's id; without it every step is meant.]],
    examples = { "smartmigration-lua checkpoint list", "smartmigration-lua checkpoint clear reorganize-uploads" } },
  { name = "doctor", summary = "say what is wrong with the stores, and how to mend it",
    text = [[
Connects to MongoDB and S3, whichever are given, and checks versions, the primary, transactions, permissions, clocks, conditional
writes and insecure settings; each finding comes with what to do or to paste. Takes no lock and leaves nothing behind. Exit code 1
where a run would fail; warnings are no failure.]],
    examples = {
      "smartmigration-lua doctor",
      "smartmigration-lua doctor --json | jq -r '.checks[] | select(.status == \"error\").paste[]?'",
    } },
  { name = "new", summary = "write the file of the next step", argument = "NAME", required = true,
    text = [[
Writes the next file of the folder: its number follows the last one, `from` is the `to` of the last step, `to` comes from
--to or --bump. NAME is the step's id, and the file is named after it. No server is asked, and no file is replaced.]],
    examples = {
      "smartmigration-lua new lowercase-emails",
      "smartmigration-lua new split-name --bump major",
      "smartmigration-lua new 'Merge the accounts' --to 2.4.0",
    } },
  { name = "init", module = "new_project", summary = "begin a project in this folder",
    text = [[
Writes a config file, the folder of migration files with a first example, and what editors need: .luarc.json,
.luacheckrc and the annotations in .smartmigration/library. A file that is there is left as it is.]],
    examples = { "smartmigration-lua init", "smartmigration-lua init --dir db/migrations" } },
  { name = "completion", summary = "print a script that completes words in a shell", argument = "bash|zsh|fish", required = true,
    alone = true,
    text = [[
Prints a script for bash, zsh or fish that completes commands, options, their values, files and the ids of steps. The ids
are what `completion steps` prints, out of the files of the folder.]],
    examples = {
      "smartmigration-lua completion bash > /etc/bash_completion.d/smartmigration-lua",
      "smartmigration-lua completion zsh > \"${fpath[1]}/_smartmigration-lua\"",
      "smartmigration-lua completion fish > ~/.config/fish/completions/smartmigration-lua.fish",
    } },
  { name = "version", alone = true, summary = "show the version", text = "Shows the version of this program.",
    examples = { "smartmigration-lua version", "smartmigration-lua version --verbose --json" } },
  { name = "help", alone = true, summary = "explain a command", text = "Explains this program, or the command that is named.",
    argument = "COMMAND", examples = { "smartmigration-lua help run" } },
}

local by_name = {}
for _, command in ipairs(commands) do
  by_name[command.name] = command
end
commands.by_name = by_name

return commands

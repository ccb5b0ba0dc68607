-- Every setting of the command line: its path in the config file, flag, environment variable and default. The one
-- table of settings: arguments, config, help and docs/configuration.md are made of it or checked against it.
--
-- Fields: name; path (nil: not in the config file); flag, short; env; kind; value (what help calls it); default (as
-- text, for people); commands (nil: every one); help. Kinds: text, list (comma separated), duration, wait (a
-- duration or `forever`), choice (of `choices`), switch.
-- Defaults are the engine's (contract of smig_options_t), but for those with `fallback`, which are applied here.
local CHAIN = { "run", "plan", "status" }

local settings = {
  { name = "config", flag = "--config", short = "-c", env = "SMARTMIGRATION_CONFIG", kind = "text", value = "FILE",
    default = "smartmigration.config.lua, if it is there", help = "the config file" },
  { name = "migrations", path = "migrations", flag = "--dir", short = "-d", env = "SMARTMIGRATION_DIR", kind = "text",
    value = "FOLDER", default = "migrations", fallback = "migrations", help = "the folder of migration files" },
  { name = "target_version", path = "target_version", flag = "--target", env = "SMARTMIGRATION_TARGET", kind = "text",
    value = "VERSION", default = "the chain's last `to`", commands = CHAIN, help = "the version to reach" },
  { name = "help", flag = "--help", short = "-h", kind = "switch", default = "off", help = "what a command does" },

  { group = "MongoDB" },
  { name = "mongo_uri", path = "mongo.uri", flag = "--mongo-uri", env = "SMARTMIGRATION_MONGO_URI", kind = "text",
    value = "URI", default = "none", help = "where the data is; keep passwords out of arguments" },
  { name = "mongo_uri_file", flag = "--mongo-uri-file", env = "SMARTMIGRATION_MONGO_URI_FILE", kind = "text",
    value = "FILE", default = "none", help = "a file that holds the URI; `-` is stdin" },
  { name = "mongo_database", path = "mongo.database", flag = "--mongo-db", env = "SMARTMIGRATION_MONGO_DB",
    kind = "text", value = "NAME", default = "the one in the URI", help = "the database" },

  { group = "Ledger" },
  { name = "ledger_backend", path = "ledger.backend", flag = "--ledger", env = "SMARTMIGRATION_LEDGER", kind = "text",
    value = "mongo", default = "mongo", help = "where the ledger is kept" },
  { name = "ledger_name", path = "ledger.name", flag = "--ledger-name", env = "SMARTMIGRATION_LEDGER_NAME",
    kind = "text", value = "NAME", default = "smartmigration", help = "one name for each chain" },
  { name = "ledger_id", path = "ledger.id", flag = "--ledger-id", env = "SMARTMIGRATION_LEDGER_ID", kind = "text",
    value = "ID", default = "smartmigration:NAME", help = "to adopt a ledger that is stored elsewhere" },
  { name = "fresh_install_version", path = "fresh_install_version", flag = "--fresh-install-version",
    env = "SMARTMIGRATION_FRESH_INSTALL_VERSION", kind = "text", value = "VERSION", default = "none",
    help = "the version that an empty database is born with" },
  { name = "fresh_scope", path = "fresh_scope", flag = "--fresh-scope", env = "SMARTMIGRATION_FRESH_SCOPE",
    kind = "list", value = "NAMES", default = "everything",
    help = "collections that belong to this chain, `*` allowed, separated by commas" },
  { name = "unversioned_data", path = "unversioned_data", flag = "--unversioned-data",
    env = "SMARTMIGRATION_UNVERSIONED_DATA", kind = "text", value = "assume|refuse", default = "assume",
    help = "data without a ledger: assume the chain's start, or refuse" },
  { name = "target_version_strategy", path = "target_version_strategy", flag = "--target-strategy",
    env = "SMARTMIGRATION_TARGET_STRATEGY", kind = "text", value = "strict|bridge", default = "strict",
    help = "bridge: a chain that ends below the target is led up to it" },
  { name = "newer_ledger", path = "newer_ledger", flag = "--newer-ledger", env = "SMARTMIGRATION_NEWER_LEDGER",
    kind = "text", value = "compatible|refuse", default = "compatible",
    help = "data above the target: accept it where it says that it is compatible, or refuse" },

  { group = "Lock" },
  { name = "lock_wait_ms", path = "lock.wait_ms", flag = "--lock-wait", env = "SMARTMIGRATION_LOCK_WAIT",
    kind = "wait", value = "DURATION", default = "2m", help = "how long to wait for another run; 0: not at all" },
  { name = "lock_ttl_ms", path = "lock.ttl_ms", flag = "--lock-ttl", env = "SMARTMIGRATION_LOCK_TTL",
    kind = "duration", value = "DURATION", default = "60s", help = "when the lock of a dead run expires; at least 1s" },
  { name = "stop_timeout_ms", path = "stop_timeout_ms", flag = "--stop-timeout", env = "SMARTMIGRATION_STOP_TIMEOUT",
    kind = "duration", value = "DURATION", default = "20s",
    help = "how long an interrupted run may take to a safe point" },

  { group = "Output" },
  { name = "json", flag = "--json", kind = "switch", default = "off", help = "one JSON document on stdout" },
  { name = "log_level", flag = "--log-level", env = "SMARTMIGRATION_LOG_LEVEL", kind = "choice",
    choices = { "debug", "info", "warn", "error" }, value = "debug|info|warn|error", default = "info",
    fallback = "info", help = "the least log level on stderr" },
  { name = "log_format", flag = "--log-format", env = "SMARTMIGRATION_LOG_FORMAT", kind = "choice",
    choices = { "text", "json" }, value = "text|json", default = "text", fallback = "text",
    help = "how log lines look" },
  { name = "quiet", flag = "--quiet", kind = "switch", default = "off",
    help = "only warnings and errors, and no report of a run that went well" },
  { name = "progress", flag = "--progress", env = "SMARTMIGRATION_PROGRESS", kind = "choice",
    choices = { "auto", "always", "never" }, value = "auto|always|never", default = "auto", fallback = "auto",
    help = "a step's progress: a line every 5s, every line, or none" },
  { name = "color", flag = "--color", env = "SMARTMIGRATION_COLOR", kind = "choice",
    choices = { "auto", "always", "never" }, value = "auto|always|never", default = "auto", fallback = "auto",
    help = "auto: on terminals, unless NO_COLOR is set" },

  { group = "Command" },
  { name = "dry_run", flag = "--dry-run", kind = "switch", default = "off", commands = { "run" },
    help = "show what would run, write nothing" },
  { name = "exit_code", flag = "--exit-code", kind = "switch", default = "off", commands = { "plan" },
    help = "exit with 10 when steps are pending" },
  { name = "check", flag = "--check", kind = "switch", default = "off", commands = { "status" },
    help = "exit with 0 when a run would have nothing to do, 10 when steps are pending, 3 when the data is too new" },
  { name = "wait", flag = "--wait", kind = "wait", value = "DURATION", default = "none", commands = { "status" },
    help = "check again until it gives 0, at most this long" },
  { name = "offline", flag = "--offline", kind = "switch", default = "off", commands = { "validate" },
    help = "files and chain alone; no server is asked" },
  { name = "verbose", flag = "--verbose", kind = "switch", default = "off", commands = { "version" },
    help = "the linked libraries too" },
}

return settings

-- What a step gets: ctx. Its shape: scripts/reference.lua.
return {
  title = "What a step gets: ctx", since = "0.1.0",
  about = "The argument of `up`. It is read-only and ends with its step. More: [Writing migrations](guide.md).",
  classes = {
    { name = "ctx", kind = "handle", about = "What a step works with.",
      fields = {
        "mongo @database the configured database; `nil` without MongoDB",
        "s3 @s3_client the S3 client; `nil` without S3",
        "bucket @bucket the configured bucket; `nil` without S3",
        "bson @bson the module of values",
        "log @ctx.log the log",
        "checkpoint @ctx.checkpoint what a resumable step goes on from",
        "step @ctx.step the step that runs",
        "lease @ctx.lease the lock of this run",
        "run_id string the run",
        "dry_run boolean false: a dry run runs no step",
        [[mode "exact"|"skip-forward" skip-forward: the data's version lay inside the step's range]],
      },
      methods = {
        { name = "try",
          about = "Calls a method; its results, or `nil` and the error of a server or driver. Everything else passes through.",
          params = { "method function", "... any" }, returns = { "any", "@error?" },
          example = [[local users = ctx.mongo:collection "users"
local found, err = ctx:try(users.find_one, users, { name = "Ada" })]] },
        { name = "start_session", about = "A session of one's own.", params = { "options? @session_options" },
          returns = { "@session" },
          raises = { "NO_DB_CONFIGURED" } },
        { name = "transaction", about = "Runs the function in a transaction, again when the server says so.",
          params = { "work fun(session: @session): any", "options? @transaction_options" },
            returns = { "any what the function returns" },
          raises = { "NO_DB_CONFIGURED" },
          example = [[local accounts = ctx.mongo:collection "accounts"
ctx:transaction(function(session)
  accounts:update_one({ _id = 1 }, { ["$inc"] = { n = -5 } }, { session = session })
  accounts:update_one({ _id = 2 }, { ["$inc"] = { n = 5 } }, { session = session })
end)]] },
        { name = "progress", about = "Tells how far the step is.", params = { "done integer", "total? integer" },
          example = [[ctx:progress(500, 2000)]] },
        { name = "check", about = "Raises if the run must end; for long work without calls.", raises = { "LOCK_LOST",
          "INTERRUPTED" } },
      } },
    { name = "ctx.log", kind = "handle", about = "The log; `print` goes there, too.",
      methods = {
        { name = "debug", about = "Writes a line of level debug.", params = { "message any", "fields? @fields" } },
        { name = "info", about = "Writes a line of level info.", params = { "message any", "fields? @fields" },
          example = [[ctx.log:info("emails are in lower case", { changed = 3 })]] },
        { name = "warn", about = "Writes a line of level warn.", params = { "message any", "fields? @fields" } },
        { name = "error", about = "Writes a line of level error; raises nothing.", params = { "message any",
          "fields? @fields" } },
      } },
    { name = "ctx.checkpoint", kind = "handle", about = "Where a resumable step notes how far it is.",
      methods = {
        { name = "read", about = "What was written under the key, or `nil`.", params = { "key string" }, returns = { "any" },
          raises = { "CHECKPOINT_NOT_RESUMABLE" }, example = [[local last = ctx.checkpoint:read "last"]] },
        { name = "write", about = "Keeps a value; it is durable when this returns.", params = { "key string", "value any" },
          raises = { "CHECKPOINT_NOT_RESUMABLE", "CHECKPOINT_TOO_LARGE" }, example = [[ctx.checkpoint:write("last", 17)]] },
        { name = "clear", about = "Removes what the step has written.", raises = { "CHECKPOINT_NOT_RESUMABLE" } },
      } },
    { name = "ctx.step", kind = "handle", about = "The step that runs.",
      fields = { "id string its id", "from string the version it starts from", "to string the version it leads to",
        "description? string its description" } },
    { name = "ctx.lease", kind = "handle", about = "The lock of this run.",
      fields = { "holder string who holds it", "fence integer a number that only rises from holder to holder" },
      methods = {
        { name = "remaining_ms", about = "For how long it is safe to go on without a further beat.",
          returns = { "integer milliseconds" } },
      } },
  },
}

-- `help [COMMAND]`, and --help of every command. Returns 0.
local help_text = require "smartmigration.cli.help_text"

return function(session)
  local topic = session.request.topic
  local shown = topic and help_text.command(topic) or help_text.general()
  session:result({ help = shown }, nil, function()
    return { shown }
  end)
  return 0
end

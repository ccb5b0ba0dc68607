-- `help [COMMAND]`, and --help of every command. Returns 0.
local help_text = require "smartmigration.cli.help_text"

return function(session)
  local topic = session.request.topic
  local width = not session.json and session.out.width or nil
  local shown = topic and help_text.command(topic, width) or help_text.general(width)
  session:result({ help = shown }, nil, function()
    return { shown }
  end)
  return 0
end

-- KEYS: head, log.  ARGV: draw.  Answers where the log stands, after beginning one where there is none.
local head = note(stand())
return {ARGV[1], head}

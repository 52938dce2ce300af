-- Ranges of one file at random offsets: wrk … -- SIZE_BYTES RANGE_BYTES. Reports as hot.lua does.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "hot.lua")

local size, length

function init(arguments)
  size, length = tonumber(arguments[1]), tonumber(arguments[2])
  math.randomseed(1)
end

function request()
  local first = math.random(0, size - length)
  wrk.headers["Range"] = string.format("bytes=%d-%d", first, first + length - 1)
  return wrk.format()
end

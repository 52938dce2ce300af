-- Pages of a list at random: wrk … -- LAST, and PAGE stands in the URL for a number from 1 to LAST. Reports as hot.lua does.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "hot.lua")

local last

function init(arguments)
  last = tonumber(arguments[1])
  math.randomseed(1)
end

function request()
  return wrk.format(nil, (wrk.path:gsub("PAGE", math.random(1, last))))
end

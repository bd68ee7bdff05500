-- A script of wrk: repeats the requests of a file, separated by NUL, and prints one line of JSON at the end. See flood.ts.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } flood_time;
  int clock_gettime(int clock, flood_time *time);
]]

local monotonic = 1
local time = ffi.new("flood_time")

local function nowMs()
  ffi.C.clock_gettime(monotonic, time)
  return tonumber(time.seconds) * 1e3 + tonumber(time.nanoseconds) / 1e6
end

local requests = {}
local warmUpMs, measureMs
local countedFrom, countedUntil
local sent = 0
-- When each request was sent, by its number, until it is answered.
local sentAt = {}
-- Both are global, because `done` runs in another Lua state and reads them. Responses with 200 are counted by whole milliseconds.
statuses = {}
durations = {}

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for text in (file:read("*a") .. "\0"):gmatch("(.-)%z") do
    local line, rest = text:match("^(.-\r\n)(.*)$")
    requests[#requests + 1] = { line .. "x-request-id: ", "\r\n" .. rest }
  end
  file:close()
  warmUpMs, measureMs = tonumber(args[2]), tonumber(args[3])
end

function request()
  if countedFrom == nil then
    countedFrom = nowMs() + warmUpMs
    countedUntil = countedFrom + measureMs
  end
  local parts = requests[sent % #requests + 1]
  sent = sent + 1
  sentAt[sent] = nowMs()
  return parts[1] .. sent .. parts[2]
end

function response(status, headers)
  local number = tonumber(headers["x-request-id"])
  local now = nowMs()
  if now >= countedFrom and now < countedUntil then
    statuses[status] = (statuses[status] or 0) + 1
    local duration = math.floor(now - (sentAt[number] or now))
    if status == 200 then durations[duration] = (durations[duration] or 0) + 1 end
  end
  if number ~= nil then sentAt[number] = nil end
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

local function toJson(counts)
  local members = {}
  for name, count in pairs(counts) do members[#members + 1] = string.format('"%d":%d', name, count) end
  return "{" .. table.concat(members, ",") .. "}"
end

function done(summary)
  local thread = threads[1]
  local errors = summary.errors
  io.write(string.format(
    '{"broken":%d,"statuses":%s,"durations":%s}\n',
    errors.connect + errors.read + errors.write + errors.timeout,
    toJson(thread:get("statuses")), toJson(thread:get("durations"))
  ))
end

-- A script of wrk for an open loop: repeats the requests of a file, separated by NUL, at fixed times, and prints one line of
-- JSON at the end. See pace.ts.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } pace_time;
  int clock_gettime(int clock, pace_time *time);
]]

local monotonic = 1
local time = ffi.new("pace_time")

local function nowMs()
  ffi.C.clock_gettime(monotonic, time)
  return tonumber(time.seconds) * 1e3 + tonumber(time.nanoseconds) / 1e6
end

local requests = {}
local stepMs, total
local startedAt = nil
-- Send times given to connections, and requests sent.
local scheduled, sent = 0, 0
-- When each request was due, by its number, until it is answered.
local due = {}
-- Microseconds of responses with 200. Global, because `done` runs in another Lua state and reads it.
durations = {}
refused = 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for text in (file:read("*a") .. "\0"):gmatch("(.-)%z") do
    local line, rest = text:match("^(.-\r\n)(.*)$")
    requests[#requests + 1] = { line .. "x-request-id: ", "\r\n" .. rest }
  end
  file:close()
  stepMs = 1e3 / tonumber(args[2])
  total = tonumber(args[3])
end

-- wrk calls this for each free connection before its next request.
function delay()
  startedAt = startedAt or nowMs()
  scheduled = scheduled + 1
  if scheduled > total then return 3600 * 1e3 end
  return math.max(0, math.floor(startedAt + scheduled * stepMs - nowMs()))
end

function request()
  local parts = requests[sent % #requests + 1]
  -- wrk calls this once before it starts.
  if startedAt == nil then return parts[1] .. "0" .. parts[2] end
  sent = sent + 1
  -- wrk waits for whole milliseconds, so a request may be sent slightly early; it is timed from then.
  due[sent] = math.min(startedAt + sent * stepMs, nowMs())
  return parts[1] .. sent .. parts[2]
end

function response(status, headers)
  local number = tonumber(headers["x-request-id"])
  if status == 200 then
    durations[#durations + 1] = math.floor((nowMs() - due[number]) * 1e3)
  else
    refused = refused + 1
  end
  due[number] = nil
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary)
  local thread = threads[1]
  io.write(string.format(
    '{"refused":%d,"broken":%d,"durationsUs":[%s]}\n',
    thread:get("refused"),
    summary.errors.connect + summary.errors.read + summary.errors.write,
    table.concat(thread:get("durations"), ",")
  ))
end

-- One path, again and again; what came of it as one line of JSON.

function done(summary, latency, requests)
  local errors = summary.errors
  local refused = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"done":%d,"errors":%d,"bytes":%d,"elapsed_s":%.6f,"p50_ms":%.4f,"p95_ms":%.4f,"p99_ms":%.4f,"reasons":["connect %d, read %d, write %d, status %d, timeout %d"]}\n',
    summary.requests, refused, summary.bytes, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end

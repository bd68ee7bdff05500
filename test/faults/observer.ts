// Loaded into a gateway that is watched: tells its memory and what keeps it alive, when it is asked.

process.on('message', () => {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  const resources: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  process.send?.({ heapUsed, rss, resources });
});
// Only the gateway decides how long it lives.
process.channel?.unref();

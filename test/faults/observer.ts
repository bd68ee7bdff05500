// Preloaded into a gateway under test: reports its memory and its active resources on request.

process.on('message', () => {
  globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  const resources: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
  process.send?.({ heapUsed, external, rss, resources });
});
// The channel must not keep the process alive.
process.channel?.unref();

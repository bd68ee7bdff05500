# syntax=docker/dockerfile:1

# The image of the gateway. Its commands are those of the command line:
#
#   docker build -t numbers-gateway .
#   docker run --rm -e DATABASE_URL="$OWNER_URL" -e ENCRYPTION_KEYS -e API_KEY_PEPPER numbers-gateway migrate
#   docker run -d --read-only --cap-drop ALL --security-opt no-new-privileges -p 4000:4000 \
#     -e DATABASE_URL -e ENCRYPTION_KEYS -e API_KEY_PEPPER numbers-gateway
#
# Without DATABASE_URL it runs the demo, whose data is in /tmp; with --read-only, add --tmpfs /tmp.

FROM node:24-slim

WORKDIR /app
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4000 DATA_DIR=/tmp/numbers-gateway MALLOC_ARENA_MAX=2

COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --ignore-scripts --no-audit --no-fund

COPY migrations ./migrations
COPY src ./src

# The user `node` of the base image. Its number, so that Kubernetes can tell that it is not root. It owns no file of /app.
USER 1000:1000
EXPOSE 4000

# Whether the process is alive. Load balancers ask /readyz instead, which also depends on the database.
HEALTHCHECK --interval=30s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "--eval", "fetch(`http://127.0.0.1:${process.env.PORT}/livez`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]

# The options of `npm start`, but for the compile cache, which the process could not write.
ENTRYPOINT ["node", "--max-old-space-size=1024", "--max-semi-space-size=16", "--no-parallel-scavenge", "--no-allocation-site-pretenuring", "src/main.ts"]
CMD ["serve"]

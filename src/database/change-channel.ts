// Owns how messages travel through the database: NOTIFY, and a connection of its own that listens.
// https://www.postgresql.org/docs/current/sql-notify.html

import type { PGlite } from '@electric-sql/pglite';
import { Client } from 'pg';
import type { OpenChannel } from './change-feed.ts';

/** The triggers of the migrations send to it too. */
const channelName = 'gateway_changes';

const sending = `select pg_notify('${channelName}', $1), pg_backend_pid() as process`;

/** Rejects when something between us and PostgreSQL hands its connections round, as PgBouncer does. */
export function toPostgresChannel(url: string): OpenChannel {
  return async ({ heard, lost }) => {
    await using failed = new AsyncDisposableStack();
    const client = failed.adopt(createClient(url), leave);
    let isOver = false;
    const tellLoss = (cause = new Error('The connection has ended.')): void => {
      if (!isOver) lost(cause);
    };
    client.on('error', tellLoss).on('end', tellLoss);
    client.on('notification', ({ payload = '' }) => heard(payload));
    await client.connect();
    assertOwn(client, (await client.query('select pg_backend_pid() as process')).rows);
    // What is sent through it is worth no wait for the disk.
    await client.query(`set synchronous_commit = off; listen ${channelName}`);
    failed.move();
    return {
      async send(message) {
        const query = { name: 'send', text: sending, values: [message] };
        assertOwn(client, (await client.query(query)).rows);
      },
      async [Symbol.asyncDispose]() {
        isOver = true;
        await leave(client);
      },
    };
  };
}

/** In one process with the database: a message is heard before the statement that has sent it comes back. */
export function toPgliteChannel(instance: PGlite): OpenChannel {
  return async ({ heard }) => {
    const leaveChannel = await instance.listen(channelName, heard);
    return {
      send: async (message) => void (await instance.query(sending, [message])),
      async [Symbol.asyncDispose]() {
        if (!instance.closed) await leaveChannel();
      },
    };
  };
}

/** Milliseconds. */
const connectWithin = 2_000;
/** A beat that is not heard is given up sooner. */
const answerWithin = 2_500;
const leaveWithin = 1_000;

function createClient(url: string): Client {
  return new Client({
    connectionString: url,
    application_name: 'numbers-gateway changes',
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: connectWithin,
    query_timeout: answerWithin,
  });
}

/**
 * Behind a pooler that shares connections, messages reach whoever has the connection at that moment, and a connection
 * that hears itself has missed what was sent while it was idle. A pooler makes up the process id that a client is told.
 */
function assertOwn(client: Client, rows: readonly { readonly process: number }[]): void {
  // A member of the class that its types leave out.
  const { processID } = client as Client & { readonly processID: number | null };
  if (rows[0]?.process === processID) return;
  throw new Error(
    'A connection pooler stands between the gateway and PostgreSQL, and passes no notifications on.',
  );
}

// A server that has vanished does not answer a farewell.
async function leave(client: Client): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), leaveWithin);
  await client.end();
  clearTimeout(timer);
}

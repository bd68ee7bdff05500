// Owns the bytes in which statements travel to PostgreSQL. All of a packet stand in one piece, which is one write; pg makes
// a piece of each message, and they would have to be put together again for the kernel.
// https://www.postgresql.org/docs/current/protocol-message-formats.html

import type { Statement } from './statement.ts';

export interface Packet {
  /** Prepares the statement under this name, in the place of what had it before. */
  prepare(name: string, sql: string): void;
  /** Executes the statement that was prepared under this name; all of its columns come as text. */
  execute(name: string, parameters: Statement['parameters']): void;
  /** Ends a transaction. */
  sync(): void;
  /** Another one each time. */
  toBytes(): Buffer;
}

const [bind, close, execute, parse, sync] = [...'BCEPS'].map((code) => code.charCodeAt(0)) as [
  number,
  number,
  number,
  number,
  number,
];
const preparedStatement = 'S';

/** Most bytes of UTF-8 that one unit of a text may take. */
const widest = 3;
/** What a message has at most beside its texts. */
const frame = 32;

// One packet is made at a time, and what it says is copied out of here.
let bytes = Buffer.allocUnsafe(16_384);
let end = 0;

export function startPacket(): Packet {
  end = 0;
  return packet;
}

const packet: Packet = {
  prepare(name, text) {
    makeRoom(2 * frame + (2 * name.length + text.length) * widest);
    // The unnamed one gives way by itself.
    if (name !== '') {
      const closing = startMessage(close);
      addText(preparedStatement + name);
      endMessage(closing);
    }
    const parsing = startMessage(parse);
    addText(name);
    addText(text);
    addInt16(0);
    endMessage(parsing);
  },
  execute(name, parameters) {
    makeRoom(2 * frame + name.length * widest);
    const binding = startMessage(bind);
    addText('');
    addText(name);
    // All are texts, and so are the columns.
    addInt16(0);
    addInt16(parameters.length);
    for (const parameter of parameters) {
      makeRoom(2 * frame + parameter.length * widest);
      const length = bytes.write(parameter, end + 4);
      addInt32(length);
      end += length;
    }
    addInt16(0);
    endMessage(binding);
    const executing = startMessage(execute);
    addText('');
    addInt32(0);
    endMessage(executing);
  },
  sync() {
    makeRoom(frame);
    endMessage(startMessage(sync));
  },
  toBytes() {
    const copy = Buffer.allocUnsafe(end);
    bytes.copy(copy, 0, 0, end);
    return copy;
  },
};

function makeRoom(more: number): void {
  if (end + more <= bytes.length) return;
  const larger = Buffer.allocUnsafe(2 * (end + more));
  bytes.copy(larger, 0, 0, end);
  bytes = larger;
}

/** Answers where its length is to be told. */
function startMessage(code: number): number {
  bytes[end] = code;
  end += 5;
  return end - 4;
}

function endMessage(start: number): void {
  bytes.writeInt32BE(end - start, start);
}

function addText(text: string): void {
  end += bytes.write(text, end);
  bytes[end] = 0;
  end += 1;
}

function addInt16(value: number): void {
  end = bytes.writeInt16BE(value, end);
}

function addInt32(value: number): void {
  end = bytes.writeInt32BE(value, end);
}

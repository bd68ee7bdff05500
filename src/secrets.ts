// Owns how a secret is kept in the database: sealed under a key from the environment, bound to the place it is kept in.

import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto';

// NIST SP 800-38D: 96-bit nonces and full tags; Node would accept tags of 4 bytes without authTagLength.
const algorithm = 'aes-256-gcm';
const nonceLength = 12;
const tagLength = 16;
// Stryker disable next-line ObjectLiteral: decrypt cuts out a full tag by itself; two locks, and one of them holds
const cipherOptions = { authTagLength: tagLength };

/** A key of 32 bytes and the name that sealed values carry. */
export interface EncryptionKey {
  readonly id: string;
  readonly key: KeyObject;
}

/** Where a sealed value stands. It opens at no other place, so rows cannot be swapped in the database. */
export interface SealedPlace {
  readonly table: string;
  readonly column: string;
  readonly tenantId: string;
  readonly rowId: string;
}

export interface Vault {
  /** `v1.<key id>.<sealed data key>.<sealed text>`, the last two in base64url; a fresh data key each time. */
  seal(text: string, place: SealedPlace): string;
  /** Throws when the key is not configured, the place differs or a bit was changed. The message never holds the text. */
  open(sealed: string, place: SealedPlace): string;
  /** Whether the first key sealed it, or wrapped it last. */
  isCurrent(sealed: string): boolean;
  /**
   * The same value with its data key wrapped by the first key; the text is not decrypted and its sealed part stays as it
   * is. Throws as `open`, but for a bit that was changed in that part, which the next `open` notices.
   */
  rewrap(sealed: string, place: SealedPlace): string;
}

/** `keys`: the first one seals, all of them open. Throws when there is none. */
export function createVault(keys: readonly EncryptionKey[]): Vault {
  const [sealing] = keys;
  if (sealing === undefined) throw new Error('A vault needs at least one encryption key.');
  const wrap = (dataKey: Buffer, place: SealedPlace): string =>
    encrypt(sealing.key, dataKey, toAdditionalData(place)).toString('base64url');
  const unwrap = ({ keyId, wrapped }: Envelope, place: SealedPlace): Buffer => {
    const opening = keys.find((key) => key.id === keyId);
    if (opening === undefined) {
      throw new Error('The encryption key that sealed this value is not in ENCRYPTION_KEYS.');
    }
    return decrypt(opening.key, Buffer.from(wrapped, 'base64url'), toAdditionalData(place));
  };
  return {
    seal(text, place) {
      const dataKey = randomBytes(32);
      const sealed = encrypt(createSecretKey(dataKey), Buffer.from(text), toAdditionalData(place));
      return ['v1', sealing.id, wrap(dataKey, place), sealed.toString('base64url')].join('.');
    },
    open(value, place) {
      const envelope = parseEnvelope(value);
      const dataKey = createSecretKey(unwrap(envelope, place));
      const sealed = Buffer.from(envelope.sealed, 'base64url');
      return decrypt(dataKey, sealed, toAdditionalData(place)).toString();
    },
    isCurrent: (value) => value.startsWith(`v1.${sealing.id}.`),
    rewrap(value, place) {
      const envelope = parseEnvelope(value);
      const dataKey = unwrap(envelope, place);
      return ['v1', sealing.id, wrap(dataKey, place), envelope.sealed].join('.');
    },
  };
}

interface Envelope {
  readonly keyId: string;
  readonly wrapped: string;
  readonly sealed: string;
}

function parseEnvelope(value: string): Envelope {
  const parts = value.split('.');
  if (parts[0] !== 'v1' || parts.length !== 4) {
    throw new Error('This is not a sealed value of version 1.');
  }
  // There are four, as the line above says.
  const [, keyId, wrapped, sealed] = parts as [string, string, string, string];
  return { keyId, wrapped, sealed };
}

// Encoded, so that a separator in a name cannot make two places look the same.
function toAdditionalData({ table, column, tenantId, rowId }: SealedPlace): Buffer {
  return Buffer.from([table, column, tenantId, rowId].map(encodeURIComponent).join('|'));
}

function encrypt(key: KeyObject, plain: Buffer, additionalData: Buffer): Buffer {
  const nonce = randomBytes(nonceLength);
  const cipher = createCipheriv(algorithm, key, nonce, cipherOptions);
  cipher.setAAD(additionalData);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: KeyObject, sealed: Buffer, additionalData: Buffer): Buffer {
  if (sealed.length < nonceLength + tagLength) throw new Error('The sealed value is too short.');
  const nonce = sealed.subarray(0, nonceLength);
  const decipher = createDecipheriv(algorithm, key, nonce, cipherOptions);
  decipher.setAAD(additionalData);
  decipher.setAuthTag(sealed.subarray(-tagLength));
  return Buffer.concat([
    decipher.update(sealed.subarray(nonceLength, -tagLength)),
    decipher.final(),
  ]);
}

// Envelope encryption of secrets in the database: each value is bound to the row and column that hold it.

import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto';

// NIST SP 800-38D: 96-bit nonces and full tags. Without authTagLength Node accepts tags of 4 bytes.
const algorithm = 'aes-256-gcm';
const nonceLength = 12;
const tagLength = 16;
// Stryker disable next-line ObjectLiteral: decrypt extracts a full tag as well, so one of the two checks remains
const cipherOptions = { authTagLength: tagLength };

/** A key of 32 bytes and the id that is written into each sealed value. */
export interface EncryptionKey {
  readonly id: string;
  readonly key: KeyObject;
}

/** The location of a sealed value. It opens at no other location, so values cannot be swapped between rows. */
export interface SealedLocation {
  readonly table: string;
  readonly column: string;
  readonly tenantId: string;
  readonly rowId: string;
}

export interface Vault {
  /** Encrypts with a new data key: `v1.<key id>.<wrapped data key>.<encrypted text>`, the last two in base64url. */
  seal(text: string, location: SealedLocation): string;
  /**
   * Throws when the key is not configured, the location differs, or the value was altered. The message never contains
   * the value.
   */
  open(sealed: string, location: SealedLocation): string;
  /** Whether the data key is wrapped by the first key. */
  isCurrent(sealed: string): boolean;
  /**
   * Wraps the data key by the first key. The encrypted text stays as it is and is not decrypted. Throws like `open`,
   * except for an altered text, which the next `open` detects.
   */
  rewrap(sealed: string, location: SealedLocation): string;
}

/** The first key encrypts; all keys decrypt. Throws without a key. */
export function createVault(keys: readonly EncryptionKey[]): Vault {
  const [sealing] = keys;
  if (sealing === undefined) throw new Error('A vault needs at least one encryption key.');
  const wrap = (dataKey: Buffer, location: SealedLocation): string =>
    encrypt(sealing.key, dataKey, toAdditionalData(location)).toString('base64url');
  const unwrap = ({ keyId, wrapped }: Envelope, location: SealedLocation): Buffer => {
    const opening = keys.find((key) => key.id === keyId);
    if (opening === undefined) {
      throw new Error('The key that encrypted this value is not in ENCRYPTION_KEYS.');
    }
    return decrypt(opening.key, Buffer.from(wrapped, 'base64url'), toAdditionalData(location));
  };
  return {
    seal(text, location) {
      const dataKey = randomBytes(32);
      const sealed = encrypt(
        createSecretKey(dataKey),
        Buffer.from(text),
        toAdditionalData(location),
      );
      return ['v1', sealing.id, wrap(dataKey, location), sealed.toString('base64url')].join('.');
    },
    open(value, location) {
      const envelope = parseEnvelope(value);
      const dataKey = createSecretKey(unwrap(envelope, location));
      const sealed = Buffer.from(envelope.sealed, 'base64url');
      return decrypt(dataKey, sealed, toAdditionalData(location)).toString();
    },
    isCurrent: (value) => value.startsWith(`v1.${sealing.id}.`),
    rewrap(value, location) {
      const envelope = parseEnvelope(value);
      const dataKey = unwrap(envelope, location);
      return ['v1', sealing.id, wrap(dataKey, location), envelope.sealed].join('.');
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
  // The length was checked above.
  const [, keyId, wrapped, sealed] = parts as [string, string, string, string];
  return { keyId, wrapped, sealed };
}

// Encoded, so that a separator within a name cannot make two locations equal.
function toAdditionalData({ table, column, tenantId, rowId }: SealedLocation): Buffer {
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

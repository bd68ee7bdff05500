// The environment variables of sync: what is read from the upstreams in the background, and how often.

import { oneOf, parseCount, parseReadSeconds, parseShare } from './values.ts';

/** Rows of the table in config.ts. */
export const syncVariables = {
  SYNC: {
    default: 'on',
    meaning:
      'Whether numbers are read without being asked for: `on`, or `off`. What a webhook asks for is read in both cases.',
  },
  SYNC_SWEEP_SECONDS: {
    default: '300',
    meaning:
      "Seconds from one read of an account's list of numbers to the next, without their health. At most 1800, half of the age at which evidence expires.",
  },
  SYNC_HEALTH_SECONDS: {
    default: '900',
    meaning: 'Seconds from one read of the numbers with their health to the next. At most 1800.',
  },
  SYNC_PROFILE_SECONDS: {
    default: '86400',
    meaning: "Seconds from one read of a number's business profile to the next.",
  },
  SYNC_ACCOUNT_SECONDS: {
    default: '21600',
    meaning: 'Seconds from one read of an account itself to the next.',
  },
  SYNC_ENGINE_SECONDS: {
    default: '60',
    meaning: 'Seconds from one read of the states at the session engine to the next. At most 1800.',
  },
  SYNC_BUDGET_SHARE: {
    default: '0.5',
    meaning:
      "Share of Meta's calls an hour for an account that reads in the background may make, above 0 and at most 1. Above 75 % used, one is made every five minutes.",
  },
} as const;

/** What is read from the upstreams in the background; see sync/plan.ts. */
export interface SyncSettings {
  /** Whether anything is read without being asked for. */
  readonly isOn: boolean;
  /** From one read to the next. */
  readonly seconds: {
    readonly SWEEP: number;
    readonly HEALTH: number;
    readonly PROFILE: number;
    readonly ACCOUNT: number;
    readonly ENGINE: number;
  };
  /** The share of an account's calls an hour that the background may make. */
  readonly budgetShare: number;
}

export function parseSyncSettings(
  check: <T>(name: keyof typeof syncVariables, parse: (text: string) => T) => T,
): SyncSettings {
  return {
    isOn: check('SYNC', (text) => oneOf(['on', 'off'], text) === 'on'),
    seconds: {
      SWEEP: check('SYNC_SWEEP_SECONDS', parseReadSeconds),
      HEALTH: check('SYNC_HEALTH_SECONDS', parseReadSeconds),
      PROFILE: check('SYNC_PROFILE_SECONDS', parseCount),
      ACCOUNT: check('SYNC_ACCOUNT_SECONDS', parseCount),
      ENGINE: check('SYNC_ENGINE_SECONDS', parseReadSeconds),
    },
    budgetShare: check('SYNC_BUDGET_SHARE', parseShare),
  };
}

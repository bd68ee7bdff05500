// The API keys of the demo.

import type { DemoTenant } from './fleet.ts';

export interface DemoKey {
  readonly tenant: DemoTenant;
  readonly name: string;
  /** Null for a tenant-scoped key. */
  readonly number: string | null;
  readonly expiresAt?: string;
  readonly revoked?: true;
}

export const demoKeys: readonly DemoKey[] = [
  { tenant: 'acme', name: 'Demo tenant key', number: null },
  { tenant: 'acme', name: 'Sales CRM', number: 'wa_acme_sales' },
  { tenant: 'acme', name: 'Sales dashboard', number: 'wa_acme_sales' },
  { tenant: 'acme', name: 'Support desk', number: 'wa_acme_support' },
  { tenant: 'acme', name: 'Shop till', number: 'wa_acme_shop' },
  { tenant: 'acme', name: 'Old CRM', number: 'wa_acme_sales', expiresAt: '2025-12-31T23:59:59Z' },
  { tenant: 'acme', name: 'Leaked in a screenshot', number: 'wa_acme_support', revoked: true },
  { tenant: 'borealis', name: 'Demo tenant key', number: null },
  { tenant: 'borealis', name: 'Booking desk', number: 'wa_borealis_booking' },
];

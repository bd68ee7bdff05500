// What happens while the demo runs: a cycle that ends where it began, so that the demo still makes sense after a day. Numbers
// whose rows show something else are left alone.

import {
  addPhone,
  banAccount,
  changeLimit,
  changePhone,
  changePin,
  changePartner,
  changeProfile,
  changeSession,
  changeThroughput,
  changeToken,
  combine,
  decideName,
  flag,
  type FleetChange,
  removePhone,
  restrictAccount,
  reviewAccount,
  unflag,
} from '../simulator/changes.ts';
import { demoNumbers, demoTenants, demoWabas } from './fleet.ts';
import { largeTenant, toAccountId, toPlacePhoneId } from './large-fleet.ts';
import {
  isMetaNumber,
  toBusinessId,
  toPhoneId,
  toSimulatedPhone,
  toToken,
  toWabaId,
} from './upstreams.ts';

export interface DemoEvent {
  readonly tenantId: string;
  /** For the log. */
  readonly what: string;
  readonly change: FleetChange;
}

type Row = readonly [tenant: 'acme' | 'atlas' | 'borealis', what: string, change: FleetChange];

const studio = findPhoneId('wa_acme_studio');
const ballet = findPhoneId('wa_acme_ballet');
const choir = findPhoneId('wa_acme_choir');
const desk = findPhoneId('wa_borealis_desk');
const van = 'acme-75';
const studios = toWabaId(demoWabas.studio);
const travel = toWabaId(demoWabas.travel);
const spa = toAccountId('Atlas Spa');
// Healthy numbers of the tenant with many numbers, in accounts that the demo has read.
const coffee = toPlacePhoneId(10);
const yoga = toPlacePhoneId(20);
const burgers = toPlacePhoneId(120);
const gym = toPlacePhoneId(700);
const theatre = toSimulatedPhone({ line: 76, waba: 'studio', name: 'Acme Teatro' });
const portfolio = toBusinessId(demoWabas.studio);
const rejected = { name: 'BALÉ!!!', reason: 'NAME_FORMAT_UNACCEPTABLE' };
const token = toToken('studio');
const restrictionMs = 8 * 60_000;

/** Each event is undone later in the cycle, by another event or by its own end. */
const rows: readonly Row[] = [
  ['acme', 'the quality of Acme Estúdio falls', changePhone(studio, { quality_rating: 'YELLOW' })],
  ['atlas', 'a number of Atlas Coffee is flagged', flag(coffee)],
  [
    'acme',
    'Acme Balé asks for another name',
    decideName(ballet, { ...rejected, decision: 'PENDING', reason: null }),
  ],
  ['acme', 'the session of Acme Van is logged out', changeSession(van, 'close')],
  ['acme', 'Acme Estúdio is flagged', flag(studio)],
  ['borealis', 'the account of Borealis is in review', reviewAccount(travel, 'PENDING')],
  ['acme', 'Acme Van waits for its QR code', changeSession(van, 'connecting')],
  [
    'acme',
    'the new name of Acme Balé is rejected',
    decideName(ballet, { ...rejected, decision: 'REJECTED' }),
  ],
  ['acme', 'the limit of Acme Estúdio is raised', changeLimit(portfolio, 'TIER_10K')],
  ['acme', 'Acme Van is connected again', changeSession(van, 'open')],
  ['atlas', 'a number of Atlas Gym may send faster', changeThroughput(gym, 'HIGH')],
  ['acme', 'Acme Estúdio recovers', unflag(studio)],
  ['acme', 'Acme Teatro is added to an account', addPhone(theatre)],
  [
    'atlas',
    'the quality of a number of Atlas Yoga falls',
    changePhone(yoga, { quality_rating: 'YELLOW' }),
  ],
  ['acme', 'the removal of a PIN is asked for', changePin(choir, 'PIN_RESET_REQUEST', 'Somebody')],
  ['acme', 'the PIN of Acme Coral is removed', changePin(choir, 'PIN_REQUEST_SUCCESS')],
  ['acme', 'the account of Acme Estúdio is restricted', restrict],
  ['atlas', 'the number of Atlas Coffee recovers', unflag(coffee)],
  ['acme', 'the PIN of Acme Coral is set', changePin(choir, 'PIN_CHANGED')],
  ['borealis', 'the account of Borealis is approved', reviewAccount(travel, 'APPROVED')],
  [
    'acme',
    'another name of Acme Balé is approved',
    decideName(ballet, { name: 'Acme Balé Clássico', decision: 'APPROVED' }),
  ],
  [
    'atlas',
    'a number of Atlas Burgers is disconnected',
    changePhone(burgers, { status: 'DISCONNECTED' }),
  ],
  ['atlas', 'the number of Atlas Yoga recovers', changePhone(yoga, { quality_rating: 'GREEN' })],
  ['acme', 'Acme Coral changes its hours', changeProfile(choir, { about: 'Seg-sex 8h-20h' })],
  ['atlas', 'the account Atlas Spa is disabled', banAccount(spa, 'DISABLE', 'April 17, 2026')],
  ['atlas', 'a number of Atlas Gym may send less fast', changeThroughput(gym, 'STANDARD')],
  [
    'acme',
    'Acme Estúdio withdraws the access',
    combine(changeToken(token, 'invalid'), changePartner(studios, 'PARTNER_REMOVED')),
  ],
  [
    'atlas',
    'the number of Atlas Burgers is connected again',
    changePhone(burgers, { status: 'CONNECTED' }),
  ],
  ['atlas', 'the account Atlas Spa is reinstated', banAccount(spa, 'REINSTATE', 'April 17, 2026')],
  [
    'acme',
    'Acme Estúdio gives access again',
    combine(changeToken(token, 'valid'), changePartner(studios, 'PARTNER_ADDED')),
  ],
  [
    'borealis',
    'a number of Borealis has a better quality',
    changePhone(desk, { quality_rating: 'GREEN' }),
  ],
  ['acme', 'the limit of Acme Estúdio is lowered', changeLimit(portfolio, 'TIER_2K')],
  ['acme', 'Acme Coral changes its hours back', changeProfile(choir, { about: 'Seg-sex 8h-18h' })],
  ['acme', 'Acme Teatro is removed from its account', removePhone(theatre.id)],
  [
    'borealis',
    'the number of Borealis has its former quality',
    changePhone(desk, { quality_rating: 'YELLOW' }),
  ],
  [
    'acme',
    'Acme Balé has its former name',
    decideName(ballet, { name: 'Acme Balé', decision: 'APPROVED' }),
  ],
];

export const demoScript: readonly DemoEvent[] = rows.map(([tenant, what, change]) => ({
  tenantId: tenant === 'atlas' ? largeTenant.id : demoTenants[tenant].id,
  what,
  change,
}));

function restrict(...[fleet, now]: Parameters<FleetChange>): ReturnType<FleetChange> {
  const restriction = {
    type: 'RESTRICTED_BIZ_INITIATED_MESSAGING',
    expiresAt: new Date(now.getTime() + restrictionMs),
    remediation: 'Ask people for their consent before you write to them.',
  };
  return restrictAccount(studios, [restriction])(fleet, now);
}

function findPhoneId(id: string): string {
  const row = demoNumbers[id];
  if (row === undefined || !isMetaNumber(row))
    throw new Error(`The demo has no Meta number ${id}.`);
  return toPhoneId(row);
}

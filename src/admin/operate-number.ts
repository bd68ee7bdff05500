// The commands of what operators note about a number: `number label`, `number mute` and `number unmute`.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { maxLabels } from '../fleet/labels.ts';
import type { NumberOperation } from '../fleet/operations.ts';
import type { WhatsAppNumber } from '../numbers/number.ts';
import { toOperatorAccess } from '../numbers/numbers.ts';
import { toOperationsJson } from '../rest/included.ts';
import { toDetail } from '../rest/numbers.ts';
import { parseFutureDate, parseId, UsageError } from './arguments.ts';
import { formatNumber, getStored } from './numbers.ts';
import { type Session, withGateway } from './session.ts';
import { formatTime, toPrintable } from './table.ts';

export function addOperateCommands(number: CommandUnknownOpts, session: Session): void {
  addLabel(number, session);
  addMute(number, session);
  addUnmute(number, session);
}

function addLabel(number: CommandUnknownOpts, session: Session): void {
  number
    .command('label')
    .summary('replace the labels of a number')
    .description(
      'Replace the labels of a number, by which a fleet can be filtered, counted and grouped.',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .argument('[label...]', `all labels that it is to have, at most ${maxLabels}, each key=value`)
    .option('--none', 'remove all labels')
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway number label wa_… team=support country=BR\n  $ numbers-gateway number label wa_… --none',
    )
    .action(async (id, labels, { none = false }) => {
      if ((labels.length === 0) !== none) {
        throw new UsageError('Give the labels that the number is to have, or --none for no label.');
      }
      await operate(session, { id, labels }, (changed) => {
        const listed = changed.labels.map(toPrintable).join(', ');
        return listed === '' ? 'Removed the labels' : `Labelled ${listed}`;
      });
    });
}

function addMute(number: CommandUnknownOpts, session: Session): void {
  number
    .command('mute')
    .summary('silence the alerts of a number for a time')
    .description(
      'Silence the alerts of a number for a time: endpoints are not told of incidents while all their numbers are muted, and are told when the mute ends before the incident does. Incidents of its account, portfolio or token as a whole are told. Its verdict, its incidents and its history stay what they are.',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .requiredOption(
      '--until <time>',
      'end, at most 366 days from now: 2030-12-31 or 2030-12-31T18:00:00Z',
      parseFutureDate,
    )
    .option('--note <text>', 'why, for those who see it later')
    .addHelpText(
      'after',
      "\nExamples:\n  $ numbers-gateway number mute wa_… --until 2030-12-31T18:00:00Z --note 'Moves to another account'",
    )
    .action(async (id, { until, note = null }) => {
      await operate(
        session,
        { id, mute: { until, note } },
        ({ mutedUntil }) => `Silent until ${formatTime(mutedUntil ?? until.toISOString())}`,
      );
    });
}

function addUnmute(number: CommandUnknownOpts, session: Session): void {
  number
    .command('unmute')
    .summary('let the alerts of a number sound again')
    .description('Let the alerts of a number sound again that were silenced with: number mute')
    .argument('<id>', 'id of the number, from: number list', parseId)
    .action((id) => operate(session, { id, mute: null }, () => 'Not silent'));
}

async function operate(
  session: Session,
  operation: NumberOperation,
  describe: (changed: WhatsAppNumber) => string,
): Promise<void> {
  await withGateway(session, async ({ numbers, operations }) => {
    const tenantId = await numbers.getTenantOf(operation.id);
    await operations.operate(toOperatorAccess(tenantId), operation);
    const changed = await getStored(numbers, operation.id);
    session.print(
      { ...toDetail(changed), ...toOperationsJson(changed) },
      () => `${describe(changed)}: ${formatNumber(changed)}`,
    );
  });
}

// The commands `number update` and `number remove`.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { NumberChange } from '../numbers/numbers.ts';
import { toDetail } from '../rest/numbers.ts';
import { parseId, parseMetaId, parseName, parsePhoneNumber, UsageError } from './arguments.ts';
import { confirm, requireConfirmation } from './confirm.ts';
import { formatNumber, getStored } from './numbers.ts';
import { type Session, withGateway } from './session.ts';

export function addChangeCommands(number: CommandUnknownOpts, session: Session): void {
  addUpdate(number, session);
  addRemove(number, session);
}

const updateExamples = `
Examples:
  $ numbers-gateway number update wa_… --name 'Support Rio'
  $ numbers-gateway number update wa_… --phone-number-id 106540352242922 --waba-id 102290129340398`;

function addUpdate(number: CommandUnknownOpts, session: Session): void {
  number
    .command('update')
    .summary('change the name, the digits or the ids of a number')
    .description(
      'Change the name, the digits or the ids of a number, for example after it has moved to another account of Meta. With a stored access token, new ids and digits are checked at Meta first. What was read of a former id is deleted; for new values run: number refresh ID',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .option('--name <name>', 'new name', parseName)
    .option('--number <digits>', 'new phone number with country code', parsePhoneNumber)
    .option(
      '--phone-number-id <digits>',
      'META: Meta’s new id of the number',
      parseMetaId('phone number id'),
    )
    .option('--waba-id <digits>', 'META: Meta’s id of its new account', parseMetaId('WABA id'))
    .option('--instance <name>', 'new instance name at the session engine', parseName)
    .option('--no-check', 'store the ids without asking Meta')
    .addHelpText('after', updateExamples)
    .action(async (id, { check, instance, ...members }) => {
      const change: NumberChange = {
        ...members,
        ...(instance !== undefined && { instanceName: instance }),
      };
      if (Object.keys(change).length === 0) {
        throw new UsageError(
          'Nothing to change; add --name, --number, --phone-number-id, --waba-id or --instance.',
        );
      }
      const { signal } = session.terminal;
      await withGateway(session, async ({ numbers }) => {
        const changed = await numbers.update(id, change, check ? { signal } : undefined);
        session.print(toDetail(changed), () => `Updated ${formatNumber(changed)}`);
      });
    });
}

function addRemove(number: CommandUnknownOpts, session: Session): void {
  number
    .command('remove')
    .summary('remove a number and revoke its keys')
    .description(
      'Remove a number with everything that is stored about it, and revoke the API keys that are bound to it. Nothing changes at Meta or at the session engine.',
    )
    .argument('<id>', 'id of the number, from: number list', parseId)
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      '\nExamples:\n  $ numbers-gateway number remove wa_…\n  $ numbers-gateway number remove wa_… --yes      in a script',
    )
    .action(async (id, { yes = false }) => {
      requireConfirmation(session, yes);
      await withGateway(session, async ({ numbers }) => {
        const stored = await getStored(numbers, id);
        const keys = stored.apiKeys.length;
        const consequence = `This removes ${formatNumber(stored)} ${formatKeys(keys, 'will be')}`;
        if (!(await confirm(session, { consequence, answer: 'yes', yes }))) return;
        const { number: removed, revokedKeys } = await numbers.remove(id);
        session.print(
          { ...toDetail(removed), revokedKeys },
          () => `Removed ${formatNumber(removed)} ${formatKeys(revokedKeys.length, 'were')}`,
        );
      });
    });
}

function formatKeys(count: number, verb: 'were' | 'will be'): string {
  if (count === 0) return 'No keys are bound to it.';
  if (count === 1) return `Its key ${verb === 'were' ? 'was' : verb} revoked.`;
  return `Its ${count} keys ${verb} revoked.`;
}

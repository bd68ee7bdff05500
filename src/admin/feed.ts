// The command `feed new-epoch`, which a restore from a backup needs.

import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { renewEpoch } from '../history/store.ts';
import { parseId } from './arguments.ts';
import { type Session, withGateway } from './session.ts';

export function addFeedCommands(program: CommandUnknownOpts, session: Session): void {
  program
    .command('feed')
    .summary('manage the feed of changes')
    .description('Manage the feed of changes, which clients follow with cursors.')
    .command('new-epoch')
    .summary('make all cursors unknown, after a restore from a backup')
    .description(
      'Make all cursors of the feed unknown. Run this after a restore from a backup, before the gateway serves: changes that were given out after the backup are gone, and their places will be taken by others, which clients with old cursors would not notice. Each client gets CURSOR_UNKNOWN, reads the fleet again and goes on from there. Nothing is deleted.',
    )
    .option('--tenant <id>', 'only this tenant', parseId)
    .addHelpText('after', '\nExamples:\n  $ numbers-gateway feed new-epoch')
    .action(({ tenant }) =>
      withGateway(session, async ({ access, database }) => {
        const found =
          tenant === undefined ? await access.listTenants() : [await access.getTenant(tenant)];
        const tenants = found.map(({ id }) => id);
        for (const id of tenants) {
          // oxlint-disable-next-line no-await-in-loop -- one transaction after the other
          await renewEpoch(database, id);
        }
        session.print(
          { tenants },
          () =>
            `The cursors of ${tenants.length} tenant(s) are unknown from now on. Each client reads the fleet again and goes on from there.`,
        );
      }),
    );
}

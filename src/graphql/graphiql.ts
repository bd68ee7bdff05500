// Serves the GraphiQL page with its examples. The page requests nothing from other hosts.

import { hash } from 'node:crypto';
import type { HttpResponse } from '../http/message.ts';

/** The value of the header x-api-key in the page until somebody enters a key. */
const placeholder = 'ps_your_token_here';

/** A number of the demo. Elsewhere the reader replaces it with one of the tenant's. */
export const exampleId = 'wa_acme_sales';

// Lines are short, so that comments fit on a phone too: the editor does not wrap them.
const health = `# Which numbers can send, which
# cannot, and why. These are the
# stored values; freshness tells
# how old they are. To run this,
# press the pink button or
# Ctrl-Enter.
query Health {
  numbers {
    name
    number
    state
    health {
      sendability {
        # YES, NO or UNKNOWN
        verdict # start a chat
        replyVerdict # reply
        reasons {
          effect
          text # why
          solution # what to do
        }
      }
      qualityRating
      messagingLimitTier
      metaStatus
      freshness {
        ageSeconds
        stale # over 1 hour old
      }
    }
    # What Meta reports; null for
    # numbers linked by QR code.
    meta {
      phone {
        verifiedName
        nameStatus
      }
      waba {
        name
        businessVerificationStatus
      }
    }
  }
}
`;

const detail = `# All about one number. Its id is
# in Variables, below.
query Detail($id: ID!) {
  number(id: $id) {
    id
    name
    number
    state
    health {
      qualityRating
      messagingLimitTier
      metaStatus
      sendability {
        verdict
      }
    }
    meta {
      fetchedAt
      phone {
        displayPhoneNumber
        verifiedName
        nameStatus
        throughputLevel
        isPinEnabled
      }
      profile {
        about
        email
        websites
        vertical
      }
      waba {
        id
        name
        currency
        businessVerificationStatus
        country
      }
    }
  }
}
`;

const refresh = `# Reads new values from Meta now,
# only those selected here.
# freshness tells whether that
# succeeded.
query Refresh($id: ID!) {
  number(id: $id, refresh: true) {
    name
    health {
      qualityRating
      metaStatus
      sendability {
        verdict
        reasons {
          effect
          text
          solution
        }
      }
      freshness {
        source
        observedAt
        error {
          code
          message
          retryAt
        }
      }
    }
  }
}
`;

const list = `# Every number, oldest first, with
# the API keys bound to it.
query List {
  numbers {
    id
    name
    number
    provider
    state
    isFullyConnected
    apiKeys {
      name
      keyPrefix
      keyLast4
    }
  }
}
`;

const fleet = `# A page of a large fleet, the worst
# first, and how many numbers there
# are of each kind. For the next
# page, add after: "<endCursor>".
query Fleet {
  fleet(
    first: 20
    filter: { verdicts: [NO, UNKNOWN] }
    orderBy: {
      field: ATTENTION
      direction: DESC
    }
  ) {
    totalCount
    facets {
      verdict {
        value
        count
      }
      qualityRating {
        value
        count
      }
      stale
      waba(first: 3) {
        name
        count
      }
      portfolio {
        name
        count
        # shared by its numbers
        messagingLimitTier
      }
    }
    nodes {
      name
      number
      health {
        sendability {
          verdict
          replyVerdict
          reasons {
            text
          }
        }
      }
    }
    pageInfo {
      endCursor
      hasNextPage
    }
  }
}
`;

const logo = `<svg viewBox="0 0 24 24" width="26" height="26" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round"><path d="M4 20l1.3-4A8 8 0 1 1 8.4 19z"/><path d="M9 10h6M9 13h4" stroke-linecap="round"/></svg>`;

const favicon = `data:image/svg+xml,${encodeURIComponent(
  logo
    .replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ')
    .replace('currentColor', '#2f7d5b'),
)}`;

/** Keys of the demo, which the page contains. */
export interface GraphiqlKeys {
  readonly tenant: string;
  /** Of a tenant with many numbers. */
  readonly fleet: string;
}

/**
 * Returns the page. It is built when it is first requested: it is large, and many processes never serve it. The pipeline
 * compresses it once for each coding.
 */
export function createGraphiql(keys: GraphiqlKeys | null): () => Promise<HttpResponse> {
  let page: Promise<HttpResponse> | undefined;
  return async () => {
    page ??= createPage(keys).catch((error: unknown) => {
      // The next request tries again.
      page = undefined;
      throw error;
    });
    return await page;
  };
}

const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'private, no-cache',
  vary: 'accept, accept-encoding',
  // The page contains all of its scripts, styles and fonts.
  'content-security-policy':
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; worker-src blob:; img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

// GraphiQL expects a wide window. Below 800 pixels the sidebar becomes a row, and the panes are stacked.
//
// Tabs have no transform, because GraphiQL hides one until the tab has the focus: pressing a tab moved it away from the pointer,
// so that no click followed. Their touch-action lets a finger scroll the row of tabs.
const styles = `
.graphiql-tab { transform: none !important; touch-action: auto !important; }
.graphiql-container .graphiql-logo { white-space: nowrap; }
.graphiql-doc-explorer-search:not(:focus-within) [role="combobox"] { width: 10ch; }
@media (max-width: 800px) {
  .graphiql-container { height: 100dvh; }
  .graphiql-container > .graphiql-container, .graphiql-container .graphiql-main { flex-direction: column; min-height: 0; }
  .graphiql-container .graphiql-sidebar { flex-direction: row; flex-shrink: 0; width: 100%; padding-bottom: 0; }
  .graphiql-sidebar > [aria-label^="Re-fetch"] { margin: 0 0 0 auto !important; }
  .graphiql-container .graphiql-plugin { border: 0; flex: 1 !important; }
  .graphiql-container .graphiql-sessions { margin: var(--px-8); min-height: 0; }
  .graphiql-horizontal-drag-bar, .graphiql-container .graphiql-logo { display: none; }
  .graphiql-container #graphiql-session { flex-direction: column; min-height: 0; overflow-y: auto; }
  .graphiql-container .graphiql-editors { min-height: 300px; }
  .graphiql-container .graphiql-response { min-height: 200px; }
  .graphiql-container .graphiql-query-editor { flex-direction: column-reverse; gap: var(--px-8); min-height: 0; padding: var(--px-8); }
  .graphiql-container .graphiql-query-editor .graphiql-editor { flex: 1; min-height: 0; }
  .graphiql-container .graphiql-toolbar { flex-direction: row; width: 100%; }
  .graphiql-dialog .graphiql-dialog-section { flex-direction: column; align-items: flex-start; gap: var(--px-8); }
  .graphiql-dialog .graphiql-dialog-section > :not(:first-child) { margin-left: 0; }
  .graphiql-container .graphiql-editor-tool { padding: 0 var(--px-8) var(--px-8); }
}
`;

// Runs in a page without a key. The last key that worked is used in the tabs that still have the placeholder, and the first one
// reloads the schema. It is kept in memory only.
const keyScript = `(() => {
  const { fetch } = window;
  let key = null;
  window.fetch = async (url, init) => {
    const headers = new Headers(init?.headers);
    if (key !== null && headers.get('x-api-key') === '${placeholder}') headers.set('x-api-key', key);
    const response = await fetch(url, { ...init, headers });
    if (response.ok) {
      const isFirst = key === null;
      key = headers.get('x-api-key');
      if (isFirst) document.querySelector('[aria-label^="Re-fetch"]')?.click();
    }
    return response;
  };
})();`;

// GraphiQL restores its tabs without their headers, so without the key, and adds an empty tab when none has the query of the
// address. Every load opens the examples instead.
const tabsScript = `for (const name of ['tabState', 'query', 'variables'])
  localStorage.removeItem('graphiql:' + name);`;

function toHeaders(key: string = placeholder): string {
  return JSON.stringify({ 'x-api-key': key }, null, 2);
}

async function createPage(keys: GraphiqlKeys | null): Promise<HttpResponse> {
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const headers = toHeaders(keys?.tenant);
  const variables = JSON.stringify({ id: exampleId }, null, 2);
  const html = await renderGraphiQL({
    title: 'Numbers gateway',
    logo,
    favicon,
    headers,
    // Keys must not be stored in the browser.
    shouldPersistHeaders: false,
    defaultEditorToolsVisibility: 'headers',
    defaultTabs: [
      { query: health, headers },
      { query: detail, headers, variables },
      { query: refresh, headers, variables },
      { query: list, headers },
      { query: fleet, headers: toHeaders(keys?.fleet) },
    ],
  });
  const head = `<meta name="viewport" content="width=device-width, initial-scale=1"><style>${styles}</style>`;
  const root = '<div id="root"></div>';
  const script = `<script>${tabsScript}${keys === null ? keyScript : ''}</script>`;
  const text = String(html)
    .replace('</head>', (end) => head + end)
    .replace(root, () => root + script);
  const etag = `"${hash('sha256', text, 'base64url')}"`;
  return { status: 200, headers: { ...pageHeaders, etag }, body: Buffer.from(text) };
}

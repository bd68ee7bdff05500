// The keys that the page has when it starts: the one that was entered in this tab, and those that the page contains, in the demo.

export interface BoardKey {
  readonly tenantName: string;
  readonly key: string;
}

const storageName = 'board.key';

export const demoKeys = readDemoKeys();

function readDemoKeys(): readonly BoardKey[] {
  const text = document.querySelector<HTMLMetaElement>('meta[name="board-keys"]')?.content;
  return text === undefined ? [] : (JSON.parse(text) as readonly BoardKey[]);
}

/** `demo` is that of the view. */
export function findDemoKey(demo: number): BoardKey | null {
  return demoKeys[demo - 1] ?? demoKeys[0] ?? null;
}

export const readStoredKey = (): string | null => sessionStorage.getItem(storageName);
export const storeKey = (key: string): void => sessionStorage.setItem(storageName, key);
export const removeStoredKey = (): void => sessionStorage.removeItem(storageName);

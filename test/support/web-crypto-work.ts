import { webcrypto } from 'node:crypto';

const { subtle } = webcrypto;
/** Calls that have not ended yet. They end on threads that no clock of a test knows of. */
let underWay = 0;

for (const name of ['digest', 'exportKey', 'generateKey', 'importKey', 'sign', 'verify'] as const) {
  const call = subtle[name].bind(subtle) as (...args: unknown[]) => Promise<unknown>;
  const counted = async (...args: unknown[]): Promise<unknown> => {
    underWay++;
    try {
      return await call(...args);
    } finally {
      underWay--;
    }
  };
  Object.defineProperty(subtle, name, { value: counted, configurable: true });
}

/** Resolves when WebCrypto does nothing in this process, and whoever waited for it has gone on. */
export async function webCryptoIdle(): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (underWay > 0);
}

import { afterAll, beforeAll } from 'vitest';
import { serverUnderTest, type ServerUnderTest } from '../support/apiserver.ts';
import { contractSuite } from './suite/index.ts';

/** The contract on the server of KUBECONFIG_UNDER_TEST, else on the embedded one over a store in memory. */
let server: ServerUnderTest;

beforeAll(async () => {
  server = await serverUnderTest();
});
afterAll(() => server.close());

contractSuite(() => server);

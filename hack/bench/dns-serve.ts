/**
 * nap's name server for the bench: 10,000 names of its own, and another resolver for all others. The limit per source is lifted, for
 * the load comes from one address.
 *
 *   dns-serve.ts PORT UPSTREAM-PORT
 */
import { DnsService } from '../../src/agent/dns/dns-service.ts';
import { MemoryStore } from '../../src/registry/memory/store.ts';
import { endpointRecords } from '../../src/registry/records/index.ts';
import { silentLogger } from '../../src/telemetry/log.ts';
import { benchNames } from './dns-names.ts';

const [port = 0, upstreamPort = 0] = process.argv.slice(2).map(Number);
const store = new MemoryStore();
const changes = benchNames.map(({ project, service, address }) => ({
  type: 'put' as const,
  key: endpointRecords.path({ namespace: 'default', project, service, ordinal: '1' }),
  value: endpointRecords.encode({ host: 'h', ipv4_addr: address, ports: [] }),
}));
for (let i = 0; i < changes.length; i += 100) await store.commit([], changes.slice(i, i + 100));
const service = new DnsService({
  store,
  log: silentLogger,
  overlay: () => ({ network: '10.77.0.0/16', subnet: '10.77.1.0/24', address: '192.0.2.9' }),
  readResolvConf: () => Promise.resolve(''),
  upstreams: () => Promise.resolve([{ address: '127.0.0.1', port: upstreamPort }]),
  port,
  queriesPerSecond: 1e9,
});
await service.run('127.0.0.1', { localInstance: () => undefined }, new AbortController().signal);

/** Runs a DNS server on the address given, in whatever network namespace it is started; every answer is 192.0.2.7. */
import { DnsService } from '../../../src/agent/dns/dns-service.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { endpointRecords } from '../../../src/registry/records/index.ts';
import { createLogger } from '../../../src/telemetry/log.ts';

const [gateway = ''] = process.argv.slice(2);
const store = new MemoryStore();
const key = endpointRecords.path({ namespace: 'ns', project: 'p', service: 's', ordinal: '1' });
const value = endpointRecords.encode({ host: 'h', ipv4_addr: '192.0.2.7', ports: [] });
await store.commit([], [{ type: 'put', key, value }]);
const service = new DnsService({
  store,
  log: createLogger('info'),
  overlay: () => undefined,
  readResolvConf: async () => '',
});
await service.run(gateway, { localInstance: () => undefined }, new AbortController().signal);

/**
 * Runs a DNS server on the address given, in whatever network namespace it is started; its own name is
 * s.p.ns.nap.local, 192.0.2.7 and fd00:77::c000:207. Further arguments are resolvers for all others.
 */
import { DnsService } from '../../../src/agent/dns/dns-service.ts';
import { MemoryStore } from '../../../src/registry/memory/store.ts';
import { endpointRecords, serviceRecords } from '../../../src/registry/records/index.ts';
import { createLogger } from '../../../src/telemetry/log.ts';

const [gateway = '', ...upstreams] = process.argv.slice(2);
const store = new MemoryStore();
const name = { namespace: 'ns', project: 'p', service: 's' };
const key = endpointRecords.path({ ...name, ordinal: '1' });
const value = endpointRecords.encode({
  ...{ host: 'h', ipv4_addr: '192.0.2.7', ipv6_addr: 'fd00:77::192.0.2.7' },
  ports: [],
});
// Who asks there is nobody's instance.
const open = serviceRecords.encode({ uid: 'u', ports: [], links: [], isolation: 'open' });
await store.commit(
  [],
  [
    { type: 'put', key: serviceRecords.path(name), value: open },
    { type: 'put', key, value },
  ],
);
const service = new DnsService({
  store,
  log: createLogger('info'),
  overlay: () => undefined,
  readResolvConf: async () => upstreams.map((address) => `nameserver ${address}\n`).join(''),
});
await service.run(gateway, { localInstance: () => undefined }, new AbortController().signal);

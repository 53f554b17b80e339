/**
 * The architecture as rules. Imports point down:
 * cmd -> {controllers, agent, apiserver, controlplane, cli} -> {registry, kube, runtime, telemetry} -> {api, scheduler, network, convert}
 */
const test = '[.](test|fixture)[.]ts$';
const above = (...folders) => `^src/(${folders.join('|')})/`;

const only = (name, modules, home) => ({
  name,
  comment: `${modules} is used in ${home} alone: the rest of nap does not know of it.`,
  severity: 'error',
  from: { path: '^src/', pathNot: [home, test] },
  to: { path: modules, dependencyTypesNot: ['type-only'] },
});

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'pure-folders',
      comment:
        'api, scheduler, network and convert decide; they do no I/O and know of no one who does.',
      severity: 'error',
      from: { path: above('api', 'scheduler', 'network', 'convert'), pathNot: test },
      to: {
        path: above(
          ...['cmd', 'cli', 'controllers', 'agent', 'apiserver', 'controlplane'],
          ...['registry', 'kube', 'telemetry', 'runtime'],
        ),
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'pure-folders-no-io',
      comment: 'Hashes (crypto) and address syntax (net.isIP) are computation.',
      severity: 'error',
      from: { path: above('api', 'scheduler', 'network', 'convert'), pathNot: test },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?(crypto|net)$' },
    },
    {
      name: 'foundations',
      comment:
        'The registry, the Kubernetes client and the runtime serve the loops; they know none.',
      severity: 'error',
      from: { path: above('registry', 'kube', 'runtime', 'telemetry'), pathNot: test },
      to: { path: above('cmd', 'cli', 'controllers', 'agent', 'apiserver', 'controlplane') },
    },
    {
      name: 'runtime-knows-no-domain',
      severity: 'error',
      from: { path: above('runtime'), pathNot: test },
      to: { path: above('api', 'scheduler', 'network', 'registry', 'kube') },
    },
    {
      name: 'operator-and-agent-meet-in-the-registry',
      severity: 'error',
      from: { path: above('controllers') },
      to: { path: above('agent', 'apiserver', 'controlplane') },
    },
    {
      name: 'agent-stands-alone',
      severity: 'error',
      from: { path: above('agent') },
      to: { path: above('controllers', 'apiserver', 'controlplane', 'kube', 'scheduler') },
    },
    {
      name: 'apiserver-stands-alone',
      severity: 'error',
      from: { path: above('apiserver') },
      to: { path: above('controllers', 'agent', 'controlplane', 'kube') },
    },
    {
      name: 'nobody-imports-cmd',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/cmd/' },
      to: { path: '^src/cmd/' },
    },
    {
      name: 'no-tests-in-the-product',
      severity: 'error',
      from: { path: '^src/', pathNot: test },
      to: { path: ['^test/', test] },
    },
    only('etcd3-in-registry', 'node_modules/(etcd3|@grpc)/', '^src/registry/etcd/'),
    only('dockerode-in-agent', 'node_modules/(dockerode|docker-modem)/', '^src/agent/docker/'),
    only('client-node-in-kube', 'node_modules/@kubernetes/', '^src/kube/'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node'] },
  },
};

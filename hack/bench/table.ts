/** Figures by part; a part that could not run has `could_not_run`, one for which this machine is not made `not_here`: the reason. */
export type Results = Record<string, Record<string, number | string>>;

interface Row {
  readonly part: string;
  readonly what: string;
  /** The figure, and what it is to be compared with. */
  readonly show: (figures: Record<string, number>) => string;
  /** What it is held to, if to anything. */
  readonly bar?: string;
  readonly met?: (figures: Record<string, number>) => boolean;
}

const of = (figures: Record<string, number>, name: string): number => figures[name] ?? Number.NaN;
const ratio = (figures: Record<string, number>, a: string, b: string): number =>
  of(figures, a) / of(figures, b);
const percent = (value: number): string => `${(value * 100).toFixed(1)} %`;

/** A figure by each way to an instance, with the ratio to the instance's own address. */
function wayRow(what: string, figure: string, unit = ''): Row {
  const show = (f: Record<string, number>): string => {
    const direct = `direct_${figure}`;
    const others = ['vip', 'mesh', 'router'].map((way) => {
      const name = `${way}_${figure}`;
      return `${way} ${of(f, name)}${unit} (×${ratio(f, name, direct).toFixed(2)})`;
    });
    return [`direct ${of(f, direct)}${unit}`, ...others].join('; ');
  };
  return { part: 'traffic', what, show };
}

const rows: readonly Row[] = [
  {
    part: 'start60',
    what: 'apply → 60 containers running on 3 hosts',
    show: (f) =>
      `${of(f, 'nap_s')} s; engines alone ${of(f, 'raw_s')} s (×${ratio(f, 'nap_s', 'raw_s').toFixed(2)}), Swarm ${of(f, 'swarm_s')} s`,
    bar: '≤ 1.1 × engines, not slower than Swarm',
    met: (f) => ratio(f, 'nap_s', 'raw_s') <= 1.1 && of(f, 'nap_s') <= of(f, 'swarm_s'),
  },
  {
    part: 'failover',
    what: 'host cut off → replacements running',
    show: (f) =>
      `${of(f, 'nap_s')} s; Swarm ${of(f, 'swarm_s')} s (×${ratio(f, 'nap_s', 'swarm_s').toFixed(2)}); ` +
      `during a rolling update ${of(f, 'nap_update_s')} s; with the leading operator on it ${of(f, 'nap_operator_s')} s`,
    bar: '≤ 8 s each, ≤ 0.4 × Swarm',
    met: (f) =>
      ['nap_s', 'nap_update_s', 'nap_operator_s'].every((name) => of(f, name) <= 8) &&
      ratio(f, 'nap_s', 'swarm_s') <= 0.4,
  },
  {
    part: 'scheduler',
    what: 'scheduler alone, 1,000 hosts: 10,000 / 100,000 instances',
    show: (f) => `${of(f, 'n10k_s').toFixed(3)} s / ${of(f, 'n100k_s').toFixed(3)} s`,
    bar: '≤ 0.5 s / ≤ 6 s',
    met: (f) => of(f, 'n10k_s') <= 0.5 && of(f, 'n100k_s') <= 6,
  },
  {
    part: 'resolve',
    what: 'record changed → all hosts resolve it',
    show: (f) => `p50 ${of(f, 'p50_ms')} ms, p99 ${of(f, 'p99_ms')} ms`,
    bar: 'p99 ≤ 500 ms',
    met: (f) => of(f, 'p99_ms') <= 500,
  },
  {
    part: 'dns',
    what: 'name server on one core: queries per second, and latency under 5,000 q/s',
    show: (f) =>
      `${of(f, 'nap_qps')} q/s; dnsmasq ${of(f, 'dnsmasq_qps')} q/s (×${ratio(f, 'nap_qps', 'dnsmasq_qps').toFixed(2)}); ` +
      `per second of processor time ${of(f, 'nap_queries_per_cpu_s')} and ${of(f, 'dnsmasq_queries_per_cpu_s')} ` +
      `(×${ratio(f, 'nap_queries_per_cpu_s', 'dnsmasq_queries_per_cpu_s').toFixed(2)}); p99 ${of(f, 'p99_ms_at_5000')} ms`,
    bar: '≥ 0.8 × dnsmasq, p99 ≤ 2 ms',
    met: (f) => ratio(f, 'nap_qps', 'dnsmasq_qps') >= 0.8 && of(f, 'p99_ms_at_5000') <= 2,
  },
  {
    part: 'overlay',
    what: 'TCP between hosts through the overlay',
    show: (f) =>
      `${of(f, 'nap_gbps')} Gbit/s; VXLAN made by hand ${of(f, 'hand_gbps')} Gbit/s (${percent(ratio(f, 'nap_gbps', 'hand_gbps'))})`,
    bar: '≥ 97 %',
    met: (f) => ratio(f, 'nap_gbps', 'hand_gbps') >= 0.97,
  },
  {
    part: 'traffic',
    what: 'TCP between hosts through a virtual IP',
    show: (f) =>
      `${of(f, 'vip_gbps')} Gbit/s; to the instance itself ${of(f, 'direct_gbps')} Gbit/s (${percent(ratio(f, 'vip_gbps', 'direct_gbps'))}); ` +
      `from a host by the mesh port of a third one ${of(f, 'mesh_gbps')} Gbit/s (${percent(ratio(f, 'mesh_gbps', 'direct_gbps'))})`,
    bar: '≥ 97 % of the throughput',
    met: (f) => ratio(f, 'vip_gbps', 'direct_gbps') >= 0.97,
  },
  wayRow(
    'requests a second, each on a new connection, by way to an instance on another host',
    'cps',
  ),
  wayRow('a request on a new connection, 200 a second: p50', 'new_p50_ms', ' ms'),
  wayRow('a request on a new connection, 200 a second: p99', 'new_p99_ms', ' ms'),
  wayRow('a request on a kept connection, 200 a second: p50', 'kept_p50_ms', ' ms'),
  wayRow('a request on a kept connection, 200 a second: p99', 'kept_p99_ms', ' ms'),
  {
    part: 'swarmMesh',
    what: "by Swarm's routing mesh",
    show: (f) =>
      `${of(f, 'mesh_gbps')} Gbit/s; ${of(f, 'mesh_cps')} requests a second, each on a new connection; ` +
      `a request on a new connection p50 ${of(f, 'mesh_new_p50_ms')} ms, p99 ${of(f, 'mesh_new_p99_ms')} ms; ` +
      `on a kept one p50 ${of(f, 'mesh_kept_p50_ms')} ms, p99 ${of(f, 'mesh_kept_p99_ms')} ms`,
  },
  {
    part: 'ruleUpdates',
    what: 'one endpoint of one service changed: rules updated, of 10 / 1,000 / 10,000 services',
    show: (f) =>
      `${of(f, 'update_10_ms')} / ${of(f, 'update_1k_ms')} / ${of(f, 'update_10k_ms')} ms`,
    bar: '10,000 ≤ 2 × 10',
    met: (f) => ratio(f, 'update_10k_ms', 'update_10_ms') <= 2,
  },
  {
    part: 'propagation',
    what: 'endpoint record written → all hosts lead connections there',
    show: (f) => `p50 ${of(f, 'change_p50_ms')} ms, p99 ${of(f, 'change_p99_ms')} ms`,
    bar: 'p99 ≤ 200 ms',
    met: (f) => of(f, 'change_p99_ms') <= 200,
  },
  {
    part: 'agents',
    what: 'endpoint record written → the last of 200 agents has its rules (their kernels are simulated)',
    show: (f) => `p50 ${of(f, 'p50_ms')} ms, p99 ${of(f, 'p99_ms')} ms`,
    bar: 'p99 ≤ 1 s',
    met: (f) => of(f, 'p99_ms') <= 1_000,
  },
  {
    part: 'zeroDrop',
    what: 'requests lost while a service is rolled and scaled 6 → 2 → 6',
    show: (f) => `${of(f, 'failures')} of ${of(f, 'requests')}`,
    bar: 'none',
    met: (f) => of(f, 'failures') === 0 && of(f, 'requests') > 0,
  },
  {
    part: 'idle',
    what: 'idle: memory and CPU of agent / operator / API server',
    show: (f) =>
      `${of(f, 'agent_mb')} / ${of(f, 'operator_mb')} / ${of(f, 'apiserver_mb')} MB, ` +
      `${of(f, 'agent_cpu_pct')} / ${of(f, 'operator_cpu_pct')} / ${of(f, 'apiserver_cpu_pct')} % of a core`,
    bar: 'agent ≤ 80 MB, operator ≤ 120 MB, each < 1 %',
    met: (f) =>
      of(f, 'agent_mb') <= 80 &&
      of(f, 'operator_mb') <= 120 &&
      of(f, 'agent_cpu_pct') < 1 &&
      of(f, 'operator_cpu_pct') < 1,
  },
];

/** The results as lines for people, with the bar that each is held to. */
export function table(results: Results): string {
  const lines = rows.flatMap(({ part, what, show, bar, met }) => {
    const figures = results[part];
    if (figures === undefined) return [];
    if ('could_not_run' in figures) return [`${what}\n    could not run: ${figures.could_not_run}`];
    if ('not_here' in figures) return [`${what}\n    not here: ${figures.not_here}`];
    const numbers = figures as Record<string, number>;
    const line = `${what}\n    ${show(numbers)}`;
    if (bar === undefined || met === undefined) return [line];
    return [`${line}\n    bar: ${bar}: ${met(numbers) ? 'met' : 'NOT MET'}`];
  });
  return lines.join('\n') + '\n';
}

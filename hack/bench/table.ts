/** Figures by part; a part that could not run has `could_not_run`. */
export type Results = Record<string, Record<string, number | string>>;

interface Row {
  readonly part: string;
  readonly what: string;
  /** The figure, and what it is to be compared with. */
  readonly show: (figures: Record<string, number>) => string;
  readonly bar: string;
  readonly met: (figures: Record<string, number>) => boolean;
}

const of = (figures: Record<string, number>, name: string): number => figures[name] ?? Number.NaN;
const ratio = (figures: Record<string, number>, a: string, b: string): number =>
  of(figures, a) / of(figures, b);
const percent = (value: number): string => `${(value * 100).toFixed(1)} %`;

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
      `${of(f, 'nap_s')} s; Swarm ${of(f, 'swarm_s')} s (×${ratio(f, 'nap_s', 'swarm_s').toFixed(2)})`,
    bar: '≤ 8 s, ≤ 0.4 × Swarm',
    met: (f) => of(f, 'nap_s') <= 8 && ratio(f, 'nap_s', 'swarm_s') <= 0.4,
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
    part: 'overlay',
    what: 'TCP between hosts through the overlay',
    show: (f) =>
      `${of(f, 'nap_gbps')} Gbit/s; VXLAN made by hand ${of(f, 'hand_gbps')} Gbit/s (${percent(ratio(f, 'nap_gbps', 'hand_gbps'))})`,
    bar: '≥ 97 %',
    met: (f) => ratio(f, 'nap_gbps', 'hand_gbps') >= 0.97,
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
    const numbers = figures as Record<string, number>;
    return [`${what}\n    ${show(numbers)}\n    bar: ${bar}: ${met(numbers) ? 'met' : 'NOT MET'}`];
  });
  return lines.join('\n') + '\n';
}

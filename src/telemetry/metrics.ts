import {
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
  type CounterConfiguration,
  type GaugeConfiguration,
  type HistogramConfiguration,
} from 'prom-client';
import type { ReflectorObserver } from '../kube/reflector.ts';
import type { ControllerObserver, Outcome } from '../runtime/controller.ts';

const outcomes: readonly Outcome[] = ['success', 'requeueAfter', 'error', 'terminalError'];
/** Seconds. From a pass that finds nothing to do to one that runs into its timeout. */
const passBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];

/**
 * Milliseconds between looks at the event loop's delay. Ten, which is the library's choice, wake an idle process a hundred times a second.
 */
const never = 3_600_000;

/**
 * The metrics of one part of a process, in a registry of their own, so that several can live in one process (and in tests).
 * Series that are known beforehand start at 0: rate() and alerts need a first value to see the first increase.
 */
export class Metrics {
  readonly #registry = new Registry();

  /** Memory, CPU, event loop lag and so on of this process. */
  static ofProcess(): Metrics {
    const metrics = new Metrics();
    const register = metrics.#registry;
    collectDefaultMetrics({ register, eventLoopMonitoringPrecision: never });
    for (const figure of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']) {
      register.removeSingleMetric(`nodejs_eventloop_lag_${figure}_seconds`);
    }
    let last = performance.eventLoopUtilization();
    metrics.gauge({
      name: 'nodejs_eventloop_utilization',
      help: 'Share of the time since it was last asked for in which the event loop was busy.',
      collect() {
        const now = performance.eventLoopUtilization();
        this.set(performance.eventLoopUtilization(now, last).utilization);
        last = now;
      },
    });
    return metrics;
  }

  /** For the Content-Type header of `render`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything in the Prometheus text format. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  counter<L extends string>(config: Omit<CounterConfiguration<L>, 'registers'>): Counter<L> {
    return new Counter({ ...config, registers: [this.#registry] });
  }

  gauge<L extends string>(config: Omit<GaugeConfiguration<L>, 'registers'>): Gauge<L> {
    return new Gauge({ ...config, registers: [this.#registry] });
  }

  histogram<L extends string>(config: Omit<HistogramConfiguration<L>, 'registers'>): Histogram<L> {
    return new Histogram({ ...config, registers: [this.#registry] });
  }

  /** The observer for all controllers of the process. Call once. @param names of the controllers. */
  controllerObserver(names: readonly string[]): ControllerObserver {
    const passes = this.counter({
      name: 'nap_reconcile_total',
      help: 'Passes over a key, by how they ended.',
      labelNames: ['controller', 'result'],
    });
    const seconds = this.histogram({
      name: 'nap_reconcile_seconds',
      help: 'How long passes took.',
      labelNames: ['controller'],
      buckets: passBuckets,
    });
    const depth = this.gauge({
      name: 'nap_workqueue_depth',
      help: 'Keys that wait for a worker.',
      labelNames: ['controller'],
    });
    const active = this.gauge({
      name: 'nap_active_workers',
      help: 'Passes that are running.',
      labelNames: ['controller'],
    });
    for (const controller of names) {
      for (const result of outcomes) passes.inc({ controller, result }, 0);
      seconds.zero({ controller });
      depth.set({ controller }, 0);
      active.set({ controller }, 0);
    }
    return {
      passed(controller, result, durationMs) {
        passes.inc({ controller, result });
        seconds.observe({ controller }, durationMs / 1000);
      },
      queue(controller, waiting, running) {
        depth.set({ controller }, waiting);
        active.set({ controller }, running);
      },
    };
  }

  /** The observer for all reflectors of the process. Call once. @param names their collection paths. */
  reflectorObserver(names: readonly string[]): ReflectorObserver {
    const labelNames = ['resource'] as const;
    const lists = this.counter({
      name: 'nap_reflector_lists_total',
      help: 'Full lists that were read.',
      labelNames,
    });
    const watches = this.counter({
      name: 'nap_reflector_watches_total',
      help: 'Watches that were opened.',
      labelNames,
    });
    const failures = this.counter({
      name: 'nap_reflector_failures_total',
      help: 'Lists and watches that failed, by reason.',
      labelNames: ['resource', 'reason'],
    });
    const objects = this.gauge({
      name: 'nap_reflector_listed_objects',
      help: 'Objects in the last full list.',
      labelNames,
    });
    const synced = this.gauge({
      name: 'nap_reflector_synced',
      help: '1 when the local copy was filled and the server does not refuse us.',
      labelNames,
    });
    for (const resource of names) {
      lists.inc({ resource }, 0);
      watches.inc({ resource }, 0);
      synced.set({ resource }, 0);
    }
    return {
      listed(resource, count) {
        lists.inc({ resource });
        objects.set({ resource }, count);
      },
      watchStarted(resource) {
        watches.inc({ resource });
      },
      failed(resource, reason) {
        failures.inc({ resource, reason });
      },
      synced(resource, isSynced) {
        synced.set({ resource }, isSynced ? 1 : 0);
      },
    };
  }
}

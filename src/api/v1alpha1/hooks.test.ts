import { describe, expect, it } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { resolveContainerSpec, specHash } from './resolve.ts';
import { exampleFirst } from './schema-extensions.ts';
import { serviceSpec, type ServiceSpecInput } from './service-spec.ts';
import { updatePolicyOf } from './update-policy.ts';
import { validateService } from './validation.ts';

const parse = (spec: Partial<ServiceSpecInput>) => serviceSpec.parse({ image: 'a', ...spec });
const problems = (spec: Partial<ServiceSpecInput>): string[] =>
  validateService({ metadata: { name: 'web' }, spec: parse(spec) }).map(formatFieldError);
const identity = { namespace: 'default', project: 'shop', service: 'web' };

describe('hooks of a service', () => {
  it.each<[Partial<ServiceSpecInput>, RegExp]>([
    [{ execStop: [{}] }, /^spec\.execStop\[0\]: .*a hook needs a command, or an image/],
    [
      { execStartPre: [{ command: [''] }] },
      /^spec\.execStartPre\[0\]\.command\[0\]: .*name a program/,
    ],
    [
      { execStopPost: [{ image: 'https://b' }] },
      /^spec\.execStopPost\[0\]\.image: .*not an image reference/,
    ],
    [
      { execStartPost: [{ command: ['date', '+%s'] }] },
      /^spec\.execStartPost\[0\]\.command\[1\]: .*a percent sign begins a placeholder/,
    ],
    [
      { timeoutStop: '5s' },
      /^spec\.timeoutStop: .*and there are none: what the container itself may take is stopGracePeriod/,
    ],
    [
      { timeoutStop: '0s', execStop: [{ command: ['x'] }] },
      /^spec\.timeoutStop: .*a stop has to end some day/,
    ],
    [{ timeoutStart: '5' }, /^spec\.timeoutStart: .*a duration needs a unit/],
    [
      { timeoutStart: '5s', healthCheck: { disable: true } },
      /^spec\.timeoutStart: .*bounds nothing/,
    ],
    [
      { timeoutStart: '5m', update: { progressDeadline: '1m' } },
      /^spec\.update\.progressDeadline: .*shorter than timeoutStart \(5m\)/,
    ],
    [{ update: { progressDeadline: '1' } }, /^spec\.update\.progressDeadline: .*needs a unit/],
    [{ start: false, ports: ['80'] }, /^spec\.ports: .*contradicts start: false/],
    [
      { start: false, execStop: [{ command: ['x'] }] },
      /^spec\.execStop: .*contradicts start: false/,
    ],
  ])('refuses %j', (spec, message) => {
    expect(problems(spec)).toEqual([expect.stringMatching(message)]);
  });

  it.each<Partial<ServiceSpecInput>>([
    { execStartPre: [{ image: 'migrate:4' }], timeoutStart: '0s' },
    { execStop: [{ command: ['nginx', '-s', 'quit'] }], timeoutStop: '5s', stopGracePeriod: '10s' },
    { start: false, volumes: ['data:/data'] },
  ])('takes %j', (spec) => {
    expect(problems(spec)).toEqual([]);
  });

  it('are part of what a container is made from, and change nothing where there are none', () => {
    const hash = (spec: Partial<ServiceSpecInput>) =>
      specHash(resolveContainerSpec(identity, parse(spec), 1));
    expect(hash({ execStop: [], start: true })).toBe(hash({}));
    expect(hash({ execStop: [{ command: ['x'] }] })).not.toBe(hash({}));
    const spec = parse({
      execStartPre: [{ image: 'm:4', ignoreFailure: true }],
      execStopPost: [{ command: ['x', 'y'] }],
      timeoutStart: '1m',
      timeoutStop: '2s',
    });
    expect(resolveContainerSpec(identity, spec, 1)).toMatchObject({
      hooks: {
        startPre: [{ image: 'm:4', ignoreFailure: true }],
        stopPost: [{ command: ['x', 'y'] }],
      },
      timeoutStartMs: 60_000,
      timeoutStopMs: 2000,
    });
  });
});

describe('the deadline of an update', () => {
  it.each([
    [undefined, undefined, 600_000],
    [undefined, '10m', 1_200_000],
    [undefined, '1m', 600_000],
    ['5m', '1m', 300_000],
    ['0s', undefined, undefined],
  ])('%s, timeoutStart %s: %s', (progressDeadline, timeoutStart, expected) => {
    const { update } = parse({
      update: progressDeadline === undefined ? {} : { progressDeadline },
    });
    for (const each of progressDeadline === undefined ? [update, undefined] : [update]) {
      expect(updatePolicyOf(each, [], timeoutStart).progressDeadlineMs).toBe(expected);
    }
  });
});

describe('exampleFirst', () => {
  it('shows examples, and allows nothing more', () => {
    const pattern = exampleFirst('^[0-9]+(m)?$', '2', '250m');
    expect(pattern).toBe('^(2|250m)$|^[0-9]+(m)?$');
    for (const [text, ok] of [
      ['2', true],
      ['31m', true],
      ['x2', false],
      ['250m2', false],
    ] as const) {
      expect(new RegExp(pattern).test(text)).toBe(ok);
    }
    expect(() => exampleFirst('^[0-9]+$', 'two')).toThrow(/no example/);
  });
});

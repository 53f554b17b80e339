import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { decodeProtobufBody, ProtobufBodyError } from './decode.ts';

const { Writer } = protobuf;

/** Writes fields as length-delimited texts or bytes by number. */
function message(fields: readonly (readonly [number, string | Uint8Array | number])[]): Uint8Array {
  const writer = Writer.create();
  for (const [id, value] of fields) {
    if (typeof value === 'number') writer.uint32(id * 8).int64(value);
    else if (typeof value === 'string') writer.uint32(id * 8 + 2).string(value);
    else writer.uint32(id * 8 + 2).bytes(value);
  }
  return writer.finish();
}

function frame(apiVersion: string, kind: string, raw: Uint8Array): Uint8Array {
  const typeMeta = message([
    [1, apiVersion],
    [2, kind],
  ]);
  const unknown = message([
    [1, typeMeta],
    [2, raw],
    [3, ''],
    [4, ''],
  ]);
  return Buffer.concat([Buffer.from('k8s\0'), unknown]);
}

function code(bytes: Uint8Array): number | undefined {
  try {
    decodeProtobufBody(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof ProtobufBodyError) return error.code;
    throw error;
  }
}

describe('decodeProtobufBody', () => {
  const metadata = message([
    [1, 'x'],
    [2, ''],
    [3, 'ns'],
    [
      11,
      message([
        [1, 'app'],
        [2, 'web'],
      ]),
    ],
    [
      12,
      message([
        [1, 'empty'],
        [2, ''],
      ]),
    ],
    [8, new Uint8Array()],
    [10, 0],
    [
      13,
      message([
        [1, 'Project'],
        [3, 'p'],
        [4, 'uid-1'],
        [5, 'nap.dev/v1alpha1'],
        [6, 1],
        [7, 0],
      ]),
    ],
    [14, 'nap.dev/teardown'],
  ]);

  it('gives the JSON form of an object, without what Go leaves out as empty', () => {
    const data = message([
      [1, 'key'],
      [2, Buffer.from([0, 255])],
    ]);
    const raw = message([
      [1, metadata],
      [2, data],
      [3, 'Opaque'],
    ]);
    expect(decodeProtobufBody(frame('v1', 'Secret', raw))).toEqual({
      apiVersion: 'v1',
      kind: 'Secret',
      object: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: {
          name: 'x',
          namespace: 'ns',
          labels: { app: 'web' },
          annotations: { empty: '' },
          deletionGracePeriodSeconds: 0,
          ownerReferences: [
            {
              kind: 'Project',
              name: 'p',
              uid: 'uid-1',
              apiVersion: 'nap.dev/v1alpha1',
              controller: true,
              blockOwnerDeletion: false,
            },
          ],
          finalizers: ['nap.dev/teardown'],
        },
        data: { key: 'AP8=' },
        type: 'Opaque',
      },
    });
  });

  it('writes times as Kubernetes does', () => {
    const time = (nanos: number) =>
      message([
        [1, 1_767_225_600],
        [2, nanos],
      ]);
    const raw = message([
      [
        2,
        message([
          [1, 'holder'],
          [2, 0],
          [3, time(14_000_000)],
          [4, new Uint8Array()],
        ]),
      ],
    ]);
    expect(
      decodeProtobufBody(frame('coordination.k8s.io/v1', 'Lease', raw)).object['spec'],
    ).toEqual({
      holderIdentity: 'holder',
      leaseDurationSeconds: 0,
      acquireTime: '2026-01-01T00:00:00.014000Z',
    });
    const event = message([[6, time(5)]]);
    expect(decodeProtobufBody(frame('v1', 'Event', event)).object).toMatchObject({
      firstTimestamp: '2026-01-01T00:00:00Z',
    });
  });

  it('decodes reviews, token requests and delete options', () => {
    const attributes = message([
      [1, 'default'],
      [2, 'get'],
      [3, 'nap.dev'],
      [5, 'projects'],
    ]);
    const review = message([[2, message([[1, attributes]])]]);
    expect(
      decodeProtobufBody(frame('authorization.k8s.io/v1', 'SelfSubjectAccessReview', review))
        .object['spec'],
    ).toEqual({
      resourceAttributes: {
        namespace: 'default',
        verb: 'get',
        group: 'nap.dev',
        resource: 'projects',
      },
    });
    const token = message([
      [
        2,
        message([
          [1, 'aud'],
          [4, 600],
        ]),
      ],
    ]);
    expect(
      decodeProtobufBody(frame('authentication.k8s.io/v1', 'TokenRequest', token)).object['spec'],
    ).toEqual({ audiences: ['aud'], expirationSeconds: 600 });
    const options = message([
      [1, 0],
      [2, message([[1, 'uid-1']])],
      [4, 'Foreground'],
      [5, 'All'],
    ]);
    expect(decodeProtobufBody(frame('v1', 'DeleteOptions', options)).object).toMatchObject({
      gracePeriodSeconds: 0,
      preconditions: { uid: 'uid-1' },
      propagationPolicy: 'Foreground',
      dryRun: ['All'],
    });
  });

  it.each<[string, Uint8Array, number]>([
    ['nothing', new Uint8Array(), 400],
    ['JSON', Buffer.from('{"kind":"Secret"}'), 400],
    ['only the frame', Buffer.from('k8s\0'), 415],
    ['an unknown type', frame('v1', 'Pod', new Uint8Array()), 415],
    ['a name from the prototype', frame('', 'constructor', new Uint8Array()), 415],
    [
      'a length beyond the end',
      frame('v1', 'Secret', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f])),
      400,
    ],
    ['a time out of range', frame('v1', 'Event', message([[6, message([[1, 2 ** 52]])]])), 400],
    ['too much', Buffer.alloc(3 * 1024 * 1024 + 1), 413],
  ])('refuses %s', (_, bytes, expected) => {
    expect(code(bytes)).toBe(expected);
  });

  it('keeps map keys from reaching prototypes', () => {
    const entry = message([
      [1, '__proto__'],
      [2, 'polluted'],
    ]);
    const body = decodeProtobufBody(frame('v1', 'ConfigMap', message([[2, entry]])));
    expect(body.object).toEqual({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('refuses every truncation and mutation cleanly', () => {
    const raw = message([
      [1, metadata],
      [
        2,
        message([
          [1, 'a'],
          [2, 'b'],
        ]),
      ],
    ]);
    const whole = frame('v1', 'ConfigMap', raw);
    for (let length = 0; length < whole.length; length++) code(whole.subarray(0, length));
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.nat(255),
        fc.uint8Array({ maxLength: 40 }),
        (at, byte, tail) => {
          const mutated = Buffer.concat([whole, tail]);
          mutated[at] = byte;
          code(mutated);
          code(frame('v1', 'Event', tail));
        },
      ),
      { numRuns: 2000 },
    );
  });
});

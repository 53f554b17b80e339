import type { ContentBundle } from '../../api/v1alpha1/content.ts';
import { sealBundle } from '../../registry/delivery-bundle.ts';
import { deliveryRecords } from '../../registry/records/delivery.ts';
import { placementRecords, type PlacementRecord } from '../../registry/records/placement.ts';
import { keyFingerprint } from '../../registry/seal.ts';
import type { Operation } from '../../registry/store.ts';
import type { Change, Intent } from './allocate.ts';
import type { PlacementBook } from './book.ts';
import { ordinalOf } from './step.ts';
import type { Placed } from './types.ts';

/** Where deliveries go. */
interface DeliveryContext {
  /** The present record at a placement's path. */
  readonly at: (path: string) => Placed | undefined;
  /** Public key of a host; undefined while it has none. */
  readonly sealingKey: (host: string) => string | undefined;
  /** What instances of this spec are to get; undefined: nothing. */
  readonly bundle: (record: PlacementRecord) => ContentBundle | undefined;
}

/** Whether a placed instance of the present spec has not been given the present contents, or not so that its host can read them. */
export function isUndelivered(
  { record }: Placed,
  bundle: ContentBundle | undefined,
  sealingKey: string | undefined,
): boolean {
  if (bundle === undefined || record === undefined || sealingKey === undefined) return false;
  const { hash, recipient } = record.delivery ?? {};
  return hash !== bundle.hash || recipient !== keyFingerprint(sealingKey);
}

/** The changes of a pass with the contents that instances need for them. */
export function deliver(
  intents: readonly Intent[],
  changes: readonly Change[],
  book: Pick<PlacementBook, 'at'>,
  sealingKey: DeliveryContext['sealingKey'],
): Change[] {
  const runs = new Map(intents.map(({ key, run }) => [key, run]));
  return changes.map((change) =>
    withDeliveries(change, {
      at: (path) => book.at(path),
      sealingKey,
      bundle: (record) => {
        const run = runs.get(change.key);
        const ordinal = change.put === undefined ? 0 : ordinalOf(change.step);
        if (run?.bundle === undefined || ordinal === 0) return undefined;
        // One that still runs an older spec keeps what it was given.
        return record.specHash === run.instances.instance(ordinal).specHash
          ? run.bundle
          : undefined;
      },
    }),
  );
}

/**
 * A change with the deliveries that belong to it: sealed anew for an instance that gets other contents or another host,
 * removed with its placement. All in the transaction of the placement, so that neither is ever there without the other.
 */
function withDeliveries(change: Change, context: DeliveryContext): Change {
  const operations: Operation[] = [];
  let result = change;
  const { put, deleted } = change;
  if (deleted !== undefined && context.at(deleted)?.record?.delivery !== undefined) {
    operations.push({ type: 'delete', key: deliveryPath(deleted) });
  }
  if (put !== undefined) {
    const bundle = context.bundle(put.record);
    const sealingKey = context.sealingKey(put.key.host);
    const path = deliveryPath(put.path);
    const { delivery } = put.record;
    if (bundle !== undefined && sealingKey !== undefined) {
      const recipient = keyFingerprint(sealingKey);
      if (delivery?.hash !== bundle.hash || delivery.recipient !== recipient) {
        const record = { ...put.record, delivery: { hash: bundle.hash, recipient } };
        const sealed = sealBundle(sealingKey, path, bundle);
        const value = deliveryRecords.encode({ hash: bundle.hash, sealed });
        operations.push({ type: 'put', key: path, value });
        result = withRecord(change, put, record);
      }
    } else if (delivery === undefined && context.at(put.path)?.record?.delivery !== undefined) {
      operations.push({ type: 'delete', key: path });
    }
  }
  return operations.length === 0
    ? result
    : { ...result, operations: [...result.operations, ...operations] };
}

function withRecord(
  change: Change,
  put: NonNullable<Change['put']>,
  record: PlacementRecord,
): Change {
  return {
    ...change,
    put: { ...put, record },
    operations: change.operations.map((operation) =>
      operation.type === 'put' && operation.key === put.path
        ? { ...operation, value: placementRecords.encode(record) }
        : operation,
    ),
  };
}

/** Path of the delivery that goes with a placement. */
function deliveryPath(placement: string): string {
  const key = placementRecords.parsePath(placement);
  if (key === undefined) throw new TypeError(`not the path of a placement: ${placement}`);
  return deliveryRecords.path(key);
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import {
  Authorizer,
  defaultGrants,
  operatorsGroup,
  viewersGroup,
  type PolicyRule,
} from './authorize.ts';
import { anonymous, authenticatedGroup, type Identity } from './identity.ts';

const member = (...groups: string[]): Identity => ({
  name: 'x',
  uid: '',
  groups: [...groups, authenticatedGroup],
});

interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules: readonly PolicyRule[];
}

describe('the operator', () => {
  const manifest = parseAllDocuments(
    readFileSync(join(import.meta.dirname, '../../../manifests/operator/rbac.yaml'), 'utf8'),
  ).map((document) => document.toJS() as Role);
  const rulesOf = (kind: string): readonly PolicyRule[] =>
    manifest.find((one) => one.kind === kind && one.metadata.name === 'nap-operator')?.rules ?? [];
  const grants = defaultGrants.filter(({ groups }) => groups.includes(operatorsGroup));

  it('may do here exactly what it may do on a real cluster', () => {
    expect(
      grants.filter(({ namespaces }) => namespaces === undefined).flatMap(({ rules }) => rules),
    ).toEqual(rulesOf('ClusterRole'));
    expect(
      grants.filter(({ namespaces }) => namespaces !== undefined).flatMap(({ rules }) => rules),
    ).toEqual(rulesOf('Role'));
  });

  it('reads no secrets, and leases only of its own', () => {
    const authorizer = new Authorizer();
    const wanted = {
      verb: 'get',
      group: '',
      resource: 'secrets',
      subresource: '',
      namespace: 'default',
      name: 'x',
    };
    expect(authorizer.allows(member(operatorsGroup), wanted)).toBe(false);
    const lease = {
      ...wanted,
      group: 'coordination.k8s.io',
      resource: 'leases',
      namespace: 'nap-system',
      name: 'nap-operator',
    };
    expect(authorizer.allows(member(operatorsGroup), lease)).toBe(true);
    expect(authorizer.allows(member(operatorsGroup), { ...lease, name: 'other' })).toBe(false);
    expect(authorizer.allows(member(operatorsGroup), { ...lease, namespace: 'default' })).toBe(
      false,
    );
  });
});

describe('others', () => {
  const authorizer = new Authorizer();
  const projects = {
    verb: 'list',
    group: 'nap.dev',
    resource: 'projects',
    subresource: '',
    namespace: '',
    name: '',
  };

  it('viewers look, and nobody else does', () => {
    expect(authorizer.allows(member(viewersGroup), projects)).toBe(true);
    expect(authorizer.allows(member(viewersGroup), { ...projects, verb: 'create' })).toBe(false);
    expect(authorizer.allows(member(), projects)).toBe(false);
    expect(authorizer.allows(anonymous, projects)).toBe(false);
  });

  it('without credentials only health and version are readable', () => {
    expect(authorizer.allowsPath(anonymous, 'get', '/readyz')).toBe(true);
    expect(authorizer.allowsPath(anonymous, 'get', '/version')).toBe(true);
    expect(authorizer.allowsPath(anonymous, 'get', '/apis')).toBe(false);
    expect(authorizer.allowsPath(member(), 'get', '/apis')).toBe(true);
    expect(authorizer.allowsPath(member(), 'get', '/metrics')).toBe(false);
  });
});

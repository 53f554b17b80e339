import { describe, expect, it } from 'vitest';
import { dockerVolumeName, instanceName, isDnsLabel, standaloneProject } from './names.ts';

const inProject = { namespace: 'default', project: 'guestbook', service: 'web' };
const alone = { namespace: 'default', project: standaloneProject, service: 'web' };

describe('names', () => {
  it('calls instances by project, service and ordinal', () => {
    expect(instanceName({ ...inProject, ordinal: '2' })).toBe('guestbook-web-2');
    expect(instanceName({ ...alone, ordinal: '2' })).toBe('web-2');
  });

  it('keeps volumes of different owners apart', () => {
    const names = [
      dockerVolumeName(inProject, 'data'),
      dockerVolumeName({ ...inProject, service: 'db' }, 'data'),
      dockerVolumeName(alone, 'data'),
      dockerVolumeName({ ...alone, service: 'db' }, 'data'),
      dockerVolumeName({ ...inProject, project: 'web' }, 'data'),
    ];
    expect(names[0]).toBe('default_guestbook_data');
    // Services of one project share its volumes; everything else differs.
    expect(names[1]).toBe(names[0]);
    expect(new Set(names).size).toBe(names.length - 1);
  });

  it('knows DNS labels', () => {
    expect(['a', 'a-b', '0', 'a'.repeat(63)].every(isDnsLabel)).toBe(true);
    expect(['', '-a', 'a-', 'A', 'a.b', 'a_b', 'a\n', 'a'.repeat(64)].some(isDnsLabel)).toBe(false);
  });
});
